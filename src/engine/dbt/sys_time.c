/*
 * The time stamp counter, and KVM's paravirtual clock made from it (Linux Documentation/virt/kvm/x86/msr.rst).
 *
 * The guest's TSC is the host's plus tsc_offset; all vCPUs share one base, from which a guest parts
 * only through IA32_TSC and IA32_TSC_ADJUST. kvmclock's zero is that base's zero: every vCPU gets the
 * same line through the same point, so the clock never steps back from one vCPU to another and may
 * say that it is stable.
 */
#include "engine/dbt/sys.h"

#include "port/clock.h"

enum { SYSTEM_TIME_ENABLE = 1, SYSTEM_TIME_SIZE = 32, WALL_CLOCK_SIZE = 12, TSC_STABLE = 1 };

/* nanoseconds = ((ticks << shift) * multiplier) >> 32; a negative shift goes right. */
struct scale {
    uint32_t multiplier;
    int8_t shift;
};

static uint64_t host_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | (uint64_t)high << 32;
}

uint64_t sys_tsc(const struct dbt_vcpu *c)
{
    return host_tsc() + c->tsc_offset;
}

static bool scale_make(const struct dbt_vcpu *c, struct scale *scale)
{
    uint64_t hz = sys_cpuid(c, CPUID_TIMING, 0).eax * 1000ull;

    scale->shift = 0;
    if (hz == 0)
        return false;
    for (; hz > 2 * NS_PER_SECOND; hz >>= 1)
        scale->shift--;
    for (; hz <= NS_PER_SECOND; hz <<= 1)
        scale->shift++;
    scale->multiplier = (uint32_t)((NS_PER_SECOND << 32) / hz);
    return true;
}

static uint64_t scale_apply(const struct scale *scale, uint64_t ticks)
{
    ticks = scale->shift < 0 ? ticks >> -scale->shift : ticks << scale->shift;
    return (uint64_t)((unsigned __int128)ticks * scale->multiplier >> 32);
}

/* Fill a structure that starts with a version: odd while it is being written. body leaves the version out. */
static bool versioned_write(struct dbt_vcpu *c, uint64_t address, const uint8_t *body, unsigned size)
{
    struct guest_memory *memory = &c->vcpu.machine->memory;
    uint8_t *to;
    uint32_t version;

    vector_save(c);
    to = memory_at(memory, address, size, true);
    if (!to)
        return false;
    version = ((uint32_t)load_le(to, 4) + 1) | 1;
    store_le(to, 4, version);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (unsigned i = 4; i < size; i++)
        to[i] = body[i];
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    store_le(to, 4, version + 1);
    memory_wrote(memory, address, size);
    return true;
}

bool kvmclock_set_system_time(struct dbt_vcpu *c, uint64_t value)
{
    uint8_t body[SYSTEM_TIME_SIZE] = {0};
    struct scale scale;

    if (value & SYSTEM_TIME_ENABLE) {
        if (!scale_make(c, &scale))
            return false;
        store_le(body + 8, 8, c->tsc_adjust); /* tsc_timestamp; system_time at 16 is 0 then */
        store_le(body + 24, 4, scale.multiplier);
        body[28] = (uint8_t)scale.shift;
        body[29] = TSC_STABLE;
        if (!versioned_write(c, value & ~(uint64_t)SYSTEM_TIME_ENABLE, body, SYSTEM_TIME_SIZE))
            return false;
    }
    c->kvm_system_time = value;
    return true;
}

bool kvmclock_set_wall_clock(struct dbt_vcpu *c, uint64_t value)
{
    uint8_t body[WALL_CLOCK_SIZE] = {0};
    struct clock *clock = c->vcpu.machine->clock;
    struct scale scale;
    uint64_t start;

    if (!scale_make(c, &scale))
        return false;
    vector_save(c);
    start = clock->wall_ns(clock) - scale_apply(&scale, sys_tsc(c) - c->tsc_adjust);
    store_le(body + 4, 4, start / NS_PER_SECOND);
    store_le(body + 8, 4, start % NS_PER_SECOND);
    if (!versioned_write(c, value, body, WALL_CLOCK_SIZE))
        return false;
    c->kvm_wall_clock = value;
    return true;
}

/* The guest moved its TSC; kvmclock follows, so that its time does not jump. */
static void tsc_moved(struct dbt_vcpu *c, uint64_t by)
{
    c->tsc_offset += by;
    c->tsc_adjust += by;
    if (c->kvm_system_time & SYSTEM_TIME_ENABLE)
        (void)kvmclock_set_system_time(c, c->kvm_system_time);
}

void sys_tsc_set(struct dbt_vcpu *c, uint64_t value)
{
    tsc_moved(c, value - sys_tsc(c));
}

void sys_tsc_adjust_set(struct dbt_vcpu *c, uint64_t value)
{
    tsc_moved(c, value - c->tsc_adjust);
}

static void require_tsc(struct dbt_vcpu *c)
{
    if ((c->cr4 & CR4_TSD) && c->cpl != 0)
        raise_fault(c, VECTOR_GP, 0);
}

static void result_set(struct dbt_vcpu *c, uint64_t value)
{
    c->gpr[GPR_RAX] = (uint32_t)value;
    c->gpr[GPR_RDX] = value >> 32;
}

void op_rdtsc(struct dbt_vcpu *c, const struct insn *insn)
{
    require_tsc(c);
    result_set(c, sys_tsc(c));
    insn_done(c, insn);
}

void op_rdtscp(struct dbt_vcpu *c, const struct insn *insn)
{
    if (!sys_feature(c, 0x80000001, 0, 3, 27))
        raise_fault(c, VECTOR_UD, -1);
    require_tsc(c);
    result_set(c, sys_tsc(c));
    c->gpr[GPR_RCX] = (uint32_t)c->tsc_aux;
    insn_done(c, insn);
}

void op_rdpid(struct dbt_vcpu *c, const struct insn *insn)
{
    if (!sys_feature(c, 7, 0, 2, 22))
        raise_fault(c, VECTOR_UD, -1);
    reg_set(c, insn->rm, code64(c) ? 8 : 4, false, (uint32_t)c->tsc_aux);
    insn_done(c, insn);
}

/* AMD's four counters are always there; they stand still. Intel's would be announced, and are not. */
void op_rdpmc(struct dbt_vcpu *c, const struct insn *insn)
{
    if (!(c->cr4 & CR4_PCE) && c->cpl != 0)
        raise_fault(c, VECTOR_GP, 0);
    if (!sys_vendor_amd(c) || (uint32_t)c->gpr[GPR_RCX] > 3)
        raise_fault(c, VECTOR_GP, 0);
    result_set(c, 0);
    insn_done(c, insn);
}
