/* Instructions on system segments and on selectors themselves, and the FS and GS bases. */
#include "engine/dbt/sys.h"

#include "x86/msr.h"

/* The descriptor of an LDT or TSS for LLDT and LTR: #GP, #NP. */
static void system_fetch(struct dbt_vcpu *c, uint16_t selector, unsigned types, struct descriptor *d)
{
    if ((selector & SELECTOR_TI) || !descriptor_fetch(c, selector, d) || (d->segment.attributes & SEGMENT_S) ||
        !(types & BIT(segment_type(&d->segment))))
        raise_selector(c, VECTOR_GP, selector, 0);
    if (!segment_is_present(&d->segment))
        raise_selector(c, VECTOR_NP, selector, 0);
    if (long_mode(c) && (!descriptor_fetch_upper(c, d) || !canonical(d->segment.base)))
        raise_selector(c, VECTOR_GP, selector, 0);
}

void op_lldt(struct dbt_vcpu *c, const struct insn *insn)
{
    struct descriptor d;
    uint16_t selector;

    require_protected(c);
    require_cpl0(c);
    selector = (uint16_t)rm_read(c, insn, 2);
    if (selector_null(selector)) {
        c->segment[SEG_LDTR] = segment_null(selector);
    } else {
        system_fetch(c, selector, BIT(SYSTEM_LDT), &d);
        c->segment[SEG_LDTR] = d.segment;
    }
    insn_done(c, insn);
}

void op_ltr(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned types = long_mode(c) ? BIT(SYSTEM_TSS) : BIT(SYSTEM_TSS) | BIT(SYSTEM_TSS_16);
    struct descriptor d;
    uint16_t selector;

    require_protected(c);
    require_cpl0(c);
    selector = (uint16_t)rm_read(c, insn, 2);
    if (selector_null(selector))
        raise_fault(c, VECTOR_GP, 0);
    system_fetch(c, selector, types, &d);
    if (!descriptor_set_busy(c, &d))
        raise_selector(c, VECTOR_GP, selector, 0);
    c->segment[SEG_TR] = d.segment;
    insn_done(c, insn);
}

static void store_selector(struct dbt_vcpu *c, const struct insn *insn, uint16_t selector)
{
    require_protected(c);
    if ((c->cr4 & CR4_UMIP) && c->cpl != 0)
        raise_fault(c, VECTOR_GP, 0);
    rm_write(c, insn, insn->has_memory ? 2 : insn->operand_size, selector);
    insn_done(c, insn);
}

void op_sldt(struct dbt_vcpu *c, const struct insn *insn)
{
    store_selector(c, insn, c->segment[SEG_LDTR].selector);
}

void op_str(struct dbt_vcpu *c, const struct insn *insn)
{
    store_selector(c, insn, c->segment[SEG_TR].selector);
}

static void set_zf(struct dbt_vcpu *c, bool value)
{
    c->alu_flags = value ? c->alu_flags | RFLAGS_ZF : c->alu_flags & ~RFLAGS_ZF;
}

/* What LAR and LSL ask of a descriptor: a type that they accept, visible at CPL and RPL. */
static bool selector_visible(struct dbt_vcpu *c, uint16_t selector, unsigned system_types, struct descriptor *d)
{
    unsigned rpl = selector & SELECTOR_RPL;

    if (!descriptor_fetch(c, selector, d))
        return false;
    if (!(d->segment.attributes & SEGMENT_S) && !(system_types & BIT(segment_type(&d->segment))))
        return false;
    if (!(d->segment.attributes & SEGMENT_S) && long_mode(c) && !descriptor_fetch_upper(c, d))
        return false;
    return segment_is_conforming(&d->segment) ||
           (c->cpl <= segment_dpl(&d->segment) && rpl <= segment_dpl(&d->segment));
}

void op_lar(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned types = BIT(SYSTEM_LDT) | BIT(SYSTEM_TSS) | BIT(SYSTEM_TSS_BUSY) | BIT(SYSTEM_CALL);
    struct descriptor d;
    bool visible;

    require_protected(c);
    if (!long_mode(c))
        types |= BIT(SYSTEM_TSS_16) | BIT(SYSTEM_TSS_16_BUSY) | BIT(SYSTEM_CALL_16) | BIT(SYSTEM_TASK);
    visible = selector_visible(c, (uint16_t)rm_read(c, insn, 2), types, &d);
    if (visible)
        reg_set(c, insn->reg, insn->operand_size, false, d.high & 0x00f0ff00u);
    set_zf(c, visible);
    insn_done(c, insn);
}

void op_lsl(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned types = BIT(SYSTEM_LDT) | BIT(SYSTEM_TSS) | BIT(SYSTEM_TSS_BUSY);
    struct descriptor d;
    bool visible;

    require_protected(c);
    if (!long_mode(c))
        types |= BIT(SYSTEM_TSS_16) | BIT(SYSTEM_TSS_16_BUSY);
    visible = selector_visible(c, (uint16_t)rm_read(c, insn, 2), types, &d);
    if (visible)
        reg_set(c, insn->reg, insn->operand_size, false, d.segment.limit);
    set_zf(c, visible);
    insn_done(c, insn);
}

void op_verr(struct dbt_vcpu *c, const struct insn *insn)
{
    struct descriptor d;
    bool readable;

    require_protected(c);
    readable = selector_visible(c, (uint16_t)rm_read(c, insn, 2), 0, &d) &&
               (d.segment.attributes & (TYPE_CODE | TYPE_READABLE)) != TYPE_CODE;
    set_zf(c, readable);
    insn_done(c, insn);
}

void op_verw(struct dbt_vcpu *c, const struct insn *insn)
{
    struct descriptor d;
    bool writable;

    require_protected(c);
    writable = selector_visible(c, (uint16_t)rm_read(c, insn, 2), 0, &d) && segment_is_writable_data(&d.segment);
    set_zf(c, writable);
    insn_done(c, insn);
}

/* ARPL; the same opcode is MOVSXD in 64-bit code. */
void op_arpl(struct dbt_vcpu *c, const struct insn *insn)
{
    uint16_t selector, rpl;

    require_protected(c);
    selector = (uint16_t)rm_read(c, insn, 2);
    rpl = (uint16_t)reg_get(c, insn->reg, 2, false) & SELECTOR_RPL;
    if ((selector & SELECTOR_RPL) < rpl) {
        rm_write(c, insn, 2, (uint16_t)((selector & ~SELECTOR_RPL) | rpl));
        set_zf(c, true);
    } else {
        set_zf(c, false);
    }
    insn_done(c, insn);
}

static void require_fsgsbase(struct dbt_vcpu *c)
{
    if (!code64(c) || !(c->cr4 & CR4_FSGSBASE))
        raise_fault(c, VECTOR_UD, -1);
}

/* An operand-size prefix does not count. */
static unsigned base_size(const struct insn *insn)
{
    return insn->operand_size == 8 ? 8 : 4;
}

static void base_read(struct dbt_vcpu *c, const struct insn *insn, enum segment which)
{
    require_fsgsbase(c);
    reg_set(c, insn->rm, base_size(insn), false, c->segment[which].base);
    insn_done(c, insn);
}

static void base_write(struct dbt_vcpu *c, const struct insn *insn, enum segment which)
{
    uint64_t base;

    require_fsgsbase(c);
    base = reg_get(c, insn->rm, base_size(insn), false);
    if (!canonical(base))
        raise_fault(c, VECTOR_GP, 0);
    c->segment[which].base = base;
    insn_done(c, insn);
}

void op_rdfsbase(struct dbt_vcpu *c, const struct insn *insn)
{
    base_read(c, insn, SEG_FS);
}

void op_rdgsbase(struct dbt_vcpu *c, const struct insn *insn)
{
    base_read(c, insn, SEG_GS);
}

void op_wrfsbase(struct dbt_vcpu *c, const struct insn *insn)
{
    base_write(c, insn, SEG_FS);
}

void op_wrgsbase(struct dbt_vcpu *c, const struct insn *insn)
{
    base_write(c, insn, SEG_GS);
}

void op_swapgs(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t base = c->segment[SEG_GS].base;

    if (!code64(c))
        raise_fault(c, VECTOR_UD, -1);
    require_cpl0(c);
    c->segment[SEG_GS].base = c->kernel_gs_base;
    c->kernel_gs_base = base;
    insn_done(c, insn);
}
