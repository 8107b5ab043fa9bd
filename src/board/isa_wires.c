#include "board/isa_wires.h"

#include "base/bits.h"

enum { TIMER_IRQ = 0, TIMER_IOAPIC_PIN = 2, CASCADE_IRQ = 2 };

static void drive(const struct irq_line *controller, unsigned pin, bool level)
{
    struct irq_line line = *controller;

    line.pin = pin;
    irq_set(&line, level);
}

/* Only changes are told: a level that was restored with a controller's state must not look like an edge. */
static void isa_wires_drive(struct isa_wires *wires)
{
    uint16_t ioapic = wires->devices | wires->sci, pic = ioapic | wires->pirqs;
    uint16_t ioapic_changed = ioapic ^ wires->ioapic_driven, pic_changed = pic ^ wires->pic_driven;

    wires->ioapic_driven = ioapic;
    wires->pic_driven = pic;
    for (unsigned irq = 0; irq < ISA_IRQS; irq++) {
        if (pic_changed & BIT(irq))
            drive(&wires->pic, irq, pic & BIT(irq));
        if (ioapic_changed & BIT(irq) && irq != CASCADE_IRQ)
            drive(&wires->ioapic, irq == TIMER_IRQ ? TIMER_IOAPIC_PIN : irq, ioapic & BIT(irq));
    }
}

static void isa_wires_set(struct isa_wires *wires, uint16_t *levels, unsigned irq, bool level)
{
    if (irq >= ISA_IRQS)
        return;
    *levels = (uint16_t)(level ? *levels | BIT(irq) : *levels & ~BIT(irq));
    isa_wires_drive(wires);
}

void isa_wires_init(struct isa_wires *wires, const struct irq_line *pic, const struct irq_line *ioapic)
{
    *wires = (struct isa_wires){.pic = *pic, .ioapic = *ioapic};
}

void isa_wires_set_device(void *opaque, unsigned irq, bool level)
{
    struct isa_wires *wires = opaque;

    isa_wires_set(wires, &wires->devices, irq, level);
}

void isa_wires_set_sci(void *opaque, unsigned irq, bool level)
{
    struct isa_wires *wires = opaque;

    isa_wires_set(wires, &wires->sci, irq, level);
}

void isa_wires_set_pirq(void *opaque, unsigned irq, bool level)
{
    struct isa_wires *wires = opaque;

    isa_wires_set(wires, &wires->pirqs, irq, level);
}
