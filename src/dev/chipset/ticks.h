/*
 * From nanoseconds to the ticks of an oscillator and back, without drift: always from one absolute
 * start, never by adding up rounded steps, and in 64 bits without overflow.
 */
#ifndef LODGE_DEV_CHIPSET_TICKS_H
#define LODGE_DEV_CHIPSET_TICKS_H

#include <stdint.h>

#include "port/clock.h"

/* Whole ticks in ns nanoseconds. hz < 2^32. */
static inline uint64_t ticks_from_ns(uint64_t ns, uint32_t hz)
{
    return ns / NS_PER_SECOND * hz + ns % NS_PER_SECOND * hz / NS_PER_SECOND;
}

/*
 * The first nanosecond at which ticks_from_ns() has reached `ticks`. Beyond 584 years it is
 * UINT64_MAX, which timers understand as never.
 */
static inline uint64_t ticks_to_ns(uint64_t ticks, uint32_t hz)
{
    uint64_t seconds = ticks / hz;

    if (seconds >= UINT64_MAX / NS_PER_SECOND)
        return UINT64_MAX;
    return seconds * NS_PER_SECOND + (ticks % hz * NS_PER_SECOND + hz - 1) / hz;
}

/* a + b, or UINT64_MAX if that is beyond 64 bits: a deadline never wraps into the past. */
static inline uint64_t ticks_add(uint64_t a, uint64_t b)
{
    return a + b < a ? UINT64_MAX : a + b;
}

#endif
