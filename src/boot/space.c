/* First fit over a handful of ranges. Every sum is checked: sizes come from files. */
#include "boot/space.h"

#include <stddef.h>

#include "base/bits.h"
#include "boot/e820.h"

enum { FIRST_PAGE_END = 0x1000 };

void space_init(struct boot_space *space, const struct e820_map *map)
{
    space->map = map;
    space->count = 0;
}

/* The index of a taken range that overlaps this one, or -1. */
static int space_conflict(const struct boot_space *space, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < space->count; i++) {
        if (base < space->taken[i].end && space->taken[i].base < base + size)
            return (int)i;
    }
    return -1;
}

bool space_is_free(const struct boot_space *space, uint64_t base, uint64_t size)
{
    return e820_is_ram(space->map, base, size) && space_conflict(space, base, size) < 0;
}

enum status space_take(struct boot_space *space, uint64_t base, uint64_t size)
{
    if (!space_is_free(space, base, size))
        return STATUS_EXISTS;
    if (size == 0)
        return STATUS_OK;
    for (unsigned i = 0; i < space->count; i++) {
        if (space->taken[i].end == base) {
            space->taken[i].end += size;
            return STATUS_OK;
        }
    }
    if (space->count == SPACE_TAKEN)
        return STATUS_NO_MEMORY;

    space->taken[space->count].base = base;
    space->taken[space->count].end = base + size;
    space->count++;
    return STATUS_OK;
}

/* The part of one RAM entry that lies in [minimum, limit). */
static bool space_window(const struct e820_entry *entry, uint64_t minimum, uint64_t limit, uint64_t *base,
                         uint64_t *end)
{
    if (entry->type != E820_RAM)
        return false;
    if (minimum < FIRST_PAGE_END)
        minimum = FIRST_PAGE_END;
    *base = entry->base > minimum ? entry->base : minimum;
    *end = entry->base + entry->size < limit ? entry->base + entry->size : limit;
    return *base < *end;
}

static bool space_fit_low(const struct boot_space *space, uint64_t size, uint64_t alignment, uint64_t base,
                          uint64_t end, uint64_t *address)
{
    for (;;) {
        uint64_t candidate = align_up(base, alignment);

        if (candidate < base || candidate > end || size > end - candidate)
            return false;
        int conflict = space_conflict(space, candidate, size);
        if (conflict < 0) {
            *address = candidate;
            return true;
        }
        base = space->taken[conflict].end;
    }
}

static bool space_fit_high(const struct boot_space *space, uint64_t size, uint64_t alignment, uint64_t base,
                           uint64_t end, uint64_t *address)
{
    for (;;) {
        if (end < base || size > end - base)
            return false;
        uint64_t candidate = align_down(end - size, alignment);

        if (candidate < base)
            return false;
        int conflict = space_conflict(space, candidate, size);
        if (conflict < 0) {
            *address = candidate;
            return true;
        }
        end = space->taken[conflict].base;
    }
}

bool space_find_low(const struct boot_space *space, uint64_t size, uint64_t alignment, uint64_t minimum, uint64_t limit,
                    uint64_t *address)
{
    for (unsigned i = 0; i < space->map->count; i++) {
        uint64_t base, end;

        if (space_window(&space->map->entries[i], minimum, limit, &base, &end) &&
            space_fit_low(space, size, alignment, base, end, address))
            return true;
    }
    return false;
}

bool space_find_high(const struct boot_space *space, uint64_t size, uint64_t alignment, uint64_t minimum,
                     uint64_t limit, uint64_t *address)
{
    for (unsigned i = space->map->count; i-- > 0;) {
        uint64_t base, end;

        if (space_window(&space->map->entries[i], minimum, limit, &base, &end) &&
            space_fit_high(space, size, alignment, base, end, address))
            return true;
    }
    return false;
}
