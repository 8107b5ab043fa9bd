#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILE_MOST = 1 << 16 };

static uint64_t current_seed, random_state;

void fuzz_seed(uint64_t seed)
{
    random_state = current_seed = seed;
}

/* SplitMix64: any seed will do. */
uint64_t fuzz_next(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

uint64_t fuzz_below(uint64_t limit)
{
    return fuzz_next() % limit;
}

void fuzz_fill(void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)fuzz_next();
}

void fuzz_check(bool good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "%s: %s (seed %llu)\n", fuzz_command, what, (unsigned long long)current_seed);
    abort();
}

static int replay_file(const char *path, int (*replay)(const uint8_t *data, size_t size))
{
    static uint8_t input[FILE_MOST];
    FILE *file = fopen(path, "rb");

    if (!file) {
        perror(path);
        return 1;
    }
    size_t size = fread(input, 1, sizeof(input), file);
    (void)fclose(file);
    return replay(input, size);
}

static void print_seed(void)
{
    (void)fprintf(stderr, "%s: failed; repeat with: %s 1 %llu\n", fuzz_command, fuzz_command,
                  (unsigned long long)current_seed);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

int fuzz_main(int argc, char **argv, void (*run)(void), int (*replay)(const uint8_t *data, size_t size))
{
    uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL) << 20;
    int failed = 0;

    if (argc > 1 && replay && strcmp(argv[1], "-f") == 0) {
        for (int i = 2; i < argc; i++)
            failed |= replay_file(argv[i], replay);
        return failed;
    }
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(print_seed);
    printf("%s: %llu runs from seed %llu\n", fuzz_command, (unsigned long long)runs, (unsigned long long)seed);
    for (uint64_t i = 0; i < runs; i++) {
        fuzz_seed(seed + i);
        run();
    }
    return 0;
}
