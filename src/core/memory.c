#include "core/memory.h"

#include "base/bits.h"
#include "base/memory.h"
#include "port/log.h"

#define LOW_LIMIT 0x80000000ull  /* RAM below the hole ends here */
#define HIGH_BASE 0x100000000ull /* and goes on here */
#define RAM_LIMIT (1ull << 46)

enum status memory_init(struct guest_memory *memory, void *host, int fd, uint64_t ram)
{
    uint64_t low = ram < LOW_LIMIT ? ram : LOW_LIMIT;

    if (host == NULL || ram == 0 || ram > RAM_LIMIT || ram % PAGE_SIZE != 0) {
        log_error("guest memory: %llu bytes is not a usable size; give a multiple of 4096, at most 64 TiB",
                  (unsigned long long)ram);
        return STATUS_INVALID;
    }
    *memory = (struct guest_memory){.host = host, .size = ram, .fd = fd};
    memory->ranges[memory->range_count++] = (struct memory_range){.base = 0, .size = low, .offset = 0};
    if (ram > low)
        memory->ranges[memory->range_count++] =
            (struct memory_range){.base = HIGH_BASE, .size = ram - low, .offset = low};
    return STATUS_OK;
}

static bool range_is_free(const struct guest_memory *memory, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < memory->range_count; i++) {
        const struct memory_range *range = &memory->ranges[i];

        if (base < range->base + range->size && range->base < base + size)
            return false;
    }
    return true;
}

enum status memory_add_rom(struct guest_memory *memory, uint64_t base, uint64_t size, unsigned *number)
{
    if (size == 0 || base % PAGE_SIZE != 0 || size % PAGE_SIZE != 0 || !range_inside(base, size, RAM_LIMIT) ||
        !range_is_free(memory, base, size)) {
        log_error("guest memory: there can be no ROM of %llu bytes at 0x%llx", (unsigned long long)size,
                  (unsigned long long)base);
        return STATUS_INVALID;
    }
    if (memory->range_count == MEMORY_RANGES) {
        log_error("guest memory: more than %d ranges", (int)MEMORY_RANGES);
        return STATUS_NO_MEMORY;
    }
    *number = memory->range_count;
    memory->ranges[memory->range_count++] =
        (struct memory_range){.base = base, .size = size, .offset = memory->size, .read_only = true};
    memory->size += size;
    return STATUS_OK;
}

void memory_show(struct guest_memory *memory, unsigned number, bool shown)
{
    struct memory_range *range = &memory->ranges[number];

    if (__atomic_exchange_n(&range->hidden, !shown, __ATOMIC_SEQ_CST) == !shown)
        return;
    if (memory->observer && memory->observer->remapped)
        memory->observer->remapped(memory->observer, number);
}

static const struct memory_range *range_of(const struct guest_memory *memory, uint64_t address)
{
    for (unsigned i = 0; i < memory->range_count; i++) {
        const struct memory_range *range = &memory->ranges[i];

        if (address >= range->base && address - range->base < range->size)
            return __atomic_load_n(&range->hidden, __ATOMIC_RELAXED) ? NULL : range;
    }
    return NULL;
}

void *memory_at(const struct guest_memory *memory, uint64_t address, uint64_t size, bool write)
{
    const struct memory_range *range = range_of(memory, address);

    if (range == NULL || (write && range->read_only) || !range_inside(address - range->base, size, range->size))
        return NULL;
    return memory->host + range->offset + (address - range->base);
}

void memory_wrote(const struct guest_memory *memory, uint64_t address, uint64_t size)
{
    if (memory->observer && size != 0)
        memory->observer->written(memory->observer, address, size);
}

void memory_release(const struct guest_memory *memory, uint64_t address, uint64_t size)
{
    const uint8_t *host = memory_at(memory, address, size, true);

    if (!memory->releaser || host == NULL || size == 0 || (address | size) % PAGE_SIZE != 0)
        return;
    memory->releaser->release(memory->releaser, (uint64_t)(host - memory->host), size);
    memory_wrote(memory, address, size);
}

/* How many of `size` bytes at address lie in one range; 0 if the first does not. */
static size_t run_at(const struct guest_memory *memory, uint64_t address, size_t size, bool write)
{
    const struct memory_range *range = range_of(memory, address);
    uint64_t left;

    if (range == NULL || (write && range->read_only))
        return 0;
    left = range->size - (address - range->base);
    return left < size ? (size_t)left : size;
}

static bool all_there(const struct guest_memory *memory, uint64_t address, size_t size, bool write)
{
    while (size != 0) {
        size_t run = run_at(memory, address, size, write);

        if (run == 0)
            return false;
        address += run;
        size -= run;
    }
    return true;
}

enum status memory_read(const struct guest_memory *memory, uint64_t address, void *to, size_t size)
{
    char *byte = to;

    /* Not logged: addresses come from the guest, and each caller knows what a bad one means. */
    if (!all_there(memory, address, size, false))
        return STATUS_INVALID;
    while (size != 0) {
        size_t run = run_at(memory, address, size, false);

        memcpy(byte, memory_at(memory, address, run, false), run);
        byte += run;
        address += run;
        size -= run;
    }
    return STATUS_OK;
}

enum status memory_write(const struct guest_memory *memory, uint64_t address, const void *from, size_t size)
{
    const char *byte = from;

    if (!all_there(memory, address, size, true))
        return STATUS_INVALID;
    while (size != 0) {
        size_t run = run_at(memory, address, size, true);

        memcpy(memory_at(memory, address, run, true), byte, run);
        memory_wrote(memory, address, run);
        byte += run;
        address += run;
        size -= run;
    }
    return STATUS_OK;
}

uint64_t memory_top(const struct guest_memory *memory)
{
    uint64_t top = 0;

    for (unsigned i = 0; i < memory->range_count; i++) {
        const struct memory_range *range = &memory->ranges[i];

        if (!range->read_only && range->base + range->size > top)
            top = range->base + range->size;
    }
    return top;
}

uint64_t memory_low_size(const struct guest_memory *memory)
{
    uint64_t size = 0;

    for (unsigned i = 0; i < memory->range_count; i++) {
        const struct memory_range *range = &memory->ranges[i];

        if (!range->read_only && range->base < HIGH_BASE)
            size += range->size;
    }
    return size;
}
