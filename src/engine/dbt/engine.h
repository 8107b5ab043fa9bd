/* The translator as a whole: what its vCPUs share. */
#ifndef LODGE_ENGINE_DBT_ENGINE_H
#define LODGE_ENGINE_DBT_ENGINE_H

#include "engine/dbt/cache.h"
#include "engine/dbt/state.h"
#include "port/lock.h"

struct translator;

enum { DBT_FEATURES = 32, DBT_STOPS = MACHINE_CPUS * DEBUG_POINTS };

struct dbt_engine {
    struct engine engine; /* first */
    struct memory_observer observer;
    struct guest_memory *memory;
    struct dbt_vcpu *vcpus[MACHINE_CPUS];
    unsigned cpu_count;
    uint64_t physical_reserved;      /* bits of a page-table entry's address that must be zero */
    uint64_t features[DBT_FEATURES]; /* answers that sys_feature() remembers */

    struct lock lock; /* cache, translator, page_flags' code bits. After no other lock. */
    struct code_cache cache;
    struct translator *translator;
    uint16_t *writers; /* by page of the RAM backing: vCPUs (bit index % 16) that may write it through their TLB */

    /* Exclusive sections: one vCPU runs while all others are out of translated code. (exclusive.c) */
    _Atomic uint32_t exclusive;             /* 1 + index of the vCPU that has or wants it; 0 nobody */
    _Atomic uint32_t running[MACHINE_CPUS]; /* 1: may be in translated code or touch guest memory */

    uint8_t exclusive_depth[MACHINE_CPUS]; /* sections may nest; each vCPU its own */

    uint64_t tsc_base; /* under the lock: what all vCPUs add to the host's counter, but for their IA32_TSC_ADJUST */
    bool tsc_based;    /* it has been chosen */
    /* Linear addresses where a debugger stops some vCPU before the instruction: blocks begin there, with a stop. */
    uint64_t stops[DBT_STOPS];
    unsigned stop_count;

    uint64_t *dirty; /* dirty log: a bit for each page of the backing, or NULL */
    uint64_t flushes;
};

/* Page of the RAM backing that holds a guest physical address; false: not RAM. General registers only. */
bool ram_page(const struct dbt_engine *dbt, uint64_t physical, uint64_t *page, bool *read_only);

/*
 * Around translated code: enter waits while another vCPU has an exclusive section. Its own thread.
 */
void exclusive_enter(struct dbt_vcpu *c);
void exclusive_leave(struct dbt_vcpu *c);

/* Stop all other vCPUs of the machine at a safe point, and let them go. The caller is between enter and leave. */
void exclusive_begin(struct dbt_vcpu *c);
void exclusive_end(struct dbt_vcpu *c);

/* Take the signals that guest code can cause, for the process. (signal.c) */
enum status signal_install(void) MUST_CHECK;

/* Translate the code at c->rip; takes the lock. Raises on a fetch fault. (find.c) */
struct block *block_find(struct dbt_vcpu *c);

/* The block if it is there and its page is known to be mapped as it was; else NULL. Raises nothing. */
struct block *block_find_quick(struct dbt_vcpu *c);

/* Guest memory changed: forget translated code of it. Vector state need not be saved. */
void code_written(struct dbt_vcpu *c, uint64_t physical, uint64_t size);

/* The guest instruction whose code holds a host address. (find.c) */
struct code_place {
    uint64_t rip, next_rip;
    bool saved_before, saved_after; /* the flags were in saved_flags before and after it */
};
bool code_locate(struct dbt_vcpu *c, uint64_t host, struct code_place *place);

/* Nothing in the vCPU may lead into translated code any more. (run.c) */
void forget_all_code(struct dbt_vcpu *c);

/* Forget jump targets and return addresses after a change of mappings; of the supervisor's global pages too if `all`. (run.c) */
void forget_targets(struct dbt_vcpu *c, bool all);

/* From memory_post(): the instruction is complete; leave translated code with rip behind it. (run.c) */
_Noreturn void leave_after_instruction(struct dbt_vcpu *c);

/*
 * A copied instruction, in memory_pre(), touches a data point of the debugger's: run it again, alone. Nothing of it has
 * happened yet. (run.c)
 */
_Noreturn void leave_to_step(struct dbt_vcpu *c);

/* memset() of zeroes for code that must not call it. */
static inline void clear_words(void *at, uint64_t words)
{
    __asm__ volatile("rep stosl" : "+D"(at), "+c"(words) : "a"(0) : "memory");
}

/* EAX as LAHF and SETO leave it, as RFLAGS bits. */
static inline uint64_t flags_from_saved(uint64_t saved)
{
    return ((saved >> 8) & (RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF | RFLAGS_CF)) | ((saved & 1) ? RFLAGS_OF : 0);
}

#endif
