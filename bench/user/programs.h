/* The rows of user work, in the order of the table. */
#ifndef LODGE_BENCH_USER_PROGRAMS_H
#define LODGE_BENCH_USER_PROGRAMS_H

#include "common/bench.h"

extern const struct bench_program bench_calls;
extern const struct bench_program bench_indirect;
extern const struct bench_program bench_sort;
extern const struct bench_program bench_sieve;
extern const struct bench_program bench_chase_32k;
extern const struct bench_program bench_chase_1m;
extern const struct bench_program bench_chase_32m;
extern const struct bench_program bench_hash;
extern const struct bench_program bench_tree;
extern const struct bench_program bench_interpreter;
extern const struct bench_program bench_nbody;
extern const struct bench_program bench_mandelbrot;
extern const struct bench_program bench_matrix;
extern const struct bench_program bench_pixels;
extern const struct bench_program bench_memcpy;
extern const struct bench_program bench_rep;
extern const struct bench_program bench_sha256;
extern const struct bench_program bench_chacha20;
extern const struct bench_program bench_aes;
extern const struct bench_program bench_compress;
extern const struct bench_program bench_strings;
extern const struct bench_program bench_json;
extern const struct bench_program bench_regex;

#endif
