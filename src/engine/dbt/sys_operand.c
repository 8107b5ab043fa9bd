/* Operands of system instructions: registers, ModRM, and stacks of every width and level. */
#include "engine/dbt/sys.h"

uint64_t reg_get(const struct dbt_vcpu *c, unsigned reg, unsigned size, bool high)
{
    if (high)
        return (c->gpr[reg - 4] >> 8) & 0xff;
    return c->gpr[reg] & address_mask(size);
}

void reg_set(struct dbt_vcpu *c, unsigned reg, unsigned size, bool high, uint64_t value)
{
    if (high) {
        c->gpr[reg - 4] = (c->gpr[reg - 4] & ~0xff00ull) | ((value & 0xff) << 8);
        return;
    }
    if (size == 8)
        c->gpr[reg] = value;
    else if (size == 4)
        c->gpr[reg] = (uint32_t)value;
    else
        c->gpr[reg] = (c->gpr[reg] & ~address_mask(size)) | (value & address_mask(size));
}

uint64_t rm_read(struct dbt_vcpu *c, const struct insn *insn, unsigned size)
{
    if (insn->has_memory)
        return mmu_read(c, insn_linear(c, insn, size, MMU_READ), size);
    return reg_get(c, insn->rm, size, insn->high_rm);
}

void rm_write(struct dbt_vcpu *c, const struct insn *insn, unsigned size, uint64_t value)
{
    if (insn->has_memory)
        mmu_write(c, insn_linear(c, insn, size, MMU_WRITE), size, value);
    else
        reg_set(c, insn->rm, size, insn->high_rm, value);
}

/* The linear address of [offset, offset + size) on the stack, or #SS. */
static uint64_t stack_linear(struct dbt_vcpu *c, const struct stack *stack, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;

    if (stack->mask == UINT64_MAX) {
        if (!canonical(offset) || !canonical(last))
            raise_fault(c, VECTOR_SS, stack->error);
        return offset;
    }
    if (stack->ss.attributes & SEGMENT_UNUSABLE)
        raise_fault(c, VECTOR_SS, stack->error);
    if (segment_is_writable_data(&stack->ss) && (stack->ss.attributes & TYPE_EXPAND_DOWN)) {
        uint64_t top = stack->ss.attributes & SEGMENT_DB ? UINT32_MAX : UINT16_MAX;

        if (offset <= stack->ss.limit || last > top)
            raise_fault(c, VECTOR_SS, stack->error);
    } else if (last > stack->ss.limit) {
        raise_fault(c, VECTOR_SS, stack->error);
    }
    return (uint32_t)(stack->ss.base + offset);
}

static uint64_t stack_width(const struct segment_state *ss, bool wide)
{
    if (wide)
        return UINT64_MAX;
    return ss->attributes & SEGMENT_DB ? UINT32_MAX : UINT16_MAX;
}

void stack_open(const struct dbt_vcpu *c, struct stack *stack)
{
    stack->ss = c->segment[SEG_SS];
    stack->pointer = c->gpr[GPR_RSP];
    stack->mask = stack_width(&stack->ss, code64(c));
    stack->mmu = c->mmu;
    stack->error = 0;
}

void stack_open_level(struct stack *stack, const struct segment_state *ss, uint64_t pointer, unsigned cpl, bool wide,
                      unsigned ext)
{
    stack->ss = *ss;
    stack->pointer = pointer;
    stack->mask = stack_width(ss, wide);
    stack->mmu = cpl == 3 ? MMU_USER : MMU_KERNEL;
    stack->error = (uint16_t)((ss->selector & ~SELECTOR_RPL) | ext);
}

static void stack_move(struct stack *stack, uint64_t by)
{
    stack->pointer = (stack->pointer & ~stack->mask) | ((stack->pointer + by) & stack->mask);
}

void stack_push(struct dbt_vcpu *c, struct stack *stack, unsigned size, uint64_t value)
{
    uint64_t offset = (stack->pointer - size) & stack->mask;

    mmu_write_as(c, stack->mmu, stack_linear(c, stack, offset, size), size, value);
    stack_move(stack, 0 - (uint64_t)size);
}

uint64_t stack_peek(struct dbt_vcpu *c, const struct stack *stack, uint64_t depth, unsigned size)
{
    uint64_t offset = (stack->pointer + depth) & stack->mask;

    return mmu_read_as(c, stack->mmu, stack_linear(c, stack, offset, size), size);
}

uint64_t stack_pop(struct dbt_vcpu *c, struct stack *stack, unsigned size)
{
    uint64_t value = stack_peek(c, stack, 0, size);

    stack_move(stack, size);
    return value;
}

void stack_skip(struct stack *stack, uint64_t bytes)
{
    stack_move(stack, bytes);
}

void stack_probe(struct dbt_vcpu *c, const struct stack *stack, unsigned size)
{
    mmu_probe(c, stack->mmu, stack_linear(c, stack, stack->pointer & stack->mask, size), size, MMU_WRITE);
}

void stack_commit(struct dbt_vcpu *c, const struct stack *stack)
{
    c->gpr[GPR_RSP] = stack->mask == UINT32_MAX ? (uint32_t)stack->pointer : stack->pointer;
}

void stack_commit_return(struct dbt_vcpu *c, const struct segment_state *ss, bool wide, uint64_t pointer)
{
    uint64_t mask = stack_width(ss, wide);

    c->segment[SEG_SS] = *ss;
    c->gpr[GPR_RSP] = mask == UINT16_MAX ? (c->gpr[GPR_RSP] & ~mask) | (pointer & mask) : pointer & mask;
}
