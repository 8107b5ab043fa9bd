/* bench-user: what programs do between system calls. */
#include "user/programs.h"

int main(int argc, char **argv)
{
    static const struct bench_program *const programs[] = {
        &bench_calls,     &bench_indirect, &bench_sort,    &bench_sieve,       &bench_chase_32k, &bench_chase_1m,
        &bench_chase_32m, &bench_hash,     &bench_tree,    &bench_interpreter, &bench_nbody,     &bench_mandelbrot,
        &bench_matrix,    &bench_pixels,   &bench_memcpy,  &bench_rep,         &bench_sha256,    &bench_chacha20,
        &bench_aes,       &bench_compress, &bench_strings, &bench_json,        &bench_regex,     NULL};

    return bench_main(argc, argv, programs);
}
