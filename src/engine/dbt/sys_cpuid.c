/* The CPUID instruction, and what the other system instructions ask of the CPUID table. */
#include "engine/dbt/engine.h"
#include "engine/dbt/sys.h"

#include "x86/msr.h"

enum { VENDOR_EBX_AMD = 0x68747541 /* "Auth" */, VENDOR_EBX_HYGON = 0x6f677948 /* "Hygo" */ };

struct cpuid_result sys_cpuid(const struct dbt_vcpu *c, uint32_t leaf, uint32_t subleaf)
{
    const struct cpuid_table *table = &c->vcpu.machine->cpuid;

    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_leaf *entry = &table->leaves[i];

        if (entry->leaf == leaf && (!entry->subleaf_matters || entry->subleaf == subleaf))
            return entry->result;
    }
    return (struct cpuid_result){0};
}

#define FEATURE_SET BIT64(23)

bool sys_feature(const struct dbt_vcpu *c, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    const uint64_t key = (uint64_t)leaf << 32 | subleaf << 16 | reg << 8 | bit | 0x80;
    uint64_t *known = &c->dbt->features[(leaf * 5 + subleaf * 11 + reg * 7 + bit) % DBT_FEATURES];
    struct cpuid_result result;
    bool set;

    /* Asked for on hot paths and never changing: remembered, the answer in bit 7 of the third byte. */
    if ((*known & ~FEATURE_SET) == key)
        return (*known & FEATURE_SET) != 0;
    result = sys_cpuid(c, leaf, subleaf);
    set = (const uint32_t[4]){result.eax, result.ebx, result.ecx, result.edx}[reg] >> bit & 1;
    *known = key | (set ? FEATURE_SET : 0);
    return set;
}

bool sys_vendor_amd(const struct dbt_vcpu *c)
{
    uint32_t vendor = sys_cpuid(c, 0, 0).ebx;

    return vendor == VENDOR_EBX_AMD || vendor == VENDOR_EBX_HYGON;
}

unsigned sys_physical_bits(const struct dbt_vcpu *c)
{
    unsigned width = sys_cpuid(c, 0x80000008, 0).eax & 0xff;

    return width >= 32 && width <= 52 ? width : 36;
}

/* While the local APIC is switched off in IA32_APIC_BASE, CPUID does not show one. */
static void hide_apic(struct dbt_vcpu *c, struct cpuid_result *result)
{
    uint64_t base = APIC_BASE_EN;

    if (c->vcpu.apic_ops->read_msr(c->vcpu.apic, MSR_IA32_APIC_BASE, &base) && !(base & APIC_BASE_EN))
        result->edx &= ~BIT(9);
}

void op_cpuid(struct dbt_vcpu *c, const struct insn *insn)
{
    uint32_t leaf = (uint32_t)c->gpr[GPR_RAX];
    struct cpuid_result result;

    vector_save(c);
    result = cpuid_query(&c->vcpu.machine->cpuid, leaf, (uint32_t)c->gpr[GPR_RCX], c->vcpu.index, c->cr4, c->xcr0);
    if (leaf == 1 || (leaf == 0x80000001 && sys_vendor_amd(c)))
        hide_apic(c, &result);
    c->gpr[GPR_RAX] = result.eax;
    c->gpr[GPR_RBX] = result.ebx;
    c->gpr[GPR_RCX] = result.ecx;
    c->gpr[GPR_RDX] = result.edx;
    insn_done(c, insn);
}
