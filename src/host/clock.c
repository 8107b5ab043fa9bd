/* port/clock.h over clock_gettime(), which is a read of the vDSO and no system call. */
#include "host/clock.h"

#include <time.h>

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

static uint64_t clock_monotonic(struct clock *clock)
{
    (void)clock;
    return host_monotonic_ns();
}

static uint64_t clock_wall(struct clock *clock)
{
    (void)clock;
    return clock_read_ns(CLOCK_REALTIME);
}

void host_clock_init(struct clock *clock)
{
    *clock = (struct clock){.monotonic_ns = clock_monotonic, .wall_ns = clock_wall};
}
