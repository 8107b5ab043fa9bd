/* Who has which piece of guest RAM while kernel, modules and tables are being placed. */
#ifndef LODGE_BOOT_SPACE_H
#define LODGE_BOOT_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct e820_map;

/* Enough for every ELF segment and module, and what a loader places itself. */
enum { SPACE_TAKEN = 256 };

struct boot_space {
    const struct e820_map *map; /* borrowed */
    struct {
        uint64_t base;
        uint64_t end;
    } taken[SPACE_TAKEN];
    unsigned count;
};

/* Everything in the map's RAM is free, but the first page: interrupt vectors and BIOS data. */
void space_init(struct boot_space *space, const struct e820_map *map);

/* Is [base, base + size) RAM that nobody has taken? */
bool space_is_free(const struct boot_space *space, uint64_t base, uint64_t size);

/* Takes it; not logged. STATUS_EXISTS when it is not free, STATUS_NO_MEMORY when the table is full. */
enum status space_take(struct boot_space *space, uint64_t base, uint64_t size) MUST_CHECK;

/*
 * The lowest, or highest, free address that is a multiple of alignment (a power of two) with
 * minimum <= address and address + size <= limit. Does not take it. False: there is none.
 */
bool space_find_low(const struct boot_space *space, uint64_t size, uint64_t alignment, uint64_t minimum, uint64_t limit,
                    uint64_t *address);
bool space_find_high(const struct boot_space *space, uint64_t size, uint64_t alignment, uint64_t minimum,
                     uint64_t limit, uint64_t *address);

#endif
