/* What a benchmark program is, and the few things all of them share. */
#ifndef LODGE_BENCH_BENCH_H
#define LODGE_BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>

/*
 * One row of the comparison. iterate() does a fixed amount of work and answers a checksum of its
 * result; every call must answer the same, on every machine, so that a run of three iterations can
 * be held against a run of three hundred. setup() and teardown() are not timed.
 */
struct bench_program {
    const char *name;
    const char *summary;
    uint32_t iterations; /* by default: about 0.3 s on a server processor of the 2020s */
    uint32_t operations; /* operations in one iteration, by which times are divided; 1 if it is one piece of work */
    void (*setup)(void); /* may be NULL */
    uint64_t (*iterate)(void);
    void (*teardown)(void);       /* may be NULL */
    const char *(*variant)(void); /* which form of the work this processor gets; NULL if there is only one */
};

/*
 * The whole of main() for a table of programs that ends with NULL. Usage:
 *     PROGRAM list                                  one line per row
 *     PROGRAM run NAME [ITERATIONS [BUDGET_MS]]     one untimed iteration, then ITERATIONS timed ones or as many
 *                                                   as start within BUDGET_MS (at least one; 0 means no budget)
 *     PROGRAM frequency                             the rate of this processor's time-stamp counter in kHz
 *     PROGRAM exit                                  ends at once: what the exec row executes
 */
int bench_main(int argc, char **argv, const struct bench_program *const *programs);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t bench_clock_ns(void);

/* Says what failed (with errno's meaning where it is set) and ends with status 1. */
_Noreturn void bench_die(const char *what);

/* malloc() that ends the program rather than fail. The caller owns the memory. */
void *bench_allocate(size_t size);

/* Fills size bytes with English-looking words in lines, the same for the same seed; no NUL in it. */
void bench_fill_text(char *text, size_t size, uint64_t seed);

/* The next number of a xorshift64* generator; the state must not be zero. */
static inline uint64_t bench_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* Folds a value into a checksum. */
static inline uint64_t bench_mix(uint64_t checksum, uint64_t value)
{
    checksum = (checksum ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return checksum ^ (checksum >> 29);
}

/* Folds size bytes into a checksum, eight at a time. */
uint64_t bench_mix_bytes(uint64_t checksum, const void *bytes, size_t size);

#endif
