/*
 * FXSAVE and FXRSTOR, and the x87 environment (Intel SDM volume 1, sections 8.1.10 and 10.5; volume 2),
 * between guest memory and c->xsave. Instruction and data pointers are stored as zero (sys_xsave.c says why).
 */
#include "engine/dbt/sys.h"
#include "engine/dbt/sys_xstate.h"

enum {
    FSW_ES = 0x80,
    FSW_B = 0x8000,
    FCW_MASKS = 0x3f,
    REGISTER_BYTES = 10,
};

static void require_fxsave(struct dbt_vcpu *c)
{
    if (c->cr0 & CR0_EM)
        raise_fault(c, sys_vendor_amd(c) ? VECTOR_NM : VECTOR_UD, -1);
    if (c->cr0 & CR0_TS)
        raise_fault(c, VECTOR_NM, -1);
}

/* Bytes of XMM registers that FXSAVE and FXRSTOR move. */
static unsigned fxsave_xmm_bytes(const struct dbt_vcpu *c)
{
    if (!code64(c))
        return 128;
    return (c->efer & EFER_FFXSR) && c->cpl == 0 ? 0 : 256;
}

static uint64_t fxsave_area(struct dbt_vcpu *c, const struct insn *insn, enum mmu_access access)
{
    uint64_t linear = insn_linear(c, insn, XSAVE_LEGACY, access);

    if (linear & 15)
        raise_fault(c, VECTOR_GP, 0);
    mmu_probe(c, c->mmu, linear, XSAVE_LEGACY, access);
    return linear;
}

void op_fxsave(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t linear;

    require_fxsave(c);
    linear = fxsave_area(c, insn, MMU_WRITE);
    vector_save(c);
    xstate_materialise(c, XCR0_X87 | XCR0_SSE);
    for (unsigned i = XSAVE_FOP; i < XSAVE_MXCSR; i++)
        c->xsave[i] = 0;
    store_le(c->xsave + XSAVE_MXCSR_MASK, 4, xstate_mxcsr_mask(c));
    mmu_write_block(c, linear, c->xsave, XSAVE_XMM + fxsave_xmm_bytes(c));
    insn_done(c, insn);
}

void op_fxrstor(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t linear;
    uint32_t mxcsr;

    require_fxsave(c);
    linear = fxsave_area(c, insn, MMU_READ);
    vector_save(c);
    mxcsr = (uint32_t)mmu_read(c, linear + XSAVE_MXCSR, 4);
    if (mxcsr & ~xstate_mxcsr_mask(c))
        raise_fault(c, VECTOR_GP, 0);
    xstate_materialise(c, XCR0_X87 | XCR0_SSE);
    mmu_read_block(c, linear, c->xsave, XSAVE_FOP);
    for (unsigned i = XSAVE_FOP; i < XSAVE_MXCSR; i++)
        c->xsave[i] = 0;
    mmu_read_block(c, linear + XSAVE_ST, c->xsave + XSAVE_ST, 128);
    if (fxsave_xmm_bytes(c) != 0)
        mmu_read_block(c, linear + XSAVE_XMM, c->xsave + XSAVE_XMM, fxsave_xmm_bytes(c));
    store_le(c->xsave + XSAVE_MXCSR, 4, mxcsr);
    insn_done(c, insn);
}

/* ES and B say whether an unmasked exception is pending. */
static void summary_update(struct dbt_vcpu *c)
{
    unsigned control = (unsigned)load_le(c->xsave + XSAVE_FCW, 2);
    unsigned status = (unsigned)load_le(c->xsave + XSAVE_FSW, 2) & ~(unsigned)(FSW_ES | FSW_B);

    if (status & ~control & FCW_MASKS)
        status |= FSW_ES | FSW_B;
    store_le(c->xsave + XSAVE_FSW, 2, status);
}

/* Bytes of the environment: seven words of the operand size. */
static unsigned environment_size(const struct insn *insn)
{
    return insn->operand_size == 2 ? 14 : 28;
}

/* Control, status and tag word; the pointers are zero. 32-bit forms have ones in the unused upper halves. */
static void environment_make(const struct dbt_vcpu *c, const struct insn *insn, uint8_t *to)
{
    const uint64_t words[3] = {load_le(c->xsave + XSAVE_FCW, 2), load_le(c->xsave + XSAVE_FSW, 2),
                               x87_tags_expand(c->xsave)};
    unsigned step = environment_size(insn) / 7;

    for (unsigned i = 0; i < environment_size(insn); i++)
        to[i] = 0;
    for (unsigned i = 0; i < 3; i++)
        store_le(to + i * step, step, words[i] | 0xffff0000u);
    if (step == 4)
        store_le(to + 24, 4, 0xffff0000u);
}

static unsigned top_of(const struct dbt_vcpu *c)
{
    return fsw_top((unsigned)load_le(c->xsave + XSAVE_FSW, 2));
}

/* The image holds the registers in stack order: a new TOP moves them there, not in the processor. */
static void registers_turn(struct dbt_vcpu *c, unsigned old_top, unsigned new_top)
{
    uint8_t old[8 * 16];

    for (unsigned i = 0; i < sizeof(old); i++)
        old[i] = c->xsave[XSAVE_ST + i];
    for (unsigned i = 0; i < sizeof(old); i++)
        c->xsave[XSAVE_ST + i] = old[(i + 16 * (new_top - old_top)) & (sizeof(old) - 1)];
}

static void environment_take(struct dbt_vcpu *c, const struct insn *insn, const uint8_t *from)
{
    unsigned step = environment_size(insn) / 7, top = top_of(c);

    for (unsigned i = 0; i < XSAVE_MXCSR; i++)
        c->xsave[i] = 0;
    store_le(c->xsave + XSAVE_FCW, 2, load_le(from, 2) | 0x40); /* bit 6 is always one */
    store_le(c->xsave + XSAVE_FSW, 2, load_le(from + step, 2));
    c->xsave[XSAVE_FTW] = x87_tags_abridge((uint16_t)load_le(from + 2 * step, 2));
    registers_turn(c, top, top_of(c));
    summary_update(c);
}

void op_fnstenv(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned size = environment_size(insn);
    uint8_t image[28];
    uint64_t linear;

    require_x87(c);
    linear = insn_linear(c, insn, size, MMU_WRITE);
    vector_save(c);
    xstate_materialise(c, XCR0_X87);
    environment_make(c, insn, image);
    mmu_write_block(c, linear, image, size);
    store_le(c->xsave + XSAVE_FCW, 2, load_le(c->xsave + XSAVE_FCW, 2) | FCW_MASKS);
    summary_update(c);
    insn_done(c, insn);
}

void op_fldenv(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned size = environment_size(insn);
    uint8_t image[28];

    require_x87(c);
    require_no_x87_pending(c); /* unlike the FN forms, these wait */
    mmu_read_block(c, insn_linear(c, insn, size, MMU_READ), image, size);
    environment_take(c, insn, image);
    insn_done(c, insn);
}

void op_fnsave(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned head = environment_size(insn), size = head + 8 * REGISTER_BYTES;
    uint8_t image[28 + 8 * REGISTER_BYTES];
    uint64_t linear;

    require_x87(c);
    linear = insn_linear(c, insn, size, MMU_WRITE);
    vector_save(c);
    xstate_materialise(c, XCR0_X87);
    environment_make(c, insn, image);
    for (unsigned i = 0; i < 8 * REGISTER_BYTES; i++)
        image[head + i] = c->xsave[XSAVE_ST + 16 * (i / REGISTER_BYTES) + i % REGISTER_BYTES];
    mmu_write_block(c, linear, image, size);
    registers_turn(c, top_of(c), 0);
    for (unsigned i = 0; i < XSAVE_MXCSR; i++)
        c->xsave[i] = 0;
    store_le(c->xsave + XSAVE_FCW, 2, FCW_FNINIT); /* as FNINIT: the registers keep what is in them */
    insn_done(c, insn);
}

void op_frstor(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned head = environment_size(insn), size = head + 8 * REGISTER_BYTES;
    uint8_t image[28 + 8 * REGISTER_BYTES];

    require_x87(c);
    require_no_x87_pending(c);
    mmu_read_block(c, insn_linear(c, insn, size, MMU_READ), image, size);
    environment_take(c, insn, image);
    for (unsigned i = 0; i < 8 * REGISTER_BYTES; i++)
        c->xsave[XSAVE_ST + 16 * (i / REGISTER_BYTES) + i % REGISTER_BYTES] = image[head + i];
    insn_done(c, insn);
}
