/* The alarm behind a timer queue: a timerfd in the event loop. */
#ifndef LODGE_HOST_ALARM_H
#define LODGE_HOST_ALARM_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/status.h"
#include "host/clock.h"
#include "host/loop.h"
#include "port/clock.h"

struct host_alarm {
    struct alarm alarm;
    struct loop_source source;
    const struct host_clock *clock;
    _Atomic uint64_t armed; /* when the timerfd will ring, on this clock; UINT64_MAX: it will not */
    void (*rings)(
        struct host_alarm *alarm); /* the loop's thread, without locks: take the machine lock, run the queue */
};

/*
 * Deadlines are of this clock, borrowed. rings may come early, or for a deadline that was taken back since, or while
 * the clock is held: whoever releases it runs the queue.
 */
enum status host_alarm_init(struct host_alarm *alarm, struct event_loop *loop, const struct host_clock *clock,
                            void (*rings)(struct host_alarm *alarm)) MUST_CHECK;
void host_alarm_destroy(struct host_alarm *alarm); /* accepts a zeroed one */

#endif
