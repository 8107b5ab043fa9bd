/* Claiming I/O ports for a chipset device: the region that most of them have, byte wide and always there. */
#ifndef LODGE_DEV_CHIPSET_ISA_H
#define LODGE_DEV_CHIPSET_ISA_H

#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"

struct isa_ports {
    const char *name;
    uint16_t base;
    uint16_t count;
};

/*
 * Fills regions[0..n-1], whose indices are 0..n-1, and adds them to the bus; accesses reach the
 * device byte by byte. The names and the regions are borrowed until the machine ends. Errors: as bus_add().
 */
enum status isa_claim(struct bus *bus, struct device *device, struct region *regions, const struct isa_ports *ports,
                      unsigned n) MUST_CHECK;

#endif
