/*
 * The interrupt wires of a PC's ISA bus: each IRQ goes to the 8259A pair and to the IOAPIC, where
 * IRQ 0 arrives at pin 2 and IRQ 2, the cascade, not at all. A wire may have several drivers and is
 * asserted while one of them asserts it; PIRQs that are routed to an ISA IRQ reach the 8259As alone.
 *
 * Threads: machine lock held.
 */
#ifndef LODGE_BOARD_ISA_WIRES_H
#define LODGE_BOARD_ISA_WIRES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/irq.h"

enum { ISA_IRQS = 16 };

struct isa_wires {
    struct irq_line pic, ioapic;        /* pins are filled in */
    uint16_t devices, sci, pirqs;       /* who asserts IRQ n: bit n */
    uint16_t pic_driven, ioapic_driven; /* what the controllers were last told */
};

void isa_wires_init(struct isa_wires *wires, const struct irq_line *pic, const struct irq_line *ioapic);

/* For struct irq_line; the pin is an IRQ, 0..15. One driver each, whose levels replace each other. */
void isa_wires_set_device(void *wires, unsigned irq, bool level);
void isa_wires_set_sci(void *wires, unsigned irq, bool level);
void isa_wires_set_pirq(void *wires, unsigned irq, bool level);

#endif
