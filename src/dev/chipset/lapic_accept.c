/*
 * Accepting interrupts and handing them to the processor (SDM volume 3, 10.8).
 *
 * IRR holds what was accepted, ISR what is being served, TMR which of them were level-triggered.
 * What changes any of these, the task priority or the 8259A's wire ends in lapic_update(), which
 * keeps the `deliverable` hint right so that the engine may ask without the lock.
 */
#include "core/trace.h"
#include "dev/chipset/lapic_internal.h"

enum { PRIORITY_CLASS = 0xf0 };

static bool vector_test(const uint32_t *set, unsigned vector)
{
    return set[vector / 32] & BIT(vector % 32);
}

static void vector_set(uint32_t *set, unsigned vector)
{
    set[vector / 32] |= BIT(vector % 32);
}

static void vector_clear(uint32_t *set, unsigned vector)
{
    set[vector / 32] &= ~BIT(vector % 32);
}

/* -1: empty. */
static int vector_highest(const uint32_t *set)
{
    for (int word = LAPIC_VECTOR_WORDS - 1; word >= 0; word--)
        if (set[word])
            return 32 * word + 31 - __builtin_clz(set[word]);
    return -1;
}

uint8_t lapic_processor_priority(const struct lapic *lapic)
{
    int served = vector_highest(lapic->state.isr);
    unsigned served_class = served < 0 ? 0 : (unsigned)served & PRIORITY_CLASS;

    if ((lapic->state.tpr & PRIORITY_CLASS) >= served_class)
        return lapic->state.tpr;
    return (uint8_t)served_class;
}

/* How busy this processor is in the choice for a lowest-priority interrupt: waiting work counts too. */
uint8_t lapic_arbitration_priority(const struct lapic *lapic)
{
    int waiting = vector_highest(lapic->state.irr);
    unsigned waiting_class = waiting < 0 ? 0 : (unsigned)waiting & PRIORITY_CLASS;
    unsigned priority = lapic_processor_priority(lapic);

    return (uint8_t)(waiting_class > (priority & PRIORITY_CLASS) ? waiting_class : priority);
}

/* The highest vector above the processor priority, or -1. */
static int lapic_deliverable_vector(const struct lapic *lapic)
{
    int vector = vector_highest(lapic->state.irr);

    if (vector < 0 || (vector & PRIORITY_CLASS) <= (lapic_processor_priority(lapic) & PRIORITY_CLASS))
        return -1;
    return vector;
}

/*
 * Does the 8259A's INTR wire interrupt this processor? With the APIC on: if LINT0 says so. With it
 * off in hardware, LINT0 is the INTR pin of the bootstrap processor. Off in software, as after
 * reset, LINT0 would be masked; but a PC's firmware leaves it in virtual wire mode, and a kernel
 * that is booted directly and knows nothing of APICs expects its 8259A to work. So it does.
 */
static bool lapic_accepts_extint(const struct lapic *lapic)
{
    uint32_t lint0 = lapic->state.lvt[LAPIC_LVT_LINT0];

    if (!lapic_hardware_enabled(lapic) || !lapic_software_enabled(lapic))
        return lapic->state.apic_base & APIC_BASE_BSP;
    return (lint0 & (LVT_MASK | LVT_DELIVERY)) == DELIVERY_EXTINT << LVT_DELIVERY_SHIFT;
}

static bool lapic_extint_waits(const struct lapic *lapic)
{
    return lapic->state.extint_message || (lapic->bus->intr && lapic_accepts_extint(lapic));
}

void lapic_update(struct lapic *lapic)
{
    uint32_t deliverable = lapic_extint_waits(lapic) || lapic_deliverable_vector(lapic) >= 0;

    __atomic_store_n(&lapic->deliverable, deliverable, __ATOMIC_RELEASE);
    if (deliverable)
        vcpu_attend(lapic->vcpu, ATTENTION_INTERRUPT);
}

/* ESR bits collect until software writes to the register; a bit already there raises nothing new. */
void lapic_report_error(struct lapic *lapic, uint32_t bits)
{
    if ((lapic->state.esr_collected & bits) == bits)
        return;
    lapic->state.esr_collected |= bits;
    lapic_accept_local(lapic, LAPIC_LVT_ERROR);
}

void lapic_accept_fixed(struct lapic *lapic, uint8_t vector, bool level)
{
    struct lapic_state *state = &lapic->state;

    if (vector < LAPIC_FIRST_LEGAL_VECTOR) {
        lapic_report_error(lapic, ESR_RECEIVE_ILLEGAL_VECTOR);
        return;
    }
    trace_accept(lapic->vcpu, level ? "level" : "fixed", vector);
    vector_set(state->irr, vector);
    if (level)
        vector_set(state->tmr, vector);
    else
        vector_clear(state->tmr, vector);
    lapic_update(lapic);
}

/* Start-up: the run loop ignores it unless the vCPU waits for one. */
static void lapic_accept_startup(struct lapic *lapic, uint8_t vector)
{
    __atomic_store_n(&lapic->vcpu->sipi_vector, vector, __ATOMIC_RELAXED);
    vcpu_attend(lapic->vcpu, ATTENTION_SIPI);
}

/* The caller has found that this APIC is addressed and may accept (lapic_bus.c, lapic_accept_local). */
void lapic_accept(struct lapic *lapic, enum delivery delivery, uint8_t vector, bool level)
{
    switch (delivery) {
    case DELIVERY_FIXED:
    case DELIVERY_LOWEST_PRIORITY:
        lapic_accept_fixed(lapic, vector, level);
        break;
    case DELIVERY_NMI:
        trace_accept(lapic->vcpu, "nmi", 0);
        vcpu_attend(lapic->vcpu, ATTENTION_NMI);
        break;
    case DELIVERY_INIT:
        trace_accept(lapic->vcpu, "init", 0);
        lapic_init_reset(lapic);
        vcpu_attend(lapic->vcpu, ATTENTION_INIT);
        break;
    case DELIVERY_STARTUP:
        trace_accept(lapic->vcpu, "startup", vector);
        lapic_accept_startup(lapic, vector);
        break;
    case DELIVERY_EXTINT:
        trace_accept(lapic->vcpu, "extint", 0);
        lapic->state.extint_message = 1;
        lapic_update(lapic);
        break;
    case DELIVERY_SMI: /* there is no system management mode */
    case DELIVERY_RESERVED:
        break;
    }
}

/* LINT0 in ExtINT mode is a level, seen by lapic_extint_waits(), and not an event. */
void lapic_accept_local(struct lapic *lapic, enum lapic_lvt entry)
{
    uint32_t lvt = lapic->state.lvt[entry];
    enum delivery delivery = (enum delivery)((lvt & LVT_DELIVERY) >> LVT_DELIVERY_SHIFT);

    if (lvt & LVT_MASK || !lapic_hardware_enabled(lapic))
        return;
    if (entry == LAPIC_LVT_TIMER || entry == LAPIC_LVT_ERROR)
        delivery = DELIVERY_FIXED; /* these have no delivery mode field */
    if (delivery == DELIVERY_FIXED || delivery == DELIVERY_NMI || delivery == DELIVERY_INIT)
        lapic_accept(lapic, delivery, (uint8_t)(lvt & LVT_VECTOR), false);
}

/* The 8259A goes first: its interrupts are not subject to the task priority. */
static int lapic_acknowledge_extint(struct lapic *lapic)
{
    const struct lapic_pic *pic = &lapic->bus->pic;

    if (!lapic_extint_waits(lapic))
        return -1;
    lapic->state.extint_message = 0;
    return pic->acknowledge ? pic->acknowledge(pic->pic) : -1;
}

static int lapic_acknowledge_own(struct lapic *lapic)
{
    int vector = lapic_deliverable_vector(lapic);

    if (vector < 0)
        return -1;
    vector_clear(lapic->state.irr, (unsigned)vector);
    vector_set(lapic->state.isr, (unsigned)vector);
    return vector;
}

int lapic_acknowledge(struct lapic *lapic)
{
    int vector = lapic_acknowledge_extint(lapic);

    if (vector < 0)
        vector = lapic_acknowledge_own(lapic);
    lapic_update(lapic);
    return vector;
}

/* SDM 10.8.5. */
void lapic_end_of_interrupt(struct lapic *lapic)
{
    const struct lapic_eoi_listener *listener = &lapic->bus->eoi_listener;
    int vector = vector_highest(lapic->state.isr);

    if (vector < 0)
        return;
    vector_clear(lapic->state.isr, (unsigned)vector);
    lapic_update(lapic);
    if (listener->eoi && vector_test(lapic->state.tmr, (unsigned)vector) && !(lapic->state.svr & SVR_EOI_SUPPRESS))
        listener->eoi(listener->ioapic, (uint8_t)vector);
}
