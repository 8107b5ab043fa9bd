/*
 * The two registers of the ICH9 that reset the machine: Reset Control (0xCF9) and Fast Init (0x92).
 * Data sheet: Intel I/O Controller Hub 9 (316972), 13.7.3 and 13.7.5.
 *
 * 0xCF9 lies in the middle of the PCI bridge's CONFIG_ADDRESS, so it is no region here: the bridge
 * passes byte accesses on. The kinds of reset are one and the same. A20 is always on; its bit in
 * 0x92 is only remembered.
 */
#ifndef LODGE_DEV_CHIPSET_RESET_CONTROL_H
#define LODGE_DEV_CHIPSET_RESET_CONTROL_H

#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "dev/chipset/platform.h"

struct reset_control_state {
    uint8_t rst_cnt; /* 0xCF9 */
    uint8_t port92;
};

struct reset_control {
    struct device device;
    struct region region;
    struct platform platform;
    struct reset_control_state state;
};

/* Adds 0x92 to the bus. platform is copied. Path "isa/reset". Errors: as bus_add(). */
enum status reset_control_init(struct reset_control *control, const struct platform *platform,
                               struct bus *bus) MUST_CHECK;

/* A byte at 0xCF9. context is the struct reset_control. Any vCPU thread, machine lock held. */
uint8_t reset_control_read(void *context);
void reset_control_write(void *context, uint8_t value);

#endif
