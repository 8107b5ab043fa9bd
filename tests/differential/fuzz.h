/* A worker: batches of cases through both sides, and what to do when they disagree. */
#ifndef LODGE_TESTS_DIFFERENTIAL_FUZZ_H
#define LODGE_TESTS_DIFFERENTIAL_FUZZ_H

#include "forms.h"
#include "guest.h"
#include "native.h"

enum {
    FUZZ_SIGNATURES = 512,
    FUZZ_SIGNATURE = 160,
    FUZZ_FAILURES = 8 /* looked at of one batch */,
    FUZZ_DESCRIPTION = 2048
};

struct fuzz {
    struct forms forms;
    struct native native;
    struct guest *guest;
    bool keep_going;
    uint64_t cases, mismatches, hangs;
    uint64_t executed[ZYDIS_MNEMONIC_MAX_VALUE + 1];  /* instructions that completed on the processor */
    char signatures[FUZZ_SIGNATURES][FUZZ_SIGNATURE]; /* of mismatches that were reported already */
    unsigned signature_count;
    char description[FUZZ_FAILURES][FUZZ_DESCRIPTION];
};

bool fuzz_open(struct fuzz *fuzz);
void fuzz_close(struct fuzz *fuzz);

/* Run about `cases` cases (0: until `seconds` have passed). False: something could not go on. */
bool fuzz_run(struct fuzz *fuzz, uint64_t seed, uint64_t cases, unsigned seconds);

/* Run the case of one seed and tell all about it. */
bool fuzz_one(struct fuzz *fuzz, uint64_t seed);

/* How many mnemonics completed at least once, and how many there are to try; optionally which are missing. */
void fuzz_print_coverage(const struct fuzz *fuzz, bool all);

#endif
