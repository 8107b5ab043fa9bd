/*
 * The canonical state of one virtual CPU: what every engine reads and writes, so that a machine
 * frozen under one engine thaws under another. Local APIC state is the APIC's (dev/chipset/lapic.h).
 */
#ifndef LODGE_X86_CPU_STATE_H
#define LODGE_X86_CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "state/schema.h"

enum gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI,
           GPR_R8, GPR_R9, GPR_R10, GPR_R11, GPR_R12, GPR_R13, GPR_R14, GPR_R15, GPR_COUNT };

/* Numbered as in ModRM. */
enum segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/*
 * A segment register with its hidden part. attributes is bits 8..23 of the descriptor's second
 * doubleword, shifted down to 0, limit bits (11..8) zero: type 3..0, S 4, DPL 6..5, P 7, AVL 12,
 * L 13, D/B 14, G 15. limit is in bytes (scaled). SEGMENT_UNUSABLE: loaded with a null selector.
 */
struct segment_state {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint16_t attributes;
};

enum {
    SEGMENT_TYPE = 0x000f, SEGMENT_S = 0x0010, SEGMENT_DPL = 0x0060, SEGMENT_DPL_SHIFT = 5,
    SEGMENT_P = 0x0080, SEGMENT_UNUSABLE = 0x0100, SEGMENT_AVL = 0x1000, SEGMENT_L = 0x2000,
    SEGMENT_DB = 0x4000, SEGMENT_G = 0x8000,
};

enum cpu_activity { CPU_RUNNING, CPU_HALTED, CPU_WAIT_FOR_SIPI, CPU_SHUTDOWN };

enum { CPU_XSAVE_SIZE = 4096, CPU_MTRR_VARIABLE = 8 };

struct cpu_state {
    uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint64_t rflags;
    struct segment_state segment[SEG_COUNT];
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t dr[8];              /* 4 and 5 unused */
    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_aux, misc_enable, spec_ctrl;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[CPU_MTRR_VARIABLE], mtrr_mask[CPU_MTRR_VARIABLE];
    uint64_t tsc;                /* the guest's time stamp counter at the moment of reading */
    uint64_t tsc_adjust;
    uint64_t kvm_system_time, kvm_wall_clock, kvm_steal_time, kvm_async_pf, kvm_pv_eoi; /* paravirtual MSRs */
    uint64_t xcr0;
    uint8_t xsave[CPU_XSAVE_SIZE]; /* standard (non-compacted) XSAVE format */
    uint8_t activity;            /* enum cpu_activity */
    uint8_t interrupt_shadow;    /* 0, 1 after STI, 2 after MOV SS */
    uint8_t nmi_blocked;         /* until IRET */
    uint8_t nmi_pending;
    /* Not yet delivered. A vector of 32 or more is an interrupt that the APIC has been told was taken. */
    uint8_t exception_pending, exception_vector, exception_has_error;
    uint32_t exception_error;
};

extern const struct state_schema cpu_state_schema;

/* The state after power-on or RESET (SDM volume 3, table 10-1). family_model_stepping goes to RDX. */
void cpu_state_reset(struct cpu_state *cpu, uint32_t family_model_stepping);

/* After INIT: as reset, but CR0.CD/NW, the x87/SSE state and most MSRs stay. */
void cpu_state_init(struct cpu_state *cpu, uint32_t family_model_stepping);

#endif
