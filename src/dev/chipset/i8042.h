/*
 * The 8042 keyboard controller of a PS/2, 0x60 and 0x64, with nothing plugged into either of its
 * two ports. Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary
 * Device Controller".
 *
 * Every command answers at once. A byte sent to a device that is not there is answered as the
 * controller answers after its own time-out (0xFE with the TIMEOUT bit), so that no driver waits
 * for one. The address line A20 is always on; its bit is only remembered.
 */
#ifndef LODGE_DEV_CHIPSET_I8042_H
#define LODGE_DEV_CHIPSET_I8042_H

#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "dev/chipset/platform.h"

enum { I8042_RAM_SIZE = 32 };

struct i8042_state {
    uint8_t status;              /* OBF, SYS, CMD, AUX_OBF, TIMEOUT */
    uint8_t output;              /* the output buffer */
    uint8_t output_port;
    uint8_t expects;             /* the command whose data byte the next write to 0x60 is, or 0 */
    uint8_t ram[I8042_RAM_SIZE]; /* byte 0 is the command byte */
};

struct i8042 {
    struct device device;
    struct region regions[2];
    struct irq_line keyboard_irq, aux_irq;
    struct platform platform;
    struct i8042_state state;
};

/* Adds 0x60 and 0x64 to the bus. IRQ 1 and IRQ 12. platform is copied. Path "isa/i8042". Errors: as bus_add(). */
enum status i8042_init(struct i8042 *i8042, const struct irq_line *keyboard_irq, const struct irq_line *aux_irq,
                       const struct platform *platform, struct bus *bus) MUST_CHECK;

#endif
