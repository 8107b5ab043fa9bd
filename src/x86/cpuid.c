/*
 * What a table answers. How one is built is in cpuid_models.c.
 *
 * Intel: SDM volume 2, CPUID. AMD: APM volume 3, appendix E. KVM's leaves: Linux
 * Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "x86/cpuid.h"

#include "base/bits.h"
#include "x86/cpuid_features.h"
#include "x86/regs.h"

enum {
    LEAF1_ECX_OSXSAVE = 1 << 27,
    SUBLEAF_D_ALIGNED = 1 << 1, /* ECX: in the compacted format, the component begins at a multiple of 64 */
    XSAVE_LEGACY_AND_HEADER = 512 + 64,
    VENDOR_EBX_INTEL = 0x756e6547, /* "Genu" */
};

struct cpuid_result cpuid_host(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_result result;

    __asm__ volatile("cpuid"
                     : "=a"(result.eax), "=b"(result.ebx), "=c"(result.ecx), "=d"(result.edx)
                     : "0"(leaf), "2"(subleaf));
    return result;
}

static const struct cpuid_leaf *find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_leaf *entry = &table->leaves[i];

        if (entry->leaf == leaf && (!entry->subleaf_matters || entry->subleaf == subleaf))
            return entry;
    }
    return NULL;
}

static bool in_range(const struct cpuid_table *table, uint32_t leaf)
{
    if (leaf >= 0x80000000)
        return leaf <= table->max_extended;
    if (leaf >= 0x40000000 && leaf <= 0x4fffffff)
        return true; /* a hypervisor's own range: what it does not know is zero on both vendors' */
    return leaf <= table->max_basic;
}

/* The size of a compacted XSAVE area (SDM volume 1, 13.4.3). */
static uint32_t compacted_size(const struct cpuid_table *table, uint64_t xcr0)
{
    uint32_t size = XSAVE_LEGACY_AND_HEADER;

    for (uint32_t component = 2; component < 63; component++) {
        const struct cpuid_leaf *entry;

        if (!(xcr0 & BIT64(component)))
            continue;
        entry = find(table, 0xd, component);
        if (entry == NULL)
            continue;
        if (entry->result.ecx & SUBLEAF_D_ALIGNED)
            size = (uint32_t)align_up(size, 64);
        size += entry->result.eax;
    }
    return size;
}

uint32_t cpuid_xsave_size(const struct cpuid_table *table, uint64_t xcr0)
{
    uint32_t size = XSAVE_LEGACY_AND_HEADER;

    for (uint32_t component = 2; component < 63; component++) {
        const struct cpuid_leaf *entry;

        if (!(xcr0 & BIT64(component)))
            continue;
        entry = find(table, 0xd, component);
        if (entry && entry->result.ebx + entry->result.eax > size)
            size = entry->result.ebx + entry->result.eax;
    }
    return size;
}

/* The parts that depend on who asks, and when. */
static void make_current(const struct cpuid_table *table, struct cpuid_result *result, uint32_t leaf, uint32_t subleaf,
                         uint32_t apic_id, uint64_t cr4, uint64_t xcr0)
{
    switch (leaf) {
    case 1:
        result->ebx = (result->ebx & 0x00ffffff) | apic_id << 24;
        if (cr4 & CR4_OSXSAVE)
            result->ecx |= LEAF1_ECX_OSXSAVE;
        break;
    case 0xb:
        result->ecx |= subleaf & 0xff;
        result->edx = apic_id;
        break;
    case 0xd:
        if (subleaf == 0 && result->eax != 0)
            result->ebx = cpuid_xsave_size(table, xcr0);
        else if (subleaf == 1 && cpuid_has(table, 0xd, 1, EAX, 1))
            result->ebx = compacted_size(table, xcr0);
        break;
    case 0x8000001e:
        result->eax = apic_id;
        result->ebx = apic_id & 0xff;
        break;
    }
}

struct cpuid_result cpuid_query(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, uint32_t apic_id,
                                uint64_t cr4, uint64_t xcr0)
{
    struct cpuid_result result = {0, 0, 0, 0};
    const struct cpuid_leaf *entry;

    if (!in_range(table, leaf)) {
        entry = find(table, 0, 0);
        if (entry == NULL || entry->result.ebx != VENDOR_EBX_INTEL)
            return result;
        leaf = table->max_basic; /* Intel answers with the highest basic leaf, AMD with zeros */
    }
    entry = find(table, leaf, subleaf);
    if (entry)
        result = entry->result;
    if (entry || leaf == 0xb)
        make_current(table, &result, leaf, subleaf, apic_id, cr4, xcr0);
    return result;
}

bool cpuid_has(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    const struct cpuid_leaf *entry = find(table, leaf, subleaf);

    if (entry == NULL || reg > EDX || bit > 31)
        return false;
    return ((const uint32_t[]){entry->result.eax, entry->result.ebx, entry->result.ecx, entry->result.edx})[reg] >>
               bit &
           1;
}
