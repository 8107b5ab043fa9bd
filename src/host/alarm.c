/*
 * A guest moves its timer far more often than the timer rings, mostly to later. So a later deadline
 * leaves the timerfd as it is: it rings early once, the queue finds nothing due and sets the alarm
 * anew. Only an earlier deadline is a system call.
 */
#include "host/alarm.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "port/log.h"

static void alarm_set(struct alarm *port, uint64_t deadline_ns)
{
    struct host_alarm *alarm = CONTAINER_OF(port, struct host_alarm, alarm);

    if (deadline_ns >= atomic_load(&alarm->armed))
        return;
    atomic_store(&alarm->armed, deadline_ns);

    /* A zero time would disarm the timerfd. */
    uint64_t on_host = host_clock_to_monotonic(alarm->clock, deadline_ns);
    uint64_t at = on_host ? on_host : 1;
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / NS_PER_SECOND), .tv_nsec = (long)(at % NS_PER_SECOND)},
    };
    (void)timerfd_settime(alarm->source.fd, TFD_TIMER_ABSTIME, &when, NULL); /* fails for bad arguments only */
}

/*
 * armed is cleared before the queue runs, so whatever the queue sets goes to the timerfd. A set()
 * by another thread just before may be forgotten by this; the queue run that follows repeats it.
 */
static void alarm_ready(struct loop_source *source)
{
    struct host_alarm *alarm = CONTAINER_OF(source, struct host_alarm, source);
    uint64_t rings;

    if (read(source->fd, &rings, sizeof(rings)) != sizeof(rings))
        return;
    atomic_store(&alarm->armed, UINT64_MAX);
    if (!alarm->clock->held_at_ns)
        alarm->rings(alarm);
}

enum status host_alarm_init(struct host_alarm *alarm, struct event_loop *loop, const struct host_clock *clock,
                            void (*rings)(struct host_alarm *alarm))
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    *alarm = (struct host_alarm){
        .alarm.set = alarm_set,
        .source.ready = alarm_ready,
        .clock = clock,
        .armed = UINT64_MAX,
        .rings = rings,
    };
    if (fd < 0) {
        log_error("cannot create a timer: %s", strerror(errno));
        return STATUS_NO_MEMORY;
    }
    enum status status = loop_add(loop, &alarm->source, fd);
    if (status != STATUS_OK)
        close(fd);
    return status;
}

void host_alarm_destroy(struct host_alarm *alarm)
{
    if (!alarm->source.loop)
        return;
    loop_remove(&alarm->source);
    close(alarm->source.fd);
}
