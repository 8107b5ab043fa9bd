/*
 * The seam between C and translated code (thunks.S).
 *
 * Translated code runs on its own small stack, the return stack, on which guest calls and returns are
 * paired as host calls and returns. Every thunk switches to the C stack and back.
 */
#ifndef LODGE_ENGINE_DBT_THUNKS_H
#define LODGE_ENGINE_DBT_THUNKS_H

/* Offsets in struct dbt_vcpu that the assembler needs; engine.c checks them. */
#define OFF_ATTENTION 0
#define OFF_GPR 128
#define OFF_RIP 256
#define OFF_ALU_FLAGS 264
#define OFF_SYS_FLAGS 272
#define OFF_SPILL 280
#define OFF_SAVED_FLAGS 312
#define OFF_HOST_RSP 320
#define OFF_SHADOW_RSP 328
#define OFF_SHADOW_BASE 336
#define OFF_THUNK_RETURN 344
#define OFF_EXIT_CHAIN 352
#define OFF_SELF 360
#define OFF_GENERATION 368
#define OFF_VECTOR_LIVE 376
#define OFF_THUNK 392
#define OFF_BOUNCE_KIND 520
#define OFF_IRQ_WAITING 524
#define OFF_EXIT_WANTED 528
#define OFF_JUMP 1024

/* Why translated code was left: what thunk_enter and thunk_protect answer. */
#define EXIT_NONE 0      /* thunk_protect: the function returned */
#define EXIT_LOOKUP 1    /* rip is set: find the block */
#define EXIT_CHAIN 2     /* exit_chain leads to an untranslated block; rip is not set yet */
#define EXIT_ATTENTION 3 /* rip is set; attention is wanted, or the page's mapping is not known to be the block's */
#define EXIT_RAISE 4     /* an exception is pending in the vCPU */

#ifndef __ASSEMBLER__

#include "engine/dbt/state.h"

/* Indices of dbt_vcpu.thunk: what translated code calls or jumps to through gs. */
enum thunk {
    THUNK_MEMORY_PRE,  /* r14 address, r11d descriptor; r14 := host address. Flags are lost but DF. */
    THUNK_MEMORY_POST, /* after the instruction: commit. All registers and flags kept but r11, r14. */
    THUNK_HELPER,      /* r14 rip, r11 struct helper_call; goes on behind the call, flags in saved_flags */
    THUNK_HELPER_END,  /* the same; goes on at the new rip */
    THUNK_CHAIN,       /* called; behind it a 32-bit chain number: leave to translate and patch */
    THUNK_INDIRECT,    /* r14 target, flags in saved_flags: through the jump cache */
    THUNK_ATTENTION,   /* r14 rip: leave for the run loop */
    THUNK_RAISE,       /* r14 rip, r11 vector | error code << 32 (-1: none) */
    THUNK_COUNT,
};

/*
 * Run translated code at `code` with the vCPU's registers. Returns enum exit (above); all guest
 * registers are then in the vCPU, its vector state as vector_live says.
 */
int thunk_enter(struct dbt_vcpu *c, const void *code);

/* Call run(c, argument) such that raise() inside it comes back here with EXIT_RAISE. */
int thunk_protect(struct dbt_vcpu *c, void (*run)(struct dbt_vcpu *c, void *argument), void *argument);

/* Leave to the last thunk_enter or thunk_protect, which returns `reason`. Registers are in the vCPU already. */
_Noreturn void thunk_unwind(struct dbt_vcpu *c, int reason);

/* Addresses for dbt_vcpu.thunk and the bottom of the return stack. */
void thunk_memory_pre(void);
void thunk_memory_post(void);
void thunk_helper(void);
void thunk_helper_end(void);
void thunk_chain(void);
void thunk_indirect(void);
void thunk_attention(void);
void thunk_raise(void);
void thunk_return_underflow(void);

/* The thunks' code. */
extern const char thunks_begin[], thunks_end[];

/* C behind the thunks. */
void *memory_pre(struct dbt_vcpu *c, uint64_t address, uint32_t descriptor);
void memory_post(struct dbt_vcpu *c);

#endif
#endif
