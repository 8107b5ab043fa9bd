/*
 * Far JMP, CALL and RET, direct, indirect and through call gates (Intel SDM volume 2; volume 3, section 5.8).
 *
 * A jump or call to a TSS or task gate is a hardware task switch, which is not served: #TS(selector).
 */
#include "engine/dbt/sys.h"

struct far_pointer {
    uint64_t offset;
    uint16_t selector;
    unsigned size; /* operand size in bytes: of what a call pushes */
};

static struct far_pointer far_operand(struct dbt_vcpu *c, const struct insn *insn)
{
    struct far_pointer to = {.size = insn->operand_size};
    /* AMD's processors know no pointer with a 64-bit offset; REX.W makes them push 64 bits all the same. */
    unsigned size = insn->operand_size == 8 && sys_vendor_amd(c) ? 4 : insn->operand_size;
    uint64_t linear;

    if (insn->has_memory) {
        linear = insn_linear(c, insn, size + 2, MMU_READ);
        to.offset = mmu_read(c, linear, size);
        to.selector = (uint16_t)mmu_read(c, linear + size, 2);
    } else {
        to.offset = insn->immediate & address_mask(to.size);
        to.selector = (uint16_t)insn->immediate2;
    }
    return to;
}

static void far_transfer_real(struct dbt_vcpu *c, const struct insn *insn, const struct far_pointer *to, bool call)
{
    struct stack stack;

    if (to->offset > c->segment[SEG_CS].limit)
        raise_fault(c, VECTOR_GP, 0);
    if (call) {
        stack_open(c, &stack);
        stack_push(c, &stack, to->size, c->segment[SEG_CS].selector);
        stack_push(c, &stack, to->size, insn_next(c, insn));
        stack_commit(c, &stack);
    }
    segment_load_real(c, SEG_CS, to->selector);
    c->rip = to->offset;
}

/* The code segment that a far pointer or a gate names: what is common to all ways there. */
static void code_check_target(struct dbt_vcpu *c, const struct descriptor *d, bool only_64)
{
    uint16_t attributes = d->segment.attributes, selector = d->segment.selector;

    if (long_mode(c) && (attributes & SEGMENT_L) && (attributes & SEGMENT_DB))
        raise_selector(c, VECTOR_GP, selector, 0);
    if (only_64 && !(attributes & SEGMENT_L))
        raise_selector(c, VECTOR_GP, selector, 0);
    if (!segment_is_present(&d->segment))
        raise_selector(c, VECTOR_NP, selector, 0);
}

static void far_transfer_direct(struct dbt_vcpu *c, const struct insn *insn, const struct far_pointer *to,
                                struct descriptor *d, bool call)
{
    unsigned dpl = segment_dpl(&d->segment), rpl = to->selector & SELECTOR_RPL;
    struct stack stack;

    if (segment_is_conforming(&d->segment) ? dpl > c->cpl : rpl > c->cpl || dpl != c->cpl)
        raise_selector(c, VECTOR_GP, to->selector, 0);
    code_check_target(c, d, false);
    if (call) {
        stack_open(c, &stack);
        stack_push(c, &stack, to->size, c->segment[SEG_CS].selector);
        stack_push(c, &stack, to->size, insn_next(c, insn));
    }
    code_check_offset(c, &d->segment, to->offset, 0);
    descriptor_set_accessed(c, d);
    segment_commit_code(c, d, c->cpl);
    if (call)
        stack_commit(c, &stack);
    c->rip = to->offset;
}

/* The code segment behind a call gate. Answers its privilege level. */
static unsigned gate_fetch_code(struct dbt_vcpu *c, struct descriptor *gate, bool call, struct descriptor *code)
{
    uint16_t selector = (uint16_t)(gate->low >> 16);
    unsigned dpl;

    if (segment_dpl(&gate->segment) < c->cpl ||
        segment_dpl(&gate->segment) < (unsigned)(gate->segment.selector & SELECTOR_RPL))
        raise_selector(c, VECTOR_GP, gate->segment.selector, 0);
    if (!segment_is_present(&gate->segment))
        raise_selector(c, VECTOR_NP, gate->segment.selector, 0);
    if (long_mode(c) && !descriptor_fetch_upper(c, gate))
        raise_selector(c, VECTOR_GP, gate->segment.selector, 0);
    if (selector_null(selector))
        raise_fault(c, VECTOR_GP, 0);
    if (!descriptor_fetch(c, selector, code) || !segment_is_code(&code->segment))
        raise_selector(c, VECTOR_GP, selector, 0);
    dpl = segment_dpl(&code->segment);
    if (dpl > c->cpl || (!call && !segment_is_conforming(&code->segment) && dpl != c->cpl))
        raise_selector(c, VECTOR_GP, selector, 0);
    code_check_target(c, code, long_mode(c));
    return segment_is_conforming(&code->segment) ? c->cpl : dpl;
}

/* Old SS:RSP and, outside long mode, the parameters go to the stack of the inner level. */
static void gate_switch_stack(struct dbt_vcpu *c, unsigned cpl, unsigned size, unsigned parameters, struct stack *stack)
{
    struct stack old;

    stack_open(c, &old);
    stack_open_inner(c, cpl, 0, stack);
    stack_push(c, stack, size, c->segment[SEG_SS].selector);
    stack_push(c, stack, size, c->gpr[GPR_RSP]);
    for (unsigned i = parameters; i-- > 0;)
        stack_push(c, stack, size, stack_peek(c, &old, (uint64_t)i * size, size));
}

static void far_transfer_gate(struct dbt_vcpu *c, const struct insn *insn, struct descriptor *gate, bool call)
{
    struct descriptor code;
    unsigned cpl = gate_fetch_code(c, gate, call, &code);
    unsigned size = long_mode(c) ? 8 : segment_type(&gate->segment) == SYSTEM_CALL ? 4 : 2;
    unsigned parameters = long_mode(c) ? 0 : gate->high & 0x1f;
    uint64_t offset = (gate->low & 0xffff) | (gate->high & 0xffff0000u) | (uint64_t)gate->upper << 32;
    struct stack stack;

    if (size == 2)
        offset &= 0xffff;
    if (call) {
        if (cpl < c->cpl)
            gate_switch_stack(c, cpl, size, parameters, &stack);
        else
            stack_open(c, &stack);
        if (long_mode(c))
            stack.mask = UINT64_MAX; /* from compatibility mode too: the handler is 64-bit code */
        stack_push(c, &stack, size, c->segment[SEG_CS].selector);
        stack_push(c, &stack, size, insn_next(c, insn));
    }
    code_check_offset(c, &code.segment, offset, 0);
    descriptor_set_accessed(c, &code);
    if (call) {
        if (cpl < c->cpl)
            c->segment[SEG_SS] = stack.ss;
        stack_commit(c, &stack);
    }
    segment_commit_code(c, &code, call ? cpl : c->cpl);
    c->rip = offset;
}

static void far_transfer_protected(struct dbt_vcpu *c, const struct insn *insn, const struct far_pointer *to, bool call)
{
    unsigned gates = BIT(SYSTEM_CALL), tasks = BIT(SYSTEM_TASK) | BIT(SYSTEM_TSS_16) | BIT(SYSTEM_TSS), type;
    struct descriptor d;

    if (selector_null(to->selector))
        raise_fault(c, VECTOR_GP, 0);
    if (!descriptor_fetch(c, to->selector, &d))
        raise_selector(c, VECTOR_GP, to->selector, 0);
    type = BIT(segment_type(&d.segment));
    if (!long_mode(c))
        gates |= BIT(SYSTEM_CALL_16);
    if (segment_is_code(&d.segment))
        far_transfer_direct(c, insn, to, &d, call);
    else if (!(d.segment.attributes & SEGMENT_S) && (gates & type))
        far_transfer_gate(c, insn, &d, call);
    else if (!(d.segment.attributes & SEGMENT_S) && (tasks & type) && !long_mode(c))
        raise_selector(c, VECTOR_TS, to->selector, 0);
    else
        raise_selector(c, VECTOR_GP, to->selector, 0);
}

static void far_transfer(struct dbt_vcpu *c, const struct insn *insn, bool call)
{
    struct far_pointer to = far_operand(c, insn);

    if (protected_mode(c))
        far_transfer_protected(c, insn, &to, call);
    else
        far_transfer_real(c, insn, &to, call);
    mode_update(c);
}

void op_jmp_far(struct dbt_vcpu *c, const struct insn *insn)
{
    far_transfer(c, insn, false);
}

void op_call_far(struct dbt_vcpu *c, const struct insn *insn)
{
    far_transfer(c, insn, true);
}

static void far_return_protected(struct dbt_vcpu *c, struct stack *stack, uint64_t rip, uint16_t selector,
                                 unsigned size, uint64_t release)
{
    unsigned cpl = selector & SELECTOR_RPL;
    struct segment_state ss;
    struct descriptor code;
    struct stack outer;
    uint64_t rsp;
    bool to_64;

    descriptor_fetch_return(c, selector, &code);
    to_64 = segment_is_64(c, &code.segment);
    stack_skip(stack, release);
    if (cpl == c->cpl) {
        code_check_offset(c, &code.segment, rip, 0);
        descriptor_set_accessed(c, &code);
        stack_commit(c, stack);
        segment_commit_code(c, &code, cpl);
    } else {
        rsp = stack_pop(c, stack, size);
        ss = segment_fetch_return_stack(c, (uint16_t)stack_pop(c, stack, size), cpl, to_64);
        code_check_offset(c, &code.segment, rip, 0);
        descriptor_set_accessed(c, &code);
        stack_open_level(&outer, &ss, rsp, cpl, to_64, 0);
        stack_skip(&outer, release);
        segment_commit_code(c, &code, cpl);
        stack_commit_return(c, &ss, to_64, outer.pointer);
        segment_drop_inner(c);
    }
    c->rip = rip;
}

void op_ret_far(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t rip, release = insn->opcode == 0xca ? insn->immediate & 0xffff : 0;
    unsigned size = insn->operand_size;
    uint16_t selector;
    struct stack stack;

    stack_open(c, &stack);
    rip = stack_pop(c, &stack, size);
    selector = (uint16_t)stack_pop(c, &stack, size);
    if (protected_mode(c)) {
        far_return_protected(c, &stack, rip, selector, size, release);
    } else {
        if (rip > c->segment[SEG_CS].limit)
            raise_fault(c, VECTOR_GP, 0);
        stack_skip(&stack, release);
        stack_commit(c, &stack);
        segment_load_real(c, SEG_CS, selector);
        c->rip = rip;
    }
    mode_update(c);
}
