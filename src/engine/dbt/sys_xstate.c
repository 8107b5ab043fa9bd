/*
 * The extended state as a register file: c->xsave after vector_save(), in the standard XSAVE format. A
 * component whose bit in XSTATE_BV is clear is in its initial configuration, whatever its bytes say.
 */
#include "engine/dbt/sys.h"
#include "engine/dbt/sys_xstate.h"

enum { MXCSR_MASK_DEFAULT = 0xffbf };

void xstate_layout_get(const struct dbt_vcpu *c, struct xstate_layout *layout)
{
    const struct cpuid_table *table = &c->vcpu.machine->cpuid;

    for (unsigned i = 0; i < XSTATE_COUNT; i++)
        layout->component[i] = (struct xstate_component){0, 0, false};
    layout->component[XSTATE_SSE] = (struct xstate_component){XSAVE_XMM, 256, false};
    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_leaf *leaf = &table->leaves[i];

        if (leaf->leaf == 0xd && leaf->subleaf >= XSTATE_AVX && leaf->subleaf < XSTATE_COUNT &&
            range_inside(leaf->result.ebx, leaf->result.eax, CPU_XSAVE_SIZE))
            layout->component[leaf->subleaf] =
                (struct xstate_component){leaf->result.ebx, leaf->result.eax, (leaf->result.ecx & BIT(1)) != 0};
    }
}

uint64_t xstate_in_use(const struct dbt_vcpu *c)
{
    return load_le(c->xsave + XSAVE_XSTATE_BV, 8);
}

static void set_in_use(struct dbt_vcpu *c, uint64_t components)
{
    store_le(c->xsave + XSAVE_XSTATE_BV, 8, components);
}

void xstate_reset(struct dbt_vcpu *c, uint64_t components)
{
    set_in_use(c, xstate_in_use(c) & ~components);
}

static void clear(uint8_t *to, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        to[i] = 0;
}

void xstate_materialise(struct dbt_vcpu *c, uint64_t components)
{
    uint64_t missing = components & ~xstate_in_use(c);
    struct xstate_layout layout;

    if (missing & XCR0_X87) {
        clear(c->xsave, XSAVE_MXCSR);
        clear(c->xsave + XSAVE_ST, 128);
        store_le(c->xsave + XSAVE_FCW, 2, FCW_FNINIT);
    }
    if (missing & ~XCR0_X87)
        xstate_layout_get(c, &layout);
    for (unsigned i = XSTATE_SSE; i < XSTATE_COUNT; i++) {
        if (missing & BIT64(i))
            clear(c->xsave + layout.component[i].offset, layout.component[i].size);
    }
    set_in_use(c, xstate_in_use(c) | components);
}

uint32_t xstate_mxcsr_mask(const struct dbt_vcpu *c)
{
    uint32_t mask = (uint32_t)load_le(c->xsave + XSAVE_MXCSR_MASK, 4);

    return mask ? mask : MXCSR_MASK_DEFAULT;
}

void require_xsave(struct dbt_vcpu *c)
{
    if (!(c->cr4 & CR4_OSXSAVE))
        raise_fault(c, VECTOR_UD, -1);
    if (c->cr0 & CR0_TS)
        raise_fault(c, VECTOR_NM, -1);
}

void require_x87(struct dbt_vcpu *c)
{
    if (c->cr0 & (CR0_EM | CR0_TS))
        raise_fault(c, VECTOR_NM, -1);
}

void require_no_x87_pending(struct dbt_vcpu *c)
{
    enum { FSW_ES = 0x80 };

    vector_save(c);
    xstate_materialise(c, XCR0_X87);
    if ((load_le(c->xsave + XSAVE_FSW, 2) & FSW_ES) && (c->cr0 & CR0_NE))
        raise_fault(c, VECTOR_MF, -1);
}

/* The first byte that is no legacy prefix or REX, as an index into insn->bytes; 66, F2 or F3 seen before it. */
static unsigned opcode_start(const struct dbt_vcpu *c, const struct insn *insn, bool *simd_prefix)
{
    unsigned i = 0;

    *simd_prefix = false;
    for (; i < insn->length; i++) {
        uint8_t byte = insn->bytes[i];

        if (byte == 0x66 || byte == 0xf2 || byte == 0xf3)
            *simd_prefix = true;
        else if (byte != 0x67 && byte != 0xf0 && (byte & 0xe7) != 0x26 && byte != 0x64 && byte != 0x65 &&
                 !(code64(c) && (byte & 0xf0) == 0x40))
            break;
    }
    return i < insn->length ? i : 0;
}

/* Does an instruction of map 0F without 66, F2 or F3 work on MMX registers alone? */
static bool opcode_is_mmx(const uint8_t *opcode)
{
    uint8_t byte = opcode[1];

    if (byte == 0x38 || byte == 0x3a)
        return opcode[2] < 0x20; /* SSSE3 on MMX registers */
    return (byte >= 0x60 && byte <= 0x7f) || byte == 0xc4 || byte == 0xc5 || byte >= 0xd0;
}

/* FWAIT looks at TS only together with MP, and never at EM. */
static void fpu_wait(struct dbt_vcpu *c, const struct insn *insn)
{
    if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        raise_fault(c, VECTOR_NM, -1);
    require_no_x87_pending(c);
    insn_done(c, insn);
}

void fpu_unavailable(struct dbt_vcpu *c, const struct insn *insn)
{
    bool simd_prefix, x87, wide, mmx;
    const uint8_t *opcode = insn->bytes + opcode_start(c, insn, &simd_prefix);

    if (opcode[0] == 0x9b) {
        fpu_wait(c, insn);
        return;
    }
    x87 = (opcode[0] & 0xf8) == 0xd8;
    wide = opcode[0] == 0xc4 || opcode[0] == 0xc5 || opcode[0] == 0x62;
    mmx = !x87 && !wide && !simd_prefix && opcode_is_mmx(opcode);
    if (x87 && (c->cr0 & (CR0_EM | CR0_TS)))
        raise_fault(c, VECTOR_NM, -1);
    if (wide && (!(c->cr4 & CR4_OSXSAVE) || (c->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX)))
        raise_fault(c, VECTOR_UD, -1);
    if (opcode[0] == 0x62 && (c->xcr0 & XCR0_AVX512) != XCR0_AVX512)
        raise_fault(c, VECTOR_UD, -1);
    if (!x87 && !wide && ((c->cr0 & CR0_EM) || (!mmx && !(c->cr4 & CR4_OSFXSR))))
        raise_fault(c, VECTOR_UD, -1);
    if (c->cr0 & CR0_TS)
        raise_fault(c, VECTOR_NM, -1);
    raise_fault(c, VECTOR_UD, -1);
}
