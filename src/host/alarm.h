/* The alarm behind a timer queue: a timerfd in the event loop. */
#ifndef LODGE_HOST_ALARM_H
#define LODGE_HOST_ALARM_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/status.h"
#include "host/loop.h"
#include "port/clock.h"

struct host_alarm {
    struct alarm alarm;
    struct loop_source source;
    _Atomic uint64_t armed; /* when the timerfd will ring; UINT64_MAX: it will not */
    void (*rings)(
        struct host_alarm *alarm); /* the loop's thread, without locks: take the machine lock, run the queue */
};

/* The clock is host_clock's. rings may come early, or for a deadline that was taken back since. */
enum status host_alarm_init(struct host_alarm *alarm, struct event_loop *loop,
                            void (*rings)(struct host_alarm *alarm)) MUST_CHECK;
void host_alarm_destroy(struct host_alarm *alarm); /* accepts a zeroed one */

#endif
