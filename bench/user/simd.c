/*
 * Vector arithmetic: a matrix product in single precision and a filter over 16-bit pixels. The body is
 * written once with the compiler's generic vectors and compiled twice, for SSE2 and for AVX2; the
 * processor decides at run time. Each lane does the same operations in the same order in both, so the
 * result does not depend on the width.
 */
#include "user/programs.h"

#include <string.h>

enum {
    LANES_FLOAT = 8,
    LANES_SHORT = 16,
    ORDER = 96, /* of the square matrices; a multiple of LANES_FLOAT */
    PRODUCTS = 8,
    PIXELS = 32768, /* a multiple of LANES_SHORT */
    PASSES = 32,
};

typedef float floats __attribute__((vector_size(LANES_FLOAT * sizeof(float))));
typedef int16_t shorts __attribute__((vector_size(LANES_SHORT * sizeof(int16_t))));

#define INLINE static inline __attribute__((always_inline))

static float left[ORDER][ORDER] __attribute__((aligned(64)));
static float right[ORDER][ORDER] __attribute__((aligned(64)));
static float product[ORDER][ORDER] __attribute__((aligned(64)));
static int16_t pixels[PIXELS] __attribute__((aligned(64)));
static int16_t filtered[PIXELS] __attribute__((aligned(64)));

INLINE void multiply_body(void)
{
    for (int i = 0; i < ORDER; i++) {
        for (int j = 0; j < ORDER; j += 2 * LANES_FLOAT) {
            floats low = {0};
            floats high = {0};

            for (int k = 0; k < ORDER; k++) {
                const floats *row = (const floats *)&right[k][j];

                low += left[i][k] * row[0];
                high += left[i][k] * row[1];
            }
            *(floats *)&product[i][j] = low;
            *(floats *)&product[i][j + LANES_FLOAT] = high;
        }
    }
}

/* Scale, offset, and clamp what came out negative; then a blend with what was there before. */
INLINE void filter_body(int16_t gain)
{
    for (int i = 0; i < PIXELS; i += LANES_SHORT) {
        shorts in = *(const shorts *)&pixels[i];
        shorts out = *(const shorts *)&filtered[i];
        shorts scaled = ((in >> 3) * gain >> 2) - 100;

        scaled &= scaled > 0;
        *(shorts *)&filtered[i] = (scaled ^ (out >> 1)) + (in & 0x0F0F);
    }
}

__attribute__((target("avx2"))) static void multiply_avx2(void)
{
    multiply_body();
}

static void multiply_sse2(void)
{
    multiply_body();
}

__attribute__((target("avx2"))) static void filter_avx2(int16_t gain)
{
    filter_body(gain);
}

static void filter_sse2(int16_t gain)
{
    filter_body(gain);
}

static const char *variant(void)
{
    return __builtin_cpu_supports("avx2") ? "avx2" : "sse2";
}

static void setup(void)
{
    uint64_t state = 4;

    for (int i = 0; i < ORDER; i++) {
        for (int j = 0; j < ORDER; j++) {
            left[i][j] = (float)(bench_random(&state) % 1000) / 64.0F;
            right[i][j] = (float)(bench_random(&state) % 1000) / 64.0F;
        }
    }
    for (int i = 0; i < PIXELS; i++) {
        pixels[i] = (int16_t)(bench_random(&state) % 4096);
    }
}

static uint64_t iterate_matrix(void)
{
    void (*multiply)(void) = __builtin_cpu_supports("avx2") ? multiply_avx2 : multiply_sse2;

    for (int i = 0; i < PRODUCTS; i++) {
        multiply();
    }
    return bench_mix_bytes(0, product, sizeof(product));
}

static uint64_t iterate_pixels(void)
{
    void (*filter)(int16_t) = __builtin_cpu_supports("avx2") ? filter_avx2 : filter_sse2;

    memset(filtered, 0, sizeof(filtered));
    for (int pass = 1; pass <= PASSES; pass++) {
        filter((int16_t)pass);
    }
    return bench_mix_bytes(0, filtered, sizeof(filtered));
}

const struct bench_program bench_matrix = {
    .name = "matrix",
    .summary = "vector matrix product, single precision",
    .iterations = 640,
    .operations = 1,
    .setup = setup,
    .iterate = iterate_matrix,
    .variant = variant,
};

const struct bench_program bench_pixels = {
    .name = "pixels",
    .summary = "vector filter over 16-bit integers",
    .iterations = 2000,
    .operations = 1,
    .setup = setup,
    .iterate = iterate_pixels,
    .variant = variant,
};
