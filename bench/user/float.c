/*
 * Scalar floating point: planets that attract each other, and the Mandelbrot set. Only operations that
 * IEEE 754 rounds exactly, so that the checksum is the same on every machine: no library functions
 * but the square root, which is one instruction, and no fused multiply-add.
 */
#include "user/programs.h"

#include <emmintrin.h>

enum {
    BODIES = 5,
    STEPS = 4000,
    WIDTH = 96,
    HEIGHT = 64,
    DEPTH = 100,
};

struct body {
    double x, y, z;
    double vx, vy, vz;
    double mass;
};

/* The instruction alone; sqrt() would also set errno. */
static double square_root(double value)
{
    __m128d vector = _mm_set_sd(value);

    return _mm_cvtsd_f64(_mm_sqrt_sd(vector, vector));
}

static void attract(struct body *a, struct body *b, double step)
{
    double dx = a->x - b->x;
    double dy = a->y - b->y;
    double dz = a->z - b->z;
    double square = dx * dx + dy * dy + dz * dz + 0.01;
    double magnitude = step / (square * square_root(square));

    a->vx -= dx * b->mass * magnitude;
    a->vy -= dy * b->mass * magnitude;
    a->vz -= dz * b->mass * magnitude;
    b->vx += dx * a->mass * magnitude;
    b->vy += dy * a->mass * magnitude;
    b->vz += dz * a->mass * magnitude;
}

static void advance(struct body *bodies, double step)
{
    for (int i = 0; i < BODIES; i++) {
        for (int j = i + 1; j < BODIES; j++) {
            attract(&bodies[i], &bodies[j], step);
        }
    }
    for (int i = 0; i < BODIES; i++) {
        bodies[i].x += step * bodies[i].vx;
        bodies[i].y += step * bodies[i].vy;
        bodies[i].z += step * bodies[i].vz;
    }
}

static uint64_t iterate_nbody(void)
{
    struct body bodies[BODIES] = {{0.0, 0.0, 0.0, 0.0, 0.01, 0.0, 40.0},
                                  {4.8, -1.2, -0.1, 0.6, 2.8, -0.02, 0.04},
                                  {8.3, 4.1, -0.4, -1.0, 1.8, 0.01, 0.01},
                                  {12.9, -15.1, -0.2, 1.1, 0.9, -0.01, 0.002},
                                  {15.4, -25.9, 0.2, 1.0, 0.6, -0.03, 0.02}};

    for (int i = 0; i < STEPS; i++) {
        advance(bodies, 0.005);
    }
    return bench_mix_bytes(0, bodies, sizeof(bodies));
}

static uint32_t escape_time(double cx, double cy)
{
    double x = 0.0;
    double y = 0.0;
    uint32_t count = 0;

    while (count < DEPTH && x * x + y * y <= 4.0) {
        double next = x * x - y * y + cx;

        y = 2.0 * x * y + cy;
        x = next;
        count++;
    }
    return count;
}

static uint64_t iterate_mandelbrot(void)
{
    uint64_t checksum = 0;

    for (int row = 0; row < HEIGHT; row++) {
        for (int column = 0; column < WIDTH; column++) {
            checksum = bench_mix(checksum, escape_time(-2.2 + column * (3.2 / WIDTH), -1.2 + row * (2.4 / HEIGHT)));
        }
    }
    return checksum;
}

const struct bench_program bench_nbody = {
    .name = "nbody",
    .summary = "five bodies under gravity, scalar double precision",
    .iterations = 900,
    .operations = 1,
    .iterate = iterate_nbody,
};

const struct bench_program bench_mandelbrot = {
    .name = "mandelbrot",
    .summary = "Mandelbrot set, scalar double precision",
    .iterations = 750,
    .operations = 1,
    .iterate = iterate_mandelbrot,
};
