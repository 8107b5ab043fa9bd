/* Segment descriptors: how they are read, judged and taken into segment registers. */
#include "engine/dbt/sys.h"

static struct segment_state descriptor_segment(uint16_t selector, uint32_t low, uint32_t high)
{
    struct segment_state segment = {
        .base = (low >> 16) | (uint64_t)(high & 0xff) << 16 | (high & 0xff000000u),
        .limit = (low & 0xffff) | (high & 0xf0000),
        .selector = selector,
        .attributes = (uint16_t)((high >> 8) & 0xf0ff),
    };

    if (segment.attributes & SEGMENT_G)
        segment.limit = segment.limit << 12 | 0xfff;
    return segment;
}

/* The table of a selector. False: there is none. */
static bool descriptor_table(const struct dbt_vcpu *c, uint16_t selector, uint64_t *base, uint32_t *limit)
{
    const struct segment_state *ldtr = &c->segment[SEG_LDTR];

    if (!(selector & SELECTOR_TI)) {
        *base = c->gdt_base;
        *limit = c->gdt_limit;
        return true;
    }
    *base = ldtr->base;
    *limit = ldtr->limit;
    return !(ldtr->attributes & SEGMENT_UNUSABLE) && segment_is_present(ldtr);
}

bool descriptor_fetch(struct dbt_vcpu *c, uint16_t selector, struct descriptor *d)
{
    uint64_t base, words;
    uint32_t limit, offset = selector & SELECTOR_INDEX;

    if (selector_null(selector) || !descriptor_table(c, selector, &base, &limit) || offset + 7 > limit)
        return false;
    d->address = long_mode(c) ? base + offset : (uint32_t)(base + offset);
    words = mmu_read_as(c, MMU_KERNEL, d->address, 8);
    d->low = (uint32_t)words;
    d->high = (uint32_t)(words >> 32);
    d->upper = 0;
    d->segment = descriptor_segment(selector, d->low, d->high);
    return true;
}

bool descriptor_fetch_upper(struct dbt_vcpu *c, struct descriptor *d)
{
    uint64_t base, words;
    uint32_t limit;

    if (!descriptor_table(c, d->segment.selector, &base, &limit))
        return false;
    if ((d->segment.selector & SELECTOR_INDEX) + 15u > limit)
        return false;
    words = mmu_read_as(c, MMU_KERNEL, d->address + 8, 8);
    d->upper = (uint32_t)words;
    d->segment.base = (uint32_t)d->segment.base | (uint64_t)d->upper << 32;
    return ((words >> 40) & 0x1f) == 0; /* the type field of the second half */
}

void descriptor_set_accessed(struct dbt_vcpu *c, struct descriptor *d)
{
    uint32_t accessed = (uint32_t)TYPE_ACCESSED << 8, old = d->high;

    if (!(old & accessed)) {
        /* A table that nothing aligns gets the byte alone; other CPUs see it all the same. */
        if (d->address & 3)
            mmu_write_as(c, MMU_KERNEL, d->address + 5, 1, (old | accessed) >> 8);
        else
            while (!mmu_compare_exchange(c, MMU_KERNEL, d->address + 4, old, old | accessed))
                old = (uint32_t)mmu_read_as(c, MMU_KERNEL, d->address + 4, 4);
    }
    d->high |= accessed;
    d->segment.attributes |= TYPE_ACCESSED;
}

bool descriptor_set_busy(struct dbt_vcpu *c, struct descriptor *d)
{
    uint32_t busy = d->high | 2u << 8;

    if (d->address & 3)
        mmu_write_as(c, MMU_KERNEL, d->address + 5, 1, busy >> 8);
    else if (!mmu_compare_exchange(c, MMU_KERNEL, d->address + 4, d->high, busy))
        return false;
    d->high = busy;
    d->segment.attributes |= 2;
    return true;
}

void descriptor_fetch_stack(struct dbt_vcpu *c, uint16_t selector, unsigned cpl, unsigned vector, unsigned ext,
                            struct descriptor *d)
{
    if (!descriptor_fetch(c, selector, d) || (selector & SELECTOR_RPL) != cpl ||
        !segment_is_writable_data(&d->segment) || segment_dpl(&d->segment) != cpl)
        raise_selector(c, vector, selector, ext);
    if (!segment_is_present(&d->segment))
        raise_selector(c, VECTOR_SS, selector, ext);
}

struct segment_state segment_fetch_return_stack(struct dbt_vcpu *c, uint16_t selector, unsigned cpl, bool to_64)
{
    struct descriptor d;

    if (selector_null(selector)) {
        if (!to_64 || cpl == 3 || (selector & SELECTOR_RPL) != cpl)
            raise_fault(c, VECTOR_GP, 0);
        return segment_null_stack(cpl);
    }
    descriptor_fetch_stack(c, selector, cpl, VECTOR_GP, 0, &d);
    descriptor_set_accessed(c, &d);
    return d.segment;
}

struct segment_state segment_null(uint16_t selector)
{
    struct segment_state segment = {.selector = selector, .attributes = SEGMENT_UNUSABLE};

    return segment;
}

void segment_set_null(struct dbt_vcpu *c, enum segment which, uint16_t selector)
{
    uint64_t base = c->segment[which].base;

    c->segment[which] = segment_null(selector);
    if (which >= SEG_FS && sys_vendor_amd(c) && !sys_feature(c, 0x80000021, 0, 0, 6))
        c->segment[which].base = base;
}

struct segment_state segment_null_stack(unsigned cpl)
{
    struct segment_state segment = {
        .selector = (uint16_t)cpl,
        .attributes = (uint16_t)(SEGMENT_UNUSABLE | cpl << SEGMENT_DPL_SHIFT),
    };

    return segment;
}

struct segment_state segment_flat(uint16_t selector, unsigned type, unsigned dpl, unsigned attributes)
{
    struct segment_state segment = {
        .limit = UINT32_MAX,
        .selector = selector,
        .attributes = (uint16_t)(type | SEGMENT_S | SEGMENT_P | SEGMENT_G | dpl << SEGMENT_DPL_SHIFT | attributes),
    };

    return segment;
}

void code_check_offset(struct dbt_vcpu *c, const struct segment_state *code, uint64_t offset, unsigned ext)
{
    if (segment_is_64(c, code) ? !canonical(offset) : offset > code->limit)
        raise_fault(c, VECTOR_GP, (int32_t)ext);
}

void descriptor_fetch_return(struct dbt_vcpu *c, uint16_t selector, struct descriptor *d)
{
    unsigned rpl = selector & SELECTOR_RPL;

    if (selector_null(selector))
        raise_fault(c, VECTOR_GP, 0);
    if (!descriptor_fetch(c, selector, d) || !segment_is_code(&d->segment) || rpl < c->cpl)
        raise_selector(c, VECTOR_GP, selector, 0);
    if (segment_is_conforming(&d->segment) ? segment_dpl(&d->segment) > rpl : segment_dpl(&d->segment) != rpl)
        raise_selector(c, VECTOR_GP, selector, 0);
    if (long_mode(c) && (d->segment.attributes & SEGMENT_L) && (d->segment.attributes & SEGMENT_DB))
        raise_selector(c, VECTOR_GP, selector, 0);
    if (!segment_is_present(&d->segment))
        raise_selector(c, VECTOR_NP, selector, 0);
}

uint64_t tss_stack_64(struct dbt_vcpu *c, unsigned slot, unsigned ext)
{
    const struct segment_state *tr = &c->segment[SEG_TR];
    uint32_t offset = 4 + 8 * slot;
    uint64_t pointer;

    if (offset + 7 > tr->limit)
        raise_selector(c, VECTOR_TS, tr->selector, ext);
    pointer = mmu_read_as(c, MMU_KERNEL, tr->base + offset, 8);
    if (!canonical(pointer))
        raise_fault(c, VECTOR_SS, (int32_t)ext);
    return pointer;
}

/* SS:ESP of an inner level from a 16-bit or 32-bit TSS. */
static uint16_t tss_stack_32(struct dbt_vcpu *c, unsigned cpl, unsigned ext, uint64_t *pointer)
{
    const struct segment_state *tr = &c->segment[SEG_TR];
    bool wide = (segment_type(tr) & ~2u) == SYSTEM_TSS;
    unsigned size = wide ? 4 : 2;
    uint32_t offset = wide ? 4 + 8 * cpl : 2 + 4 * cpl;

    if (offset + size + 1 > tr->limit)
        raise_selector(c, VECTOR_TS, tr->selector, ext);
    *pointer = mmu_read_as(c, MMU_KERNEL, (uint32_t)(tr->base + offset), size);
    return (uint16_t)mmu_read_as(c, MMU_KERNEL, (uint32_t)(tr->base + offset + size), 2);
}

void stack_open_inner(struct dbt_vcpu *c, unsigned cpl, unsigned ext, struct stack *stack)
{
    struct descriptor d;
    uint64_t pointer;
    uint16_t selector;

    if (long_mode(c)) {
        struct segment_state null = segment_null_stack(cpl);

        stack_open_level(stack, &null, tss_stack_64(c, cpl, ext), cpl, true, ext);
        return;
    }
    selector = tss_stack_32(c, cpl, ext, &pointer);
    descriptor_fetch_stack(c, selector, cpl, VECTOR_TS, ext, &d);
    descriptor_set_accessed(c, &d);
    stack_open_level(stack, &d.segment, pointer, cpl, false, ext);
}

void segment_commit_code(struct dbt_vcpu *c, const struct descriptor *d, unsigned cpl)
{
    c->segment[SEG_CS] = d->segment;
    c->segment[SEG_CS].selector = (uint16_t)((d->segment.selector & ~SELECTOR_RPL) | cpl);
    c->cpl = (uint8_t)cpl;
}

void segment_drop_inner(struct dbt_vcpu *c)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    for (unsigned i = 0; i < ARRAY_LENGTH(data); i++) {
        struct segment_state *segment = &c->segment[data[i]];

        /* A null selector keeps its base: FS and GS bases are the kernel's to manage in 64-bit mode. */
        if (segment->attributes & SEGMENT_UNUSABLE)
            continue;
        if (!segment_is_conforming(segment) && segment_dpl(segment) < c->cpl)
            segment_set_null(c, data[i], 0);
    }
}
