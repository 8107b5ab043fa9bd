/* Page tables of the tests: additions to the boot identity map. */
#ifndef LODGE_TESTS_GUEST_PAGING_H
#define LODGE_TESTS_GUEST_PAGING_H

#include <stdint.h>

#include "lib/cpu.h"

/* Free for tests: a top-level entry of its own for each of slots 1 to 255. */
#define TEST_SLOT(n) ((uint64_t)(n) << 39)

enum { LEVEL_4K = 1, LEVEL_2M = 2, LEVEL_1G = 3, LEVEL_PML4 = 4 };

/*
 * The entry of this level for the address, in the tables at CR3. Missing tables above it are made, with
 * P, W and U set. Large pages in the way are not split: use a slot of one's own.
 */
volatile uint64_t *page_entry(uint64_t address, unsigned level);

/* Sets the entry and does INVLPG. Returns the entry. */
volatile uint64_t *page_map(uint64_t address, uint64_t physical, uint64_t flags, unsigned level);

#endif
