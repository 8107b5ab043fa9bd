/*
 * Guest physical memory (RAM): a few ranges of guest physical addresses, each backed by host memory.
 * Everything that is not RAM is the bus's (core/bus.h).
 */
#ifndef LODGE_CORE_MEMORY_H
#define LODGE_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "port/memory.h"

enum { MEMORY_RANGES = 8, PAGE_SIZE = 4096, PAGE_SHIFT = 12 };

struct memory_range {
    uint64_t base;     /* guest physical, page aligned */
    uint64_t size;     /* bytes, page aligned */
    uint64_t offset;   /* of this range in the backing */
    bool read_only;    /* ROM: guest writes go to the bus, where a flash chip may take them */
    bool hidden;       /* not there now: all accesses go to the bus. Changed by memory_show() alone */
};

/*
 * The engine, as far as guest memory concerns it. Any thread, which may be a vCPU's in the middle of an access.
 *
 * written(): told of every write to guest memory that a vCPU did not do itself (device DMA, loaders), after
 * the bytes are in place, so that dirty logs and translated code follow. Hidden ranges are written too.
 *
 * remapped(): ranges[number].hidden has changed. The calling vCPU's next access goes by the new map, those of the
 * others do soon: guests that hide memory from one processor while another uses it get what they ask for.
 * The machine lock is held.
 */
struct memory_observer {
    void (*written)(struct memory_observer *observer, uint64_t address, uint64_t size);
    void (*remapped)(struct memory_observer *observer, unsigned number);
};

struct guest_memory {
    uint8_t *host;                 /* the backing: one contiguous host mapping of all ranges */
    uint64_t size;                 /* bytes of it */
    int fd;                        /* the memfd behind it, or -1 */
    struct memory_range ranges[MEMORY_RANGES];
    unsigned range_count;
    struct memory_observer *observer; /* NULL or the engine */
    struct memory_releaser *releaser; /* NULL: nobody wants pages back */
};

/* Lays out `ram` bytes: 0 up to 2 GiB, the rest from 4 GiB. host holds them. Page-aligned. */
enum status memory_init(struct guest_memory *memory, void *host, int fd, uint64_t ram) MUST_CHECK;

/*
 * Adds a range of ROM, which is visible at once; its bytes are the backing's next `size` ones, so there must be that many
 * behind what ranges have so far. *number: of the range. Before engines are made. STATUS_INVALID (logged) for a
 * range that is not page-aligned or overlaps another, STATUS_NO_MEMORY (logged) when the table is full.
 */
enum status memory_add_rom(struct guest_memory *memory, uint64_t base, uint64_t size, unsigned *number) MUST_CHECK;

/* Shows or hides a range, and tells the observer if that is news. Machine lock held, or before the machine runs. */
void memory_show(struct guest_memory *memory, unsigned number, bool shown);

/*
 * The host address of [address, address + size), or NULL if not all of it is RAM of one range
 * that is shown (or, with write, if it is ROM). The caller who writes through it tells memory_wrote().
 */
void *memory_at(const struct guest_memory *memory, uint64_t address, uint64_t size, bool write);

/* Tell the observer. */
void memory_wrote(const struct guest_memory *memory, uint64_t address, uint64_t size);

/*
 * The guest gives up [address, address + size), page aligned; of what is not writable RAM of one range nothing is.
 * Addresses on the host stay valid. Tells the observer. Machine lock held.
 */
void memory_release(const struct guest_memory *memory, uint64_t address, uint64_t size);

/* Copies that may cross ranges; on STATUS_INVALID (not all of it is RAM) nothing was copied. */
enum status memory_read(const struct guest_memory *memory, uint64_t address, void *to, size_t size) MUST_CHECK;
enum status memory_write(const struct guest_memory *memory, uint64_t address, const void *from, size_t size) MUST_CHECK;

/* One past the highest RAM address, and the RAM below 4 GiB. */
uint64_t memory_top(const struct guest_memory *memory);
uint64_t memory_low_size(const struct guest_memory *memory);

#endif
