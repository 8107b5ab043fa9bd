/*
 * The pair of 8259A interrupt controllers of a PC, cascaded through IR2 of the master, with the
 * edge/level registers of later chipsets (ELCR). Data sheet: Intel 8259A (231468); ELCR: ICH9, 13.5.
 *
 * Not modelled: MCS-80/85 mode (its vectors are CALL instructions) and buffered mode (pins only).
 * ICW1.LTIM does nothing; the ELCR says which inputs are level triggered, as in the ICH9.
 */
#ifndef LODGE_DEV_CHIPSET_PIC_H
#define LODGE_DEV_CHIPSET_PIC_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "dev/chipset/pic_chip.h"

struct pic {
    struct device device;
    struct region regions[3];
    struct irq_line intr; /* INT of the master */
    bool asserted;        /* what intr was last told */
    struct pic_state state;
};

/* Adds 0x20, 0xA0 and 0x4D0 to the bus; intr is the master's INT output. Path "isa/pic". Errors: as bus_add(). */
enum status pic_init(struct pic *pic, const struct irq_line *intr, struct bus *bus) MUST_CHECK;

/* For an irq_line whose controller is the struct pic. Pins 0-7 master, 8-15 slave; 2 is the cascade: ignored. */
void pic_set_irq(void *context, unsigned pin, bool level);

/*
 * INTA. context is the struct pic. Answers the vector to deliver, 0..255; its request becomes
 * in-service. If the request has gone in the meantime it is the spurious vector, IR7 of the chip in
 * question, so there is always an answer. Machine lock held.
 */
int pic_acknowledge(void *context);

/* Does the master assert INT? No side effects. Machine lock held. */
bool pic_pending(const struct pic *pic);

#endif
