/* Does KVM really run guests here? */
#ifndef LODGE_VMM_PROBE_H
#define LODGE_VMM_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Runs a tiny 64-bit guest under KVM in a child process and waits for its verdict, at most 0.4 s.
 * On some hosts the device, /dev/kvm, opens, answers every question and then hangs guests; the child is then
 * killed and left behind. On false, reason says why in a few words ("/dev/kvm: Permission denied").
 * Before threads are started.
 */
bool probe_kvm(const char *device, char *reason, size_t room);

#endif
