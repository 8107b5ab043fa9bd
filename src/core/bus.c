#include "core/bus.h"

#include "base/bits.h"
#include "base/memory.h"
#include "core/trace.h"

enum { FAULT_BURST = 16, PORT_SPACE = 0x10000 };

void bus_init(struct bus *bus, struct lock *machine_lock)
{
    static const struct trace off;

    *bus = (struct bus){.lock = machine_lock, .trace = &off};
}

/* In the order of the table: does the region start after (space, address)? */
static bool starts_after(const struct region *region, enum bus_space space, uint64_t address)
{
    return region->space != space ? region->space > space : region->base > address;
}

/* The index of the first region that starts after (space, address); count if none does. */
static unsigned upper_bound(const struct bus *bus, enum bus_space space, uint64_t address)
{
    unsigned low = 0, high = bus->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (starts_after(bus->regions[middle], space, address))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The enabled region with the highest base <= address in this space, whether or not it reaches that far. */
static struct region *region_below(const struct bus *bus, enum bus_space space, uint64_t address)
{
    for (unsigned i = upper_bound(bus, space, address); i > 0 && bus->regions[i - 1]->space == space; i--) {
        if (bus->regions[i - 1]->enabled)
            return bus->regions[i - 1];
    }
    return NULL;
}

static bool place_possible(const struct region *region, uint64_t base)
{
    uint64_t last = base + (region->size - 1);

    return region->size != 0 && last >= base && (region->space == BUS_MEMORY || last < PORT_SPACE);
}

static bool place_free(const struct bus *bus, const struct region *region, uint64_t base)
{
    uint64_t last = base + (region->size - 1);
    const struct region *below = region_below(bus, region->space, last);

    return below == NULL || below->base + (below->size - 1) < base;
}

static bool access_size_valid(unsigned size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static void table_insert(struct bus *bus, struct region *region)
{
    unsigned at = upper_bound(bus, region->space, region->base);

    memmove(&bus->regions[at + 1], &bus->regions[at], (bus->count - at) * sizeof(bus->regions[0]));
    bus->regions[at] = region;
    bus->count++;
}

static bool table_remove(struct bus *bus, const struct region *region)
{
    for (unsigned i = 0; i < bus->count; i++) {
        if (bus->regions[i] == region) {
            bus->count--;
            memmove(&bus->regions[i], &bus->regions[i + 1], (bus->count - i) * sizeof(bus->regions[0]));
            return true;
        }
    }
    return false;
}

static void tell_observer(const struct bus *bus, struct region *region)
{
    if (region->doorbell && bus->observer)
        bus->observer->placed(bus->observer, region);
}

enum status bus_add(struct bus *bus, struct region *region)
{
    if (region->device == NULL || !access_size_valid(region->smallest) || !access_size_valid(region->largest) ||
        region->smallest > region->largest || !place_possible(region, region->base)) {
        log_error("bus: region %s at 0x%llx cannot be added: its sizes or its place are not valid", region->name,
                  (unsigned long long)region->base);
        return STATUS_INVALID;
    }
    if (bus->count == BUS_REGIONS) {
        log_error("bus: no room for region %s; this machine has too many devices", region->name);
        return STATUS_NO_MEMORY;
    }
    if (region->enabled && !place_free(bus, region, region->base)) {
        log_error("bus: region %s at 0x%llx overlaps another device", region->name, (unsigned long long)region->base);
        return STATUS_EXISTS;
    }
    table_insert(bus, region);
    tell_observer(bus, region);
    return STATUS_OK;
}

enum status bus_place(struct bus *bus, struct region *region, uint64_t base, bool enabled)
{
    enum status status = STATUS_OK;

    if (!table_remove(bus, region)) {
        log_error("bus: region %s was never added and cannot move", region->name);
        return STATUS_NOT_FOUND;
    }
    if (enabled && !place_possible(region, base))
        status = STATUS_INVALID;
    else if (enabled && !place_free(bus, region, base))
        status = STATUS_EXISTS;
    region->base = base;
    region->enabled = enabled && status == STATUS_OK;
    table_insert(bus, region);
    tell_observer(bus, region);
    return status;
}

/* One access as the device declared it. */
static bool access_device(struct bus *bus, struct region *region, struct io_access *access)
{
    struct device *device = region->device;

    switch (device->type->io(device, region->index, access)) {
    case IO_DONE:
        return true;
    case IO_FAULT:
        if (log_allowed(&bus->faults, FAULT_BURST))
            log_warning("%s: the guest's %s of %u bytes at %s + 0x%llx is refused", device->path,
                        access->write ? "write" : "read", access->size, region->name,
                        (unsigned long long)access->offset);
        return false;
    case IO_UNCLAIMED:
        return false;
    }
    return false;
}

/* Smaller than the device takes: read around it; a write would change the neighbours too, so it is dropped. */
static bool access_widened(struct bus *bus, struct region *region, const struct io_access *access, uint64_t *value)
{
    struct io_access wide = {.offset = align_down(access->offset, region->smallest), .size = region->smallest};

    if (access->write || !range_inside(wide.offset, wide.size, region->size))
        return false;
    if (!access_device(bus, region, &wide))
        return false;
    *value = wide.value >> (8 * (access->offset - wide.offset));
    return true;
}

/* Lock held. *value is all ones in the bytes that nobody claims. At most four levels deep: 8, 4, 2, 1 bytes. */
static bool access_part(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, bool write,
                        uint64_t *value)
{
    struct region *region = region_below(bus, space, address);
    struct io_access access = {.value = *value & bits_mask(8 * size), .size = (uint8_t)size, .write = write};
    bool claimed = false;

    if (region)
        access.offset = address - region->base;
    if (size > 1 && (region == NULL || !range_inside(access.offset, size, region->size) || size > region->largest ||
                     access.offset % size != 0)) {
        unsigned half = size / 2;
        uint64_t low = access.value, high = access.value >> (8 * half);

        claimed |= access_part(bus, space, address, half, write, &low);
        claimed |= access_part(bus, space, address + half, half, write, &high);
        access.value = low | high << (8 * half);
    } else if (region && range_inside(access.offset, size, region->size)) {
        if (size >= region->smallest)
            claimed = access_device(bus, region, &access);
        else
            claimed = access_widened(bus, region, &access, &access.value);
        if (!claimed)
            access.value = ~0ull;
    } else {
        access.value = ~0ull;
    }
    *value = access.value & bits_mask(8 * size);
    return claimed;
}

/* A write is told before it has its effects, a read when it has its value. Lock held. */
static void access_traced(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, bool write,
                          uint64_t value)
{
    const struct region *region = region_below(bus, space, address);

    if (region && address - region->base >= region->size)
        region = NULL;
    trace_emit_access(bus->trace, region ? region->device : NULL, region ? region->name : NULL, space, address, size,
                      write, value & bits_mask(8 * size));
}

bool bus_access(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, bool write, uint64_t *value)
{
    const bool traced = trace_on(bus->trace, trace_kind_of(space));
    uint64_t result = write ? *value : 0;
    bool claimed;

    if (!access_size_valid(size)) {
        *value = ~0ull;
        return false;
    }
    lock_acquire(bus->lock);
    if (traced && write)
        access_traced(bus, space, address, size, write, result);
    claimed = access_part(bus, space, address, size, write, &result);
    if (traced && !write)
        access_traced(bus, space, address, size, write, result);
    lock_release(bus->lock);
    if (!write)
        *value = result;
    return claimed;
}
