#include "core/timer.h"

#include <stddef.h>

static void alarm_set(struct timer_queue *queue)
{
    queue->alarm_ns = queue->first ? queue->first->deadline_ns : TIMER_NEVER;
    queue->alarm->set(queue->alarm, queue->alarm_ns);
}

void timer_queue_init(struct timer_queue *queue, struct clock *clock, struct alarm *alarm)
{
    *queue = (struct timer_queue){.clock = clock, .alarm = alarm, .alarm_ns = TIMER_NEVER};
}

void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(void *owner), void *owner)
{
    *timer = (struct timer){.deadline_ns = TIMER_NEVER, .fire = fire, .owner = owner, .queue = queue};
}

static void list_remove(struct timer **list, const struct timer *timer)
{
    while (*list != NULL && *list != timer)
        list = &(*list)->next;
    if (*list != NULL)
        *list = timer->next;
}

/*
 * The alarm stays as it is: an alarm that comes too early costs one empty run, and guests re-arm
 * their deadline timer far more often than they let it expire.
 */
void timer_cancel(struct timer *timer)
{
    if (timer->deadline_ns == TIMER_NEVER)
        return;
    list_remove(&timer->queue->first, timer);
    list_remove(&timer->queue->due, timer);
    timer->deadline_ns = TIMER_NEVER;
}

void timer_arm(struct timer *timer, uint64_t deadline_ns)
{
    struct timer_queue *queue = timer->queue;
    struct timer **at = &queue->first;

    timer_cancel(timer);
    if (deadline_ns == TIMER_NEVER)
        return;
    while (*at != NULL && (*at)->deadline_ns <= deadline_ns)
        at = &(*at)->next;
    timer->deadline_ns = deadline_ns;
    timer->next = *at;
    *at = timer;
    if (!queue->running && queue->first->deadline_ns < queue->alarm_ns)
        alarm_set(queue);
}

/* Moves the timers that are due by now from `first` to `due`. */
static void split_due(struct timer_queue *queue, uint64_t now)
{
    struct timer **end = &queue->first;

    while (*end != NULL && (*end)->deadline_ns <= now)
        end = &(*end)->next;
    if (end == &queue->first)
        return;
    queue->due = queue->first;
    queue->first = *end;
    *end = NULL;
}

void timer_queue_run(struct timer_queue *queue)
{
    queue->running = true;
    split_due(queue, timer_now(queue));
    while (queue->due != NULL) {
        struct timer *timer = queue->due;

        queue->due = timer->next;
        timer->deadline_ns = TIMER_NEVER;
        timer->fire(timer->owner);
    }
    queue->running = false;
    alarm_set(queue);
}
