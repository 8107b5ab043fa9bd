/* What the files of the local APIC share. Machine lock held in every call. */
#ifndef LODGE_DEV_CHIPSET_LAPIC_INTERNAL_H
#define LODGE_DEV_CHIPSET_LAPIC_INTERNAL_H

#include "base/bits.h"
#include "dev/chipset/lapic.h"
#include "x86/msr.h"

/* Registers by their number: the xAPIC offset / 16, the x2APIC MSR - 0x800 (SDM table 10-6). */
enum lapic_register {
    LAPIC_ID = 0x02,
    LAPIC_VERSION = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_APR = 0x09,
    LAPIC_PPR = 0x0a,
    LAPIC_EOI = 0x0b,
    LAPIC_RRD = 0x0c,
    LAPIC_LDR = 0x0d,
    LAPIC_DFR = 0x0e,
    LAPIC_SVR = 0x0f,
    LAPIC_ISR = 0x10,
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31,
    LAPIC_LVT = 0x32,
    LAPIC_TIMER_INITIAL = 0x38,
    LAPIC_TIMER_CURRENT = 0x39,
    LAPIC_TIMER_DIVIDE = 0x3e,
    LAPIC_SELF_IPI = 0x3f,
    LAPIC_REGISTERS = 0x40,
};

/* Spurious-interrupt vector register. */
enum { SVR_ENABLE = 1 << 8, SVR_EOI_SUPPRESS = 1 << 12, SVR_WRITABLE = 0xff | SVR_ENABLE | SVR_EOI_SUPPRESS };

/* Error status register. */
enum {
    ESR_SEND_ILLEGAL_VECTOR = 1 << 5,
    ESR_RECEIVE_ILLEGAL_VECTOR = 1 << 6,
    ESR_ILLEGAL_REGISTER = 1 << 7,
};

/* Local vector table entries and the interrupt command register share this shape. */
enum {
    LVT_VECTOR = 0xff,
    LVT_DELIVERY_SHIFT = 8,
    LVT_DELIVERY = 7 << LVT_DELIVERY_SHIFT,
    LVT_STATUS = 1 << 12,     /* read-only, like the next but one */
    LVT_POLARITY = 1 << 13,
    LVT_REMOTE_IRR = 1 << 14,
    LVT_TRIGGER = 1 << 15,
    LVT_MASK = 1 << 16,
    LVT_TIMER_MODE = 3 << 17,
    LVT_TIMER_PERIODIC = 1 << 17,
    LVT_TIMER_TSC_DEADLINE = 2 << 17,
};

enum {
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_SHORTHAND_SHIFT = 18,
    ICR_WRITABLE = 0xff | LVT_DELIVERY | ICR_LOGICAL | ICR_ASSERT | ICR_LEVEL | 3 << ICR_SHORTHAND_SHIFT,
};

/* How an interrupt is delivered (LVT, ICR, MSI and IOAPIC encode it alike). */
enum delivery {
    DELIVERY_FIXED,
    DELIVERY_LOWEST_PRIORITY,
    DELIVERY_SMI,
    DELIVERY_RESERVED,
    DELIVERY_NMI,
    DELIVERY_INIT,
    DELIVERY_STARTUP,
    DELIVERY_EXTINT,
};

enum { LAPIC_FIRST_LEGAL_VECTOR = 16, LAPIC_TIMER_DIVIDE_WRITABLE = 0xb };

static inline bool lapic_hardware_enabled(const struct lapic *lapic)
{
    return lapic->state.apic_base & APIC_BASE_EN;
}

static inline bool lapic_x2apic(const struct lapic *lapic)
{
    return lapic->state.apic_base & APIC_BASE_EXTD;
}

static inline bool lapic_software_enabled(const struct lapic *lapic)
{
    return lapic->state.svr & SVR_ENABLE;
}

static inline unsigned lapic_identifier(const struct lapic *lapic)
{
    return lapic->vcpu->index;
}

/* lapic.c: the state after RESET, or after INIT, which leaves IA32_APIC_BASE alone (SDM 10.4.7). */
void lapic_power_up(struct lapic *lapic);
void lapic_init_reset(struct lapic *lapic);

/* lapic_register.c: false is #GP. */
bool lapic_write_base(struct lapic *lapic, uint64_t value);
bool lapic_read_x2apic(struct lapic *lapic, unsigned number, uint64_t *value);
bool lapic_write_x2apic(struct lapic *lapic, unsigned number, uint64_t value);
uint32_t lapic_read_xapic(struct lapic *lapic, unsigned number);
void lapic_write_xapic(struct lapic *lapic, unsigned number, uint32_t value);
uint32_t lapic_logical_identifier(const struct lapic *lapic);

/* lapic_accept.c. */
uint8_t lapic_processor_priority(const struct lapic *lapic);
uint8_t lapic_arbitration_priority(const struct lapic *lapic);
void lapic_update(struct lapic *lapic); /* after any change that bears on what can be delivered */
void lapic_accept_fixed(struct lapic *lapic, uint8_t vector, bool level);
void lapic_accept(struct lapic *lapic, enum delivery delivery, uint8_t vector, bool level);
void lapic_accept_local(struct lapic *lapic, enum lapic_lvt entry); /* an event of the local vector table */
void lapic_report_error(struct lapic *lapic, uint32_t bits);
int lapic_acknowledge(struct lapic *lapic);
void lapic_end_of_interrupt(struct lapic *lapic);

/* lapic_timer.c. */
void lapic_timer_init(struct lapic *lapic);
void lapic_timer_stop(struct lapic *lapic);
void lapic_timer_set_lvt(struct lapic *lapic, uint32_t value);
void lapic_timer_set_initial(struct lapic *lapic, uint32_t value);
void lapic_timer_set_divide(struct lapic *lapic, uint32_t value);
void lapic_timer_set_deadline(struct lapic *lapic, uint64_t tsc);
void lapic_timer_tsc_changed(struct lapic *lapic);
uint32_t lapic_timer_current(const struct lapic *lapic);
void lapic_timer_quiesce(struct lapic *lapic);
void lapic_timer_resume(struct lapic *lapic);

/* lapic_bus.c: carries out a write to the ICR. A wide destination is one of 32 bits, else it has 8. */
void lapic_send_ipi(struct lapic *sender, uint32_t icr, uint32_t destination, bool wide);

#endif
