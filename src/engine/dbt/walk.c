#include "engine/dbt/walk.h"

#include "engine/dbt/engine.h"
#include "x86/paging.h"

bool ram_page(const struct dbt_engine *dbt, uint64_t physical, uint64_t *page, bool *read_only)
{
    const struct guest_memory *memory = dbt->memory;

    for (unsigned i = 0; i < memory->range_count; i++) {
        const struct memory_range *range = &memory->ranges[i];

        if (physical - range->base < range->size) {
            if (__atomic_load_n(&range->hidden, __ATOMIC_RELAXED))
                return false;
            *page = (physical - range->base + range->offset) >> PAGE_SHIFT;
            *read_only = range->read_only;
            return true;
        }
    }
    return false;
}

/* Where a table entry is, or NULL when it is not in memory. */
static void *entry_at(const struct dbt_engine *dbt, uint64_t physical, bool *read_only)
{
    uint64_t page;

    if (!ram_page(dbt, physical, &page, read_only))
        return NULL;
    return dbt->memory->host + (page << PAGE_SHIFT) + (physical & (PAGE_SIZE - 1));
}

/* The levels of one walk, from the root down. */
struct levels {
    uint64_t entries[5];
    void *at[5]; /* NULL: nothing can be written there */
    unsigned count;
    unsigned size; /* of an entry: 4 or 8 */
};

static bool load_entry(struct dbt_vcpu *c, struct levels *levels, uint64_t physical)
{
    bool read_only = false;
    void *at = entry_at(c->dbt, physical, &read_only);
    uint64_t entry;

    if (!at)
        entry = ~0ull & ~PTE_PS; /* what no device answers: reserved bits set */
    else if (levels->size == 8)
        entry = __atomic_load_n((uint64_t *)at, __ATOMIC_RELAXED);
    else
        entry = __atomic_load_n((uint32_t *)at, __ATOMIC_RELAXED);
    levels->at[levels->count] = read_only ? NULL : at;
    levels->entries[levels->count++] = entry;
    return (entry & PTE_P) != 0;
}

/* Set bits in a table entry the way the processor does, unless it changed meanwhile. */
static bool update_entry(struct dbt_vcpu *c, struct levels *levels, unsigned i, uint64_t bits)
{
    uint64_t old = levels->entries[i];

    if ((old & bits) == bits || !levels->at[i])
        return true;
    if (levels->size == 8) {
        if (!__atomic_compare_exchange_n((uint64_t *)levels->at[i], &old, old | bits, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST))
            return false;
    } else {
        uint32_t old32 = (uint32_t)old;

        if (!__atomic_compare_exchange_n((uint32_t *)levels->at[i], &old32, (uint32_t)(old | bits), false,
                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return false;
    }
    if (c->dbt->dirty) {
        uint64_t page = (uint64_t)((uint8_t *)levels->at[i] - c->dbt->memory->host) >> PAGE_SHIFT;

        __atomic_fetch_or(&c->dbt->dirty[page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
    }
    return true;
}

/* What the four paging formats differ in. */
struct format {
    unsigned top; /* levels, counting from 1 at the leaf */
    unsigned index_bits;
    bool nx; /* entries have an NX bit */
    uint64_t root;
};

static struct format current_format(const struct dbt_vcpu *c)
{
    if (long_mode(c))
        return (struct format){4, 9, (c->efer & EFER_NXE) != 0, c->cr3 & PTE_ADDRESS};
    if (c->cr4 & CR4_PAE)
        return (struct format){3, 9, (c->efer & EFER_NXE) != 0, c->cr3 & 0xffffffe0ull};
    return (struct format){2, 10, false, c->cr3 & 0xfffff000ull};
}

/* Reserved bits of a present entry at a level (1: page table). */
static bool reserved_set(const struct dbt_vcpu *c, const struct format *format, uint64_t entry, unsigned level,
                         bool leaf)
{
    uint64_t reserved;

    if (format->index_bits == 10)
        return leaf && level == 2 && (entry & 0x003fe000ull) != 0; /* no PSE-36: bits 21..13 */
    reserved = c->dbt->physical_reserved;
    if (!format->nx)
        reserved |= PTE_NX;
    if (format->top == 3) {
        reserved |= 0x7ff0000000000000ull;
        if (level == 3)
            return (entry & (reserved | PTE_NX | 0x1e6ull)) != 0;
    }
    if (leaf && level == 2)
        reserved |= 0x1fe000ull;
    if (leaf && level == 3)
        reserved |= 0x3fffe000ull;
    if (level == 4)
        reserved |= PTE_PS;
    return (entry & reserved) != 0;
}

static bool is_leaf(const struct dbt_vcpu *c, const struct format *format, uint64_t entry, unsigned level)
{
    if (level == 1)
        return true;
    if (!(entry & PTE_PS) || level == 4)
        return false;
    if (format->index_bits == 10)
        return (c->cr4 & CR4_PSE) != 0;
    return level == 2 || (level == 3 && format->top == 4);
}

/* Permissions, gathered over the levels: W and U are ANDed, NX ORed. */
static uint32_t check_rights(const struct dbt_vcpu *c, enum mmu_index mmu, enum mmu_access access, uint64_t rights,
                             bool nx, struct walk *walk)
{
    bool user_page = (rights & PTE_U) != 0;
    bool writable = (rights & PTE_W) != 0;
    bool smap = (c->cr4 & CR4_SMAP) && user_page && mmu == MMU_KERNEL;

    if (mmu == MMU_USER) {
        walk->readable = user_page;
        walk->writable = user_page && writable;
    } else {
        walk->readable = !smap;
        walk->writable = !smap && (writable || !(c->cr0 & CR0_WP));
    }
    switch (access) {
    case MMU_READ:
        return walk->readable ? 0 : PF_P;
    case MMU_WRITE:
        return walk->writable ? 0 : PF_P;
    case MMU_FETCH:
        if (nx || (mmu == MMU_USER && !user_page) || (mmu != MMU_USER && user_page && (c->cr4 & CR4_SMEP)))
            return PF_P;
        return 0;
    }
    return PF_P;
}

static uint32_t error_bits(const struct dbt_vcpu *c, enum mmu_index mmu, enum mmu_access access,
                           const struct format *format)
{
    uint32_t error = mmu == MMU_USER ? PF_U : 0;

    if (access == MMU_WRITE)
        error |= PF_W;
    if (access == MMU_FETCH && (format->nx || (c->cr4 & CR4_SMEP)))
        error |= PF_I;
    return error;
}

/* One attempt: 1 translated, 0 fault, -1 the tables changed under us. */
static int walk_once(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, enum mmu_access access, bool update,
                     struct walk *walk)
{
    const struct format format = current_format(c);
    struct levels levels = {.size = format.index_bits == 10 ? 4 : 8};
    uint64_t table = format.root;
    uint64_t rights = PTE_W | PTE_U;
    uint64_t entry = 0;
    bool nx = false;
    unsigned level = format.top;

    walk->error = error_bits(c, mmu, access, &format);
    for (;; level--) {
        unsigned shift = 12 + format.index_bits * (level - 1);
        unsigned bits = format.top == 3 && level == 3 ? 2 : format.index_bits;
        uint64_t index = (linear >> shift) & ((1u << bits) - 1);

        if (!load_entry(c, &levels, table + index * levels.size))
            return 0;
        entry = levels.entries[levels.count - 1];
        if (reserved_set(c, &format, entry, level, is_leaf(c, &format, entry, level))) {
            walk->error |= PF_P | PF_RSVD;
            return 0;
        }
        if (!(format.top == 3 && level == 3)) {
            rights &= entry;
            nx |= format.nx && (entry & PTE_NX);
        }
        if (is_leaf(c, &format, entry, level)) {
            uint64_t offset_mask = (1ull << shift) - 1;

            walk->physical =
                ((entry & (levels.size == 4 ? 0xfffff000ull : PTE_ADDRESS)) & ~offset_mask) | (linear & offset_mask);
            break;
        }
        table = entry & (levels.size == 4 ? 0xfffff000ull : PTE_ADDRESS);
    }
    walk->error |= check_rights(c, mmu, access, rights, nx, walk);
    if (walk->error & PF_P)
        return 0;
    walk->large = level > 1;
    walk->global = (entry & PTE_G) && (c->cr4 & CR4_PGE);
    if (update) {
        for (unsigned i = 0; i < levels.count; i++) {
            bool leaf = i == levels.count - 1;

            if (format.top == 3 && i == 0)
                continue; /* PDPTEs have no A bit */
            if (!levels.at[i] || !update_entry(c, &levels, i, PTE_A | (leaf && access == MMU_WRITE ? PTE_D : 0)))
                return -1;
        }
    }
    walk->writable = walk->writable && (access == MMU_WRITE || (entry & PTE_D));
    return 1;
}

bool walk_page(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, enum mmu_access access, bool update,
               struct walk *walk)
{
    int result;

    if (!(c->cr0 & CR0_PG)) {
        *walk = (struct walk){linear, true, true, false, false, 0};
        return true;
    }
    do
        result = walk_once(c, mmu, linear, access, update, walk);
    while (result < 0);
    return result != 0;
}
