/*
 * XSAVE, XSAVEOPT, XSAVEC, XRSTOR (Intel SDM volume 1, chapter 13) between guest memory and c->xsave.
 *
 * The x87 instruction and data pointers in c->xsave are the translator's own: they are stored as zero
 * and never loaded.
 *
 * Outside 64-bit code only the first eight registers of each kind move.
 */
#include "engine/dbt/sys.h"
#include "engine/dbt/sys_xstate.h"

enum { HEADER = 64, COMPACTED = 63 };

static const uint8_t zeros[1024];

/* A guest area: where each component lies in it. */
struct area {
    struct xstate_layout layout;
    uint64_t linear;
    uint64_t components; /* present in it, bits 2 and up */
    bool compacted;
};

static uint64_t requested(const struct dbt_vcpu *c)
{
    return c->xcr0 & bits_mask(XSTATE_COUNT) & ((uint32_t)c->gpr[GPR_RAX] | c->gpr[GPR_RDX] << 32);
}

/* How many bytes of a component are accessible in the current mode. */
static uint32_t component_bytes(const struct dbt_vcpu *c, unsigned index, uint32_t size)
{
    if (code64(c) || index == XSTATE_OPMASK)
        return size;
    return index == XSTATE_HI16_ZMM ? 0 : size / 2;
}

/* The offset of a component in the area, or with XSTATE_COUNT the size of the whole. */
static uint32_t area_offset(const struct area *area, unsigned index)
{
    uint32_t offset = XSAVE_EXTENDED;

    if (index == XSTATE_SSE)
        return XSAVE_XMM;
    for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
        const struct xstate_component *component = &area->layout.component[i];

        if (!(area->components & BIT64(i)))
            continue;
        if (area->compacted && component->aligned)
            offset = (uint32_t)align_up(offset, 64);
        if (i == index)
            return area->compacted ? offset : component->offset;
        if (area->compacted)
            offset += component->size;
        else if (component->offset + component->size > offset)
            offset = component->offset + component->size;
    }
    return offset;
}

static void area_open(struct dbt_vcpu *c, const struct insn *insn, struct area *area, enum mmu_access access)
{
    uint32_t size;

    xstate_layout_get(c, &area->layout);
    size = area_offset(area, XSTATE_COUNT);
    area->linear = insn_linear(c, insn, size, access);
    if (area->linear & 63)
        raise_fault(c, VECTOR_GP, 0);
    mmu_probe(c, c->mmu, area->linear, size, access);
}

static void save_x87(struct dbt_vcpu *c, const struct area *area, bool initial)
{
    uint8_t head[XSAVE_MXCSR] = {0};

    for (unsigned i = 0; i < XSAVE_FOP; i++)
        head[i] = initial ? 0 : c->xsave[i];
    if (initial)
        store_le(head, 2, FCW_FNINIT);
    mmu_write_block(c, area->linear, head, sizeof(head));
    mmu_write_block(c, area->linear + XSAVE_ST, initial ? zeros : c->xsave + XSAVE_ST, 128);
}

static void save_mxcsr(struct dbt_vcpu *c, const struct area *area)
{
    mmu_write(c, area->linear + XSAVE_MXCSR, 4, load_le(c->xsave + XSAVE_MXCSR, 4));
    mmu_write(c, area->linear + XSAVE_MXCSR_MASK, 4, xstate_mxcsr_mask(c));
}

static void save_component(struct dbt_vcpu *c, const struct area *area, unsigned index, bool initial)
{
    const struct xstate_component *component = &area->layout.component[index];
    uint32_t size = component_bytes(c, index, component->size);

    if (size != 0 && size <= sizeof(zeros))
        mmu_write_block(c, area->linear + area_offset(area, index), initial ? zeros : c->xsave + component->offset,
                        size);
}

/* Store `components`; those not in use as their initial values. */
static void save_components(struct dbt_vcpu *c, const struct area *area, uint64_t components, uint64_t in_use)
{
    if (components & XCR0_X87)
        save_x87(c, area, !(in_use & XCR0_X87));
    for (unsigned i = XSTATE_SSE; i < XSTATE_COUNT; i++) {
        if (components & BIT64(i))
            save_component(c, area, i, !(in_use & BIT64(i)));
    }
}

static void save_standard(struct dbt_vcpu *c, const struct insn *insn, bool skip_initial)
{
    struct area area = {.compacted = false};
    uint64_t mask, in_use, header;

    require_xsave(c);
    mask = requested(c);
    area.components = mask;
    area_open(c, insn, &area, MMU_WRITE);
    header = mmu_read(c, area.linear + XSAVE_XSTATE_BV, 8);
    vector_save(c);
    in_use = xstate_in_use(c);
    save_components(c, &area, skip_initial ? mask & in_use : mask, in_use);
    if (mask & (XCR0_SSE | XCR0_AVX))
        save_mxcsr(c, &area);
    mmu_write(c, area.linear + XSAVE_XSTATE_BV, 8, (header & ~mask) | (in_use & mask));
    insn_done(c, insn);
}

void op_xsave(struct dbt_vcpu *c, const struct insn *insn)
{
    save_standard(c, insn, false);
}

/* Whether anything was modified since the last XRSTOR is not tracked: all that is in use is written. */
void op_xsaveopt(struct dbt_vcpu *c, const struct insn *insn)
{
    if (!sys_feature(c, 0xd, 1, 0, 0))
        raise_fault(c, VECTOR_UD, -1);
    save_standard(c, insn, true);
}

void op_xsavec(struct dbt_vcpu *c, const struct insn *insn)
{
    struct area area = {.compacted = true};
    uint64_t mask, saved;

    if (!sys_feature(c, 0xd, 1, 0, 1))
        raise_fault(c, VECTOR_UD, -1);
    require_xsave(c);
    mask = requested(c);
    area.components = mask;
    area_open(c, insn, &area, MMU_WRITE);
    vector_save(c);
    saved = xstate_in_use(c);
    if ((uint32_t)load_le(c->xsave + XSAVE_MXCSR, 4) != MXCSR_RESET)
        saved |= XCR0_SSE;
    saved &= mask;
    save_components(c, &area, saved, xstate_in_use(c));
    if (saved & XCR0_SSE)
        save_mxcsr(c, &area);
    mmu_write(c, area.linear + XSAVE_XSTATE_BV, 8, saved);
    mmu_write(c, area.linear + XSAVE_XCOMP_BV, 8, mask | BIT64(COMPACTED));
    insn_done(c, insn);
}

/* The header of an area that is to be restored. Answers its XSTATE_BV; #GP(0) if it is malformed. */
static uint64_t header_read(struct dbt_vcpu *c, const struct insn *insn, struct area *area)
{
    uint64_t header[HEADER / 8], allowed = c->xcr0, reserved = 0;

    area->linear = insn_linear(c, insn, XSAVE_EXTENDED, MMU_READ);
    if (area->linear & 63)
        raise_fault(c, VECTOR_GP, 0);
    mmu_read_block(c, area->linear + XSAVE_XSTATE_BV, header, HEADER);
    area->compacted = header[1] >> COMPACTED & 1;
    for (unsigned i = area->compacted ? 2 : 1; i < (area->compacted ? 8 : 3); i++)
        reserved |= header[i];
    if (area->compacted) {
        area->components = header[1] & ~BIT64(COMPACTED);
        allowed = area->components;
        if (!sys_feature(c, 0xd, 1, 0, 1) || (area->components & ~c->xcr0))
            raise_fault(c, VECTOR_GP, 0);
    }
    if (reserved != 0 || (header[0] & ~allowed))
        raise_fault(c, VECTOR_GP, 0);
    return header[0];
}

static void restore_x87(struct dbt_vcpu *c, const struct area *area)
{
    mmu_read_block(c, area->linear, c->xsave, XSAVE_FOP);
    for (unsigned i = XSAVE_FOP; i < XSAVE_MXCSR; i++)
        c->xsave[i] = 0;
    mmu_read_block(c, area->linear + XSAVE_ST, c->xsave + XSAVE_ST, 128);
}

static void restore_component(struct dbt_vcpu *c, const struct area *area, unsigned index)
{
    const struct xstate_component *component = &area->layout.component[index];
    uint32_t size = component_bytes(c, index, component->size);

    if (size != 0)
        mmu_read_block(c, area->linear + area_offset(area, index), c->xsave + component->offset, size);
}

/*
 * Components outside the area's XSTATE_BV take their initial configuration; outside 64-bit code their
 * upper registers stay, so they are written out as zeros instead.
 */
static void initialise_component(struct dbt_vcpu *c, const struct area *area, unsigned index)
{
    const struct xstate_component *component = &area->layout.component[index];

    if (code64(c) || index == XSTATE_X87) {
        xstate_reset(c, BIT64(index));
        return;
    }
    xstate_materialise(c, BIT64(index));
    for (uint32_t i = 0; i < component_bytes(c, index, component->size); i++)
        c->xsave[component->offset + i] = 0;
}

/*
 * MXCSR goes with SSE in the compacted format, with SSE or AVX in the standard one. It is read once, here: what
 * was checked must be what the host will load, or the host would fault.
 */
static uint32_t restored_mxcsr(struct dbt_vcpu *c, const struct area *area, uint64_t mask, uint64_t present)
{
    uint64_t with = area->compacted ? XCR0_SSE : XCR0_SSE | XCR0_AVX;
    uint32_t value = MXCSR_RESET;

    if (!(mask & with))
        return (uint32_t)load_le(c->xsave + XSAVE_MXCSR, 4);
    if (!area->compacted || (present & XCR0_SSE))
        value = (uint32_t)mmu_read(c, area->linear + XSAVE_MXCSR, 4);
    if (value & ~xstate_mxcsr_mask(c))
        raise_fault(c, VECTOR_GP, 0);
    return value;
}

void op_xrstor(struct dbt_vcpu *c, const struct insn *insn)
{
    struct area area = {.compacted = false};
    uint64_t mask, present;
    uint32_t mxcsr;

    require_xsave(c);
    mask = requested(c);
    present = header_read(c, insn, &area);
    if (!area.compacted)
        area.components = mask & present;
    area_open(c, insn, &area, MMU_READ);
    vector_save(c);
    mxcsr = restored_mxcsr(c, &area, mask, present);

    xstate_materialise(c, mask & present);
    if (mask & present & XCR0_X87)
        restore_x87(c, &area);
    for (unsigned i = XSTATE_SSE; i < XSTATE_COUNT; i++) {
        if (mask & present & BIT64(i))
            restore_component(c, &area, i);
    }
    for (unsigned i = XSTATE_X87; i < XSTATE_COUNT; i++) {
        if (mask & ~present & BIT64(i))
            initialise_component(c, &area, i);
    }
    store_le(c->xsave + XSAVE_MXCSR, 4, mxcsr);
    insn_done(c, insn);
}
