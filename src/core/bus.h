/* The two address spaces that devices answer on. */
#ifndef LODGE_CORE_BUS_H
#define LODGE_CORE_BUS_H

#include "base/status.h"
#include "core/device.h"
#include "port/lock.h"
#include "port/log.h"

enum { BUS_REGIONS = 256 };

struct trace;

/*
 * Told of a doorbell region when it has been added or placed; region->enabled says whether it is there. Machine lock
 * held, or before the machine runs.
 */
struct bus_observer {
    void (*placed)(struct bus_observer *observer, struct region *region);
};

struct bus {
    struct region *regions[BUS_REGIONS]; /* sorted by space, then base; enabled ones do not overlap */
    unsigned count;
    struct lock *lock;                   /* the machine lock */
    struct log_limit faults;             /* for what a guest can trigger */
    const struct trace *trace;           /* the machine's; bus_init() gives it one that is off */
    struct bus_observer *observer;       /* NULL or the engine */
};

void bus_init(struct bus *bus, struct lock *machine_lock);

/*
 * Adds a region; the bus borrows it until the machine ends. STATUS_EXISTS if it overlaps an enabled
 * one, STATUS_NO_MEMORY when the table is full, STATUS_INVALID for a region that cannot be.
 * Machine lock held, or before the machine runs.
 */
enum status bus_add(struct bus *bus, struct region *region) MUST_CHECK;

/*
 * Moves, enables or disables a region (a BAR) that was added. An overlap leaves it disabled: STATUS_EXISTS; a place
 * beyond the end of the space does too: STATUS_INVALID. Neither is logged: guests do it while they size BARs.
 * Machine lock held.
 */
enum status bus_place(struct bus *bus, struct region *region, uint64_t base, bool enabled) MUST_CHECK;

/*
 * The devices see naturally aligned accesses of the sizes they declared: what is misaligned,
 * larger, or crosses the edge of a region is split, a smaller read is widened, a smaller write
 * is dropped. Parts that nobody claims read as ones.
 *
 * One access of 1, 2, 4 or 8 bytes by a vCPU. Reads of nobody give all ones. Takes the machine
 * lock. Any vCPU thread. Returns false if nobody claimed it (value is then all ones).
 */
bool bus_access(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, bool write, uint64_t *value);

#endif
