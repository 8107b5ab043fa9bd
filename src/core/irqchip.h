/*
 * Interrupt controllers and interval timer that an engine brings along, so that interrupts reach a
 * guest without leaving the engine. The models of dev/chipset then have no work: the guest's accesses
 * never come to the bus, and what devices signal goes here. Their state structs are how the engine's
 * are saved and restored: get() and set() convert.
 */
#ifndef LODGE_CORE_IRQCHIP_H
#define LODGE_CORE_IRQCHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "state/irqchip.h"

struct engine;

/* Each with the state struct of its name (state/irqchip.h). */
enum irqchip_part { IRQCHIP_PIC, IRQCHIP_IOAPIC, IRQCHIP_PIT, IRQCHIP_LAPIC, IRQCHIP_PARTS };

struct irqchip_ops {
    /*
     * The level of a pin of the I/O APIC (0..23) or of the 8259A pair (0..15); others are ignored, and so is what the
     * engine drives itself: its timer's IRQ 0, the cascade. Machine lock held.
     */
    void (*set_ioapic)(struct engine *engine, unsigned pin, bool level);
    void (*set_pic)(struct engine *engine, unsigned pin, bool level);

    /* A message-signalled interrupt; as struct msi_sink (core/irq.h). Machine lock held. */
    void (*send_msi)(struct engine *engine, uint64_t address, uint32_t data);

    /*
     * The state of one part; index is the vCPU of a local APIC, otherwise 0. All vCPUs are paused or have not started.
     * What is given has been judged valid. Errors are logged.
     */
    enum status (*get)(struct engine *engine, enum irqchip_part part, unsigned index, void *state) MUST_CHECK;
    enum status (*set)(struct engine *engine, enum irqchip_part part, unsigned index, const void *state) MUST_CHECK;
};

#endif
