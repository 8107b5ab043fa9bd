#include "engine/kvm/irqchip_convert.h"

#include <string.h>

#include "base/bits.h"
#include "x86/msr.h"

/* --- 8259A --- */

enum { ICW1_IC4 = 1 << 0, ICW4_AEOI = 1 << 1, ICW4_SFNM = 1 << 4, CASCADE = 2 };

/* KVM numbers the words of an initialization 1 to 3, our model as the data sheet does, 2 to 4. */
void pic_chip_from_kvm(struct pic_chip *chip, const struct kvm_pic_state *kvm, bool master, uint8_t lines)
{
    *chip = (struct pic_chip){
        .lines = lines,
        .irr = kvm->irr,
        .isr = kvm->isr,
        .imr = kvm->imr,
        .elcr = kvm->elcr,
        .icw1 = kvm->init4 ? ICW1_IC4 : 0,
        .icw2 = kvm->irq_base & 0xf8,
        .icw4 = (uint8_t)((kvm->auto_eoi ? ICW4_AEOI : 0) | (kvm->special_fully_nested_mode ? ICW4_SFNM : 0)),
        .expect = kvm->init_state >= 1 && kvm->init_state <= 3 ? (uint8_t)(kvm->init_state + 1) : 0,
        .lowest = (uint8_t)((kvm->priority_add + 7u) & 7),
        .read_isr = kvm->read_reg_select != 0,
        .poll = kvm->poll != 0,
        .special_mask = kvm->special_mask != 0,
        .rotate_aeoi = kvm->rotate_on_auto_eoi != 0,
    };
    if (master)
        chip->lines |= kvm->last_irr & BIT(CASCADE);
}

void pic_chip_to_kvm(struct kvm_pic_state *kvm, const struct pic_chip *chip, bool master)
{
    *kvm = (struct kvm_pic_state){
        .last_irr = chip->lines,
        .irr = chip->irr,
        .imr = chip->imr,
        .isr = chip->isr,
        .priority_add = (chip->lowest + 1u) & 7,
        .irq_base = chip->icw2,
        .read_reg_select = chip->read_isr,
        .poll = chip->poll,
        .special_mask = chip->special_mask,
        .init_state = chip->expect ? (uint8_t)(chip->expect - 1) : 0,
        .auto_eoi = (chip->icw4 & ICW4_AEOI) != 0,
        .rotate_on_auto_eoi = chip->rotate_aeoi,
        .special_fully_nested_mode = (chip->icw4 & ICW4_SFNM) != 0,
        .init4 = chip->icw1 & ICW1_IC4,
        .elcr = chip->elcr,
        .elcr_mask = master ? 0xf8 : 0xde,
    };
}

/* --- I/O APIC --- */

#define RTE_DELIVERY_STATUS BIT64(12)
#define RTE_REMOTE_IRR BIT64(14)
#define RTE_LEVEL BIT64(15)
#define RTE_BITS 0xff0000000001ffffull
#define IOAPICID_BITS 0x0f000000u
#define IOAPIC_PAGE 0xfec00000ull

enum { IOAPICID_SHIFT = 24 };

void ioapic_from_kvm(struct ioapic_state *ioapic, const struct kvm_ioapic_state *kvm, uint32_t lines)
{
    *ioapic = (struct ioapic_state){
        .id = kvm->id << IOAPICID_SHIFT & IOAPICID_BITS,
        .lines = lines & (uint32_t)bits_mask(IOAPIC_PINS),
        .select = (uint8_t)kvm->ioregsel,
    };
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = kvm->redirtbl[pin].bits & RTE_BITS & ~RTE_DELIVERY_STATUS;

        ioapic->redirection[pin] = entry & RTE_LEVEL ? entry : entry & ~RTE_REMOTE_IRR;
    }
}

/* An edge that was there before must not come again; a level must. */
void ioapic_to_kvm(struct kvm_ioapic_state *kvm, const struct ioapic_state *ioapic)
{
    memset(kvm, 0, sizeof(*kvm));
    kvm->base_address = IOAPIC_PAGE;
    kvm->ioregsel = ioapic->select;
    kvm->id = ioapic->id >> IOAPICID_SHIFT;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        kvm->redirtbl[pin].bits = ioapic->redirection[pin];
        if ((ioapic->redirection[pin] & RTE_LEVEL) && (ioapic->lines & BIT(pin)))
            kvm->irr |= BIT(pin);
    }
}

/* --- local APIC --- */

/* Offsets in the register page; a register has four bytes of its sixteen (SDM table 10-1). */
enum lapic_offset {
    OFFSET_ID = 0x20,
    OFFSET_VERSION = 0x30,
    OFFSET_TPR = 0x80,
    OFFSET_LDR = 0xd0,
    OFFSET_DFR = 0xe0,
    OFFSET_SVR = 0xf0,
    OFFSET_ISR = 0x100,
    OFFSET_TMR = 0x180,
    OFFSET_IRR = 0x200,
    OFFSET_ESR = 0x280,
    OFFSET_ICR = 0x300,
    OFFSET_ICR_HIGH = 0x310,
    OFFSET_TIMER_INITIAL = 0x380,
    OFFSET_TIMER_CURRENT = 0x390,
    OFFSET_TIMER_DIVIDE = 0x3e0,
    REGISTER_STRIDE = 0x10,
};

static const uint16_t lvt_offsets[LAPIC_LVT_COUNT] = {
    [LAPIC_LVT_TIMER] = 0x320, [LAPIC_LVT_THERMAL] = 0x330, [LAPIC_LVT_PERFORMANCE] = 0x340,
    [LAPIC_LVT_LINT0] = 0x350, [LAPIC_LVT_LINT1] = 0x360,   [LAPIC_LVT_ERROR] = 0x370,
};

#define LAPIC_VERSION_VALUE 0x01050014u /* six entries in the local vector table, EOI broadcast suppression */

enum {
    SVR_ENABLE = 1 << 8,
    SVR_BITS = 0x11ff,
    LVT_MASK = 1 << 16,
    LVT_TIMER_MODE = 3 << 17,
    LVT_TIMER_DEADLINE = 2 << 17,
    DIVIDE_BITS = 0xb,
    ILLEGAL_VECTORS = 0xffff, /* of the first word */
};

static uint32_t lapic_get(const struct kvm_lapic_state *kvm, unsigned offset)
{
    return (uint32_t)load_le(kvm->regs + offset, 4);
}

static void lapic_put(struct kvm_lapic_state *kvm, unsigned offset, uint32_t value)
{
    store_le(kvm->regs + offset, 4, value);
}

/* Bits 3, 1 and 0 choose 2, 4, ... 128, and 1. */
static uint64_t divisor(uint32_t divide)
{
    return 1ull << (((divide & 3) + ((divide & 8) >> 1) + 1) & 7);
}

static void vectors_from(uint32_t *words, const struct kvm_lapic_state *kvm, unsigned offset)
{
    for (unsigned i = 0; i < LAPIC_VECTOR_WORDS; i++)
        words[i] = lapic_get(kvm, offset + i * REGISTER_STRIDE);
    words[0] &= ~(uint32_t)ILLEGAL_VECTORS;
}

static void vectors_to(struct kvm_lapic_state *kvm, unsigned offset, const uint32_t *words)
{
    for (unsigned i = 0; i < LAPIC_VECTOR_WORDS; i++)
        lapic_put(kvm, offset + i * REGISTER_STRIDE, words[i]);
}

static void timer_from(struct lapic_state *lapic, const struct kvm_lapic_state *kvm, uint64_t tsc_deadline)
{
    uint32_t current = lapic_get(kvm, OFFSET_TIMER_CURRENT);

    lapic->timer_divide = lapic_get(kvm, OFFSET_TIMER_DIVIDE) & DIVIDE_BITS;
    lapic->timer_initial = lapic_get(kvm, OFFSET_TIMER_INITIAL);
    if ((lapic->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_DEADLINE) {
        lapic->tsc_deadline = tsc_deadline;
        return;
    }
    lapic->timer_running = lapic->timer_initial != 0 && current != 0;
    lapic->timer_left_ns = current * divisor(lapic->timer_divide); /* both timers count nanoseconds */
    if (!lapic->timer_running)
        lapic->timer_left_ns = 0;
}

/* In x2APIC mode the ICR is one register of 64 bits, which KVM keeps in both places. */
void lapic_from_kvm(struct lapic_state *lapic, const struct kvm_lapic_state *kvm, uint64_t apic_base,
                    uint64_t tsc_deadline)
{
    bool x2apic = apic_base & APIC_BASE_EXTD;

    memset(lapic, 0, sizeof(*lapic));
    lapic->apic_base = apic_base & (APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN | APIC_BASE_ADDRESS);
    lapic->icr = lapic_get(kvm, OFFSET_ICR) | (uint64_t)lapic_get(kvm, OFFSET_ICR_HIGH) << 32;
    vectors_from(lapic->isr, kvm, OFFSET_ISR);
    vectors_from(lapic->irr, kvm, OFFSET_IRR);
    vectors_from(lapic->tmr, kvm, OFFSET_TMR);
    lapic->svr = lapic_get(kvm, OFFSET_SVR) & SVR_BITS;
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        lapic->lvt[i] = lapic_get(kvm, lvt_offsets[i]) | (lapic->svr & SVR_ENABLE ? 0 : LVT_MASK);
    lapic->ldr = x2apic ? 0 : lapic_get(kvm, OFFSET_LDR) & 0xff000000u;
    lapic->dfr = x2apic ? UINT32_MAX : lapic_get(kvm, OFFSET_DFR) | 0x0fffffffu;
    lapic->esr = lapic_get(kvm, OFFSET_ESR);
    lapic->tpr = (uint8_t)lapic_get(kvm, OFFSET_TPR);
    timer_from(lapic, kvm, tsc_deadline);
}

static uint32_t x2apic_logical(uint32_t identifier)
{
    return (identifier >> 4) << 16 | 1u << (identifier & 15);
}

void lapic_to_kvm(struct kvm_lapic_state *kvm, const struct lapic_state *lapic, uint32_t identifier)
{
    bool x2apic = lapic->apic_base & APIC_BASE_EXTD;
    uint64_t divide = divisor(lapic->timer_divide);

    memset(kvm, 0, sizeof(*kvm));
    lapic_put(kvm, OFFSET_ID, x2apic ? identifier : identifier << 24);
    lapic_put(kvm, OFFSET_VERSION, LAPIC_VERSION_VALUE);
    lapic_put(kvm, OFFSET_TPR, lapic->tpr);
    lapic_put(kvm, OFFSET_LDR, x2apic ? x2apic_logical(identifier) : lapic->ldr);
    lapic_put(kvm, OFFSET_DFR, lapic->dfr);
    lapic_put(kvm, OFFSET_SVR, lapic->svr);
    vectors_to(kvm, OFFSET_ISR, lapic->isr);
    vectors_to(kvm, OFFSET_IRR, lapic->irr);
    vectors_to(kvm, OFFSET_TMR, lapic->tmr);
    lapic_put(kvm, OFFSET_ESR, lapic->esr);
    lapic_put(kvm, OFFSET_ICR, (uint32_t)lapic->icr);
    lapic_put(kvm, OFFSET_ICR_HIGH, (uint32_t)(lapic->icr >> 32));
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        lapic_put(kvm, lvt_offsets[i], lapic->lvt[i]);
    lapic_put(kvm, OFFSET_TIMER_INITIAL, lapic->timer_initial);
    lapic_put(kvm, OFFSET_TIMER_CURRENT,
              lapic->timer_running ? (uint32_t)((lapic->timer_left_ns + divide - 1) / divide) : 0);
    lapic_put(kvm, OFFSET_TIMER_DIVIDE, lapic->timer_divide);
}

/* --- 8254 --- */

/* How far KVM is with a count of two bytes. */
enum { STATE_LSB = 1, STATE_MSB = 2, STATE_WORD0 = 3, STATE_WORD1 = 4 };

enum { MODE_NONE = 0xff, MODE_MAX = 5, SPEAKER_CHANNEL = 2, NMI_SC_GATE2 = 1 << 0, NMI_SC_SPEAKER = 1 << 1 };

#define NS_PER_SECOND 1000000000ull

static uint64_t ticks_of(uint64_t ns)
{
    return ns / NS_PER_SECOND * PIT_HZ + ns % NS_PER_SECOND * PIT_HZ / NS_PER_SECOND;
}

static bool mode_is_periodic(unsigned mode)
{
    return mode == 2 || mode == 3;
}

/* Ticks since the count was loaded; of a periodic counter only where in its period it is. */
static uint64_t channel_elapsed(const struct kvm_pit_channel_state *kvm, uint64_t now_ns, uint32_t period)
{
    uint64_t loaded = kvm->count_load_time > 0 ? (uint64_t)kvm->count_load_time : 0;
    uint64_t elapsed = ticks_of(now_ns > loaded ? now_ns - loaded : 0);

    return mode_is_periodic(kvm->mode) ? elapsed % period : elapsed;
}

static uint32_t channel_period(const struct kvm_pit_channel_state *kvm)
{
    uint32_t count = kvm->count & 0xffff;

    if (count == 0)
        return PIT_LONGEST;
    return count == 1 && mode_is_periodic(kvm->mode) ? 2 : count;
}

static void channel_from(struct pit_channel *channel, const struct kvm_pit_channel_state *kvm, uint64_t now,
                         uint64_t now_ns)
{
    bool programmed = kvm->mode <= MODE_MAX && kvm->rw_mode >= PIT_RW_LSB && kvm->rw_mode <= PIT_RW_BOTH;
    bool stopped = !kvm->gate && kvm->mode != 1 && kvm->mode != MODE_MAX;
    uint32_t period = channel_period(kvm);
    uint64_t elapsed = channel_elapsed(kvm, now_ns, period);

    *channel = (struct pit_channel){
        .load_at = PIT_NEVER,
        .period = PIT_LONGEST,
        .control = PIT_RW_BOTH << PIT_CONTROL_RW_SHIFT,
        .activity = PIT_IDLE,
        .gate = kvm->gate != 0,
        .null_count = 1,
    };
    if (!programmed)
        return;
    channel->control =
        (uint8_t)(kvm->rw_mode << PIT_CONTROL_RW_SHIFT | kvm->mode << PIT_CONTROL_M_SHIFT | (kvm->bcd ? 1 : 0));
    channel->activity = stopped ? PIT_STOPPED : PIT_COUNTING;
    channel->held = stopped ? (elapsed < PIT_LONGEST ? elapsed : PIT_LONGEST) : 0;
    channel->start = stopped ? 0 : now - (elapsed < now ? elapsed : now);
    channel->period = period;
    channel->count = (uint16_t)kvm->count;
    channel->written = 1;
    channel->null_count = 0;
    channel->write_msb = kvm->write_state == STATE_WORD1;
    channel->write_lsb = kvm->write_latch;
    channel->read_msb = kvm->read_state == STATE_WORD1;
    channel->latch = kvm->latched_count;
    channel->latched = kvm->count_latched == STATE_WORD0 ? 2 : kvm->count_latched != 0;
    channel->status = kvm->status;
    channel->status_latched = kvm->status_latched != 0;
}

void pit_from_kvm(struct pit_state *pit, const struct kvm_pit_state2 *kvm, uint64_t now_ns, uint64_t elapsed_ns)
{
    uint64_t now = PIT_FIRST_TICK + ticks_of(elapsed_ns);

    memset(pit, 0, sizeof(*pit));
    pit->elapsed_ns = elapsed_ns;
    for (unsigned i = 0; i < PIT_CHANNELS; i++)
        channel_from(&pit->channels[i], &kvm->channels[i], now, now_ns);
    pit->channels[0].gate = pit->channels[1].gate = 1;
    pit->nmi_sc = pit->channels[SPEAKER_CHANNEL].gate ? NMI_SC_GATE2 : 0;
    if (kvm->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON)
        pit->nmi_sc |= NMI_SC_SPEAKER;
}

static uint8_t byte_state(unsigned rw, bool second)
{
    return rw == PIT_RW_BOTH ? (second ? STATE_WORD1 : STATE_WORD0) : (uint8_t)rw;
}

/* How KVM counts what is left to read of a latched count: by the bytes' names. */
static uint8_t latched_state(unsigned rw, unsigned left)
{
    if (left == 0)
        return 0;
    if (rw != PIT_RW_BOTH)
        return (uint8_t)rw;
    return left == 2 ? STATE_WORD0 : STATE_MSB;
}

/* A counter that has got no count yet has no mode for KVM: it would start it. */
static void channel_to(struct kvm_pit_channel_state *kvm, const struct pit_channel *channel)
{
    unsigned rw = channel->control >> PIT_CONTROL_RW_SHIFT, mode = (channel->control >> PIT_CONTROL_M_SHIFT) & 7;

    *kvm = (struct kvm_pit_channel_state){
        .count = channel->period,
        .latched_count = channel->latch,
        .count_latched = latched_state(rw, channel->latched),
        .status_latched = channel->status_latched,
        .status = channel->status,
        .read_state = byte_state(rw, channel->read_msb),
        .write_state = byte_state(rw, channel->write_msb),
        .write_latch = channel->write_lsb,
        .rw_mode = (uint8_t)rw,
        .mode = channel->activity == PIT_IDLE ? MODE_NONE : (uint8_t)(mode > MODE_MAX ? mode & 3 : mode),
        .bcd = channel->control & PIT_CONTROL_BCD,
        .gate = channel->gate,
    };
}

void pit_to_kvm(struct kvm_pit_state2 *kvm, const struct pit_state *pit)
{
    memset(kvm, 0, sizeof(*kvm));
    for (unsigned i = 0; i < PIT_CHANNELS; i++)
        channel_to(&kvm->channels[i], &pit->channels[i]);
    if (pit->nmi_sc & NMI_SC_SPEAKER)
        kvm->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
}
