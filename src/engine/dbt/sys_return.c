/*
 * IRET in all modes (Intel SDM volume 2, IRET). Everything is popped and checked before anything changes.
 *
 * A return to a previous task (RFLAGS.NT) would be a hardware task switch, which is not served:
 * #TS(0), or in long mode the #GP(0) that the architecture asks for.
 */
#include "engine/dbt/sys.h"

/* What lies on the stack. */
struct frame {
    uint64_t rip, flags, rsp;
    uint16_t cs, ss;
};

static void frame_pop(struct dbt_vcpu *c, struct stack *stack, unsigned size, struct frame *frame)
{
    frame->rip = stack_pop(c, stack, size);
    frame->cs = (uint16_t)stack_pop(c, stack, size);
    frame->flags = stack_pop(c, stack, size);
}

static void frame_pop_stack(struct dbt_vcpu *c, struct stack *stack, unsigned size, struct frame *frame)
{
    frame->rsp = stack_pop(c, stack, size);
    frame->ss = (uint16_t)stack_pop(c, stack, size);
}

/* Real and virtual-8086 mode. */
static void return_real(struct dbt_vcpu *c, unsigned size)
{
    const uint64_t keep = RFLAGS_VIF | RFLAGS_VIP;
    uint64_t flags;
    struct stack stack;
    struct frame frame;
    bool is_virtual = v8086_virtual_flag(c) && size == 2;

    if (v8086_mode(c) && iopl(c) < 3 && !is_virtual)
        raise_fault(c, VECTOR_GP, 0);
    stack_open(c, &stack);
    frame_pop(c, &stack, size, &frame);
    if (frame.rip > c->segment[SEG_CS].limit)
        raise_fault(c, VECTOR_GP, 0);
    /* VIF and VIP stay as they are, except for what a virtual IF does to VIF. */
    if (is_virtual)
        flags = v8086_merge_flags(c, frame.flags);
    else
        flags = (flags_merge(c, frame.flags, size, true) & ~keep) | (c->sys_flags & keep);
    stack_commit(c, &stack);
    segment_load_real(c, SEG_CS, frame.cs);
    c->rip = frame.rip;
    rflags_set(c, flags);
}

static void return_to_v8086(struct dbt_vcpu *c, struct stack *stack, struct frame *frame)
{
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint16_t data[ARRAY_LENGTH(order)];

    frame_pop_stack(c, stack, 4, frame);
    for (unsigned i = 0; i < ARRAY_LENGTH(order); i++)
        data[i] = (uint16_t)stack_pop(c, stack, 4);
    if (frame->rip > UINT16_MAX)
        raise_fault(c, VECTOR_GP, 0);

    rflags_set(c, frame->flags);
    c->cpl = 3;
    segment_load_real(c, SEG_CS, frame->cs);
    segment_load_real(c, SEG_SS, frame->ss);
    for (unsigned i = 0; i < ARRAY_LENGTH(order); i++)
        segment_load_real(c, order[i], data[i]);
    c->gpr[GPR_RSP] = (uint32_t)frame->rsp;
    c->rip = frame->rip;
}

static void return_protected(struct dbt_vcpu *c, unsigned size)
{
    bool from_64 = code64(c), to_64, outer;
    struct segment_state ss = c->segment[SEG_SS];
    struct descriptor code;
    struct stack stack;
    struct frame frame;
    uint64_t flags;
    unsigned cpl;

    if (c->sys_flags & RFLAGS_NT)
        raise_fault(c, long_mode(c) ? VECTOR_GP : VECTOR_TS, 0);
    stack_open(c, &stack);
    frame_pop(c, &stack, size, &frame);
    if (!long_mode(c) && size == 4 && (frame.flags & RFLAGS_VM) && c->cpl == 0) {
        return_to_v8086(c, &stack, &frame);
        return;
    }
    descriptor_fetch_return(c, frame.cs, &code);
    cpl = frame.cs & SELECTOR_RPL;
    outer = cpl > c->cpl;
    to_64 = segment_is_64(c, &code.segment);
    if (outer || from_64) {
        frame_pop_stack(c, &stack, size, &frame);
        ss = segment_fetch_return_stack(c, frame.ss, cpl, to_64);
    }
    code_check_offset(c, &code.segment, frame.rip, 0);
    descriptor_set_accessed(c, &code);

    flags = flags_merge(c, frame.flags, size, true);
    segment_commit_code(c, &code, cpl);
    if (outer || from_64)
        stack_commit_return(c, &ss, to_64, frame.rsp);
    else
        stack_commit(c, &stack);
    if (outer)
        segment_drop_inner(c);
    c->rip = frame.rip;
    rflags_set(c, flags);
}

void op_iret(struct dbt_vcpu *c, const struct insn *insn)
{
    if (protected_mode(c))
        return_protected(c, insn->operand_size);
    else
        return_real(c, insn->operand_size);
    c->nmi_blocked = 0;
    mode_update(c);
}
