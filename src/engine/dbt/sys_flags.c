/* PUSHF, POPF, CLI, STI, CLAC, STAC (Intel SDM volume 2; volume 3, section 20.3 for virtual interrupts). */
#include "engine/dbt/sys.h"

uint64_t flags_merge(const struct dbt_vcpu *c, uint64_t value, unsigned size, bool is_return)
{
    uint64_t change = RFLAGS_STATUS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
    uint64_t old = rflags_get(c) & ~RFLAGS_RF;

    if (size > 2)
        change |= RFLAGS_AC | RFLAGS_ID;
    if (c->cpl <= iopl(c))
        change |= RFLAGS_IF;
    if (c->cpl == 0)
        change |= RFLAGS_IOPL;
    if (size > 2 && is_return)
        change |= c->cpl == 0 ? RFLAGS_RF | RFLAGS_VIF | RFLAGS_VIP : RFLAGS_RF;
    else if (size > 2 && c->cpl == 0)
        old &= ~(RFLAGS_VIF | RFLAGS_VIP);
    return (old & ~change) | (value & change);
}

void op_pushf(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t flags = rflags_get(c) & ~(RFLAGS_VM | RFLAGS_RF);
    unsigned size = stack_operand(c, insn);
    struct stack stack;

    if (v8086_mode(c) && iopl(c) < 3) {
        if (!v8086_virtual_flag(c) || size != 2)
            raise_fault(c, VECTOR_GP, 0);
        flags = (flags & ~RFLAGS_IF) | RFLAGS_IOPL;
        if (flags & RFLAGS_VIF)
            flags |= RFLAGS_IF;
    }
    stack_open(c, &stack);
    stack_push(c, &stack, size, flags);
    stack_commit(c, &stack);
    insn_done(c, insn);
}

void op_popf(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned size = stack_operand(c, insn);
    bool is_virtual = v8086_virtual_flag(c);
    struct stack stack;
    uint64_t value;

    if (v8086_mode(c) && iopl(c) < 3 && (!is_virtual || size != 2))
        raise_fault(c, VECTOR_GP, 0);
    stack_open(c, &stack);
    value = stack_pop(c, &stack, size);
    value = is_virtual ? v8086_merge_flags(c, value) : flags_merge(c, value, size, false);
    stack_commit(c, &stack);
    rflags_set(c, value);
    insn_done(c, insn);
    mode_update(c);
}

/* Which interrupt flag CLI and STI mean: IF, or VIF, or #GP. */
static uint64_t interrupt_flag(struct dbt_vcpu *c)
{
    if (c->cpl <= iopl(c))
        return RFLAGS_IF;
    if (c->cpl == 3 && (c->cr4 & (v8086_mode(c) ? CR4_VME : CR4_PVI)))
        return RFLAGS_VIF;
    raise_fault(c, VECTOR_GP, 0);
}

void op_cli(struct dbt_vcpu *c, const struct insn *insn)
{
    c->sys_flags &= ~interrupt_flag(c);
    insn_done(c, insn);
}

void op_sti(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t flag = interrupt_flag(c);

    if (flag == RFLAGS_VIF && (c->sys_flags & RFLAGS_VIP))
        raise_fault(c, VECTOR_GP, 0);
    insn_done(c, insn);
    if (flag == RFLAGS_IF && !(c->sys_flags & RFLAGS_IF)) {
        c->interrupt_shadow = 1;
        c->sys_flags |= flag;
        mode_update(c);
    } else {
        c->sys_flags |= flag;
    }
}

static void access_check_set(struct dbt_vcpu *c, const struct insn *insn, uint64_t flag)
{
    if (c->cpl != 0 || !sys_feature(c, 7, 0, 1, 20))
        raise_fault(c, VECTOR_UD, -1);
    c->sys_flags = (c->sys_flags & ~RFLAGS_AC) | flag;
    insn_done(c, insn);
    mode_update(c);
}

void op_clac(struct dbt_vcpu *c, const struct insn *insn)
{
    access_check_set(c, insn, 0);
}

void op_stac(struct dbt_vcpu *c, const struct insn *insn)
{
    access_check_set(c, insn, RFLAGS_AC);
}
