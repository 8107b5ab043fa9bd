/* The host's time. */
#ifndef LODGE_HOST_CLOCK_H
#define LODGE_HOST_CLOCK_H

#include <stdint.h>

#include "port/clock.h"

/* CLOCK_MONOTONIC and CLOCK_REALTIME. Nothing to destroy. */
void host_clock_init(struct clock *clock);

/* Nanoseconds of CLOCK_MONOTONIC. Any thread, async-signal-safe. */
uint64_t host_monotonic_ns(void);

/*
 * Frequency of this processor's time stamp counter, from CPUID where a hypervisor or the processor
 * tells it, otherwise measured, which takes about 20 ms.
 */
uint32_t host_tsc_khz(void);

#endif
