/* The memory map, from how RAM is laid out. */
#include "boot/e820.h"

#include "base/bits.h"
#include "core/memory.h"
#include "port/log.h"

/* Keeps the order; size 0 adds nothing. */
static enum status e820_add(struct e820_map *map, uint64_t base, uint64_t size, enum e820_type type)
{
    unsigned at = map->count;

    if (size == 0)
        return STATUS_OK;
    if (map->count == E820_ENTRIES) {
        log_error("boot: guest memory has more pieces than the memory map has room for (%d)", E820_ENTRIES);
        return STATUS_NO_MEMORY;
    }
    for (; at > 0 && map->entries[at - 1].base > base; at--)
        map->entries[at] = map->entries[at - 1];
    map->entries[at] = (struct e820_entry){.base = base, .size = size, .type = type};
    map->count++;
    return STATUS_OK;
}

/* The part of [base, end) that lies in [from, to). */
static enum status e820_add_part(struct e820_map *map, uint64_t base, uint64_t end, uint64_t from, uint64_t to)
{
    if (base < from)
        base = from;
    if (end > to)
        end = to;
    return base < end ? e820_add(map, base, end - base, E820_RAM) : STATUS_OK;
}

static enum status e820_add_ram(struct e820_map *map, const struct guest_memory *memory)
{
    for (unsigned i = 0; i < memory->range_count; i++) {
        const struct memory_range *range = &memory->ranges[i];
        uint64_t end = range->base + range->size;

        if (range->read_only)
            continue;
        enum status status = e820_add_part(map, range->base, end, 0, BIOS_EXTENDED_DATA_AREA);
        if (status == STATUS_OK)
            status = e820_add_part(map, range->base, end, HIGH_MEMORY, UINT64_MAX);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

enum status e820_build(struct e820_map *map, const struct guest_memory *memory, uint64_t ecam_base, uint64_t ecam_size)
{
    map->count = 0;
    if (memory_top(memory) <= HIGH_MEMORY) {
        log_error("boot: %llu KiB of memory are too few to start a kernel; give the machine more memory with -m",
                  (unsigned long long)memory_top(memory) / 1024);
        return STATUS_INVALID;
    }

    enum status status = e820_add_ram(map, memory);
    if (status == STATUS_OK)
        status = e820_add(map, BIOS_EXTENDED_DATA_AREA, VIDEO_AREA - BIOS_EXTENDED_DATA_AREA, E820_RESERVED);
    if (status == STATUS_OK)
        status = e820_add(map, BIOS_AREA, HIGH_MEMORY - BIOS_AREA, E820_RESERVED);
    if (status == STATUS_OK)
        status = e820_add(map, ecam_base, ecam_size, E820_RESERVED);
    return status;
}

bool e820_is_ram(const struct e820_map *map, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < map->count; i++) {
        const struct e820_entry *entry = &map->entries[i];

        if (entry->type == E820_RAM && base >= entry->base && range_inside(base - entry->base, size, entry->size))
            return true;
    }
    return false;
}

uint64_t e820_ram_total(const struct e820_map *map)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < map->count; i++) {
        if (map->entries[i].type == E820_RAM)
            total += map->entries[i].size;
    }
    return total;
}
