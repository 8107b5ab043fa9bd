/*
 * Virtual-8086 mode extensions (Intel SDM volume 3, section 20.3): a task whose IOPL is below 3 may have an
 * interrupt flag of its own, VIF, and serve some software interrupts itself, as a bitmap of 32 bytes just
 * below the I/O permission bitmap in the TSS says (a clear bit: the task serves it).
 */
#include "engine/dbt/sys.h"

bool v8086_virtual_flag(const struct dbt_vcpu *c)
{
    return v8086_mode(c) && iopl(c) < 3 && (c->cr4 & CR4_VME);
}

uint64_t v8086_merge_flags(struct dbt_vcpu *c, uint64_t value)
{
    uint64_t merged = flags_merge(c, value, 2, false) & ~RFLAGS_VIF;

    if ((value & RFLAGS_TF) || ((value & RFLAGS_IF) && (c->sys_flags & RFLAGS_VIP)))
        raise_fault(c, VECTOR_GP, 0);
    return value & RFLAGS_IF ? merged | RFLAGS_VIF : merged;
}

bool v8086_interrupt(struct dbt_vcpu *c, unsigned vector, uint64_t return_rip)
{
    uint64_t flags = rflags_get(c) & ~RFLAGS_RF, masked = RFLAGS_IF;
    struct stack stack;
    uint32_t handler, bits;

    if (!(c->cr4 & CR4_VME) || !tss_map_read(c, (int32_t)(vector / 8) - 32, 1, &bits) || (bits & BIT(vector % 8)))
        return false;
    if (iopl(c) < 3) {
        flags = (flags & ~RFLAGS_IF) | RFLAGS_IOPL | (flags & RFLAGS_VIF ? RFLAGS_IF : 0);
        masked = RFLAGS_VIF;
    }
    handler = (uint32_t)mmu_read(c, vector * 4, 4);
    stack_open(c, &stack);
    stack_push(c, &stack, 2, flags);
    stack_push(c, &stack, 2, c->segment[SEG_CS].selector);
    stack_push(c, &stack, 2, return_rip);
    stack_commit(c, &stack);
    segment_load_real(c, SEG_CS, (uint16_t)(handler >> 16));
    c->rip = handler & 0xffff;
    c->sys_flags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | masked);
    mode_update(c);
    return true;
}
