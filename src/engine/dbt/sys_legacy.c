/*
 * Instructions of older times: decimal arithmetic, PUSHA, ENTER, XLAT; and the byte-masked stores, which have
 * an implicit memory operand.
 */
#include "engine/dbt/sys.h"
#include "engine/dbt/sys_xstate.h"

static void flags_set(struct dbt_vcpu *c, uint64_t flags, bool value)
{
    c->alu_flags = value ? c->alu_flags | flags : c->alu_flags & ~flags;
}

/* SF, ZF and PF of AL. */
static void flags_of_al(struct dbt_vcpu *c)
{
    uint8_t al = (uint8_t)c->gpr[GPR_RAX];

    flags_set(c, RFLAGS_SF, al & 0x80);
    flags_set(c, RFLAGS_ZF, al == 0);
    flags_set(c, RFLAGS_PF, !__builtin_parity(al));
}

static void set_al(struct dbt_vcpu *c, unsigned value)
{
    reg_set(c, GPR_RAX, 1, false, value);
}

static void set_ax(struct dbt_vcpu *c, unsigned ah, unsigned al)
{
    reg_set(c, GPR_RAX, 2, false, (ah & 0xff) << 8 | (al & 0xff));
}

/* AAA and AAS: by is +1 or -1. */
static void ascii_adjust(struct dbt_vcpu *c, const struct insn *insn, int by)
{
    unsigned ax = (unsigned)c->gpr[GPR_RAX] & 0xffff;
    bool adjust = (ax & 15) > 9 || (c->alu_flags & RFLAGS_AF);

    if (adjust)
        ax += (unsigned)(by * 0x106);
    set_ax(c, ax >> 8, ax & 15);
    flags_set(c, RFLAGS_AF | RFLAGS_CF, adjust);
    flags_of_al(c);
    insn_done(c, insn);
}

void op_aaa(struct dbt_vcpu *c, const struct insn *insn)
{
    ascii_adjust(c, insn, 1);
}

void op_aas(struct dbt_vcpu *c, const struct insn *insn)
{
    ascii_adjust(c, insn, -1);
}

void op_aam(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned al = (uint8_t)c->gpr[GPR_RAX], base = insn->immediate & 0xff;

    if (base == 0)
        raise_fault(c, VECTOR_DE, -1);
    set_ax(c, al / base, al % base);
    flags_set(c, RFLAGS_CF | RFLAGS_AF | RFLAGS_OF, false);
    flags_of_al(c);
    insn_done(c, insn);
}

void op_aad(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned ax = (unsigned)c->gpr[GPR_RAX] & 0xffff, base = insn->immediate & 0xff;

    set_ax(c, 0, (ax & 0xff) + (ax >> 8) * base);
    flags_set(c, RFLAGS_CF | RFLAGS_AF | RFLAGS_OF, false);
    flags_of_al(c);
    insn_done(c, insn);
}

/* DAA and DAS: by is +1 or -1. */
static void decimal_adjust(struct dbt_vcpu *c, const struct insn *insn, int by)
{
    unsigned old = (uint8_t)c->gpr[GPR_RAX], al = old;
    bool carry = c->alu_flags & RFLAGS_CF;
    bool low = (old & 15) > 9 || (c->alu_flags & RFLAGS_AF);
    bool high = old > 0x99 || carry;

    if (low)
        al += (unsigned)(by * 6);
    if (high)
        al += (unsigned)(by * 0x60);
    /* DAS borrows when the low digit alone goes below zero. */
    flags_set(c, RFLAGS_CF, high || (low && by < 0 && old < 6));
    flags_set(c, RFLAGS_AF, low);
    set_al(c, al);
    flags_of_al(c);
    insn_done(c, insn);
}

void op_daa(struct dbt_vcpu *c, const struct insn *insn)
{
    decimal_adjust(c, insn, 1);
}

void op_das(struct dbt_vcpu *c, const struct insn *insn)
{
    decimal_adjust(c, insn, -1);
}

void op_salc(struct dbt_vcpu *c, const struct insn *insn)
{
    set_al(c, c->alu_flags & RFLAGS_CF ? 0xff : 0);
    insn_done(c, insn);
}

void op_pusha(struct dbt_vcpu *c, const struct insn *insn)
{
    struct stack stack;

    stack_open(c, &stack);
    for (unsigned reg = GPR_RAX; reg <= GPR_RDI; reg++)
        stack_push(c, &stack, insn->operand_size, c->gpr[reg]);
    stack_commit(c, &stack);
    insn_done(c, insn);
}

void op_popa(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned size = insn->operand_size;
    uint64_t values[GPR_RDI + 1];
    struct stack stack;

    stack_open(c, &stack);
    for (unsigned reg = GPR_RDI + 1; reg-- > GPR_RAX;)
        values[reg] = stack_pop(c, &stack, size);
    for (unsigned reg = GPR_RAX; reg <= GPR_RDI; reg++) {
        if (reg != GPR_RSP)
            reg_set(c, reg, size, false, values[reg]);
    }
    stack_commit(c, &stack);
    insn_done(c, insn);
}

/* ENTER: the new frame, with copies of the outer frames' pointers. */
void op_enter(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned size = stack_operand(c, insn), level = insn->immediate2 & 31;
    uint64_t frame;
    struct stack stack, outer;

    stack_open(c, &stack);
    outer = stack;
    outer.pointer = c->gpr[GPR_RBP];
    stack_push(c, &stack, size, c->gpr[GPR_RBP]);
    frame = stack.pointer;
    for (unsigned i = 1; i < level; i++) {
        stack_skip(&outer, 0 - (uint64_t)size);
        stack_push(c, &stack, size, stack_peek(c, &outer, 0, size));
    }
    if (level > 0)
        stack_push(c, &stack, size, frame);
    stack_skip(&stack, 0 - (insn->immediate & 0xffff));
    stack_probe(c, &stack, size); /* the manual wants the new top to be writable */
    reg_set(c, GPR_RBP, size, false, frame);
    stack_commit(c, &stack);
    insn_done(c, insn);
}

void op_xlat(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t offset = (c->gpr[GPR_RBX] + (c->gpr[GPR_RAX] & 0xff)) & address_mask(insn->address_size);

    set_al(c, (unsigned)mmu_read(c, segment_linear(c, insn->segment, offset, 1, MMU_READ), 1));
    insn_done(c, insn);
}

/* The bytes of data whose mask has bit 7, to [rDI]. Every one of them is known to be writable before one is written. */
static void masked_store(struct dbt_vcpu *c, const struct insn *insn, const uint8_t *data, const uint8_t *mask,
                         unsigned size)
{
    uint64_t start = c->gpr[GPR_RDI], limit = address_mask(insn->address_size);

    for (unsigned write = 0; write < 2; write++) {
        for (unsigned i = 0; i < size; i++) {
            uint64_t linear;

            if (!(mask[i] & 0x80))
                continue;
            linear = segment_linear(c, insn->segment, (start + i) & limit, 1, MMU_WRITE);
            if (write)
                mmu_write(c, linear, 1, data[i]);
            else
                mmu_probe(c, c->mmu, linear, 1, MMU_WRITE);
        }
    }
}

/* MASKMOVDQU and its VEX form. */
void op_maskmovdqu(struct dbt_vcpu *c, const struct insn *insn)
{
    vector_save(c);
    xstate_materialise(c, XCR0_SSE);
    masked_store(c, insn, c->xsave + XSAVE_XMM + 16 * (insn->reg & 15), c->xsave + XSAVE_XMM + 16 * (insn->rm & 15),
                 16);
    insn_done(c, insn);
}

/*
 * MASKMOVQ. MMX register n is physical x87 register n; the image holds them in stack order. Any MMX instruction
 * makes the two orders one: TOP becomes 0, nothing is empty.
 */
void op_maskmovq(struct dbt_vcpu *c, const struct insn *insn)
{
    enum { FSW_TOP = 0x3800 };
    uint8_t registers[8 * 16];
    unsigned status;

    require_no_x87_pending(c);
    status = (unsigned)load_le(c->xsave + XSAVE_FSW, 2);
    for (unsigned i = 0; i < sizeof(registers); i++)
        registers[i] = c->xsave[XSAVE_ST + ((i - 16 * ((status & FSW_TOP) >> 11)) & 127)];
    for (unsigned i = 0; i < sizeof(registers); i++)
        c->xsave[XSAVE_ST + i] = registers[i];
    store_le(c->xsave + XSAVE_FSW, 2, status & ~(unsigned)FSW_TOP);
    c->xsave[XSAVE_FTW] = 0xff;
    masked_store(c, insn, registers + 16 * (insn->reg & 7), registers + 16 * (insn->rm & 7), 8); /* may fault */
    insn_done(c, insn);
}

/* CLZERO: the line that rAX points into becomes zero. */
void op_clzero(struct dbt_vcpu *c, const struct insn *insn)
{
    enum { LINE = 64 };
    uint64_t offset = c->gpr[GPR_RAX] & address_mask(insn->address_size) & ~(uint64_t)(LINE - 1), linear;

    if (!sys_feature(c, 0x80000008, 0, 1, 0))
        raise_fault(c, VECTOR_UD, -1);
    linear = segment_linear(c, insn->segment, offset, LINE, MMU_WRITE);
    mmu_probe(c, c->mmu, linear, LINE, MMU_WRITE);
    for (unsigned i = 0; i < LINE; i += 8)
        mmu_write(c, linear + i, 8, 0);
    insn_done(c, insn);
}
