/*
 * Control registers and what goes with them (Intel SDM volume 3, sections 2.5, 2.6 and 4.10.4; volume 2, MOV).
 */
#include "engine/dbt/sys.h"

#include "core/trace.h"
#include "engine/dbt/sys_xstate.h"

#define CR0_STORED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

void control_tell(struct dbt_vcpu *c, const char *name, uint64_t value)
{
    if (!vcpu_traced(&c->vcpu, TRACE_CR))
        return;
    vector_save(c);
    trace_control(&c->vcpu, name, value, c->rip);
}

/* PG goes from 0 to 1: is long mode entered, and may it be? */
static void paging_enable(struct dbt_vcpu *c)
{
    unsigned tss = segment_type(&c->segment[SEG_TR]) & ~2u;

    if (!(c->efer & EFER_LME))
        return;
    if (!(c->cr4 & CR4_PAE) || (c->segment[SEG_CS].attributes & SEGMENT_L) || tss == SYSTEM_TSS_16)
        raise_fault(c, VECTOR_GP, 0);
    c->efer |= EFER_LMA;
    control_tell(c, "efer", c->efer);
}

static void paging_disable(struct dbt_vcpu *c)
{
    if (code64(c) || (c->cr4 & CR4_PCIDE))
        raise_fault(c, VECTOR_GP, 0);
    c->efer &= ~EFER_LMA;
    control_tell(c, "efer", c->efer);
}

static void set_cr0(struct dbt_vcpu *c, uint64_t value)
{
    uint64_t changed = value ^ c->cr0;

    if ((value >> 32) != 0 || ((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        raise_fault(c, VECTOR_GP, 0);
    if (changed & CR0_PG) {
        if (value & CR0_PG)
            paging_enable(c);
        else
            paging_disable(c);
    }
    c->cr0 = (value & CR0_STORED) | CR0_ET;
    control_tell(c, "cr0", c->cr0);
    if (changed & (CR0_PG | CR0_WP))
        mmu_flush_all(c);
    mode_update(c);
}

static void set_cr3(struct dbt_vcpu *c, uint64_t value)
{
    uint64_t physical = bits_mask(sys_physical_bits(c));
    bool keep = false;

    if (long_mode(c)) {
        keep = (c->cr4 & CR4_PCIDE) && (value & CR3_NO_FLUSH);
        if (keep)
            value &= ~CR3_NO_FLUSH;
        if (value & ~physical)
            raise_fault(c, VECTOR_GP, 0);
    } else {
        value = (uint32_t)value;
    }
    /* The TLB holds one address space: only a reload of the same one has anything to keep. */
    keep = keep && value == c->cr3;
    c->cr3 = value;
    control_tell(c, "cr3", value);
    if (!keep)
        mmu_flush_local(c);
}

/* The bits of CR4 that this CPU has. */
static uint64_t cr4_valid(const struct dbt_vcpu *c)
{
    static const struct {
        uint32_t leaf;
        uint8_t reg, bit;
        uint64_t flags;
    } features[] = {
        {1, 3, 1, CR4_VME | CR4_PVI}, {1, 3, 3, CR4_PSE},    {1, 3, 6, CR4_PAE},      {1, 3, 13, CR4_PGE},
        {1, 3, 24, CR4_OSFXSR},       {1, 2, 17, CR4_PCIDE}, {1, 2, 26, CR4_OSXSAVE}, {7, 2, 2, CR4_UMIP},
        {7, 1, 0, CR4_FSGSBASE},      {7, 1, 7, CR4_SMEP},   {7, 1, 20, CR4_SMAP},
    };
    uint64_t valid = CR4_TSD | CR4_DE | CR4_MCE | CR4_PCE | CR4_OSXMMEXCPT;

    for (unsigned i = 0; i < ARRAY_LENGTH(features); i++) {
        if (sys_feature(c, features[i].leaf, 0, features[i].reg, features[i].bit))
            valid |= features[i].flags;
    }
    return valid;
}

static void set_cr4(struct dbt_vcpu *c, uint64_t value)
{
    const uint64_t paging = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP;
    uint64_t changed = value ^ c->cr4;

    if (value & ~cr4_valid(c))
        raise_fault(c, VECTOR_GP, 0);
    if (long_mode(c) && !(value & CR4_PAE))
        raise_fault(c, VECTOR_GP, 0);
    if ((changed & value & CR4_PCIDE) && (!long_mode(c) || (c->cr3 & CR3_PCID) != 0))
        raise_fault(c, VECTOR_GP, 0);
    c->cr4 = value;
    control_tell(c, "cr4", value);
    if ((changed & paging) || (changed & ~value & CR4_PCIDE))
        mmu_flush_all(c);
    mode_update(c);
}

static uint64_t get_cr8(struct dbt_vcpu *c)
{
    vector_save(c);
    return c->vcpu.apic_ops->get_tpr(c->vcpu.apic);
}

static void set_cr8(struct dbt_vcpu *c, uint64_t value)
{
    if (value & ~CR8_TPR)
        raise_fault(c, VECTOR_GP, 0);
    control_tell(c, "cr8", value);
    vector_save(c);
    c->vcpu.apic_ops->set_tpr(c->vcpu.apic, value);
}

static void control_read(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t value = 0;

    switch (insn->reg) {
    case 0:
        value = c->cr0;
        break;
    case 2:
        value = c->cr2;
        break;
    case 3:
        value = c->cr3;
        break;
    case 4:
        value = c->cr4;
        break;
    case 8:
        value = get_cr8(c);
        break;
    }
    reg_set(c, insn->rm, code64(c) ? 8 : 4, false, value);
}

static void control_write(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t value = reg_get(c, insn->rm, code64(c) ? 8 : 4, false);

    switch (insn->reg) {
    case 0:
        set_cr0(c, value);
        break;
    case 2:
        c->cr2 = value;
        control_tell(c, "cr2", value);
        break;
    case 3:
        set_cr3(c, value);
        break;
    case 4:
        set_cr4(c, value);
        break;
    case 8:
        set_cr8(c, value);
        break;
    }
}

void op_mov_control(struct dbt_vcpu *c, const struct insn *insn)
{
    const unsigned known = BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8);

    if (!(known & BIT(insn->reg & 15)) || (insn->reg == 8 && !code64(c)))
        raise_fault(c, VECTOR_UD, -1);
    require_cpl0(c);
    if (insn->opcode == 0x20) {
        control_read(c, insn);
        insn_done(c, insn);
    } else {
        uint64_t next = insn_next(c, insn);

        control_write(c, insn);
        c->rip = next;
    }
}

/* LMSW sets PE, MP, EM and TS, and cannot clear PE. */
void op_lmsw(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t value, next = insn_next(c, insn);

    require_cpl0(c);
    value = rm_read(c, insn, 2) & (CR0_PE | CR0_MP | CR0_EM | CR0_TS);
    set_cr0(c, (c->cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | value);
    c->rip = next;
}

void op_smsw(struct dbt_vcpu *c, const struct insn *insn)
{
    if ((c->cr4 & CR4_UMIP) && c->cpl != 0)
        raise_fault(c, VECTOR_GP, 0);
    rm_write(c, insn, insn->has_memory ? 2 : insn->operand_size, c->cr0);
    insn_done(c, insn);
}

void op_clts(struct dbt_vcpu *c, const struct insn *insn)
{
    require_cpl0(c);
    c->cr0 &= ~CR0_TS;
    control_tell(c, "cr0", c->cr0);
    insn_done(c, insn);
    mode_update(c);
}

void op_invlpg(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t linear = c->segment[insn->segment].base + insn_offset(c, insn);

    require_cpl0(c);
    if (code64(c) && insn->segment < SEG_FS)
        linear = insn_offset(c, insn);
    if (!code64(c))
        linear = (uint32_t)linear;
    if (canonical(linear))
        mmu_flush_page(c, linear);
    insn_done(c, insn);
}

void op_invpcid(struct dbt_vcpu *c, const struct insn *insn)
{
    enum { ONE_ADDRESS, ONE_CONTEXT, ALL_WITH_GLOBAL, ALL_CONTEXTS };
    uint64_t kind = reg_get(c, insn->reg, code64(c) ? 8 : 4, false), descriptor, linear, target;

    if (!sys_feature(c, 7, 0, 1, 10))
        raise_fault(c, VECTOR_UD, -1);
    require_cpl0(c);
    linear = insn_linear(c, insn, 16, MMU_READ);
    descriptor = mmu_read(c, linear, 8);
    target = mmu_read(c, linear + 8, 8);
    if (kind > ALL_CONTEXTS || (descriptor & ~CR3_PCID) != 0)
        raise_fault(c, VECTOR_GP, 0);
    if (kind <= ONE_CONTEXT && descriptor != 0 && !(c->cr4 & CR4_PCIDE))
        raise_fault(c, VECTOR_GP, 0);
    if (kind == ONE_ADDRESS && !canonical(target))
        raise_fault(c, VECTOR_GP, 0);
    /* The TLB holds the current address space alone. */
    if (kind == ONE_ADDRESS)
        mmu_flush_page(c, target);
    else if (kind == ALL_WITH_GLOBAL)
        mmu_flush_all(c);
    else
        mmu_flush_local(c);
    insn_done(c, insn);
}

/* WBINVD, WBNOINVD, INVD: guest memory is coherent with everything the guest can reach. */
void op_wbinvd(struct dbt_vcpu *c, const struct insn *insn)
{
    require_cpl0(c);
    insn_done(c, insn);
}

static uint64_t xcr0_supported(const struct dbt_vcpu *c)
{
    struct cpuid_result leaf = sys_cpuid(c, 0xd, 0);

    return leaf.eax | (uint64_t)leaf.edx << 32;
}

void op_xsetbv(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t value = (uint32_t)c->gpr[GPR_RAX] | c->gpr[GPR_RDX] << 32;
    uint64_t avx512 = value & XCR0_AVX512;

    if (!(c->cr4 & CR4_OSXSAVE))
        raise_fault(c, VECTOR_UD, -1);
    require_cpl0(c);
    if ((uint32_t)c->gpr[GPR_RCX] != 0 || !(value & XCR0_X87) || (value & ~xcr0_supported(c)))
        raise_fault(c, VECTOR_GP, 0);
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        raise_fault(c, VECTOR_GP, 0);
    if (avx512 != 0 && (avx512 != XCR0_AVX512 || !(value & XCR0_AVX)))
        raise_fault(c, VECTOR_GP, 0);
    c->xcr0 = value;
    control_tell(c, "xcr0", value);
    insn_done(c, insn);
    mode_update(c);
}

void op_xgetbv(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t value = c->xcr0;

    if (!(c->cr4 & CR4_OSXSAVE))
        raise_fault(c, VECTOR_UD, -1);
    if ((uint32_t)c->gpr[GPR_RCX] == 1 && sys_feature(c, 0xd, 1, 0, 2)) {
        vector_save(c);
        value &= xstate_in_use(c);
    } else if ((uint32_t)c->gpr[GPR_RCX] != 0) {
        raise_fault(c, VECTOR_GP, 0);
    }
    c->gpr[GPR_RAX] = (uint32_t)value;
    c->gpr[GPR_RDX] = value >> 32;
    insn_done(c, insn);
}
