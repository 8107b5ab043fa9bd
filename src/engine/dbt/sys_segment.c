/* Instructions that read and load the data segment registers (Intel SDM volume 2, MOV, PUSH, POP, LDS). */
#include "engine/dbt/sys.h"

void segment_load_real(struct dbt_vcpu *c, enum segment which, uint16_t selector)
{
    struct segment_state *segment = &c->segment[which];

    segment->selector = selector;
    segment->base = (uint64_t)selector << 4;
    if (v8086_mode(c)) {
        segment->limit = UINT16_MAX;
        segment->attributes = SEGMENT_P | SEGMENT_DPL | SEGMENT_S | TYPE_WRITABLE | TYPE_ACCESSED;
    } else if (segment->attributes & SEGMENT_UNUSABLE) {
        segment->limit = UINT16_MAX;
        segment->attributes = SEGMENT_P | SEGMENT_S | TYPE_WRITABLE | TYPE_ACCESSED;
    }
    /* Otherwise real mode leaves limit and attributes as they are ("unreal" mode lives on that). */
}

static void segment_load_stack(struct dbt_vcpu *c, uint16_t selector)
{
    struct descriptor d;

    if (selector_null(selector)) {
        if (!code64(c) || c->cpl == 3 || (selector & SELECTOR_RPL) != c->cpl)
            raise_fault(c, VECTOR_GP, 0);
        c->segment[SEG_SS] = segment_null_stack(c->cpl);
        return;
    }
    descriptor_fetch_stack(c, selector, c->cpl, VECTOR_GP, 0, &d);
    descriptor_set_accessed(c, &d);
    c->segment[SEG_SS] = d.segment;
}

static void segment_load_data(struct dbt_vcpu *c, enum segment which, uint16_t selector)
{
    struct descriptor d;
    unsigned rpl = selector & SELECTOR_RPL;
    uint16_t attributes;

    if (selector_null(selector)) {
        segment_set_null(c, which, selector);
        return;
    }
    if (!descriptor_fetch(c, selector, &d))
        raise_selector(c, VECTOR_GP, selector, 0);
    attributes = d.segment.attributes;
    if (!(attributes & SEGMENT_S) || (attributes & (TYPE_CODE | TYPE_READABLE)) == TYPE_CODE)
        raise_selector(c, VECTOR_GP, selector, 0);
    if (!segment_is_conforming(&d.segment) && (rpl > segment_dpl(&d.segment) || c->cpl > segment_dpl(&d.segment)))
        raise_selector(c, VECTOR_GP, selector, 0);
    if (!segment_is_present(&d.segment))
        raise_selector(c, VECTOR_NP, selector, 0);
    descriptor_set_accessed(c, &d);
    c->segment[which] = d.segment;
}

void segment_load(struct dbt_vcpu *c, enum segment which, uint16_t selector)
{
    if (!protected_mode(c))
        segment_load_real(c, which, selector);
    else if (which == SEG_SS)
        segment_load_stack(c, selector);
    else
        segment_load_data(c, which, selector);
}

/* What every load of a segment register by MOV or POP ends with. */
static void segment_loaded(struct dbt_vcpu *c, const struct insn *insn, unsigned which)
{
    insn_done(c, insn);
    if (which == SEG_SS)
        c->interrupt_shadow = 2;
    mode_update(c);
}

static void mov_from_segment(struct dbt_vcpu *c, const struct insn *insn)
{
    uint16_t selector;

    if ((insn->reg & 7) > SEG_GS)
        raise_fault(c, VECTOR_UD, -1);
    selector = c->segment[insn->reg & 7].selector;
    if (insn->has_memory)
        rm_write(c, insn, 2, selector);
    else
        reg_set(c, insn->rm, insn->operand_size, false, selector);
    insn_done(c, insn);
}

static void mov_to_segment(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned which = insn->reg & 7;

    if (which == SEG_CS || which > SEG_GS)
        raise_fault(c, VECTOR_UD, -1);
    segment_load(c, which, (uint16_t)rm_read(c, insn, 2));
    segment_loaded(c, insn, which);
}

/* MOV to and from segment, control and debug registers; the others need no helper. */
void op_mov(struct dbt_vcpu *c, const struct insn *insn)
{
    if (insn->opcode_map == 0 && insn->opcode == 0x8c)
        mov_from_segment(c, insn);
    else if (insn->opcode_map == 0 && insn->opcode == 0x8e)
        mov_to_segment(c, insn);
    else if (insn->opcode_map == 1 && (insn->opcode == 0x20 || insn->opcode == 0x22))
        op_mov_control(c, insn);
    else if (insn->opcode_map == 1 && (insn->opcode == 0x21 || insn->opcode == 0x23))
        op_mov_debug(c, insn);
    else
        raise_fault(c, VECTOR_UD, -1);
}

/* The segment register in the opcodes 06, 0E, 16, 1E, 0F A0, 0F A8 and the next ones. */
static unsigned opcode_segment(const struct insn *insn)
{
    return (insn->opcode >> 3) & 7;
}

void op_push(struct dbt_vcpu *c, const struct insn *insn)
{
    struct stack stack;

    stack_open(c, &stack);
    stack_push(c, &stack, stack_operand(c, insn), c->segment[opcode_segment(insn)].selector);
    stack_commit(c, &stack);
    insn_done(c, insn);
}

void op_pop(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned which = opcode_segment(insn);
    struct stack stack;

    stack_open(c, &stack);
    segment_load(c, which, (uint16_t)stack_pop(c, &stack, stack_operand(c, insn)));
    stack_commit(c, &stack);
    segment_loaded(c, insn, which);
}

static enum segment far_pointer_segment(const struct insn *insn)
{
    if (insn->opcode_map == 0)
        return insn->opcode == 0xc4 ? SEG_ES : SEG_DS;
    return insn->opcode == 0xb2 ? SEG_SS : insn->opcode == 0xb4 ? SEG_FS : SEG_GS;
}

/* LES, LDS, LSS, LFS, LGS. AMD's processors read a 32-bit offset even with REX.W. */
void op_load_far_pointer(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned size = insn->operand_size == 8 && sys_vendor_amd(c) ? 4 : insn->operand_size;
    uint64_t linear = insn_linear(c, insn, size + 2, MMU_READ);
    uint64_t offset = mmu_read(c, linear, size);

    segment_load(c, far_pointer_segment(insn), (uint16_t)mmu_read(c, linear + size, 2));
    reg_set(c, insn->reg, size, false, offset);
    insn_done(c, insn);
    mode_update(c);
}
