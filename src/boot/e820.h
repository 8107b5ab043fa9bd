/* The memory map that a PC's firmware hands to its operating system (ACPI 6.4, section 15). */
#ifndef LODGE_BOOT_E820_H
#define LODGE_BOOT_E820_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct guest_memory;

enum e820_type { E820_RAM = 1, E820_RESERVED = 2 };

enum { E820_ENTRIES = 16 };

/* Guest physical addresses below 1 MiB that are spoken for on every PC. */
enum {
    BIOS_DATA_AREA = 0x400,
    BIOS_EXTENDED_DATA_AREA = 0x9fc00, /* to VIDEO_AREA */
    VIDEO_AREA = 0xa0000,
    BIOS_AREA = 0xe0000, /* to HIGH_MEMORY; the ACPI tables are here */
    HIGH_MEMORY = 0x100000,
};

struct e820_entry {
    uint64_t base;
    uint64_t size;
    enum e820_type type;
};

/* Sorted by base, without overlap. */
struct e820_map {
    struct e820_entry entries[E820_ENTRIES];
    unsigned count;
};

/*
 * The map of this machine: RAM as it is laid out, less the BIOS areas below 1 MiB, and PCIe ECAM
 * at [ecam_base, ecam_base + ecam_size) reserved. STATUS_INVALID when RAM does not reach past 1 MiB,
 * STATUS_NO_MEMORY when the ranges do not fit the map (both logged).
 */
enum status e820_build(struct e820_map *map, const struct guest_memory *memory, uint64_t ecam_base,
                       uint64_t ecam_size) MUST_CHECK;

/* Is all of [base, base + size) inside one RAM entry? */
bool e820_is_ram(const struct e820_map *map, uint64_t base, uint64_t size);

/* Bytes of RAM in all entries. */
uint64_t e820_ram_total(const struct e820_map *map);

#endif
