#include "dev/chipset/isa.h"

enum status isa_claim(struct bus *bus, struct device *device, struct region *regions, const struct isa_ports *ports,
                      unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        enum status status;

        regions[i] = (struct region){
            .name = ports[i].name,
            .space = BUS_PORT,
            .base = ports[i].base,
            .size = ports[i].count,
            .smallest = 1,
            .largest = 1,
            .enabled = true,
            .device = device,
            .index = i,
        };
        status = bus_add(bus, &regions[i]);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}
