#include "x86/cpu_state.h"

#include "base/bits.h"
#include "base/memory.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/vectors.h"
#include "x86/xsave.h"

#define MXCSR_BITS 0xffffu
#define CR3_BITS 0x000fffffffffffffull
#define CR4_BITS                                                                                                       \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |             \
     CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)
#define EFER_BITS (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define RFLAGS_BITS 0x3f7fd7ull
#define SEGMENT_BITS 0xf1ffu
#define PAT_RESET 0x0007040600070406ull

#define SCALAR(member) STATE_SCALAR(struct cpu_state, member, 1)
#define ARRAY(member) STATE_ARRAY(struct cpu_state, member, 1)
#define MEMBERS(array, member) STATE_MEMBERS(struct cpu_state, array, member, 1)

static const struct state_field fields[] = {
    ARRAY(gpr),
    SCALAR(rip),
    SCALAR(rflags),
    MEMBERS(segment, base),
    MEMBERS(segment, limit),
    MEMBERS(segment, selector),
    MEMBERS(segment, attributes),
    SCALAR(gdt_base),
    SCALAR(idt_base),
    SCALAR(gdt_limit),
    SCALAR(idt_limit),
    SCALAR(cr0),
    SCALAR(cr2),
    SCALAR(cr3),
    SCALAR(cr4),
    SCALAR(cr8),
    ARRAY(dr),
    SCALAR(efer),
    SCALAR(star),
    SCALAR(lstar),
    SCALAR(cstar),
    SCALAR(sfmask),
    SCALAR(kernel_gs_base),
    SCALAR(sysenter_cs),
    SCALAR(sysenter_esp),
    SCALAR(sysenter_eip),
    SCALAR(pat),
    SCALAR(tsc_aux),
    SCALAR(misc_enable),
    SCALAR(spec_ctrl),
    SCALAR(mtrr_def_type),
    ARRAY(mtrr_fixed),
    ARRAY(mtrr_base),
    ARRAY(mtrr_mask),
    SCALAR(tsc),
    SCALAR(tsc_adjust),
    SCALAR(kvm_system_time),
    SCALAR(kvm_wall_clock),
    SCALAR(kvm_steal_time),
    SCALAR(kvm_async_pf),
    SCALAR(kvm_pv_eoi),
    SCALAR(xcr0),
    ARRAY(xsave),
    SCALAR(activity),
    SCALAR(interrupt_shadow),
    SCALAR(nmi_blocked),
    SCALAR(nmi_pending),
    SCALAR(exception_pending),
    SCALAR(exception_vector),
    SCALAR(exception_has_error),
    SCALAR(exception_error),
};

static bool canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static bool paging_valid(const struct cpu_state *cpu)
{
    bool paging = cpu->cr0 & CR0_PG, long_mode = cpu->efer & EFER_LMA;

    if ((cpu->cr0 >> 32) != 0 || (cpu->cr3 & ~CR3_BITS) != 0 || (cpu->cr4 & ~CR4_BITS) != 0)
        return false;
    if ((cpu->efer & ~EFER_BITS) != 0 || long_mode != (paging && (cpu->efer & EFER_LME) != 0))
        return false;
    if ((paging && !(cpu->cr0 & CR0_PE)) || ((cpu->cr0 & CR0_NW) && !(cpu->cr0 & CR0_CD)))
        return false;
    if (long_mode && (!(cpu->cr4 & CR4_PAE) || (cpu->rflags & RFLAGS_VM)))
        return false;
    return long_mode || !(cpu->cr4 & CR4_PCIDE);
}

static bool segments_valid(const struct cpu_state *cpu)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if ((cpu->segment[i].attributes & ~SEGMENT_BITS) != 0 || !canonical(cpu->segment[i].base))
            return false;
    }
    return canonical(cpu->gdt_base) && canonical(cpu->idt_base);
}

/* What XRSTOR refuses (SDM volume 1, 13.8.1), so that no engine gets a fault of its own from it. */
static bool xsave_valid(const struct cpu_state *cpu)
{
    if (!(cpu->xcr0 & XCR0_X87) || (cpu->xcr0 & ~XSAVE_COMPONENTS) != 0)
        return false;
    if ((load_le(cpu->xsave + XSAVE_XSTATE_BV, 8) & ~XSAVE_COMPONENTS) != 0 ||
        (load_le(cpu->xsave + XSAVE_MXCSR, 4) & ~(uint64_t)MXCSR_BITS) != 0)
        return false;
    for (unsigned i = XSAVE_XCOMP_BV; i < XSAVE_EXTENDED; i++) {
        if (cpu->xsave[i] != 0)
            return false;
    }
    return true;
}

static bool pending_valid(const struct cpu_state *cpu)
{
    return cpu->activity <= CPU_SHUTDOWN && cpu->interrupt_shadow <= 2 && cpu->nmi_blocked <= 1 &&
           cpu->nmi_pending <= 1 && cpu->exception_pending <= 1 && cpu->exception_has_error <= 1;
}

static bool cpu_state_valid(const void *candidate)
{
    const struct cpu_state *cpu = candidate;

    return (cpu->rflags & RFLAGS_FIXED) && (cpu->rflags & ~RFLAGS_BITS) == 0 && cpu->cr8 <= CR8_TPR &&
           (cpu->dr[6] >> 32) == 0 && (cpu->dr[7] >> 32) == 0 && canonical(cpu->kernel_gs_base) &&
           canonical(cpu->lstar) && canonical(cpu->cstar) && paging_valid(cpu) && segments_valid(cpu) &&
           xsave_valid(cpu) && pending_valid(cpu);
}

const struct state_schema cpu_state_schema = {
    .name = "cpu",
    .version = 1,
    .fields = fields,
    .field_count = ARRAY_LENGTH(fields),
    .size = sizeof(struct cpu_state),
    .valid = cpu_state_valid,
};

static void segments_reset(struct cpu_state *cpu)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu->segment[i] = (struct segment_state){.limit = 0xffff, .attributes = SEGMENT_P | SEGMENT_S | 0x3};
    cpu->segment[SEG_CS].selector = 0xf000;
    cpu->segment[SEG_CS].base = 0xffff0000;
    cpu->segment[SEG_CS].attributes = SEGMENT_P | SEGMENT_S | 0xb;
    cpu->segment[SEG_LDTR].attributes = SEGMENT_P | 0x2;
    cpu->segment[SEG_TR].attributes = SEGMENT_P | 0xb; /* a busy 32-bit TSS */
}

/* What RESET and INIT have in common. */
static void core_reset(struct cpu_state *cpu, uint32_t family_model_stepping)
{
    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    cpu->gpr[GPR_RDX] = family_model_stepping;
    cpu->rip = 0xfff0;
    cpu->rflags = RFLAGS_FIXED;
    segments_reset(cpu);
    cpu->gdt_base = cpu->idt_base = 0;
    cpu->gdt_limit = cpu->idt_limit = 0xffff;
    cpu->cr0 = (cpu->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = 0;
    memset(cpu->dr, 0, sizeof(cpu->dr));
    cpu->dr[6] = DR6_RESET;
    cpu->dr[7] = DR7_RESET;
    cpu->efer = 0;
    cpu->activity = CPU_RUNNING;
    cpu->interrupt_shadow = cpu->nmi_blocked = cpu->nmi_pending = 0;
    cpu->exception_pending = cpu->exception_vector = cpu->exception_has_error = 0;
    cpu->exception_error = 0;
}

void cpu_state_reset(struct cpu_state *cpu, uint32_t family_model_stepping)
{
    memset(cpu, 0, sizeof(*cpu));
    cpu->cr0 = CR0_CD | CR0_NW;
    core_reset(cpu, family_model_stepping);
    cpu->pat = PAT_RESET;
    cpu->misc_enable = MISC_ENABLE_FAST_STRING | MISC_ENABLE_BTS_UNAVAILABLE | MISC_ENABLE_PEBS_UNAVAILABLE;
    cpu->xcr0 = XCR0_X87;
    store_le(cpu->xsave + XSAVE_FCW, 2, FCW_RESET);
    store_le(cpu->xsave + XSAVE_FTW, 1, 0xff); /* RESET tags all registers as holding zero */
    store_le(cpu->xsave + XSAVE_MXCSR, 4, MXCSR_RESET);
    store_le(cpu->xsave + XSAVE_MXCSR_MASK, 4, MXCSR_BITS);
    store_le(cpu->xsave + XSAVE_XSTATE_BV, 8, XCR0_X87 | XCR0_SSE);
}

void cpu_state_init(struct cpu_state *cpu, uint32_t family_model_stepping)
{
    core_reset(cpu, family_model_stepping);
}
