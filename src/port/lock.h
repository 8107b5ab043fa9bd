/* A mutual-exclusion lock; the implementation is chosen by linking (host/lock.c). */
#ifndef LODGE_PORT_LOCK_H
#define LODGE_PORT_LOCK_H

#include <stdint.h>

/* All zero is an unlocked lock; nothing to destroy. Not recursive. */
struct lock {
    uint32_t word;
};

void lock_acquire(struct lock *lock);
void lock_release(struct lock *lock);

#endif
