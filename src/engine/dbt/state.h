/*
 * What the translator keeps for each vCPU, and the few calls by which its parts reach each other.
 *
 * While translated code runs, most guest registers are in host registers (emit.h), the arithmetic
 * flags in host RFLAGS, and the vector, x87 and MXCSR state in the host's own. A helper is C that
 * translated code calls through a thunk (thunks.S); the thunk has put the general registers into
 * gpr[], the flags into alu_flags and the address of the current instruction into rip.
 *
 * Files that run with the guest's vector state live in the registers (mmu.c, run.c, sys_*.c,
 * string.c) are compiled -mgeneral-regs-only and call nothing that is not, unless they call
 * vector_save() first.
 */
#ifndef LODGE_ENGINE_DBT_STATE_H
#define LODGE_ENGINE_DBT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/machine.h"
#include "core/vcpu.h"
#include "x86/cpu_state.h"
#include "x86/regs.h"
#include "x86/vectors.h"

struct block;
struct dbt_engine;

/* The bits of RFLAGS that live in host RFLAGS while translated code runs. */
enum { ALU_FLAGS = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_DF | RFLAGS_OF };

/* Whose rules a memory access follows; each has its own TLB. KERNEL_AC: supervisor, SMAP suspended. */
enum mmu_index { MMU_USER, MMU_KERNEL, MMU_KERNEL_AC, MMU_COUNT };

enum mmu_access { MMU_READ, MMU_WRITE, MMU_FETCH };

enum { TLB_ENTRIES = 4096, TLB_LOG = 512, ITLB_ENTRIES = 2048, JUMP_CACHE = 4096, BOUNCE_SIZE = 192 };

/*
 * One translation. A hit is (address ^ tag) <= 4096 - size; what the XOR leaves is the offset into the
 * page at `host`. A tag that cannot match has the index bits of another slot (tlb_no_match).
 */
struct tlb_entry {
    uint64_t read;
    uint64_t write;
    uint64_t host;     /* host address of the page */
    uint64_t addend;   /* host minus the page's linear address */
};
enum { TLB_GLOBAL = 1, TLB_VALID = 2 };

/* Where the code for a target is: valid while the generation is the vCPU's current one. */
struct jump_entry {
    uint64_t rip;
    uint64_t generation;
    uint64_t code; /* host address; takes its flags from saved_flags */
    uint64_t unused;
};

/* What a block depends on besides its bytes; part of its key. */
enum mode {
    MODE_16 = 0, MODE_32 = 1, MODE_64 = 2, MODE_SIZE = 3,
    MODE_USER = 1 << 2,      /* CPL 3 */
    MODE_AC = 1 << 3,        /* supervisor with RFLAGS.AC under CR4.SMAP: MMU_KERNEL_AC */
    MODE_FLAT = 1 << 4,      /* ES, CS, SS, DS: base 0, limit 4 GiB, usable; always in 64-bit code */
    MODE_STACK32 = 1 << 5,   /* SS.B, outside 64-bit code */
    MODE_NM = 1 << 6,        /* CR0.TS or CR0.EM: x87 and vector instructions go to a helper */
    MODE_STEP = 1 << 7,      /* one instruction per block */
    MODE_ALIGN = 1 << 8,     /* alignment checks: CPL 3, CR0.AM, RFLAGS.AC */
    MODE_REAL = 1 << 9,      /* real or virtual-8086 mode */
    MODE_NO_SSE = 1 << 10,   /* CR4.OSFXSR clear or CR0.EM */
    MODE_NO_AVX = 1 << 11,   /* CR4.OSXSAVE clear or XCR0 lacks AVX */
    MODE_NO_AVX512 = 1 << 12,
    MODE_SMAP = 1 << 14,     /* supervisor under CR4.SMAP */
    MODE_RING12 = 1 << 13,   /* CPL 1 or 2: a supervisor to paging, but not privileged */
};

struct dbt_vcpu {
    struct vcpu vcpu; /* first; attention is at gs:0 */
    _Alignas(128) uint64_t gpr[GPR_COUNT];
    uint64_t rip;
    uint64_t alu_flags;           /* valid bits: ALU_FLAGS */
    uint64_t sys_flags;           /* RFLAGS without ALU_FLAGS, bit 1 set */
    uint64_t spill[4];            /* short-lived, within one instruction's code */
    uint64_t saved_flags;         /* arithmetic flags as LAHF (AH) and SETO (AL) leave them in EAX */
    uint64_t host_rsp;            /* of the frame that thunk_enter or thunk_protect made on the C stack */
    uint64_t shadow_rsp;          /* RSP of translated code while C runs: the return stack */
    uint64_t shadow_base;         /* where an empty return stack starts; it holds thunk_return_underflow */
    uint64_t thunk_return;        /* host address behind the call to a memory thunk */
    uint64_t exit_chain;          /* struct chain to patch, or 0 */
    struct dbt_vcpu *self;
    uint64_t generation;          /* of the current mode and address space; odd with MODE_AC; 0: remember nothing */
    uint64_t vector_live;         /* 1: guest vector state is in host registers */
    uint64_t tsc_offset;
    void *thunk[16];              /* entry points that translated code calls: enum thunk (thunks.h) */
    uint32_t bounce_kind;         /* what memory_post() has to do; 0 nothing */
    uint32_t irq_waiting;         /* the APIC has an interrupt that IF or a shadow holds back */
    uint32_t exit_wanted;         /* leave translated code after the instruction at hand: its block is gone */
    uint32_t bounce_size;
    uint64_t bounce_address;      /* linear; where a commit writes to */

    _Alignas(1024) struct jump_entry jump[JUMP_CACHE]; /* at OFF_JUMP */

    struct segment_state segment[SEG_COUNT];
    uint64_t gdt_base, idt_base;
    uint32_t gdt_limit, idt_limit;
    uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
    uint64_t dr[8];
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_aux, misc_enable, spec_ctrl, tsc_adjust;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[CPU_MTRR_VARIABLE], mtrr_mask[CPU_MTRR_VARIABLE];
    uint64_t kvm_system_time, kvm_wall_clock, kvm_steal_time, kvm_async_pf, kvm_pv_eoi;

    uint8_t cpl;
    uint8_t mmu;                  /* enum mmu_index of the current mode */
    uint8_t interrupt_shadow;     /* as in struct cpu_state */
    uint8_t nmi_blocked, nmi_pending;
    uint8_t halted;
    uint32_t mode;                /* enum mode, current */

    /* An exception on its way to delivery (raise). */
    uint8_t exception_pending, exception_vector, exception_has_error;
    uint8_t exception_software;   /* INT n, INT3, INTO, INT1 */
    uint32_t exception_error;
    struct exception_record last_exceptions[8]; /* a ring, for the report */
    uint32_t last_count;

    struct dbt_engine *dbt;
    uint8_t *return_stack;        /* its lowest page is a guard */
    uint32_t tlb_logged[MMU_COUNT]; /* entries in the log; > TLB_LOG: overflowed */
    uint16_t tlb_log[MMU_COUNT][TLB_LOG];
    uint32_t itlb[2][ITLB_ENTRIES]; /* [0] supervisor, [1] user: id of the code page mapped there; 0 none */
    uint8_t user_returns_stale;   /* return addresses of user code are of another address space: drop them on the way there */
    uint8_t itlb_local;           /* supervisor entries include pages that are not global */
    uint64_t code_pages[2][16];   /* Bloom filters (supervisor, user) of linear pages that jump cache and return stack may know */
    uint64_t large_pages;         /* and of GiBs in which a large page was split into TLB entries */
    uint64_t last_generation;
    struct { uint64_t cs_base, generation; uint32_t mode, used; } remembered[4]; /* so that ring changes keep the jump cache */
    unsigned remembered_next;

    _Alignas(64) uint8_t bounce[BOUNCE_SIZE]; /* an access that cannot be direct goes through here */
    uint64_t bounce_physical[2];  /* of the parts before and behind a page boundary */
    uint64_t bounce_mask;         /* under a vector mask: the elements to write, */
    uint32_t bounce_element;      /* and their size in bytes */
    uint8_t bounce_unfinished;    /* ACCESS_UNFINISHED of the write that memory_post() completes */
    uint8_t in_memory_pre;        /* raise_fault() finds rip from thunk_return */
    uint8_t remapped;             /* atomic: guest memory was shown or hidden, the TLBs do not know yet */
    uint8_t debug_hits;           /* data breakpoints that the instruction touched: DR6.B0-B3 */

    _Alignas(64) uint8_t xsave[CPU_XSAVE_SIZE]; /* vector state while vector_live is 0 */
    _Alignas(64) struct tlb_entry tlb[MMU_COUNT][TLB_ENTRIES];
    uint8_t tlb_flags[MMU_COUNT][TLB_ENTRIES]; /* TLB_* */

    /* The debugger's (debug.c). */
    struct debug_control debug;
    uint8_t debugging;            /* anything of the following may be set */
    uint8_t execute_points, data_points; /* bit n: debug.points[n] is of this kind */
    uint8_t point_hits;           /* data points that were met and are to be reported */
    uint8_t step_alone;           /* the next instruction runs alone, and no execute point of the debugger's stops it */
    uint8_t stepped;              /* an instruction ran, */
    uint8_t delivered;            /* or an event was delivered, since the debugger's step began */
    uint64_t pass_rip;            /* where debug.pass_breakpoint holds */

    uint8_t stepping;             /* in a block of MODE_STEP: whatever the mode becomes, the run loop goes on */

    uint64_t stat_fills, stat_exceptions, stat_interrupts, stat_exits, stat_translations, stat_moves;
};

static inline uint64_t rflags_get(const struct dbt_vcpu *c)
{
    return c->sys_flags | (c->alu_flags & ALU_FLAGS);
}

/* Sets every flag; the caller has decided which bits may change, and calls mode_update() if TF, VM or AC did. */
static inline void rflags_set(struct dbt_vcpu *c, uint64_t value)
{
    c->alu_flags = value & ALU_FLAGS;
    c->sys_flags = (value & (RFLAGS_TF | RFLAGS_IF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC |
                             RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID)) |
                   2;
}

static inline bool long_mode(const struct dbt_vcpu *c)
{
    return (c->efer & EFER_LMA) != 0;
}

static inline bool code64(const struct dbt_vcpu *c)
{
    return (c->mode & MODE_SIZE) == MODE_64;
}

/* The linear address of the next instruction. */
static inline uint64_t code_linear(const struct dbt_vcpu *c)
{
    return code64(c) ? c->rip : (uint32_t)(c->segment[SEG_CS].base + c->rip);
}

static inline bool real_mode(const struct dbt_vcpu *c)
{
    return !(c->cr0 & CR0_PE);
}

static inline bool v8086_mode(const struct dbt_vcpu *c)
{
    return (c->sys_flags & RFLAGS_VM) != 0;
}

/*
 * Recompute mode, mmu and generation after a change of CPL, CS, a data segment, CR0, CR4, EFER,
 * XCR0, DR7, interrupt_shadow or RFLAGS.{TF,VM,AC}. Cheap; call once at the end of an instruction that may
 * have changed one of them. (run.c)
 */
void mode_update(struct dbt_vcpu *c);

/*
 * Raise an exception at c->rip (faults) and leave the helper; never returns. Nothing of the
 * instruction may have been committed. error is -1 when the vector pushes none. (run.c)
 */
_Noreturn void raise_fault(struct dbt_vcpu *c, unsigned vector, int32_t error);

/*
 * Raise a trap or software interrupt: c->rip is already the next instruction. Never returns.
 */
_Noreturn void raise_software(struct dbt_vcpu *c, unsigned vector);

/*
 * Move the guest's vector, x87 and MXCSR state to c->xsave, so that ordinary C may run. Idempotent;
 * it returns to the registers when translated code is entered again. (vector.c)
 */
void vector_save(struct dbt_vcpu *c);
/* And back at once, for a helper that executes an x87 or vector instruction itself. */
void vector_load(struct dbt_vcpu *c);

/*
 * One instruction, decoded for a helper. The operands' meaning is the mnemonic's. Registers by number
 * (enum gpr; 4-7 are AH-BH where high_byte says so), segment registers by enum segment.
 */
struct insn {
    uint16_t mnemonic;      /* ZydisMnemonic */
    uint8_t length;
    uint8_t operand_size;   /* bytes: 1, 2, 4, 8: effective operand size */
    uint8_t address_size;   /* bytes: 2, 4, 8 */
    uint8_t has_memory;     /* a memory operand in ModRM (or moffs) */
    uint8_t segment;        /* of it, overrides applied: enum segment */
    int8_t base, index;     /* enum gpr, or -1; base 16: RIP (next instruction's) */
    uint8_t scale;
    uint8_t memory_size;    /* bytes of the memory operand, 0 if it varies */
    uint8_t reg;            /* ModRM.reg with REX/VEX.R, or the register in the opcode */
    uint8_t rm;             /* ModRM.rm with REX/VEX.B when it is a register */
    uint8_t vvvv;           /* VEX/EVEX.vvvv */
    uint8_t opcode;         /* last opcode byte */
    uint8_t opcode_map;     /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t lock, rep, repne;
    uint8_t high_reg, high_rm; /* reg or rm is AH..BH */
    uint8_t bytes[15];
    int64_t displacement;
    uint64_t immediate;     /* sign-extended */
    uint64_t immediate2;    /* ENTER, far pointers' selector */
};

/* A helper carries out exactly one instruction. It advances c->rip itself (insn_done) or transfers control. */
typedef void helper_fn(struct dbt_vcpu *c, const struct insn *insn);

/* rip past the instruction, wrapped to the code size. */
static inline void insn_done(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t next = c->rip + insn->length;

    if ((c->mode & MODE_SIZE) == MODE_32)
        next = (uint32_t)next;
    else if ((c->mode & MODE_SIZE) == MODE_16)
        next = (uint32_t)next; /* EIP; a 16-bit limit is checked at the fetch */
    c->rip = next;
}

/*
 * How the translator treats a mnemonic that a helper carries out: which helper, and whether the block goes on behind it.
 */
struct helper_entry {
    uint16_t mnemonic;
    helper_fn *run;
    uint8_t ends_block;     /* 1: rip, mode or interruptibility may change in a way the following code depends on */
};

/* The table of system instructions (sys_table.c), any order; count in *count. */
const struct helper_entry *sys_helpers(size_t *count);

/*
 * Deliver an exception, software or external interrupt through IVT or IDT: the whole of SDM volume 3
 * chapter 6, including privilege change, IST, error codes. Faults on the way raise() again; run.c
 * turns them into #DF and shutdown. (sys_interrupt.c)
 */
void interrupt_deliver(struct dbt_vcpu *c, unsigned vector, bool software, bool has_error, uint32_t error);

/* Segment registers from a selector without checks, as real mode and VM86 do; and INIT/SIPI. (sys_segment.c) */
void segment_load_real(struct dbt_vcpu *c, enum segment which, uint16_t selector);

#endif
