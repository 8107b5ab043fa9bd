/*
 * The 8042 keyboard controller of a PS/2, 0x60 and 0x64, with nothing plugged into its mouse port and nothing,
 * or a keyboard on which nobody types, into the other. Source: IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboard and Auxiliary Device Controller", and "Keyboards" for what that one answers.
 *
 * Every command answers at once. A byte sent to a device that is not there is answered as the
 * controller answers after its own time-out (0xFE with the TIMEOUT bit), so that no driver waits
 * for one. The address line A20 is always on; its bit is only remembered.
 */
#ifndef LODGE_DEV_CHIPSET_I8042_H
#define LODGE_DEV_CHIPSET_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "dev/chipset/platform.h"

enum { I8042_RAM_SIZE = 32, I8042_QUEUE = 4 };

struct i8042_state {
    uint8_t status;              /* OBF, SYS, CMD, AUX_OBF, TIMEOUT */
    uint8_t output;              /* the output buffer */
    uint8_t output_port;
    uint8_t expects;             /* the command whose data byte the next write to 0x60 is, or 0 */
    uint8_t ram[I8042_RAM_SIZE]; /* byte 0 is the command byte */
    /* The keyboard: what it has yet to send, and the command whose parameter the next byte to it is, or 0. */
    uint8_t queue[I8042_QUEUE], queued;
    uint8_t keyboard_expects;
};

struct i8042 {
    struct device device;
    struct region regions[2];
    struct irq_line keyboard_irq, aux_irq;
    struct platform platform;
    bool keyboard;
    struct i8042_state state;
};

/* Adds 0x60 and 0x64 to the bus. IRQ 1 and IRQ 12. platform is copied. Path "isa/i8042". Errors: as bus_add(). */
enum status i8042_init(struct i8042 *i8042, const struct irq_line *keyboard_irq, const struct irq_line *aux_irq,
                       const struct platform *platform, struct bus *bus) MUST_CHECK;

/*
 * Plugs in a keyboard. UEFI firmware looks for one and waits some seconds, in vain, where there is none. Before the machine
 * runs.
 */
void i8042_plug_keyboard(struct i8042 *i8042);

#endif
