/*
 * The I/O APIC: 24 pins, each turned into an interrupt message by its redirection entry.
 * Data sheet: Intel 82093AA (290566), with the EOI register of later ones (version 0x20, ICH9 13.5.7).
 */
#ifndef LODGE_DEV_CHIPSET_IOAPIC_H
#define LODGE_DEV_CHIPSET_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "state/irqchip.h"

enum { IOAPIC_SIZE = 0x1000 };

#define IOAPIC_BASE 0xfec00000ull

struct ioapic {
    struct device device;
    struct region region;
    struct msi_sink messages;
    struct ioapic_state state;
};

/* Adds its page to the bus; messages go out through the sink as MSIs. Path "ioapic". Errors: as bus_add(). */
enum status ioapic_init(struct ioapic *ioapic, const struct msi_sink *messages, struct bus *bus) MUST_CHECK;

/* For struct irq_line: the level of a pin, 0..23. Others are ignored. Machine lock held. */
void ioapic_set_irq(void *ioapic, unsigned pin, bool level);

/* A local APIC has ended a level-triggered interrupt: entries of this vector may send again. Machine lock held. */
void ioapic_end_of_interrupt(void *ioapic, uint8_t vector);

#endif
