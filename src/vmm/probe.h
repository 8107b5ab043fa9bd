/* Does KVM really run guests here? */
#ifndef LODGE_VMM_PROBE_H
#define LODGE_VMM_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Runs a tiny 64-bit guest under KVM in a child process and waits for its verdict, at most 0.4 s.
 * On some hosts the device, /dev/kvm, opens, answers every question and then hangs guests; the child is then
 * killed and left behind. On true, tsc_khz is how fast KVM says
 * that the time stamp counter runs, or 0 if it does not say. On false, reason says why in a few words ("/dev/kvm: Permission denied").
 * Before threads are started.
 */
bool probe_kvm(const char *device, uint32_t *tsc_khz, char *reason, size_t room);

#endif
