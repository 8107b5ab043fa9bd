/*
 * What the fuzzers share: random numbers, checks that name the seed, and the command line:
 *
 *     PROGRAM [RUNS [SEED]]    makes inputs; prints the seed of the run that fails
 *     PROGRAM -f FILE...       replays files
 */
#ifndef LODGE_TESTS_FUZZ_FUZZ_H
#define LODGE_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The program's: how it is called, for messages. */
extern const char *fuzz_command;

/* From here on the numbers are those of this seed, and a failure names it. */
void fuzz_seed(uint64_t seed);

uint64_t fuzz_next(void);
uint64_t fuzz_below(uint64_t limit); /* 0..limit-1 */
void fuzz_fill(void *bytes, size_t size);

/* Not good: prints what and the seed, and aborts. */
void fuzz_check(bool good, const char *what);

/* The whole of a main(). run: one run, of the numbers as they come. replay: of a file's content; NULL: there are none. */
int fuzz_main(int argc, char **argv, void (*run)(void), int (*replay)(const uint8_t *data, size_t size));

#endif
