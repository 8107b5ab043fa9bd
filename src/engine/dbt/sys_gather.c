/*
 * Gathers and scatters of AVX2 and AVX-512 (Intel SDM volume 2): up to sixteen accesses by one instruction,
 * which faults may interrupt between any two. An element that is done has its mask bit cleared, so the
 * instruction is simply started again.
 *
 * They work on the register image (sys_xstate.c), one element at a time.
 */
#include "engine/dbt/sys.h"
#include "engine/dbt/sys_xstate.h"

enum { VECTOR_BYTES = 64 };

struct gather {
    struct xstate_layout layout;
    unsigned data, index; /* vector registers */
    unsigned mask;        /* a vector register with VEX, an opmask with EVEX */
    unsigned elements;
    unsigned data_size; /* bytes of an element, of an index */
    unsigned index_size;
    bool evex;
};

/* Where byte `at` of a vector register is in the image. */
static uint8_t *vector_byte(struct dbt_vcpu *c, const struct gather *g, unsigned reg, unsigned at)
{
    const struct xstate_component *component = g->layout.component;

    if (reg >= 16)
        return c->xsave + component[XSTATE_HI16_ZMM].offset + 64 * (reg - 16) + at;
    if (at < 16)
        return c->xsave + XSAVE_XMM + 16 * reg + at;
    if (at < 32)
        return c->xsave + component[XSTATE_AVX].offset + 16 * reg + at - 16;
    return c->xsave + component[XSTATE_ZMM_HI256].offset + 32 * reg + at - 32;
}

static uint8_t *mask_byte(struct dbt_vcpu *c, const struct gather *g)
{
    return c->xsave + g->layout.component[XSTATE_OPMASK].offset + 8 * g->mask;
}

/* Clear a register's bytes from `from` up to what the guest's XCR0 gives it. */
static void vector_clear(struct dbt_vcpu *c, const struct gather *g, unsigned reg, unsigned from)
{
    unsigned end = c->xcr0 & XCR0_ZMM_HI256 ? VECTOR_BYTES : 32;

    for (unsigned at = from; at < end; at++)
        *vector_byte(c, g, reg, at) = 0;
}

static bool element_selected(struct dbt_vcpu *c, const struct gather *g, unsigned i)
{
    if (g->evex)
        return load_le(mask_byte(c, g), 8) >> i & 1;
    return *vector_byte(c, g, g->mask, (i + 1) * g->data_size - 1) & 0x80;
}

static void element_done(struct dbt_vcpu *c, const struct gather *g, unsigned i)
{
    if (g->evex)
        store_le(mask_byte(c, g), 8, load_le(mask_byte(c, g), 8) & ~BIT64(i));
    else
        store_le(vector_byte(c, g, g->mask, i * g->data_size), g->data_size, 0);
}

static uint64_t element_linear(struct dbt_vcpu *c, const struct insn *insn, const struct gather *g, unsigned i,
                               enum mmu_access access)
{
    uint64_t index = load_le(vector_byte(c, g, g->index, i * g->index_size), g->index_size);
    uint64_t base = insn->base >= 0 ? c->gpr[insn->base & 15] : 0, offset;

    if (g->index_size == 4)
        index = (uint64_t)(int64_t)(int32_t)index;
    offset = (base + index * insn->scale + (uint64_t)insn->displacement) & address_mask(insn->address_size);
    return segment_linear(c, insn->segment, offset, g->data_size, access);
}

/* The VEX (C4) or EVEX (62) prefix, behind segment and address-size prefixes. */
static const uint8_t *find_prefix(const struct insn *insn)
{
    unsigned i = 0;

    while (i < 8 && insn->bytes[i] != 0xc4 && insn->bytes[i] != 0x62)
        i++;
    return insn->bytes + i;
}

/* Take the encoding apart: Zydis's operands have no number for the index register. */
static void gather_decode(struct dbt_vcpu *c, const struct insn *insn, struct gather *g)
{
    const uint8_t *prefix = find_prefix(insn);
    unsigned length;

    g->evex = prefix[0] == 0x62;
    g->data = insn->reg & 31;
    g->data_size = prefix[2] & 0x80 ? 8 : 4;
    g->index_size = insn->opcode & 1 ? 8 : 4;
    g->index = (unsigned)(prefix[g->evex ? 6 : 5] >> 3 & 7) | (prefix[1] & 0x40 ? 0u : 8u);
    if (g->evex) {
        g->index |= prefix[3] & 8 ? 0u : 16u;
        g->mask = prefix[3] & 7;
        length = 16u << (prefix[3] >> 5 & 3);
    } else {
        g->mask = insn->vvvv & 15;
        length = 16u << (prefix[2] >> 2 & 1);
    }
    g->elements = length / (g->data_size > g->index_size ? g->data_size : g->index_size);
    if (!code64(c)) {
        g->data &= 7;
        g->index &= 7;
        g->mask &= 7;
    }
}

static void gather_open(struct dbt_vcpu *c, const struct insn *insn, struct gather *g)
{
    gather_decode(c, insn, g);
    if (g->evex && g->mask == 0)
        raise_fault(c, VECTOR_UD, -1);
    vector_save(c);
    xstate_layout_get(c, &g->layout);
    xstate_materialise(c, c->xcr0 & (XCR0_SSE | XCR0_AVX | XCR0_AVX512));
}

void op_gather(struct dbt_vcpu *c, const struct insn *insn)
{
    struct gather g;

    gather_open(c, insn, &g);
    if (g.data == g.index || (!g.evex && (g.mask == g.index || g.mask == g.data)))
        raise_fault(c, VECTOR_UD, -1);
    for (unsigned i = 0; i < g.elements; i++) {
        if (element_selected(c, &g, i)) {
            uint64_t linear = element_linear(c, insn, &g, i, MMU_READ);

            store_le(vector_byte(c, &g, g.data, i * g.data_size), g.data_size, mmu_read(c, linear, g.data_size));
        }
        element_done(c, &g, i);
    }
    vector_clear(c, &g, g.data, g.elements * g.data_size);
    if (g.evex)
        store_le(mask_byte(c, &g), 8, 0);
    else
        vector_clear(c, &g, g.mask, 0);
    insn_done(c, insn);
}

void op_scatter(struct dbt_vcpu *c, const struct insn *insn)
{
    struct gather g;

    gather_open(c, insn, &g);
    for (unsigned i = 0; i < g.elements; i++) {
        if (element_selected(c, &g, i)) {
            uint64_t linear = element_linear(c, insn, &g, i, MMU_WRITE);

            mmu_write(c, linear, g.data_size, load_le(vector_byte(c, &g, g.data, i * g.data_size), g.data_size));
        }
        element_done(c, &g, i);
    }
    store_le(mask_byte(c, &g), 8, 0);
    insn_done(c, insn);
}
