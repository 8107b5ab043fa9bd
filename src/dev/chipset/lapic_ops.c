/* The local APIC as its own vCPU's engine calls it (core/vcpu.h, struct apic_ops): the lock is taken here. */
#include "core/trace.h"
#include "dev/chipset/lapic_internal.h"

enum { REGISTER_SHIFT = 4, REGISTER_BYTES = 4, TPR_CLASS_SHIFT = 4 };

static struct lapic *lapic_lock(void *apic)
{
    struct lapic *lapic = apic;

    lock_acquire(lapic->bus->lock);
    return lapic;
}

static void lapic_unlock(struct lapic *lapic)
{
    lock_release(lapic->bus->lock);
}

static int lapic_ops_acknowledge(void *apic)
{
    struct lapic *lapic = lapic_lock(apic);
    int vector = lapic_acknowledge(lapic);

    lapic_unlock(lapic);
    return vector;
}

/* Asked often: the hint, without the lock. Whoever sets it also sets ATTENTION_INTERRUPT, so none is missed. */
static bool lapic_ops_pending(void *apic)
{
    const struct lapic *lapic = apic;

    return __atomic_load_n(&lapic->deliverable, __ATOMIC_ACQUIRE);
}

static uint64_t lapic_ops_get_tpr(void *apic)
{
    struct lapic *lapic = lapic_lock(apic);
    uint64_t cr8 = lapic->state.tpr >> TPR_CLASS_SHIFT;

    lapic_unlock(lapic);
    return cr8;
}

static void lapic_ops_set_tpr(void *apic, uint64_t cr8)
{
    struct lapic *lapic = lapic_lock(apic);

    lapic->state.tpr = (uint8_t)(cr8 << TPR_CLASS_SHIFT);
    lapic_update(lapic);
    lapic_unlock(lapic);
}

static bool lapic_ops_read_msr(void *apic, uint32_t msr, uint64_t *value)
{
    struct lapic *lapic = lapic_lock(apic);
    bool done = true;

    if (msr == MSR_IA32_APIC_BASE)
        *value = lapic->state.apic_base;
    else if (msr == MSR_IA32_TSC_DEADLINE)
        *value = lapic->state.tsc_deadline;
    else
        done = msr >= MSR_IA32_X2APIC_FIRST && msr <= MSR_IA32_X2APIC_LAST &&
               lapic_read_x2apic(lapic, msr - MSR_IA32_X2APIC_FIRST, value);
    lapic_unlock(lapic);
    return done;
}

static bool lapic_ops_write_msr(void *apic, uint32_t msr, uint64_t value)
{
    struct lapic *lapic = lapic_lock(apic);
    bool done = true;

    if (msr == MSR_IA32_APIC_BASE)
        done = lapic_write_base(lapic, value);
    else if (msr == MSR_IA32_TSC_DEADLINE)
        lapic_timer_set_deadline(lapic, value);
    else
        done = msr >= MSR_IA32_X2APIC_FIRST && msr <= MSR_IA32_X2APIC_LAST &&
               lapic_write_x2apic(lapic, msr - MSR_IA32_X2APIC_FIRST, value);
    lapic_unlock(lapic);
    return done;
}

static bool lapic_page_visible(const struct lapic *lapic)
{
    return lapic_hardware_enabled(lapic) && !lapic_x2apic(lapic);
}

/* The register page lies on no bus, so its accesses are told here. */
static void lapic_access_traced(const struct lapic *lapic, uint32_t offset, unsigned size, bool write, uint32_t value)
{
    const struct trace *trace = &lapic->vcpu->machine->trace;

    if (trace_on(trace, TRACE_MMIO))
        trace_emit_access(trace, &lapic->device, "lapic", BUS_MEMORY,
                          (lapic->state.apic_base & APIC_BASE_ADDRESS) + offset, size, write, value);
}

/* A register is the first four of its sixteen bytes; narrow reads give the bytes they ask for. */
static bool lapic_ops_read(void *apic, uint32_t offset, unsigned size, uint32_t *value)
{
    struct lapic *lapic = lapic_lock(apic);
    bool visible = lapic_page_visible(lapic);
    unsigned byte = offset & ((1u << REGISTER_SHIFT) - 1);

    if (visible) {
        *value = 0;
        if (range_inside(byte, size, REGISTER_BYTES))
            *value = (uint32_t)(lapic_read_xapic(lapic, offset >> REGISTER_SHIFT) >> (8 * byte) & bits_mask(8 * size));
        lapic_access_traced(lapic, offset, size, false, *value);
    }
    lapic_unlock(lapic);
    return visible;
}

/* Only whole registers can be written (SDM 10.4.1); anything else is dropped. */
static bool lapic_ops_write(void *apic, uint32_t offset, unsigned size, uint32_t value)
{
    struct lapic *lapic = lapic_lock(apic);
    bool visible = lapic_page_visible(lapic);

    if (visible)
        lapic_access_traced(lapic, offset, size, true, value);
    if (visible && size == REGISTER_BYTES && offset % (1u << REGISTER_SHIFT) == 0)
        lapic_write_xapic(lapic, offset >> REGISTER_SHIFT, value);
    lapic_unlock(lapic);
    return visible;
}

static uint64_t lapic_ops_base(void *apic)
{
    struct lapic *lapic = lapic_lock(apic);
    uint64_t base = lapic->state.apic_base;

    lapic_unlock(lapic);
    return base;
}

static void lapic_ops_tsc_changed(void *apic)
{
    struct lapic *lapic = lapic_lock(apic);

    lapic_timer_tsc_changed(lapic);
    lapic_unlock(lapic);
}

static bool lapic_ops_send_ipi(void *apic, uint32_t command, uint32_t identifier)
{
    const uint32_t allowed = ICR_WRITABLE & ~(ICR_LOGICAL | 3u << ICR_SHORTHAND_SHIFT);
    struct lapic *lapic = apic;

    if (command & ~allowed)
        return false;
    lapic_lock(lapic);
    if (lapic_hardware_enabled(lapic))
        lapic_send_ipi(lapic, command, identifier, true);
    lapic_unlock(lapic);
    return true;
}

const struct apic_ops lapic_apic_ops = {
    .acknowledge = lapic_ops_acknowledge,
    .pending = lapic_ops_pending,
    .get_tpr = lapic_ops_get_tpr,
    .set_tpr = lapic_ops_set_tpr,
    .read_msr = lapic_ops_read_msr,
    .write_msr = lapic_ops_write_msr,
    .read = lapic_ops_read,
    .write = lapic_ops_write,
    .base = lapic_ops_base,
    .tsc_changed = lapic_ops_tsc_changed,
    .send_ipi = lapic_ops_send_ipi,
};
