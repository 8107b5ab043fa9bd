/*
 * A NOR flash chip with Intel's command set, one byte wide, as UEFI firmware keeps its variables in.
 * Sources: JEDEC JEP137B, command set 0x0001; Intel StrataFlash data sheet (290606) for the commands; the
 * differences in the status register are those of the virtual chip that such firmware is written for
 * (QEMU's "cfi.pflash01"): it is clear after Clear Status, and bit 7 is set when an operation has ended.
 *
 *     0xFF read array   0x70 read status   0x50 clear status   0x90 read identifier   0x98 CFI query
 *     0x10, 0x40 program a byte   0x20 0xD0 erase a block
 *
 * In read-array mode the chip's bytes are ROM in the machine's memory, so reads cost nothing and only writes
 * get here. In the other modes the range is hidden and reads get here too. The bytes themselves are part of
 * the memory's backing; the chip's state is only what mode it is in.
 */
#ifndef LODGE_DEV_CHIPSET_PFLASH_H
#define LODGE_DEV_CHIPSET_PFLASH_H

#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "port/store.h"

struct guest_memory;

enum { PFLASH_BLOCK = 4096 };

struct pflash_state {
    uint8_t mode;    /* enum pflash_mode: what reads give */
    uint8_t pending; /* enum pflash_pending: what the next write is */
    uint8_t status;
};

struct pflash {
    struct device device;
    struct region region;
    struct guest_memory *memory;
    unsigned range;                    /* of the memory */
    struct store *store;               /* NULL: nothing lasts */
    uint64_t changed_from, changed_to; /* offsets that the store does not know yet; empty: equal */
    struct pflash_state state;
};

/*
 * A chip whose bytes are the memory's range `range`, a ROM of a multiple of 4 KiB. Adds the place to the bus. store is
 * borrowed and may be NULL. Path "flash0". Errors: as bus_add().
 */
enum status pflash_init(struct pflash *flash, struct guest_memory *memory, unsigned range, struct store *store,
                        struct bus *bus) MUST_CHECK;

#endif
