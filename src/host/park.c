/* port/park.h over a futex. The kernel compares and sleeps in one step, so a wake-up cannot be lost. */
#include "port/park.h"

#include "host/futex.h"

void park(const uint32_t *word, uint32_t expected)
{
    futex_wait(word, expected, NULL);
}

void unpark(const uint32_t *word)
{
    futex_wake(word, INT_MAX);
}
