/* Time, as the world outside gives it to the machine. */
#ifndef LODGE_PORT_CLOCK_H
#define LODGE_PORT_CLOCK_H

#include <stdint.h>

#define NS_PER_SECOND 1000000000ull

/* Handed to whoever needs time. Both calls: any thread, no locks taken. */
struct clock {
    /* Nanoseconds since an arbitrary start; never goes back; stands still while the machine is paused. */
    uint64_t (*monotonic_ns)(struct clock *clock);
    /* Nanoseconds since 1970-01-01 00:00 UTC. */
    uint64_t (*wall_ns)(struct clock *clock);
};

/*
 * The one alarm behind a timer queue. set() is called with the machine lock held; when the clock
 * reaches deadline_ns, the host takes the machine lock and calls timer_queue_run(). UINT64_MAX: none.
 */
struct alarm {
    void (*set)(struct alarm *alarm, uint64_t deadline_ns);
};

#endif
