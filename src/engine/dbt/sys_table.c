/* The table of system instructions, and the instructions on the descriptor table registers. */
#include "engine/dbt/sys.h"

#include <Zydis/Zydis.h>

void op_undefined(struct dbt_vcpu *c, const struct insn *insn)
{
    (void)insn;
    raise_fault(c, VECTOR_UD, -1);
}

/* Bytes of the base in a descriptor table register's memory image. */
static unsigned table_base_size(const struct dbt_vcpu *c)
{
    return code64(c) ? 8 : 4;
}

static void table_load(struct dbt_vcpu *c, const struct insn *insn, uint64_t *base, uint32_t *limit)
{
    unsigned size = table_base_size(c);
    uint64_t linear, new_base, new_limit;

    require_cpl0(c);
    linear = insn_linear(c, insn, 2 + size, MMU_READ);
    new_limit = mmu_read(c, linear, 2);
    new_base = mmu_read(c, linear + 2, size);
    if (!canonical(new_base))
        raise_fault(c, VECTOR_GP, 0);
    if (size == 4 && insn->operand_size == 2)
        new_base &= 0xffffff;
    *base = new_base;
    *limit = (uint32_t)new_limit;
    insn_done(c, insn);
}

static void table_store(struct dbt_vcpu *c, const struct insn *insn, uint64_t base, uint32_t limit)
{
    unsigned size = table_base_size(c);
    uint64_t linear;

    if ((c->cr4 & CR4_UMIP) && c->cpl != 0)
        raise_fault(c, VECTOR_GP, 0);
    linear = insn_linear(c, insn, 2 + size, MMU_WRITE);
    mmu_probe(c, c->mmu, linear, 2 + size, MMU_WRITE);
    mmu_write(c, linear, 2, limit);
    mmu_write(c, linear + 2, size, base);
    insn_done(c, insn);
}

void op_lgdt(struct dbt_vcpu *c, const struct insn *insn)
{
    table_load(c, insn, &c->gdt_base, &c->gdt_limit);
}

void op_lidt(struct dbt_vcpu *c, const struct insn *insn)
{
    table_load(c, insn, &c->idt_base, &c->idt_limit);
}

void op_sgdt(struct dbt_vcpu *c, const struct insn *insn)
{
    table_store(c, insn, c->gdt_base, c->gdt_limit);
}

void op_sidt(struct dbt_vcpu *c, const struct insn *insn)
{
    table_store(c, insn, c->idt_base, c->idt_limit);
}

/* ENDS: the code behind it may run under another mode, address space or interruptibility, or elsewhere. */
#define GOES_ON(name, function)                                                                                        \
    {                                                                                                                  \
        ZYDIS_MNEMONIC_##name, function, 0                                                                             \
    }
#define ENDS(name, function)                                                                                           \
    {                                                                                                                  \
        ZYDIS_MNEMONIC_##name, function, 1                                                                             \
    }
#define UNDEFINED(name)                                                                                                \
    {                                                                                                                  \
        ZYDIS_MNEMONIC_##name, op_undefined, 1                                                                         \
    }

/* clang-format off */

/*
 * MOV, PUSH, POP stand for the forms with a segment, control or debug register; CALL, JMP, RET for the
 * far ones. The translator does the others itself.
 */
static const struct helper_entry helpers[] = {
    ENDS(MOV, op_mov), ENDS(POP, op_pop), GOES_ON(PUSH, op_push),
    ENDS(LDS, op_load_far_pointer), ENDS(LES, op_load_far_pointer), ENDS(LFS, op_load_far_pointer),
    ENDS(LGS, op_load_far_pointer), ENDS(LSS, op_load_far_pointer),
    ENDS(LLDT, op_lldt), ENDS(LTR, op_ltr), GOES_ON(SLDT, op_sldt), GOES_ON(STR, op_str),
    GOES_ON(LAR, op_lar), GOES_ON(LSL, op_lsl), GOES_ON(VERR, op_verr), GOES_ON(VERW, op_verw),
    GOES_ON(ARPL, op_arpl),
    GOES_ON(RDFSBASE, op_rdfsbase), GOES_ON(RDGSBASE, op_rdgsbase), GOES_ON(WRFSBASE, op_wrfsbase),
    GOES_ON(WRGSBASE, op_wrgsbase), GOES_ON(SWAPGS, op_swapgs),
    ENDS(LGDT, op_lgdt), ENDS(LIDT, op_lidt), GOES_ON(SGDT, op_sgdt), GOES_ON(SIDT, op_sidt),
    ENDS(INT, op_int), ENDS(INT3, op_int3), ENDS(INTO, op_into), ENDS(INT1, op_int1), GOES_ON(BOUND, op_bound),
    ENDS(IRET, op_iret), ENDS(IRETD, op_iret), ENDS(IRETQ, op_iret),
    ENDS(JMP, op_jmp_far), ENDS(CALL, op_call_far), ENDS(RET, op_ret_far),
    ENDS(SYSCALL, op_syscall), ENDS(SYSRET, op_sysret), ENDS(SYSENTER, op_sysenter), ENDS(SYSEXIT, op_sysexit),
    ENDS(VMCALL, op_vmcall), ENDS(VMMCALL, op_vmcall), ENDS(HLT, op_hlt),
    GOES_ON(PUSHF, op_pushf), GOES_ON(PUSHFD, op_pushf), GOES_ON(PUSHFQ, op_pushf),
    ENDS(POPF, op_popf), ENDS(POPFD, op_popf), ENDS(POPFQ, op_popf),
    GOES_ON(CLI, op_cli), ENDS(STI, op_sti), ENDS(CLAC, op_clac), ENDS(STAC, op_stac),
    ENDS(LMSW, op_lmsw), GOES_ON(SMSW, op_smsw), ENDS(CLTS, op_clts), ENDS(INVLPG, op_invlpg),
    ENDS(INVPCID, op_invpcid), GOES_ON(WBINVD, op_wbinvd), GOES_ON(INVD, op_wbinvd),
    ENDS(XSETBV, op_xsetbv), GOES_ON(XGETBV, op_xgetbv),
    GOES_ON(RDMSR, op_rdmsr), ENDS(WRMSR, op_wrmsr),
    GOES_ON(RDTSC, op_rdtsc), GOES_ON(RDTSCP, op_rdtscp), GOES_ON(RDPMC, op_rdpmc), GOES_ON(RDPID, op_rdpid),
    GOES_ON(IN, op_in), GOES_ON(OUT, op_out),
    ENDS(INSB, op_ins), ENDS(INSW, op_ins), ENDS(INSD, op_ins),
    ENDS(OUTSB, op_outs), ENDS(OUTSW, op_outs), ENDS(OUTSD, op_outs),
    GOES_ON(CPUID, op_cpuid),
    GOES_ON(FXSAVE, op_fxsave), GOES_ON(FXSAVE64, op_fxsave), GOES_ON(FXRSTOR, op_fxrstor),
    GOES_ON(FXRSTOR64, op_fxrstor), GOES_ON(FNSTENV, op_fnstenv), GOES_ON(FLDENV, op_fldenv),
    GOES_ON(FNSAVE, op_fnsave), GOES_ON(FRSTOR, op_frstor),
    GOES_ON(XSAVE, op_xsave), GOES_ON(XSAVE64, op_xsave), GOES_ON(XSAVEC, op_xsavec), GOES_ON(XSAVEC64, op_xsavec),
    GOES_ON(XSAVEOPT, op_xsaveopt), GOES_ON(XSAVEOPT64, op_xsaveopt), GOES_ON(XRSTOR, op_xrstor),
    GOES_ON(XRSTOR64, op_xrstor),

    GOES_ON(AAA, op_aaa), GOES_ON(AAS, op_aas), GOES_ON(AAM, op_aam), GOES_ON(AAD, op_aad), GOES_ON(DAA, op_daa),
    GOES_ON(DAS, op_das), GOES_ON(SALC, op_salc),
    GOES_ON(PUSHA, op_pusha), GOES_ON(PUSHAD, op_pusha), GOES_ON(POPA, op_popa), GOES_ON(POPAD, op_popa),
    GOES_ON(ENTER, op_enter), GOES_ON(XLAT, op_xlat), GOES_ON(CLZERO, op_clzero),
    GOES_ON(MASKMOVQ, op_maskmovq), GOES_ON(MASKMOVDQU, op_maskmovdqu), GOES_ON(VMASKMOVDQU, op_maskmovdqu),
    GOES_ON(VGATHERDPS, op_gather), GOES_ON(VGATHERDPD, op_gather), GOES_ON(VGATHERQPS, op_gather),
    GOES_ON(VGATHERQPD, op_gather), GOES_ON(VPGATHERDD, op_gather), GOES_ON(VPGATHERDQ, op_gather),
    GOES_ON(VPGATHERQD, op_gather), GOES_ON(VPGATHERQQ, op_gather),
    GOES_ON(VSCATTERDPS, op_scatter), GOES_ON(VSCATTERDPD, op_scatter), GOES_ON(VSCATTERQPS, op_scatter),
    GOES_ON(VSCATTERQPD, op_scatter), GOES_ON(VPSCATTERDD, op_scatter), GOES_ON(VPSCATTERDQ, op_scatter),
    GOES_ON(VPSCATTERQD, op_scatter), GOES_ON(VPSCATTERQQ, op_scatter),

    /* What the virtual processor does not have: its CPUID says so, and the host's must not be tried. */
    UNDEFINED(UD0), UNDEFINED(UD1), UNDEFINED(UD2), UNDEFINED(RSM), UNDEFINED(MONITOR), UNDEFINED(MWAIT),
    UNDEFINED(MONITORX), UNDEFINED(MWAITX), UNDEFINED(UMONITOR), UNDEFINED(UMWAIT), UNDEFINED(TPAUSE),
    UNDEFINED(GETSEC), UNDEFINED(ENCLS), UNDEFINED(ENCLU), UNDEFINED(ENCLV), UNDEFINED(PCONFIG),
    UNDEFINED(VMXON), UNDEFINED(VMXOFF), UNDEFINED(VMPTRLD), UNDEFINED(VMPTRST), UNDEFINED(VMCLEAR),
    UNDEFINED(VMREAD), UNDEFINED(VMWRITE), UNDEFINED(VMLAUNCH), UNDEFINED(VMRESUME), UNDEFINED(VMFUNC),
    UNDEFINED(INVEPT), UNDEFINED(INVVPID),
    UNDEFINED(VMRUN), UNDEFINED(VMLOAD), UNDEFINED(VMSAVE), UNDEFINED(STGI), UNDEFINED(CLGI),
    UNDEFINED(SKINIT), UNDEFINED(INVLPGA), UNDEFINED(INVLPGB), UNDEFINED(TLBSYNC), UNDEFINED(PVALIDATE),
    UNDEFINED(PSMASH), UNDEFINED(RMPADJUST), UNDEFINED(RMPUPDATE), UNDEFINED(MCOMMIT), UNDEFINED(RDPRU),
    UNDEFINED(XSAVES), UNDEFINED(XSAVES64), UNDEFINED(XRSTORS), UNDEFINED(XRSTORS64),
    UNDEFINED(RDPKRU), UNDEFINED(WRPKRU), UNDEFINED(XBEGIN), UNDEFINED(XEND), UNDEFINED(XABORT), UNDEFINED(XTEST),
    UNDEFINED(XSUSLDTRK), UNDEFINED(XRESLDTRK), UNDEFINED(HRESET), UNDEFINED(PTWRITE), UNDEFINED(SERIALIZE),
    UNDEFINED(ENQCMD), UNDEFINED(ENQCMDS), UNDEFINED(MOVDIR64B), UNDEFINED(MOVDIRI),
    UNDEFINED(INCSSPD), UNDEFINED(INCSSPQ), UNDEFINED(SAVEPREVSSP), UNDEFINED(RSTORSSP), UNDEFINED(WRSSD),
    UNDEFINED(WRSSQ), UNDEFINED(WRUSSD), UNDEFINED(WRUSSQ), UNDEFINED(SETSSBSY), UNDEFINED(CLRSSBSY),
    UNDEFINED(CLUI), UNDEFINED(STUI), UNDEFINED(TESTUI), UNDEFINED(UIRET), UNDEFINED(SENDUIPI),
    UNDEFINED(SEAMCALL), UNDEFINED(SEAMOPS), UNDEFINED(SEAMRET), UNDEFINED(TDCALL),
    UNDEFINED(VGATHERPF0DPS), UNDEFINED(VGATHERPF0DPD), UNDEFINED(VGATHERPF0QPS), UNDEFINED(VGATHERPF0QPD),
    UNDEFINED(VGATHERPF1DPS), UNDEFINED(VGATHERPF1DPD), UNDEFINED(VGATHERPF1QPS), UNDEFINED(VGATHERPF1QPD),
    UNDEFINED(VSCATTERPF0DPS), UNDEFINED(VSCATTERPF0DPD), UNDEFINED(VSCATTERPF0QPS), UNDEFINED(VSCATTERPF0QPD),
    UNDEFINED(VSCATTERPF1DPS), UNDEFINED(VSCATTERPF1DPD), UNDEFINED(VSCATTERPF1QPS), UNDEFINED(VSCATTERPF1QPD),
    UNDEFINED(LDTILECFG), UNDEFINED(STTILECFG), UNDEFINED(TILELOADD), UNDEFINED(TILELOADDT1),
    UNDEFINED(TILESTORED), UNDEFINED(TILERELEASE), UNDEFINED(TILEZERO), UNDEFINED(TDPBF16PS), UNDEFINED(TDPBSSD),
    UNDEFINED(TDPBSUD), UNDEFINED(TDPBUSD), UNDEFINED(TDPBUUD),
    UNDEFINED(LOADIWKEY), UNDEFINED(ENCODEKEY128), UNDEFINED(ENCODEKEY256), UNDEFINED(AESENC128KL),
    UNDEFINED(AESENC256KL), UNDEFINED(AESDEC128KL), UNDEFINED(AESDEC256KL), UNDEFINED(AESENCWIDE128KL),
    UNDEFINED(AESENCWIDE256KL), UNDEFINED(AESDECWIDE128KL), UNDEFINED(AESDECWIDE256KL),
    UNDEFINED(LLWPCB), UNDEFINED(SLWPCB), UNDEFINED(LWPINS), UNDEFINED(LWPVAL),
};

/* clang-format on */

const struct helper_entry *sys_helpers(size_t *count)
{
    *count = ARRAY_LENGTH(helpers);
    return helpers;
}
