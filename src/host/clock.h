/* The host's time. */
#ifndef LODGE_HOST_CLOCK_H
#define LODGE_HOST_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "port/clock.h"

/* A machine's time: CLOCK_MONOTONIC without the time that it was held, and CLOCK_REALTIME. */
struct host_clock {
    struct clock clock;
    _Atomic uint64_t behind_ns; /* how much of CLOCK_MONOTONIC was spent on hold */
    _Atomic uint64_t held_at_ns; /* where it stands still; 0: it goes */
};

/* It goes. Nothing to destroy. */
void host_clock_init(struct host_clock *clock);

/* The monotonic time stands still, no vCPU runs; or it goes on from there. One thread; others may read. */
void host_clock_hold(struct host_clock *clock);
/* How long it was held, in nanoseconds; 0 if it was not. */
uint64_t host_clock_release(struct host_clock *clock);

/* A time of this clock as CLOCK_MONOTONIC, if it is not held until then. Any thread. */
uint64_t host_clock_to_monotonic(const struct host_clock *clock, uint64_t ns);

/* Nanoseconds of CLOCK_MONOTONIC. Any thread, async-signal-safe. */
uint64_t host_monotonic_ns(void);

/*
 * Frequency of this processor's time stamp counter, from CPUID where a hypervisor or the processor
 * tells it, otherwise measured, which takes about 20 ms.
 */
uint32_t host_tsc_khz(void);

#endif
