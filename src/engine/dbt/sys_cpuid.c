/* The CPUID instruction, and what the other system instructions ask of the CPUID table. */
#include "engine/dbt/sys.h"

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

bool sys_feature(const struct dbt_vcpu *c, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    const struct cpuid_result result = sys_cpuid(c, leaf, subleaf);
    const uint32_t registers[4] = {result.eax, result.ebx, result.ecx, result.edx};

    return registers[reg] >> bit & 1;
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

void op_cpuid(struct dbt_vcpu *c, const struct insn *insn)
{
    struct cpuid_result result;

    vector_save(c);
    result = cpuid_query(&c->vcpu.machine->cpuid, (uint32_t)c->gpr[GPR_RAX], (uint32_t)c->gpr[GPR_RCX],
                         c->vcpu.index, c->cr4, c->xcr0);
    c->gpr[GPR_RAX] = result.eax;
    c->gpr[GPR_RBX] = result.ebx;
    c->gpr[GPR_RCX] = result.ecx;
    c->gpr[GPR_RDX] = result.edx;
    insn_done(c, insn);
}
