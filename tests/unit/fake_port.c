#define _GNU_SOURCE
#include "fake_port.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "port/lock.h"
#include "port/park.h"

char fake_log_line[256];
void (*fake_log_listener)(const char *line);
static atomic_uint log_lines;

void log_emit(enum log_level level, const char *format, ...)
{
    va_list arguments;

    if (level > LOG_WARNING)
        return;
    va_start(arguments, format);
    (void)vsnprintf(fake_log_line, sizeof(fake_log_line), format, arguments);
    va_end(arguments);
    log_lines++;
    if (fake_log_listener)
        fake_log_listener(fake_log_line);
}

unsigned fake_log_count(void)
{
    return atomic_exchange(&log_lines, 0);
}

void lock_acquire(struct lock *lock)
{
    while (__atomic_exchange_n(&lock->word, 1, __ATOMIC_ACQUIRE) != 0)
        (void)sched_yield();
}

void lock_release(struct lock *lock)
{
    __atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

void park(const uint32_t *word, uint32_t expected)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void unpark(const uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static uint64_t clock_now(struct clock *clock)
{
    return ((struct fake_clock *)clock)->now_ns;
}

static void alarm_remember(struct alarm *alarm, uint64_t deadline_ns)
{
    ((struct fake_alarm *)alarm)->deadline_ns = deadline_ns;
    ((struct fake_alarm *)alarm)->sets++;
}

void fake_clock_init(struct fake_clock *clock)
{
    *clock = (struct fake_clock){.clock = {.monotonic_ns = clock_now, .wall_ns = clock_now}};
}

void fake_alarm_init(struct fake_alarm *alarm)
{
    *alarm = (struct fake_alarm){.alarm = {.set = alarm_remember}, .deadline_ns = UINT64_MAX};
}
