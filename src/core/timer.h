/*
 * A queue of timers over one host alarm. Intrusive: no allocation, any number of timers.
 * Threads: every call with the machine lock held.
 */
#ifndef LODGE_CORE_TIMER_H
#define LODGE_CORE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "port/clock.h"

#define TIMER_NEVER UINT64_MAX

struct timer {
    uint64_t deadline_ns;              /* on the queue's clock; TIMER_NEVER while not armed */
    void (*fire)(void *owner);         /* may arm timers, itself too */
    void *owner;
    struct timer *next;                /* in deadline order */
    struct timer_queue *queue;
};

struct timer_queue {
    struct clock *clock;
    struct alarm *alarm;
    struct timer *first;               /* armed, in deadline order */
    struct timer *due;                 /* during a run: what it has still to fire */
    uint64_t alarm_ns;                 /* what the alarm is set to; never later than the first deadline */
    bool running;
};

void timer_queue_init(struct timer_queue *queue, struct clock *clock, struct alarm *alarm);

/*
 * Fires all that are due at the clock's now, in order, then sets the alarm for the next. One that
 * arms itself again waits for the next run even if it is due at once, so that a guest that asks
 * for a period of nothing cannot keep the machine lock for itself.
 */
void timer_queue_run(struct timer_queue *queue);

void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(void *owner), void *owner);

/* Arms, or moves an armed timer. A deadline in the past fires in the next run; TIMER_NEVER cancels. */
void timer_arm(struct timer *timer, uint64_t deadline_ns);

/* Nothing happens if it is not armed. */
void timer_cancel(struct timer *timer);

static inline uint64_t timer_now(const struct timer_queue *queue)
{
    return queue->clock->monotonic_ns(queue->clock);
}

#endif
