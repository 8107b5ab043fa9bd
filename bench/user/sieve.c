/* The sieve of Eratosthenes: byte stores with a long stride, then a scan. */
#include "user/programs.h"

#include <string.h>

enum { LIMIT = 1 << 20 };

static unsigned char composite[LIMIT];

static uint64_t iterate(void)
{
    uint64_t count = 0;
    uint64_t sum = 0;

    memset(composite, 0, sizeof(composite));
    for (uint32_t i = 2; i * i < LIMIT; i++) {
        if (composite[i] != 0) {
            continue;
        }
        for (uint32_t multiple = i * i; multiple < LIMIT; multiple += i) {
            composite[multiple] = 1;
        }
    }
    for (uint32_t i = 2; i < LIMIT; i++) {
        if (composite[i] == 0) {
            count++;
            sum += i;
        }
    }
    return bench_mix(count, sum);
}

const struct bench_program bench_sieve = {
    .name = "sieve",
    .summary = "primes below 2^20",
    .iterations = 120,
    .operations = 1,
    .iterate = iterate,
};
