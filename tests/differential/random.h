/* Random numbers from a seed: splitmix64. */
#ifndef LODGE_TESTS_DIFFERENTIAL_RANDOM_H
#define LODGE_TESTS_DIFFERENTIAL_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline uint64_t random_mix(uint64_t value)
{
    struct random r = {value};

    return random_next(&r);
}

/* 0..bound-1 */
static inline uint32_t random_below(struct random *r, uint32_t bound)
{
    return (uint32_t)(((random_next(r) >> 32) * bound) >> 32);
}

static inline bool random_percent(struct random *r, unsigned percent)
{
    return random_below(r, 100) < percent;
}

#endif
