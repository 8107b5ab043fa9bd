/* Memory type range registers and the PAT (Intel SDM volume 3, sections 11.11 and 11.12). */
#include "engine/dbt/sys.h"

#include "x86/msr.h"

enum {
    MEMORY_TYPES = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6, /* UC, WC, WT, WP, WB */
    PAT_TYPES = MEMORY_TYPES | 1 << 7,                         /* and UC- */
    DEF_TYPE_BITS = 0xcff,
    MASK_VALID = 1 << 11
};

static bool types_valid(uint64_t value, unsigned allowed)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t type = value >> (8 * i) & 0xff;

        if (type > 7 || !(allowed & BIT(type)))
            return false;
    }
    return true;
}

bool pat_valid(uint64_t value)
{
    return types_valid(value, PAT_TYPES);
}

/* Index in mtrr_fixed, or -1. */
static int fixed_index(uint32_t msr)
{
    if (msr == MSR_IA32_MTRR_FIX64K_00000)
        return 0;
    if (msr == MSR_IA32_MTRR_FIX16K_80000 || msr == MSR_IA32_MTRR_FIX16K_A0000)
        return (int)(msr - MSR_IA32_MTRR_FIX16K_80000) + 1;
    if (msr >= MSR_IA32_MTRR_FIX4K_C0000 && msr <= MSR_IA32_MTRR_FIX4K_F8000)
        return (int)(msr - MSR_IA32_MTRR_FIX4K_C0000) + 3;
    return -1;
}

/* Where a register is kept, or NULL if it is none of these. */
static uint64_t *mtrr_slot(struct dbt_vcpu *c, uint32_t msr)
{
    uint32_t variable = msr - MSR_IA32_MTRR_PHYSBASE0;
    int fixed = fixed_index(msr);

    if (msr == MSR_IA32_MTRR_DEF_TYPE)
        return &c->mtrr_def_type;
    if (fixed >= 0)
        return &c->mtrr_fixed[fixed];
    if (variable < 2 * CPU_MTRR_VARIABLE)
        return variable & 1 ? &c->mtrr_mask[variable / 2] : &c->mtrr_base[variable / 2];
    return NULL;
}

bool mtrr_read(const struct dbt_vcpu *c, uint32_t msr, uint64_t *value)
{
    const uint64_t *slot = mtrr_slot((struct dbt_vcpu *)(uintptr_t)c, msr);

    if (slot)
        *value = *slot;
    return slot != NULL;
}

static bool mtrr_valid(const struct dbt_vcpu *c, uint32_t msr, uint64_t value)
{
    uint64_t address = bits_mask(sys_physical_bits(c)) & ~0xfffull;
    bool type_valid = (value & 0xff) <= 7 && (MEMORY_TYPES & BIT(value & 7));

    if (msr == MSR_IA32_MTRR_DEF_TYPE)
        return type_valid && !(value & ~(uint64_t)DEF_TYPE_BITS);
    if (fixed_index(msr) >= 0)
        return types_valid(value, MEMORY_TYPES);
    if (msr & 1)
        return !(value & ~(address | MASK_VALID));
    return type_valid && !(value & ~(address | 0xff));
}

bool mtrr_write(struct dbt_vcpu *c, uint32_t msr, uint64_t value)
{
    uint64_t *slot = mtrr_slot(c, msr);

    if (!slot || !mtrr_valid(c, msr, value))
        return false;
    *slot = value;
    return true;
}
