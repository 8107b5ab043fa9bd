/* System instructions that are frequent in kernels and short enough to be done in place, at CPL 0 only. */
#include "engine/dbt/translate.h"

/*
 * Interrupts off and on. An interrupt that waits, or anything else that wants attention, sends STI to
 * its helper, which knows of the shadow; otherwise whatever comes is noticed at the next entry check,
 * an instruction later at the earliest. The arithmetic flags are overwritten, so saved first.
 */
static void emit_interrupt_flag(struct translator *t, bool on)
{
    emit_gs(&t->e, false, 0x81, on ? 1 : 4, OFF_SYS_FLAGS);
    emit_u32(&t->e, on ? (uint32_t)RFLAGS_IF : ~(uint32_t)RFLAGS_IF);
}

void emit_cli(struct translator *t, const struct op *op)
{
    if (t->flags == FLAGS_HOST && op->live_in)
        emit_flags_save(t);
    emit_interrupt_flag(t, false);
}

void emit_sti(struct translator *t, const struct op *op)
{
    enum flags_place flags;

    if (op == &t->ops[t->count - 1]) {
        emit_helper(t, op);
        return;
    }
    if (t->flags == FLAGS_HOST && op->live_in)
        emit_flags_save(t);
    flags = t->flags;
    emit_gs(&t->e, false, 0x8b, HOST_S2, OFF_ATTENTION);
    emit_gs(&t->e, false, 0x0b, HOST_S2, OFF_IRQ_WAITING);
    {
        uint8_t *quiet = emit_jump(&t->e, 4);

        emit_helper(t, op);
        emit_patch(&t->e, quiet, t->e.at);
    }
    t->flags = flags;
    emit_interrupt_flag(t, true);
}

/*
 * STAC and CLAC switch the SMAP half of the mode; what follows is a block of the other mode.
 */
void emit_stac(struct translator *t, const struct op *op)
{
    bool set = op->z.mnemonic == ZYDIS_MNEMONIC_STAC;
    uint32_t mode = set ? t->mode | MODE_AC : t->mode & ~(uint32_t)MODE_AC;

    if (t->flags == FLAGS_HOST && op->live_in)
        emit_flags_save(t);
    emit_gs(&t->e, false, 0x81, set ? 1 : 4, OFF_SYS_FLAGS);
    emit_u32(&t->e, set ? (uint32_t)RFLAGS_AC : ~(uint32_t)RFLAGS_AC);
    if (mode != t->mode) {
        emit_gs(&t->e, false, 0xc7, 0, (uint32_t)offsetof(struct dbt_vcpu, mode));
        emit_u32(&t->e, mode);
        emit_gs(&t->e, false, 0xc6, 0, (uint32_t)offsetof(struct dbt_vcpu, mmu));
        emit_byte(&t->e, set ? MMU_KERNEL_AC : MMU_KERNEL);
        emit_gs(&t->e, false, 0x83, 6, OFF_GENERATION); /* xor dword, 1 */
        emit_byte(&t->e, 1);
    }
    emit_flags_need(t, op->live_out);
    emit_exit(t, CONDITION_ALWAYS, t->end_rip, op->rip);
}

void emit_swapgs(struct translator *t)
{
    uint32_t base = (uint32_t)offsetof(struct dbt_vcpu, segment[SEG_GS].base);
    uint32_t kernel = (uint32_t)offsetof(struct dbt_vcpu, kernel_gs_base);

    emit_gs(&t->e, true, 0x8b, HOST_S1, base);
    emit_gs(&t->e, true, 0x8b, HOST_S2, kernel);
    emit_gs(&t->e, true, 0x89, HOST_S1, kernel);
    emit_gs(&t->e, true, 0x89, HOST_S2, base);
}

static void push_flags(struct translator *t, const struct op *op)
{
    (void)op;
    emit_gs(&t->e, true, 0x8b, HOST_S2, OFF_SPILL + 8);
    emit_alu_imm(&t->e, false, 4, HOST_S2, ALU_FLAGS);
    emit_gs(&t->e, false, 0x0b, HOST_S2, OFF_SYS_FLAGS);
    emit_alu_imm(&t->e, false, 4, HOST_S2, (int32_t) ~(RFLAGS_RF | RFLAGS_VM));
    emit_rm(&t->e, true, 0x89, HOST_S2, HOST_S1, 0);
}

/* The arithmetic flags as the host has them, the others from the vCPU; RF and VM read as zero. */
void emit_pushf(struct translator *t, const struct op *op)
{
    emit_flags_need(t, op->live_in);
    emit_byte(&t->e, 0x9c); /* pushfq */
    emit_byte(&t->e, 0x41); /* pop r11 */
    emit_byte(&t->e, 0x5b);
    emit_gs(&t->e, true, 0x89, HOST_S2, OFF_SPILL + 8);
    emit_stack_address(t, -8);
    emit_access(t, op, stack_descriptor(t, 8, ACCESS_WRITE), push_flags);
    emit_stack_adjust(t, -8);
}
