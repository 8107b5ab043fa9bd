/* KVM's interrupt controllers and timer, in the kernel: created, signalled, saved and restored. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "engine/kvm/irqchip_convert.h"
#include "port/clock.h"
#include "port/log.h"
#include "x86/msr.h"

/*
 * KVM makes up for ticks of the timer that a guest has missed, where our model merges them. That could be switched off,
 * for fifteen milliseconds at each start, while the kernel waits for all its processors.
 */
enum status kvm_irqchip_create(struct kvm_engine *kvm)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    uint64_t x2apic = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
    enum status status = KVM_REQUEST(kvm->vm, KVM_CREATE_IRQCHIP, NULL);

    if (status == STATUS_OK)
        status = KVM_REQUEST(kvm->vm, KVM_CREATE_PIT2, &pit);
    if (status == STATUS_OK)
        status = kvm_enable(kvm->vm, KVM_CAP_X2APIC_API, x2apic, "KVM_CAP_X2APIC_API");
    return status == STATUS_OK ? kvm_routes_set(kvm) : status;
}

/* --- lines --- */

static void set_line(const struct kvm_engine *kvm, uint32_t gsi, bool level)
{
    static struct log_limit limit;
    struct kvm_irq_level line = {.irq = gsi, .level = level};

    if (ioctl(kvm->vm, KVM_IRQ_LINE, &line) < 0 && log_allowed(&limit, 8))
        log_error("engine kvm: KVM_IRQ_LINE %u: %s", gsi, strerror(errno));
}

static void irqchip_set_ioapic(struct engine *engine, unsigned pin, bool level)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);

    if (pin == 0 || pin == TIMER_PIN || pin >= IOAPIC_PINS)
        return;
    kvm->ioapic_lines = level ? kvm->ioapic_lines | BIT(pin) : kvm->ioapic_lines & ~BIT(pin);
    set_line(kvm, GSI_IOAPIC + pin, level);
}

static void irqchip_set_pic(struct engine *engine, unsigned pin, bool level)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);

    if (pin == TIMER_IRQ || pin == CASCADE_IRQ || pin >= PIC_PINS)
        return;
    kvm->pic_lines = level ? kvm->pic_lines | BIT(pin) : kvm->pic_lines & ~BIT(pin);
    set_line(kvm, GSI_PIC + pin, level);
}

/* --- 8259A pair --- */

static enum status pic_get(struct kvm_engine *kvm, struct pic_state *pic)
{
    for (unsigned i = 0; i < PIC_CHIPS; i++) {
        struct kvm_irqchip chip = {.chip_id = i == PIC_MASTER ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE};
        enum status status = KVM_REQUEST(kvm->vm, KVM_GET_IRQCHIP, &chip);

        if (status != STATUS_OK)
            return status;
        pic_chip_from_kvm(&pic->chips[i], &chip.chip.pic, i == PIC_MASTER, (uint8_t)(kvm->pic_lines >> PIC_HALF * i));
    }
    return STATUS_OK;
}

static enum status pic_set(struct kvm_engine *kvm, const struct pic_state *pic)
{
    for (unsigned i = 0; i < PIC_CHIPS; i++) {
        struct kvm_irqchip chip = {.chip_id = i == PIC_MASTER ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE};
        enum status status;

        pic_chip_to_kvm(&chip.chip.pic, &pic->chips[i], i == PIC_MASTER);
        status = KVM_REQUEST(kvm->vm, KVM_SET_IRQCHIP, &chip);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* --- I/O APIC --- */

static enum status ioapic_get(struct kvm_engine *kvm, struct ioapic_state *ioapic)
{
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    enum status status = KVM_REQUEST(kvm->vm, KVM_GET_IRQCHIP, &chip);

    if (status == STATUS_OK)
        ioapic_from_kvm(ioapic, &chip.chip.ioapic, kvm->ioapic_lines);
    return status;
}

static enum status ioapic_set(struct kvm_engine *kvm, const struct ioapic_state *ioapic)
{
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

    ioapic_to_kvm(&chip.chip.ioapic, ioapic);
    return KVM_REQUEST(kvm->vm, KVM_SET_IRQCHIP, &chip);
}

/* --- 8254 --- */

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static enum status pit_get(struct kvm_engine *kvm, struct pit_state *pit)
{
    struct clock *clock = kvm->engine.machine->clock;
    struct kvm_pit_state2 state;
    enum status status = KVM_REQUEST(kvm->vm, KVM_GET_PIT2, &state);

    if (status == STATUS_OK)
        pit_from_kvm(pit, &state, monotonic_ns(), clock->monotonic_ns(clock));
    return status;
}

static enum status pit_set(struct kvm_engine *kvm, const struct pit_state *pit)
{
    struct kvm_pit_state2 state;

    pit_to_kvm(&state, pit);
    return KVM_REQUEST(kvm->vm, KVM_SET_PIT2, &state);
}

/* --- local APICs --- */

static enum status lapic_get(const struct kvm_cpu *cpu, struct lapic_state *lapic)
{
    struct kvm_lapic_state state;
    uint64_t apic_base = 0, tsc_deadline = 0;
    enum status status = kvm_msr_get(cpu, MSR_IA32_APIC_BASE, &apic_base);

    if (status == STATUS_OK)
        status = kvm_msr_get(cpu, MSR_IA32_TSC_DEADLINE, &tsc_deadline);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_GET_LAPIC, &state);
    if (status == STATUS_OK)
        lapic_from_kvm(lapic, &state, apic_base, tsc_deadline);
    return status;
}

/* The deadline after the mode that it needs. */
static enum status lapic_set(const struct kvm_cpu *cpu, const struct lapic_state *lapic)
{
    struct kvm_lapic_state state;
    enum status status = kvm_msr_set(cpu, MSR_IA32_APIC_BASE, lapic->apic_base);

    lapic_to_kvm(&state, lapic, cpu->vcpu.index);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_SET_LAPIC, &state);
    if (status == STATUS_OK && lapic->tsc_deadline)
        status = kvm_msr_set(cpu, MSR_IA32_TSC_DEADLINE, lapic->tsc_deadline);
    return status;
}

/* --- by part --- */

static enum status irqchip_get(struct engine *engine, enum irqchip_part part, unsigned index, void *state)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);

    switch (part) {
    case IRQCHIP_PIC:
        return pic_get(kvm, state);
    case IRQCHIP_IOAPIC:
        return ioapic_get(kvm, state);
    case IRQCHIP_PIT:
        return pit_get(kvm, state);
    default:
        return index < kvm->cpu_count ? lapic_get(kvm->cpus[index], state) : STATUS_INVALID;
    }
}

static enum status irqchip_set(struct engine *engine, enum irqchip_part part, unsigned index, const void *state)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);

    switch (part) {
    case IRQCHIP_PIC:
        return pic_set(kvm, state);
    case IRQCHIP_IOAPIC:
        return ioapic_set(kvm, state);
    case IRQCHIP_PIT:
        return pit_set(kvm, state);
    default:
        return index < kvm->cpu_count ? lapic_set(kvm->cpus[index], state) : STATUS_INVALID;
    }
}

const struct irqchip_ops kvm_irqchip_ops = {
    .set_ioapic = irqchip_set_ioapic,
    .set_pic = irqchip_set_pic,
    .send_msi = kvm_message_send,
    .get = irqchip_get,
    .set = irqchip_set,
};
