/* port/clock.h over clock_gettime(), which is a read of the vDSO and no system call. */
#include "host/clock.h"

#include <time.h>

#include "base/bits.h"

static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t host_monotonic_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

static uint64_t clock_monotonic(struct clock *port)
{
    const struct host_clock *clock = CONTAINER_OF(port, struct host_clock, clock);
    uint64_t held = clock->held_at_ns;

    return held ? held : host_monotonic_ns() - clock->behind_ns;
}

static uint64_t clock_wall(struct clock *clock)
{
    (void)clock;
    return clock_read_ns(CLOCK_REALTIME);
}

void host_clock_init(struct host_clock *clock)
{
    *clock = (struct host_clock){.clock = {.monotonic_ns = clock_monotonic, .wall_ns = clock_wall}};
}

void host_clock_hold(struct host_clock *clock)
{
    if (!clock->held_at_ns)
        clock->held_at_ns = host_monotonic_ns() - clock->behind_ns;
}

uint64_t host_clock_release(struct host_clock *clock)
{
    uint64_t held = clock->held_at_ns, before = clock->behind_ns;

    if (!held)
        return 0;
    clock->behind_ns = host_monotonic_ns() - held;
    clock->held_at_ns = 0;
    return clock->behind_ns - before;
}

uint64_t host_clock_to_monotonic(const struct host_clock *clock, uint64_t ns)
{
    return ns > UINT64_MAX - clock->behind_ns ? UINT64_MAX : ns + clock->behind_ns;
}
