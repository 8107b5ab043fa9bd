/*
 * usage: clock TICKS
 *
 * Sleeps until each tenth of a second of CLOCK_MONOTONIC and says what the clocks show then:
 * "tick NUMBER MONOTONIC REALTIME LATE", the first two in nanoseconds since the first tick and since 1970, LATE in
 * nanoseconds after the time that was asked for.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const int64_t second = 1000000000, step = 100000000;

static int64_t now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * second + time.tv_nsec;
}

static void sleep_until(int64_t target)
{
    const struct timespec time = {.tv_sec = target / second, .tv_nsec = target % second};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) != 0)
        ;
}

int main(int argc, char **argv)
{
    int ticks = argc > 1 ? atoi(argv[1]) : 10;
    int64_t start = now(CLOCK_MONOTONIC) + step;

    for (int i = 0; i <= ticks; i++) {
        int64_t target = start + i * step, monotonic, realtime;

        sleep_until(target);
        monotonic = now(CLOCK_MONOTONIC);
        realtime = now(CLOCK_REALTIME);
        printf("tick %d %" PRId64 " %" PRId64 " %" PRId64 "\n", i, monotonic - start, realtime, monotonic - target);
        fflush(stdout);
    }
    return 0;
}
