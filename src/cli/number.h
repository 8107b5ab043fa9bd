/* Numbers as people write them on a command line. */
#ifndef LODGE_CLI_NUMBER_H
#define LODGE_CLI_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits and nothing else. False: not a number, or beyond 64 bits. */
bool number_parse(const char *text, uint64_t *value);

/* A number with K, M, G or T (powers of 1024, either case); without a letter it counts MiB. */
bool size_parse(const char *text, uint64_t *bytes);

#endif
