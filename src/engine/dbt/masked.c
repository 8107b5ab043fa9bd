/*
 * Accesses under a vector mask whose page the TLB does not know, or that cross into another page: only the
 * elements that the mask selects may fault. They go through the bounce buffer, one by one.
 *
 * Where the TLB has the page, the instruction runs on guest memory directly, and none of this is needed.
 */
#include "engine/dbt/masked.h"

#include "engine/dbt/descriptor.h"
#include "engine/dbt/mmu.h"
#include "engine/dbt/sys_xstate.h"

static uint64_t load_word(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static void store_word(uint8_t *to, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static unsigned element_size(uint32_t descriptor)
{
    return 1u << (descriptor >> ACCESS_ELEMENT_SHIFT & 3);
}

/* The sign of an element of a vector register of 16 or 32 bytes. */
static bool sign_of(const struct dbt_vcpu *c, const struct xstate_layout *layout, unsigned reg, unsigned at)
{
    const uint8_t *byte = at < 16 ? c->xsave + XSAVE_XMM + 16 * reg + at
                                  : c->xsave + layout->component[XSTATE_AVX].offset + 16 * reg + at - 16;

    return (*byte & 0x80) != 0;
}

/* The mask itself, one bit for each that counts. */
static uint64_t read_mask(struct dbt_vcpu *c, uint32_t descriptor)
{
    unsigned count = 1u << (descriptor >> ACCESS_COUNT_SHIFT & 7), number = descriptor >> ACCESS_MASK_SHIFT & 15;
    unsigned size = element_size(descriptor);
    struct xstate_layout layout;
    uint64_t mask = 0;

    vector_save(c);
    xstate_layout_get(c, &layout);
    xstate_materialise(c, c->xcr0 & (XCR0_SSE | XCR0_AVX | XCR0_OPMASK));
    if ((descriptor >> ACCESS_KIND_SHIFT & 3) == MASK_SIGNS) {
        for (unsigned i = 0; i < count; i++)
            mask |= (uint64_t)sign_of(c, &layout, number, (i + 1) * size - 1) << i;
        return mask;
    }
    mask = load_word(c->xsave + layout.component[XSTATE_OPMASK].offset + 8 * number, 8);
    return count == 64 ? mask : mask & ((1ull << count) - 1);
}

/* The elements in memory that the mask selects. */
static uint64_t selected(struct dbt_vcpu *c, uint32_t descriptor)
{
    unsigned elements = (descriptor & ACCESS_SIZE) / element_size(descriptor);
    uint64_t mask = read_mask(c, descriptor), result = 0;

    if ((descriptor >> ACCESS_KIND_SHIFT & 3) == MASK_PACKED) {
        for (; mask; mask &= mask - 1)
            result = result << 1 | 1;
        return result;
    }
    for (unsigned i = 0; i < 64; i++)
        if (mask >> i & 1)
            result |= 1ull << (i & (elements - 1));
    return result;
}

void *masked_pre(struct dbt_vcpu *c, uint64_t linear, uint32_t descriptor)
{
    unsigned size = element_size(descriptor), elements = (descriptor & ACCESS_SIZE) / size;
    enum mmu_access access = descriptor & ACCESS_WRITE ? MMU_WRITE : MMU_READ;
    uint64_t which = selected(c, descriptor);
    uint8_t *at = c->bounce + (linear & 63);

    if ((descriptor & ACCESS_ALIGNED) && which && (linear & ((descriptor & ACCESS_SIZE) - 1)))
        raise_fault(c, VECTOR_GP, 0);
    for (unsigned i = 0; i < elements; i++) {
        if ((which >> i & 1) && (!canonical(linear + i * size) || !canonical(linear + i * size + size - 1)))
            raise_fault(c, descriptor & ACCESS_STACK ? VECTOR_SS : VECTOR_GP, 0);
        if (which >> i & 1)
            mmu_probe(c, c->mmu, linear + i * size, size, access);
    }
    for (unsigned i = 0; i < elements; i++) {
        bool read = (which >> i & 1) && (descriptor & ACCESS_READ);

        store_word(at + i * size, size, read ? mmu_read(c, linear + i * size, size) : 0);
    }
    c->bounce_mask = which;
    c->bounce_address = linear;
    c->bounce_size = descriptor & ACCESS_SIZE;
    c->bounce_element = size;
    return at;
}

void masked_post(struct dbt_vcpu *c)
{
    const uint8_t *at = c->bounce + (c->bounce_address & 63);
    unsigned size = c->bounce_element;

    for (unsigned i = 0; i < c->bounce_size / size; i++) {
        if (c->bounce_mask >> i & 1)
            mmu_write(c, c->bounce_address + i * size, size, load_word(at + i * size, size));
    }
}
