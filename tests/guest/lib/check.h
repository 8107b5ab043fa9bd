/* Assertions. A failed one is printed and counted; the test goes on. */
#ifndef LODGE_TESTS_GUEST_CHECK_H
#define LODGE_TESTS_GUEST_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* Every test program defines this; the runtime calls it and then ends the machine. */
void test_main(void);

/* Names the group of assertions that follows; it is part of every message. */
void test_group(const char *name);

/* Did the command line contain this word? "oracle=qemu" for example. */
bool option(const char *word);

/* The number behind a word that begins with name, "cpus=" for example. */
unsigned option_number(const char *name, unsigned otherwise);

/* Leaves out what the named oracle is known to get wrong: true, and the reason is printed. */
bool skip_on(const char *oracle, const char *reason);

/* Notes that something cannot be tested on this processor. */
void skip(const char *reason);

void check_at(const char *file, int line, const char *what, bool good);
void check_equal_at(const char *file, int line, const char *what, uint64_t got, uint64_t want);

#define CHECK(condition) check_at(__FILE__, __LINE__, #condition, (condition))
#define CHECK_EQ(got, want) check_equal_at(__FILE__, __LINE__, #got, (uint64_t)(got), (uint64_t)(want))

/* For failures that are not an assertion's: counts, prints. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints the summary and ends the machine. */
_Noreturn void test_end(void);

#endif
