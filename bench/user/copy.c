/* Moving memory: the C library's memcpy() and memset() with many sizes, and the bare string instructions. */
#include "user/programs.h"

#include <string.h>

enum { AREA = 64 << 10 };

static unsigned char source[AREA] __attribute__((aligned(4096)));
static unsigned char target[AREA + 64] __attribute__((aligned(4096)));

static const uint32_t sizes[] = {5, 16, 33, 100, 250, 700, 2000, 5000, 16384, AREA};

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static void setup(void)
{
    uint64_t state = 5;

    for (size_t i = 0; i < AREA; i++) {
        source[i] = (unsigned char)(bench_random(&state) >> 56);
    }
}

static void copy_string(void *to, const void *from, size_t size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size)::"memory");
}

static void store_string(void *to, unsigned char value, size_t size)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
}

static uint64_t iterate_memcpy(void)
{
    for (uint32_t round = 0; round < 64; round++) {
        for (uint32_t i = 0; i < SIZES; i++) {
            size_t size = sizes[i];
            size_t offset = (round * 7) % 64;

            memcpy(target + offset, source, size);
            memset(target + offset, (int)round, size / 4);
            __asm__ volatile("" ::: "memory"); /* keep every copy, though the next one overwrites it */
        }
    }
    return bench_mix_bytes(0, target, sizeof(target));
}

static uint64_t iterate_rep(void)
{
    for (uint32_t round = 0; round < 16; round++) {
        for (uint32_t i = 0; i < SIZES; i++) {
            size_t offset = (round * 7) % 64;

            copy_string(target + offset, source, sizes[i]);
            store_string(target + offset, (unsigned char)round, sizes[i] / 4);
        }
    }
    return bench_mix_bytes(0, target, sizeof(target));
}

const struct bench_program bench_memcpy = {
    .name = "memcpy",
    .summary = "memcpy() and memset() of 5 bytes to 64 KiB",
    .iterations = 330,
    .operations = 1,
    .setup = setup,
    .iterate = iterate_memcpy,
};

const struct bench_program bench_rep = {
    .name = "rep-string",
    .summary = "rep movsb and rep stosb of 1 byte to 64 KiB",
    .iterations = 1200,
    .operations = 1,
    .setup = setup,
    .iterate = iterate_rep,
};
