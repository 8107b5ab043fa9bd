/* The two futex calls that locks and parking need. */
#ifndef LODGE_HOST_FUTEX_H
#define LODGE_HOST_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleep while *word == expected, at most `limit` (relative; NULL: for ever). May return early. */
static inline void futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *limit)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, limit, NULL, 0);
}

static inline void futex_wake(const uint32_t *word, int sleepers)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, sleepers, NULL, NULL, 0);
}

#endif
