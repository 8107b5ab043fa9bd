/*
 * What the files of the system instructions (sys_*.c) share: operands, stacks, descriptors, and the
 * helpers that sys_table.c lists. Private to them.
 *
 * Names of faults: `ext` is the EXT bit of an error code, 1 while an event external to the program is
 * delivered. A selector's error code is the selector without its RPL.
 */
#ifndef LODGE_ENGINE_DBT_SYS_H
#define LODGE_ENGINE_DBT_SYS_H

#include "engine/dbt/mmu.h"
#include "engine/dbt/state.h"

/* Descriptor types (Intel SDM volume 3, tables 3-1 and 3-2), as in segment_state.attributes. */
enum {
    TYPE_ACCESSED = 1,
    TYPE_WRITABLE = 2,    /* data */
    TYPE_READABLE = 2,    /* code */
    TYPE_EXPAND_DOWN = 4, /* data */
    TYPE_CONFORMING = 4,  /* code */
    TYPE_CODE = 8,
    SYSTEM_TSS_16 = 1,
    SYSTEM_LDT = 2,
    SYSTEM_TSS_16_BUSY = 3,
    SYSTEM_CALL_16 = 4,
    SYSTEM_TASK = 5,
    SYSTEM_INTERRUPT_16 = 6,
    SYSTEM_TRAP_16 = 7,
    SYSTEM_TSS = 9,
    SYSTEM_TSS_BUSY = 11,
    SYSTEM_CALL = 12,
    SYSTEM_INTERRUPT = 14,
    SYSTEM_TRAP = 15,
};

/* A segment or gate descriptor. For gates, segment.attributes has type, DPL and P; the rest is in low, high, upper. */
struct descriptor {
    uint64_t address;             /* linear */
    uint32_t low, high;           /* as in memory */
    uint32_t upper;               /* third word of a 16-byte descriptor */
    struct segment_state segment; /* selector as asked for */
};

static inline bool selector_null(uint16_t selector)
{
    return (selector & ~SELECTOR_RPL) == 0;
}

static inline unsigned segment_dpl(const struct segment_state *segment)
{
    return (segment->attributes & SEGMENT_DPL) >> SEGMENT_DPL_SHIFT;
}

static inline unsigned segment_type(const struct segment_state *segment)
{
    return segment->attributes & SEGMENT_TYPE;
}

/* A code segment that runs in 64-bit mode. */
static inline bool segment_is_64(const struct dbt_vcpu *c, const struct segment_state *code)
{
    return long_mode(c) && (code->attributes & SEGMENT_L);
}

static inline bool segment_is_code(const struct segment_state *segment)
{
    return (segment->attributes & (SEGMENT_S | TYPE_CODE)) == (SEGMENT_S | TYPE_CODE);
}

static inline bool segment_is_conforming(const struct segment_state *segment)
{
    return segment_is_code(segment) && (segment->attributes & TYPE_CONFORMING);
}

static inline bool segment_is_writable_data(const struct segment_state *segment)
{
    return (segment->attributes & (SEGMENT_S | TYPE_CODE | TYPE_WRITABLE)) == (SEGMENT_S | TYPE_WRITABLE);
}

static inline bool segment_is_present(const struct segment_state *segment)
{
    return (segment->attributes & SEGMENT_P) != 0;
}

static inline unsigned iopl(const struct dbt_vcpu *c)
{
    return (unsigned)((c->sys_flags & RFLAGS_IOPL) >> RFLAGS_IOPL_SHIFT);
}

/* Protected mode proper: neither real nor virtual-8086. */
static inline bool protected_mode(const struct dbt_vcpu *c)
{
    return !real_mode(c) && !v8086_mode(c);
}

/* #GP(0) unless at privilege level 0. */
static inline void require_cpl0(struct dbt_vcpu *c)
{
    if (c->cpl != 0)
        raise_fault(c, VECTOR_GP, 0);
}

/* #UD outside protected mode proper. */
static inline void require_protected(struct dbt_vcpu *c)
{
    if (!protected_mode(c))
        raise_fault(c, VECTOR_UD, -1);
}

static inline _Noreturn void raise_selector(struct dbt_vcpu *c, unsigned vector, uint16_t selector, unsigned ext)
{
    raise_fault(c, vector, (int32_t)((selector & ~SELECTOR_RPL) | ext));
}

/* ---- sys_operand.c: registers, ModRM operands, stacks ---- */

/* A general register's low `size` bytes; high: AH to BH. Writes of 4 bytes clear the upper half. */
uint64_t reg_get(const struct dbt_vcpu *c, unsigned reg, unsigned size, bool high);
void reg_set(struct dbt_vcpu *c, unsigned reg, unsigned size, bool high, uint64_t value);

/* The ModRM.rm operand, memory or register. rm_write() is the commit: nothing may fault after it. */
uint64_t rm_read(struct dbt_vcpu *c, const struct insn *insn, unsigned size);
void rm_write(struct dbt_vcpu *c, const struct insn *insn, unsigned size, uint64_t value);

/* The address of the next instruction. */
static inline uint64_t insn_next(const struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t next = c->rip + insn->length;

    return code64(c) ? next : (uint32_t)next;
}

/* The bits of an address register that count, by address size in bytes. */
static inline uint64_t address_mask(unsigned address_size)
{
    return bits_mask(8 * address_size);
}

/*
 * A stack in use. Pushes and pops move `pointer` only; stack_commit() sets RSP. It may belong to another
 * privilege level than the current one: then ss, mask and mmu are that level's.
 */
struct stack {
    struct segment_state ss;
    uint64_t pointer;
    uint64_t mask;  /* 16, 32 or 64 ones: the width of the stack pointer */
    uint8_t mmu;    /* enum mmu_index */
    uint16_t error; /* error code of its #SS */
};

/* The current stack. */
void stack_open(const struct dbt_vcpu *c, struct stack *stack);
/* A stack of another level: 64-bit when wide, else as ss says. */
void stack_open_level(struct stack *stack, const struct segment_state *ss, uint64_t pointer, unsigned cpl, bool wide,
                      unsigned ext);
void stack_push(struct dbt_vcpu *c, struct stack *stack, unsigned size, uint64_t value);
uint64_t stack_pop(struct dbt_vcpu *c, struct stack *stack, unsigned size);
void stack_skip(struct stack *stack, uint64_t bytes);
/* Raise what a write of `size` bytes at the top would raise. */
void stack_probe(struct dbt_vcpu *c, const struct stack *stack, unsigned size);
/* The value `depth` bytes above the top; nothing moves. */
uint64_t stack_peek(struct dbt_vcpu *c, const struct stack *stack, uint64_t depth, unsigned size);
void stack_commit(struct dbt_vcpu *c, const struct stack *stack);
/* Take SS and, as wide as it says, the stack pointer that a return popped; `wide`: to 64-bit code. */
void stack_commit_return(struct dbt_vcpu *c, const struct segment_state *ss, bool wide, uint64_t pointer);

/* The operand size of a push or pop of one word: 8 in 64-bit code unless 2. */
static inline unsigned stack_operand(const struct dbt_vcpu *c, const struct insn *insn)
{
    return insn->operand_size == 2 ? 2 : code64(c) ? 8 : 4;
}

/* ---- sys_descriptor.c ---- */

/* Reads the descriptor that a selector names. False: null, or outside its table. */
bool descriptor_fetch(struct dbt_vcpu *c, uint16_t selector, struct descriptor *d);
/* The second half of a 16-byte system descriptor: base bits 63..32. False: outside its table, or malformed. */
bool descriptor_fetch_upper(struct dbt_vcpu *c, struct descriptor *d);
/* Sets the accessed bit of a code or data segment, in memory and in d. */
void descriptor_set_accessed(struct dbt_vcpu *c, struct descriptor *d);
/* Replaces the type of a TSS: available to busy. False if another CPU was first. */
bool descriptor_set_busy(struct dbt_vcpu *c, struct descriptor *d);

/*
 * The stack segment for privilege level cpl: #GP or #TS (`vector`) when it is unfit, #SS when it is not
 * present (SDM volume 3, section 5.7). A null selector is unfit: whoever may accept one asks first.
 */
void descriptor_fetch_stack(struct dbt_vcpu *c, uint16_t selector, unsigned cpl, unsigned vector, unsigned ext,
                            struct descriptor *d);
/* The stack segment of a return from here to level cpl: as above, with a null one where 64-bit mode has it. */
struct segment_state segment_fetch_return_stack(struct dbt_vcpu *c, uint16_t selector, unsigned cpl, bool to_64);
/* The segment that a null SS is in 64-bit mode. */
struct segment_state segment_null_stack(unsigned cpl);
struct segment_state segment_null(uint16_t selector);
/* Load a null selector. FS and GS keep their bases on AMD's processors without NullSelectClearsBase. */
void segment_set_null(struct dbt_vcpu *c, enum segment which, uint16_t selector);
/* A flat code or data segment, as SYSCALL and SYSENTER make them. */
struct segment_state segment_flat(uint16_t selector, unsigned type, unsigned dpl, unsigned attributes);

/* #GP(ext) unless `offset` is in the segment's limit, or canonical in 64-bit code. */
void code_check_offset(struct dbt_vcpu *c, const struct segment_state *code, uint64_t offset, unsigned ext);
/* Checks of a return's code segment (RETF, IRET): #GP, #NP. */
void descriptor_fetch_return(struct dbt_vcpu *c, uint16_t selector, struct descriptor *d);
/* The stack of an inner level: SS:RSP from the TSS (SDM volume 3, section 5.8.5). Checked; #TS, #SS. */
void stack_open_inner(struct dbt_vcpu *c, unsigned cpl, unsigned ext, struct stack *stack);
/* RSP0-2 (slot 0-2) or IST1-7 (slot 4-10) of the 64-bit TSS; #TS, #SS. */
uint64_t tss_stack_64(struct dbt_vcpu *c, unsigned slot, unsigned ext);

/* Load CS and CPL; the descriptor was checked, its accessed bit set. */
void segment_commit_code(struct dbt_vcpu *c, const struct descriptor *d, unsigned cpl);
/* A return to an outer level hides data segments that it may not see. */
void segment_drop_inner(struct dbt_vcpu *c);

/* Load ES, SS, DS, FS or GS with all the checks of MOV to a segment register. */
void segment_load(struct dbt_vcpu *c, enum segment which, uint16_t selector);

/* ---- sys_interrupt.c ---- */

struct event {
    unsigned vector;
    bool software; /* INT n, INT3, INTO: the gate's DPL counts */
    bool has_error;
    uint8_t ext;
    uint32_t error;
    uint64_t return_rip;
    uint64_t flags; /* to be pushed */
};
void event_deliver(struct dbt_vcpu *c, const struct event *event);

/* ---- sys_v8086.c: what CR4.VME gives virtual-8086 tasks ---- */

/* INT n through the task's own vector table, if its TSS says so. False: it is the caller's. */
bool v8086_interrupt(struct dbt_vcpu *c, unsigned vector, uint64_t return_rip);
/* RFLAGS after a 16-bit IRET or POPF of a task whose IOPL keeps it from IF, which goes to VIF. #GP when it cannot. */
uint64_t v8086_merge_flags(struct dbt_vcpu *c, uint64_t value);
/* Virtual-8086 code whose IOPL keeps it from IF, but which has a virtual one. */
bool v8086_virtual_flag(const struct dbt_vcpu *c);

/* ---- sys_flags.c ---- */

/* RFLAGS after POPF or IRET of `size` bytes at the current CPL, IOPL; RF, VIF, VIP only with `is_return`. */
uint64_t flags_merge(const struct dbt_vcpu *c, uint64_t value, unsigned size, bool is_return);

/* ---- sys_io.c ---- */

/* A byte of the bitmaps at the I/O map base of the TSS, at this distance. False: outside the TSS. */
bool tss_map_read(struct dbt_vcpu *c, int32_t distance, unsigned size, uint32_t *bits);

/* ---- sys_cpuid.c ---- */

/* As cpuid_has(), in general registers only. */
bool sys_feature(const struct dbt_vcpu *c, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit);
/* The static answer of a leaf; all zero if there is none. */
struct cpuid_result sys_cpuid(const struct dbt_vcpu *c, uint32_t leaf, uint32_t subleaf);
/* Does the CPU present itself as AMD's (or Hygon's)? */
bool sys_vendor_amd(const struct dbt_vcpu *c);
/* Physical address bits. */
unsigned sys_physical_bits(const struct dbt_vcpu *c);

/* ---- sys_time.c ---- */

/* The guest's time stamp counter. */
uint64_t sys_tsc(const struct dbt_vcpu *c);
void sys_tsc_set(struct dbt_vcpu *c, uint64_t value);
void sys_tsc_adjust_set(struct dbt_vcpu *c, uint64_t value);
/* MSR_KVM_SYSTEM_TIME*, MSR_KVM_WALL_CLOCK*: false if the address is not RAM. */
bool kvmclock_set_system_time(struct dbt_vcpu *c, uint64_t value);
bool kvmclock_set_wall_clock(struct dbt_vcpu *c, uint64_t value);

/* ---- sys_mtrr.c: memory types, which change nothing here but must read back ---- */

bool mtrr_read(const struct dbt_vcpu *c, uint32_t msr, uint64_t *value);
/* False: not one of these, or a value that they cannot have. */
bool mtrr_write(struct dbt_vcpu *c, uint32_t msr, uint64_t value);
bool pat_valid(uint64_t value);

/* ---- sys_xstate.c (sys_xstate.h has the rest) ---- */

/*
 * What the translator calls for an x87, MMX, SSE or AVX instruction in a block whose mode says that they
 * are not available (MODE_NM, MODE_NO_SSE, MODE_NO_AVX, MODE_NO_AVX512): raises #UD or #NM. Only FWAIT may
 * be available all the same, and is then carried out.
 */
helper_fn fpu_unavailable;

/* ---- the helpers, by file ---- */

helper_fn op_undefined;

/* sys_segment.c */
helper_fn op_mov, op_push, op_pop, op_load_far_pointer;
/* sys_selector.c */
helper_fn op_lldt, op_ltr, op_sldt, op_str, op_lar, op_lsl, op_verr, op_verw, op_arpl;
helper_fn op_rdfsbase, op_rdgsbase, op_wrfsbase, op_wrgsbase, op_swapgs;
/* sys_table.c */
helper_fn op_lgdt, op_lidt, op_sgdt, op_sidt;
/* sys_interrupt.c */
helper_fn op_int, op_int3, op_into, op_int1, op_bound;
/* sys_return.c */
helper_fn op_iret;
/* sys_far.c */
helper_fn op_jmp_far, op_call_far, op_ret_far;
/* sys_call.c */
helper_fn op_syscall, op_sysret, op_sysenter, op_sysexit, op_vmcall, op_hlt;
/* sys_flags.c */
helper_fn op_pushf, op_popf, op_cli, op_sti, op_clac, op_stac;
/* sys_control.c */
void control_tell(struct dbt_vcpu *c, const char *name, uint64_t value); /* a control register has a new value: for a trace */
helper_fn op_mov_control, op_lmsw, op_smsw, op_clts, op_invlpg, op_invpcid, op_wbinvd, op_xsetbv, op_xgetbv;
/* sys_debug.c */
helper_fn op_mov_debug;
/* sys_msr.c */
helper_fn op_rdmsr, op_wrmsr;
/* sys_time.c */
helper_fn op_rdtsc, op_rdtscp, op_rdpmc, op_rdpid;
/* sys_io.c */
helper_fn op_in, op_out, op_ins, op_outs;
/* sys_cpuid.c */
helper_fn op_cpuid;
/* sys_fpu.c */
helper_fn op_fxsave, op_fxrstor, op_fnstenv, op_fldenv, op_fnsave, op_frstor;
/* sys_xsave.c */
helper_fn op_xsave, op_xsavec, op_xsaveopt, op_xrstor;
/* sys_legacy.c */
helper_fn op_aaa, op_aas, op_aam, op_aad, op_daa, op_das, op_salc, op_pusha, op_popa, op_enter, op_xlat;
helper_fn op_maskmovq, op_maskmovdqu, op_clzero;
/* sys_gather.c */
helper_fn op_gather, op_scatter;

#endif
