/* The part of the KVM probe that runs in the child process. */
#ifndef LODGE_VMM_PROBE_KVM_H
#define LODGE_VMM_PROBE_KVM_H

#include <stdint.h>

enum probe_step { PROBE_WORKS, PROBE_OPEN, PROBE_SETUP, PROBE_RUN, PROBE_ANSWER };

/* How far the child came. */
struct probe_verdict {
    uint32_t step;   /* enum probe_step: the one that failed */
    int32_t error;   /* errno, for PROBE_OPEN and PROBE_SETUP */
    uint32_t detail; /* KVM's exit reason, for PROBE_ANSWER; kHz of the time stamp counter, for PROBE_WORKS */
};

struct probe_verdict probe_kvm_child(const char *device);

#endif
