/*
 * The registers of the local APIC, as its two windows show them: the xAPIC page, where a bad access
 * sets ESR, and the x2APIC MSRs, where it is #GP (SDM volume 3, 10.4, 10.5 and 10.12).
 */
#include "dev/chipset/lapic_internal.h"

enum {
    VERSION_INTEGRATED = 0x14,
    VERSION_MAX_LVT_SHIFT = 16,
    VERSION_EOI_SUPPRESS = 1 << 24,
    VERSION_VALUE = VERSION_INTEGRATED | (LAPIC_LVT_COUNT - 1) << VERSION_MAX_LVT_SHIFT | VERSION_EOI_SUPPRESS,
};

enum { XAPIC_IDENTIFIER_SHIFT = 24, X2APIC_CLUSTER_SHIFT = 4, X2APIC_LDR_CLUSTER_SHIFT = 16 };

enum access { ACCESS_NONE = 0, ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_BOTH = 3 };

/* Who may do what; reserved is what a WRMSR must leave zero (x2APIC only). */
struct register_rule {
    uint8_t xapic, x2apic;
    uint64_t reserved;
};

#define RESERVED_BUT(bits) (~(uint64_t)(bits))
#define LVT_WRITABLE_TIMER (LVT_VECTOR | LVT_MASK | LVT_TIMER_MODE)
#define LVT_WRITABLE_ERROR (LVT_VECTOR | LVT_MASK)
#define LVT_WRITABLE_MONITOR (LVT_VECTOR | LVT_DELIVERY | LVT_MASK)
#define LVT_WRITABLE_PIN (LVT_VECTOR | LVT_DELIVERY | LVT_POLARITY | LVT_TRIGGER | LVT_MASK)

/* LVT_STATUS and LVT_REMOTE_IRR are read-only, which is not reserved: writing them is ignored. Linux does. */
static const uint32_t lvt_writable[LAPIC_LVT_COUNT] = {
    [LAPIC_LVT_TIMER] = LVT_WRITABLE_TIMER,         [LAPIC_LVT_THERMAL] = LVT_WRITABLE_MONITOR,
    [LAPIC_LVT_PERFORMANCE] = LVT_WRITABLE_MONITOR, [LAPIC_LVT_LINT0] = LVT_WRITABLE_PIN,
    [LAPIC_LVT_LINT1] = LVT_WRITABLE_PIN,           [LAPIC_LVT_ERROR] = LVT_WRITABLE_ERROR,
};

static const struct register_rule rules[LAPIC_REGISTERS] = {
    [LAPIC_ID] = {ACCESS_BOTH, ACCESS_READ, 0},
    [LAPIC_VERSION] = {ACCESS_READ, ACCESS_READ, 0},
    [LAPIC_TPR] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(0xff)},
    [LAPIC_APR] = {ACCESS_READ, ACCESS_NONE, 0},
    [LAPIC_PPR] = {ACCESS_READ, ACCESS_READ, 0},
    [LAPIC_EOI] = {ACCESS_WRITE, ACCESS_WRITE, RESERVED_BUT(0)},
    [LAPIC_RRD] = {ACCESS_READ, ACCESS_NONE, 0},
    [LAPIC_LDR] = {ACCESS_BOTH, ACCESS_READ, 0},
    [LAPIC_DFR] = {ACCESS_BOTH, ACCESS_NONE, 0},
    [LAPIC_SVR] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(SVR_WRITABLE)},
    [LAPIC_ISR... LAPIC_IRR + LAPIC_VECTOR_WORDS - 1] = {ACCESS_READ, ACCESS_READ, 0},
    [LAPIC_ESR] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(0)},
    [LAPIC_ICR] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(0xffffffffull << 32 | ICR_WRITABLE)},
    [LAPIC_ICR_HIGH] = {ACCESS_BOTH, ACCESS_NONE, 0},
    [LAPIC_LVT + LAPIC_LVT_TIMER] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(LVT_WRITABLE_TIMER | LVT_STATUS)},
    [LAPIC_LVT + LAPIC_LVT_THERMAL] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(LVT_WRITABLE_MONITOR | LVT_STATUS)},
    [LAPIC_LVT + LAPIC_LVT_PERFORMANCE] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(LVT_WRITABLE_MONITOR | LVT_STATUS)},
    [LAPIC_LVT + LAPIC_LVT_LINT0] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(LVT_WRITABLE_PIN | LVT_STATUS | LVT_REMOTE_IRR)},
    [LAPIC_LVT + LAPIC_LVT_LINT1] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(LVT_WRITABLE_PIN | LVT_STATUS | LVT_REMOTE_IRR)},
    [LAPIC_LVT + LAPIC_LVT_ERROR] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(LVT_WRITABLE_ERROR | LVT_STATUS)},
    [LAPIC_TIMER_INITIAL] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(0xffffffffu)},
    [LAPIC_TIMER_CURRENT] = {ACCESS_READ, ACCESS_READ, 0},
    [LAPIC_TIMER_DIVIDE] = {ACCESS_BOTH, ACCESS_BOTH, RESERVED_BUT(LAPIC_TIMER_DIVIDE_WRITABLE)},
    [LAPIC_SELF_IPI] = {ACCESS_NONE, ACCESS_WRITE, RESERVED_BUT(0xff)},
};

/* In x2APIC mode it is read-only: cluster in the upper half, one bit of sixteen in the lower. */
uint32_t lapic_logical_identifier(const struct lapic *lapic)
{
    uint32_t identifier = lapic_identifier(lapic);

    if (!lapic_x2apic(lapic))
        return lapic->state.ldr;
    return (identifier >> X2APIC_CLUSTER_SHIFT) << X2APIC_LDR_CLUSTER_SHIFT | BIT(identifier & 0xf);
}

static uint32_t lapic_read_identifier(const struct lapic *lapic)
{
    uint32_t identifier = lapic_identifier(lapic);

    return lapic_x2apic(lapic) ? identifier : identifier << XAPIC_IDENTIFIER_SHIFT;
}

/* number is one that may be read. */
static uint32_t lapic_read_register(const struct lapic *lapic, unsigned number)
{
    const struct lapic_state *state = &lapic->state;

    if (number >= LAPIC_ISR && number < LAPIC_ISR + LAPIC_VECTOR_WORDS)
        return state->isr[number - LAPIC_ISR];
    if (number >= LAPIC_TMR && number < LAPIC_TMR + LAPIC_VECTOR_WORDS)
        return state->tmr[number - LAPIC_TMR];
    if (number >= LAPIC_IRR && number < LAPIC_IRR + LAPIC_VECTOR_WORDS)
        return state->irr[number - LAPIC_IRR];
    if (number >= LAPIC_LVT && number < LAPIC_LVT + LAPIC_LVT_COUNT)
        return state->lvt[number - LAPIC_LVT];
    switch (number) {
    case LAPIC_ID:
        return lapic_read_identifier(lapic);
    case LAPIC_VERSION:
        return VERSION_VALUE;
    case LAPIC_TPR:
        return state->tpr;
    case LAPIC_APR:
        return lapic_arbitration_priority(lapic);
    case LAPIC_PPR:
        return lapic_processor_priority(lapic);
    case LAPIC_LDR:
        return lapic_logical_identifier(lapic);
    case LAPIC_DFR:
        return state->dfr;
    case LAPIC_SVR:
        return state->svr;
    case LAPIC_ESR:
        return state->esr;
    case LAPIC_ICR:
        return (uint32_t)state->icr;
    case LAPIC_ICR_HIGH:
        return (uint32_t)(state->icr >> 32);
    case LAPIC_TIMER_INITIAL:
        return state->timer_initial;
    case LAPIC_TIMER_CURRENT:
        return lapic_timer_current(lapic);
    case LAPIC_TIMER_DIVIDE:
        return state->timer_divide;
    default: /* RRD */
        return 0;
    }
}

/* While the APIC is off in software, every LVT entry stays masked (SDM 10.4.7.2). */
static void lapic_write_lvt(struct lapic *lapic, enum lapic_lvt entry, uint32_t value)
{
    value &= lvt_writable[entry];
    if (!lapic_software_enabled(lapic))
        value |= LVT_MASK;
    if (entry == LAPIC_LVT_TIMER)
        lapic_timer_set_lvt(lapic, value);
    else
        lapic->state.lvt[entry] = value;
    lapic_update(lapic);
}

static void lapic_write_svr(struct lapic *lapic, uint32_t value)
{
    lapic->state.svr = value & SVR_WRITABLE;
    if (!lapic_software_enabled(lapic))
        for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
            lapic->state.lvt[i] |= LVT_MASK;
    lapic_update(lapic);
}

/* The destination of an xAPIC is in the top byte of the upper half. */
static void lapic_write_icr(struct lapic *lapic, uint32_t value)
{
    uint32_t destination = (uint32_t)(lapic->state.icr >> 32);

    value &= ICR_WRITABLE;
    lapic->state.icr = (lapic->state.icr & ~0xffffffffull) | value;
    if (lapic_x2apic(lapic))
        lapic_send_ipi(lapic, value, destination, true);
    else
        lapic_send_ipi(lapic, value, destination >> XAPIC_IDENTIFIER_SHIFT, false);
}

static void lapic_write_esr(struct lapic *lapic)
{
    lapic->state.esr = lapic->state.esr_collected;
    lapic->state.esr_collected = 0;
}

/* number is one that may be written in the current mode. */
static void lapic_write_register(struct lapic *lapic, unsigned number, uint32_t value)
{
    struct lapic_state *state = &lapic->state;

    if (number >= LAPIC_LVT && number < LAPIC_LVT + LAPIC_LVT_COUNT) {
        lapic_write_lvt(lapic, (enum lapic_lvt)(number - LAPIC_LVT), value);
        return;
    }
    switch (number) {
    case LAPIC_TPR:
        state->tpr = (uint8_t)value;
        lapic_update(lapic);
        break;
    case LAPIC_EOI:
        lapic_end_of_interrupt(lapic);
        break;
    case LAPIC_LDR:
        state->ldr = value & 0xff000000;
        break;
    case LAPIC_DFR:
        state->dfr = value | 0x0fffffff;
        break;
    case LAPIC_SVR:
        lapic_write_svr(lapic, value);
        break;
    case LAPIC_ESR:
        lapic_write_esr(lapic);
        break;
    case LAPIC_ICR:
        lapic_write_icr(lapic, value);
        break;
    case LAPIC_ICR_HIGH:
        state->icr = (state->icr & 0xffffffff) | (uint64_t)(value & 0xff000000) << 32;
        break;
    case LAPIC_TIMER_INITIAL:
        lapic_timer_set_initial(lapic, value);
        break;
    case LAPIC_TIMER_DIVIDE:
        lapic_timer_set_divide(lapic, value);
        break;
    case LAPIC_SELF_IPI:
        lapic_send_ipi(lapic, (value & LVT_VECTOR) | 1u << ICR_SHORTHAND_SHIFT, 0, true);
        break;
    default: /* the identifier: fixed here, as in every processor of the last twenty years */
        break;
    }
}

uint32_t lapic_read_xapic(struct lapic *lapic, unsigned number)
{
    if (number < LAPIC_REGISTERS && rules[number].xapic & ACCESS_READ)
        return lapic_read_register(lapic, number);
    if (number >= LAPIC_REGISTERS || !rules[number].xapic)
        lapic_report_error(lapic, ESR_ILLEGAL_REGISTER);
    return 0;
}

void lapic_write_xapic(struct lapic *lapic, unsigned number, uint32_t value)
{
    if (number < LAPIC_REGISTERS && rules[number].xapic & ACCESS_WRITE)
        lapic_write_register(lapic, number, value);
    else if (number >= LAPIC_REGISTERS || !rules[number].xapic)
        lapic_report_error(lapic, ESR_ILLEGAL_REGISTER);
}

bool lapic_read_x2apic(struct lapic *lapic, unsigned number, uint64_t *value)
{
    if (!lapic_x2apic(lapic) || number >= LAPIC_REGISTERS || !(rules[number].x2apic & ACCESS_READ))
        return false;
    *value = number == LAPIC_ICR ? lapic->state.icr : lapic_read_register(lapic, number);
    return true;
}

bool lapic_write_x2apic(struct lapic *lapic, unsigned number, uint64_t value)
{
    if (!lapic_x2apic(lapic) || number >= LAPIC_REGISTERS || !(rules[number].x2apic & ACCESS_WRITE))
        return false;
    if (value & rules[number].reserved)
        return false;
    if (number == LAPIC_ICR)
        lapic->state.icr = value;
    lapic_write_register(lapic, number, (uint32_t)value);
    return true;
}

/*
 * SDM 10.12.5: from xAPIC mode to off or to x2APIC mode, from x2APIC mode to off, from off to xAPIC
 * mode. Off loses all state. The bootstrap flag is the machine's, not software's.
 */
bool lapic_write_base(struct lapic *lapic, uint64_t value)
{
    const uint64_t mode_bits = APIC_BASE_EN | APIC_BASE_EXTD;
    uint64_t *base = &lapic->state.apic_base;
    uint64_t old = *base & mode_bits, wanted = value & mode_bits;

    if (value & ~(mode_bits | APIC_BASE_BSP | APIC_BASE_ADDRESS) || wanted == APIC_BASE_EXTD)
        return false;
    if ((old == mode_bits && wanted == APIC_BASE_EN) || (old == 0 && wanted == mode_bits))
        return false;
    *base = (*base & APIC_BASE_BSP) | (value & (APIC_BASE_ADDRESS | mode_bits));
    if (old != 0 && wanted == 0)
        lapic_init_reset(lapic);
    if (old == APIC_BASE_EN && wanted == mode_bits)
        lapic->state.icr &= 0xffffffff;
    lapic_update(lapic);
    return true;
}
