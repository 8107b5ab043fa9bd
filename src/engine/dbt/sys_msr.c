/*
 * RDMSR and WRMSR. Three kinds of register: those kept in struct dbt_vcpu as they are written; those
 * whose writing does something; and those that only have to read as something harmless
 * (x86/msr_fixed.h).
 *
 * Spec: Intel SDM volume 4, AMD APM volume 2 appendix A.
 */
#include "engine/dbt/sys.h"

#include "core/trace.h"
#include "port/log.h"
#include "x86/msr.h"
#include "x86/msr_fixed.h"

/* What a plain register accepts; anything else is #GP(0). */
enum msr_rule { MSR_ANY, MSR_CANONICAL, MSR_LOW_32, MSR_PAT_TYPES };

struct msr_plain {
    uint32_t msr;
    uint32_t offset; /* in struct dbt_vcpu */
    uint8_t rule;
};

#define PLAIN(number, member, rule)                                                                                    \
    {                                                                                                                  \
        number, offsetof(struct dbt_vcpu, member), rule                                                                \
    }

static const struct msr_plain plain_msrs[] = {
    PLAIN(MSR_FS_BASE, segment[SEG_FS].base, MSR_CANONICAL),
    PLAIN(MSR_GS_BASE, segment[SEG_GS].base, MSR_CANONICAL),
    PLAIN(MSR_KERNEL_GS_BASE, kernel_gs_base, MSR_CANONICAL),
    PLAIN(MSR_STAR, star, MSR_ANY),
    PLAIN(MSR_LSTAR, lstar, MSR_CANONICAL),
    PLAIN(MSR_CSTAR, cstar, MSR_CANONICAL),
    PLAIN(MSR_SFMASK, sfmask, MSR_LOW_32),
    PLAIN(MSR_IA32_SYSENTER_CS, sysenter_cs, MSR_LOW_32),
    PLAIN(MSR_IA32_SYSENTER_ESP, sysenter_esp, MSR_CANONICAL),
    PLAIN(MSR_IA32_SYSENTER_EIP, sysenter_eip, MSR_CANONICAL),
    PLAIN(MSR_TSC_AUX, tsc_aux, MSR_LOW_32),
    PLAIN(MSR_IA32_PAT, pat, MSR_PAT_TYPES),
    PLAIN(MSR_IA32_MISC_ENABLE, misc_enable, MSR_LOW_32),
};

static uint64_t *plain_find(struct dbt_vcpu *c, uint32_t msr, uint8_t *rule)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(plain_msrs); i++) {
        if (plain_msrs[i].msr == msr) {
            *rule = plain_msrs[i].rule;
            return (uint64_t *)(void *)((char *)c + plain_msrs[i].offset);
        }
    }
    return NULL;
}

static bool plain_valid(uint8_t rule, uint64_t value)
{
    switch (rule) {
    case MSR_CANONICAL:
        return canonical(value);
    case MSR_LOW_32:
        return value >> 32 == 0;
    case MSR_PAT_TYPES:
        return pat_valid(value);
    default:
        return true;
    }
}

static bool msr_is_apic(uint32_t msr)
{
    return msr == MSR_IA32_APIC_BASE || msr == MSR_IA32_TSC_DEADLINE ||
           (msr >= MSR_IA32_X2APIC_FIRST && msr <= MSR_IA32_X2APIC_LAST);
}

/* Speculation controls, by any of the CPUID bits that announce them. */
static bool has_spec_ctrl(const struct dbt_vcpu *c)
{
    return (sys_cpuid(c, 7, 0).edx & (BIT(26) | BIT(27) | BIT(31))) != 0 ||
           (sys_cpuid(c, 0x80000008, 0).ebx & (BIT(14) | BIT(15) | BIT(24))) != 0;
}

static bool has_prediction_barrier(const struct dbt_vcpu *c)
{
    return sys_feature(c, 7, 0, 3, 26) || sys_feature(c, 0x80000008, 0, 1, 12);
}

static uint64_t efer_valid(const struct dbt_vcpu *c)
{
    static const struct {
        uint32_t leaf;
        uint8_t reg, bit;
        uint64_t flags;
    } features[] = {
        {0x80000001, 3, 11, EFER_SCE}, {0x80000001, 3, 29, EFER_LME | EFER_LMA},
        {0x80000001, 3, 20, EFER_NXE}, {0x80000001, 3, 25, EFER_FFXSR},
        {0x80000001, 2, 17, EFER_TCE}, {0x80000021, 0, 8, BIT64(21)},
    };
    uint64_t valid = 0;

    for (unsigned i = 0; i < ARRAY_LENGTH(features); i++) {
        if (sys_feature(c, features[i].leaf, 0, features[i].reg, features[i].bit))
            valid |= features[i].flags;
    }
    return valid;
}

static bool efer_write(struct dbt_vcpu *c, uint64_t value)
{
    uint64_t changed;

    value = (value & ~EFER_LMA) | (c->efer & EFER_LMA);
    changed = value ^ c->efer;
    if ((value & ~efer_valid(c) & ~EFER_LMA) || ((changed & EFER_LME) && (c->cr0 & CR0_PG)))
        return false;
    c->efer = value;
    control_tell(c, "efer", value);
    if (changed & EFER_NXE)
        mmu_flush_all(c);
    mode_update(c);
    return true;
}

/* KVM's paravirtual registers: only those whose feature bit is served. */
static bool kvm_clock_served(const struct dbt_vcpu *c, uint32_t msr)
{
    bool old = msr == MSR_KVM_WALL_CLOCK || msr == MSR_KVM_SYSTEM_TIME;

    return sys_feature(c, 0x40000001, 0, 0, old ? 0 : 3);
}

static bool special_read(struct dbt_vcpu *c, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case MSR_IA32_TSC:
        *value = sys_tsc(c);
        return true;
    case MSR_IA32_TSC_ADJUST:
        *value = c->tsc_adjust;
        return true;
    case MSR_IA32_EFER:
        *value = c->efer;
        return true;
    case MSR_IA32_SPEC_CTRL:
        *value = c->spec_ctrl;
        return has_spec_ctrl(c);
    case MSR_IA32_ARCH_CAPABILITIES:
        *value = c->vcpu.machine->cpuid.arch_capabilities;
        return sys_feature(c, 7, 0, 3, 29);
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_NEW:
        *value = c->kvm_system_time;
        return kvm_clock_served(c, msr);
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_NEW:
        *value = c->kvm_wall_clock;
        return kvm_clock_served(c, msr);
    default:
        return false;
    }
}

static bool special_write(struct dbt_vcpu *c, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_IA32_TSC:
        sys_tsc_set(c, value);
        return true;
    case MSR_IA32_TSC_ADJUST:
        sys_tsc_adjust_set(c, value);
        return true;
    case MSR_IA32_EFER:
        return efer_write(c, value);
    case MSR_IA32_SPEC_CTRL:
        if (!has_spec_ctrl(c) || (value & ~0x87ull)) /* IBRS, STIBP, SSBD, PSFD */
            return false;
        c->spec_ctrl = value;
        return true;
    case MSR_IA32_PRED_CMD:
        return has_prediction_barrier(c) && !(value & ~1ull);
    case MSR_IA32_FLUSH_CMD:
        return sys_feature(c, 7, 0, 3, 28) && !(value & ~1ull);
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_NEW:
        return kvm_clock_served(c, msr) && kvmclock_set_system_time(c, value);
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_NEW:
        return kvm_clock_served(c, msr) && kvmclock_set_wall_clock(c, value);
    default:
        return false;
    }
}

static bool msr_read(struct dbt_vcpu *c, uint32_t msr, uint64_t *value)
{
    const uint64_t *plain;
    uint8_t rule;

    if (msr_is_apic(msr)) {
        vector_save(c);
        return c->vcpu.apic_ops->read_msr(c->vcpu.apic, msr, value);
    }
    plain = plain_find(c, msr, &rule);
    if (plain) {
        *value = *plain;
        return true;
    }
    return special_read(c, msr, value) || mtrr_read(c, msr, value) ||
           msr_fixed_read(&c->vcpu.machine->cpuid, msr, value);
}

static bool msr_write(struct dbt_vcpu *c, uint32_t msr, uint64_t value)
{
    uint64_t *plain;
    uint8_t rule;

    if (msr_is_apic(msr)) {
        vector_save(c);
        return c->vcpu.apic_ops->write_msr(c->vcpu.apic, msr, value);
    }
    plain = plain_find(c, msr, &rule);
    if (plain) {
        if (!plain_valid(rule, value))
            return false;
        *plain = value;
        return true;
    }
    return special_write(c, msr, value) || mtrr_write(c, msr, value) ||
           msr_fixed_write(&c->vcpu.machine->cpuid, msr, value);
}

static void msr_tell(struct dbt_vcpu *c, uint32_t msr, bool write, uint64_t value, bool refused)
{
    if (!vcpu_traced(&c->vcpu, TRACE_MSR))
        return;
    vector_save(c);
    trace_msr(&c->vcpu, msr, write, value, refused, c->rip);
}

static _Noreturn void msr_refuse(struct dbt_vcpu *c, const char *what, uint32_t msr)
{
    static struct log_limit limit;

    if (log_allowed(&limit, 64)) {
        vector_save(c);
        log_debug("vcpu %u: %s of MSR 0x%x at 0x%llx refused with #GP", c->vcpu.index, what, msr,
                  (unsigned long long)c->rip);
    }
    raise_fault(c, VECTOR_GP, 0);
}

void op_rdmsr(struct dbt_vcpu *c, const struct insn *insn)
{
    uint32_t msr = (uint32_t)c->gpr[GPR_RCX];
    uint64_t value = 0;

    bool done;

    require_cpl0(c);
    done = msr_read(c, msr, &value);
    msr_tell(c, msr, false, value, !done);
    if (!done)
        msr_refuse(c, "read", msr);
    c->gpr[GPR_RAX] = (uint32_t)value;
    c->gpr[GPR_RDX] = value >> 32;
    insn_done(c, insn);
}

void op_wrmsr(struct dbt_vcpu *c, const struct insn *insn)
{
    uint32_t msr = (uint32_t)c->gpr[GPR_RCX];
    uint64_t value = (uint32_t)c->gpr[GPR_RAX] | c->gpr[GPR_RDX] << 32;
    bool done;

    require_cpl0(c);
    done = msr_write(c, msr, value);
    msr_tell(c, msr, true, value, !done);
    if (!done)
        msr_refuse(c, "write", msr);
    insn_done(c, insn);
}
