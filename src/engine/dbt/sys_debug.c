/* MOV to and from debug registers (Intel SDM volume 3, section 17.2). */
#include "engine/dbt/sys.h"

#define DR6_WRITABLE (DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3 | DR6_BD | DR6_BS | DR6_BT)

/* Bits 11, 12, 14 and 15 read as zero. */
#define DR7_WRITABLE 0xffff23ffull

static void debug_write(struct dbt_vcpu *c, unsigned reg, uint64_t value)
{
    if (reg >= 6 && (value >> 32) != 0)
        raise_fault(c, VECTOR_GP, 0);
    if (reg == 6)
        value = (value & DR6_WRITABLE) | DR6_FIXED;
    else if (reg == 7)
        value = (value & DR7_WRITABLE) | DR7_FIXED;
    if (reg != 6 && c->dr[reg] != value)
        mmu_flush_all(c); /* accesses to a watched page must not hit the TLB */
    c->dr[reg] = value;
}

void op_mov_debug(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned reg = insn->reg, size = code64(c) ? 8 : 4;

    if (reg > 7 || ((reg == 4 || reg == 5) && (c->cr4 & CR4_DE)))
        raise_fault(c, VECTOR_UD, -1);
    if (reg == 4 || reg == 5)
        reg += 2;
    require_cpl0(c);
    if (c->dr[7] & DR7_GD) {
        c->dr[6] |= DR6_BD;
        raise_fault(c, VECTOR_DB, -1);
    }
    if (insn->opcode == 0x21)
        reg_set(c, insn->rm, size, false, c->dr[reg]);
    else
        debug_write(c, reg, reg_get(c, insn->rm, size, false));
    insn_done(c, insn);
    mode_update(c);
}
