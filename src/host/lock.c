/*
 * port/lock.h over a futex. The word: 0 free, 1 held, 2 held and somebody may be asleep for it.
 * Only a lock that was seen contended pays for a system call.
 */
#include "port/lock.h"

#include <stdbool.h>

#include "host/futex.h"

enum { LOCK_FREE = 0, LOCK_HELD = 1, LOCK_CONTENDED = 2 };

/*
 * Critical sections under these locks are a device access or a block's translation long, some microseconds: shorter
 * than going to sleep and being woken, above all where the host is a virtual machine itself.
 */
enum { LOCK_SPINS = 1000 };

static bool lock_try(struct lock *lock)
{
    uint32_t expected = LOCK_FREE;

    return __atomic_compare_exchange_n(&lock->word, &expected, LOCK_HELD, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void lock_acquire(struct lock *lock)
{
    if (lock_try(lock))
        return;
    for (int i = 0; i < LOCK_SPINS; i++) {
        __builtin_ia32_pause();
        if (__atomic_load_n(&lock->word, __ATOMIC_RELAXED) == LOCK_FREE && lock_try(lock))
            return;
    }
    while (__atomic_exchange_n(&lock->word, LOCK_CONTENDED, __ATOMIC_ACQUIRE) != LOCK_FREE)
        futex_wait(&lock->word, LOCK_CONTENDED, NULL);
}

void lock_release(struct lock *lock)
{
    if (__atomic_exchange_n(&lock->word, LOCK_FREE, __ATOMIC_RELEASE) == LOCK_CONTENDED)
        futex_wake(&lock->word, 1);
}
