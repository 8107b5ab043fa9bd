/* Cases from seeds. The same seed gives the same case at any time. */
#ifndef LODGE_TESTS_DIFFERENTIAL_GENERATE_H
#define LODGE_TESTS_DIFFERENTIAL_GENERATE_H

#include "case.h"
#include "forms.h"

/* Bits of a case's seed: its slot, its variant (the sequence is the same for all variants). */
enum { SEED_SLOT = 0xff, SEED_VARIANT = 0x100, SEED_BITS = 0x1ff };

/* The sequence and the state of a case. */
void generate_case(const struct forms *forms, struct one_case *one, uint64_t seed);

/* The contents that data pages start with; the read-only page is the same in all of them. */
void generate_patterns(uint8_t pattern[CASE_PATTERNS][CASE_DATA_SIZE]);

/* Leave instruction `which` out of a sequence; displacements of others may point elsewhere then. */
void generate_drop(struct sequence *code, unsigned which);

/* Where x87 and vector components lie in the image: CPUID leaf 0xd. */
unsigned generate_component_offset(unsigned index);

#endif
