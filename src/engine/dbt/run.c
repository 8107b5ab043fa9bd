/*
 * The run loop of a vCPU: events, the way into translated code and out of it, exceptions on their
 * way to delivery.
 */
#include "engine/dbt/run.h"

#include <stdatomic.h>

#include "core/trace.h"
#include "engine/dbt/debug.h"
#include "engine/dbt/engine.h"
#include "engine/dbt/mmu.h"
#include "engine/dbt/thunks.h"

/* ---- modes and generations ---- */

static bool data_segment_flat(const struct segment_state *s)
{
    return s->base == 0 && s->limit == 0xffffffffu && !(s->attributes & SEGMENT_UNUSABLE) &&
           (s->attributes & (SEGMENT_S | 0x0e)) == (SEGMENT_S | 0x02);
}

static uint32_t segment_mode(const struct dbt_vcpu *c)
{
    const struct segment_state *code = &c->segment[SEG_CS];
    uint32_t mode = c->segment[SEG_SS].attributes & SEGMENT_DB ? MODE_STACK32 : 0;

    if (long_mode(c) && (code->attributes & SEGMENT_L))
        return MODE_64 | MODE_FLAT;
    if (code->attributes & SEGMENT_DB)
        mode |= MODE_32;
    if (!(c->cr0 & CR0_PE) || (c->sys_flags & RFLAGS_VM))
        return mode | MODE_REAL;
    if (data_segment_flat(&c->segment[SEG_ES]) && data_segment_flat(&c->segment[SEG_SS]) &&
        data_segment_flat(&c->segment[SEG_DS]))
        mode |= MODE_FLAT;
    return mode;
}

static uint32_t extension_mode(const struct dbt_vcpu *c)
{
    uint32_t mode = 0;

    if (c->cr0 & (CR0_TS | CR0_EM))
        mode |= MODE_NM;
    if (!(c->cr4 & CR4_OSFXSR) || (c->cr0 & CR0_EM))
        mode |= MODE_NO_SSE;
    if (!(c->cr4 & CR4_OSXSAVE) || (c->xcr0 & 6) != 6)
        mode |= MODE_NO_AVX;
    if ((c->xcr0 & 0xe6) != 0xe6)
        mode |= MODE_NO_AVX512;
    return mode;
}

/* The generation for (mode, CS base) since the mappings last changed. */
static void choose_generation(struct dbt_vcpu *c)
{
    uint64_t cs_base = code64(c) ? 0 : c->segment[SEG_CS].base;
    uint32_t mode = c->mode & ~(uint32_t)MODE_AC;
    unsigned odd = c->mode & MODE_AC ? 1 : 0; /* STAC and CLAC flip it in translated code */

    c->generation = 0;
    if ((c->mode & MODE_STEP) || c->stepping)
        return;
    for (unsigned i = 0; i < ARRAY_LENGTH(c->remembered); i++)
        if (c->remembered[i].used && c->remembered[i].mode == mode && c->remembered[i].cs_base == cs_base) {
            c->generation = c->remembered[i].generation + odd;
            return;
        }
    c->last_generation += 2;
    c->generation = c->last_generation + odd;
    c->remembered[c->remembered_next].used = 1;
    c->remembered[c->remembered_next].mode = mode;
    c->remembered[c->remembered_next].cs_base = cs_base;
    c->remembered[c->remembered_next].generation = c->last_generation;
    c->remembered_next = (c->remembered_next + 1) % ARRAY_LENGTH(c->remembered);
}

void mode_update(struct dbt_vcpu *c)
{
    uint32_t mode = segment_mode(c) | extension_mode(c);
    bool user = c->cpl == 3;

    if (user)
        mode |= MODE_USER;
    else if (c->cpl)
        mode |= MODE_RING12;
    if (!user && (c->cr4 & CR4_SMAP))
        mode |= MODE_SMAP;
    if ((mode & MODE_SMAP) && (c->sys_flags & RFLAGS_AC))
        mode |= MODE_AC;
    if ((c->sys_flags & RFLAGS_TF) || c->interrupt_shadow || (c->dr[7] & 0xff) || c->debug.single_step || c->step_alone)
        mode |= MODE_STEP;
    if (user && (c->cr0 & CR0_AM) && (c->sys_flags & RFLAGS_AC))
        mode |= MODE_ALIGN;
    if (user && c->user_returns_stale) {
        c->user_returns_stale = 0;
        c->shadow_rsp = c->shadow_base;
    }
    c->mode = mode;
    c->mmu = user ? MMU_USER : mode & MODE_AC ? MMU_KERNEL_AC : MMU_KERNEL;
    choose_generation(c);
}

void forget_targets(struct dbt_vcpu *c, bool all)
{
    bool supervisor = all || c->itlb_local;

    for (unsigned i = 0; i < ARRAY_LENGTH(c->remembered); i++)
        if (supervisor || (c->remembered[i].mode & MODE_USER))
            c->remembered[i].used = 0;
    for (unsigned user = supervisor ? 0 : 1; user < 2; user++) {
        clear_words(c->itlb[user], ITLB_ENTRIES);
        clear_words(c->code_pages[user], sizeof(c->code_pages[user]) / 4);
    }
    if (supervisor) {
        c->itlb_local = 0;
        c->shadow_rsp = c->shadow_base;
    } else {
        c->user_returns_stale = 1;
    }
    choose_generation(c);
}

void forget_all_code(struct dbt_vcpu *c)
{
    forget_targets(c, true);
    c->exit_chain = 0;
}

/* ---- leaving translated code ---- */

void settle(struct dbt_vcpu *c, bool after)
{
    struct code_place place;
    bool saved;

    /* The return address may already be the next instruction's first; the call itself is not. */
    if (!code_locate(c, c->thunk_return - 1, &place))
        return;
    c->rip = after ? place.next_rip : place.rip;
    if (!code64(c))
        c->rip = (uint32_t)c->rip;
    saved = after ? place.saved_after : place.saved_before;
    if (saved)
        c->alu_flags = (c->alu_flags & RFLAGS_DF) | flags_from_saved(c->saved_flags);
}

void leave_after_instruction(struct dbt_vcpu *c)
{
    settle(c, true);
    thunk_unwind(c, EXIT_LOOKUP);
}

static void note_exception(struct dbt_vcpu *c, unsigned vector, bool has_error, uint32_t error)
{
    c->exception_pending = 1;
    c->exception_vector = (uint8_t)vector;
    c->exception_has_error = has_error;
    c->exception_error = has_error ? error : 0;
    c->exception_software = 0;
    c->stat_exceptions++;
    c->last_exceptions[c->last_count++ % ARRAY_LENGTH(c->last_exceptions)] = (struct exception_record){
        .rip = c->rip,
        .address = vector == VECTOR_PF ? c->cr2 : 0,
        .error = c->exception_error,
        .vector = (uint8_t)vector,
        .has_error = has_error,
    };
}

void raise_fault(struct dbt_vcpu *c, unsigned vector, int32_t error)
{
    if (c->in_memory_pre) {
        c->in_memory_pre = 0;
        settle(c, false);
    }
    if (c->dbt->exclusive_depth[c->vcpu.index]) {
        c->dbt->exclusive_depth[c->vcpu.index] = 1;
        exclusive_end(c);
    }
    note_exception(c, vector, error >= 0, (uint32_t)error);
    thunk_unwind(c, EXIT_RAISE);
}

void leave_to_step(struct dbt_vcpu *c)
{
    c->in_memory_pre = 0;
    settle(c, false);
    c->step_alone = 1;
    thunk_unwind(c, EXIT_LOOKUP);
}

void raise_software(struct dbt_vcpu *c, unsigned vector)
{
    note_exception(c, vector, false, 0);
    c->exception_software = 1;
    thunk_unwind(c, EXIT_RAISE);
}

void leave_now(struct dbt_vcpu *c)
{
    thunk_unwind(c, EXIT_LOOKUP);
}

/* ---- what a trace is told; the vector state is saved first, for it is ordinary C ---- */

static void tell_exit(struct dbt_vcpu *c, int reason)
{
    static const char *const names[] = {
        [EXIT_NONE] = "none",           [EXIT_LOOKUP] = "lookup", [EXIT_CHAIN] = "chain",
        [EXIT_ATTENTION] = "attention", [EXIT_RAISE] = "raise",
    };

    if (!vcpu_traced(&c->vcpu, TRACE_EXITS))
        return;
    vector_save(c);
    trace_exit(&c->vcpu, names[reason], c->rip, 0);
}

static void tell_vector(struct dbt_vcpu *c, const char *what, unsigned vector)
{
    if (!vcpu_traced(&c->vcpu, TRACE_IRQ))
        return;
    vector_save(c);
    trace_vector(&c->vcpu, what, vector, c->rip);
}

/* The exception that is pending. */
static void tell_exception(struct dbt_vcpu *c, const char *what)
{
    struct exception_record record = {
        .rip = c->rip,
        .address = c->cr2,
        .error = c->exception_error,
        .vector = c->exception_vector,
        .has_error = c->exception_has_error,
    };

    if (!vcpu_traced(&c->vcpu, TRACE_EXCEPTIONS))
        return;
    vector_save(c);
    trace_exception(&c->vcpu, what, &record);
}

/* ---- delivery ---- */

struct event {
    uint8_t vector;
    bool software, has_error;
    uint32_t error;
};

static void deliver_event(struct dbt_vcpu *c, void *argument)
{
    const struct event *event = argument;

    interrupt_deliver(c, event->vector, event->software, event->has_error, event->error);
}

static bool contributory(unsigned vector)
{
    return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

/* What becomes of an exception during the delivery of another: SDM volume 3, table 6-5. False: shutdown. */
static bool combine(struct dbt_vcpu *c, const struct event *first)
{
    unsigned second = c->exception_vector;

    if (first->vector == VECTOR_DF && !first->software)
        return false;
    if (!first->software && ((contributory(first->vector) && contributory(second)) ||
                             (first->vector == VECTOR_PF && (contributory(second) || second == VECTOR_PF)))) {
        c->exception_vector = VECTOR_DF;
        c->exception_has_error = 1;
        c->exception_error = 0;
    }
    return true;
}

/* Deliver what is pending, and what comes of it. False: the processor shut down. */
static bool deliver(struct dbt_vcpu *c, struct event event)
{
    for (;;) {
        c->exception_pending = 0;
        if (thunk_protect(c, deliver_event, &event) == EXIT_NONE)
            break;
        tell_exception(c, "fault");
        if (!combine(c, &event))
            return false;
        if (c->exception_vector == VECTOR_DF)
            tell_exception(c, "fault");
        event = (struct event){c->exception_vector, false, c->exception_has_error, c->exception_error};
    }
    c->halted = 0;
    c->interrupt_shadow = 0;
    c->delivered = 1;
    mode_update(c);
    return true;
}

static bool deliver_exception(struct dbt_vcpu *c)
{
    struct event event = {c->exception_vector, c->exception_software, c->exception_has_error, c->exception_error};

    tell_exception(c, event.software ? "software" : "fault");
    return deliver(c, event);
}

/* A trap after an instruction: single step, a data breakpoint. */
static bool deliver_debug(struct dbt_vcpu *c, uint64_t dr6)
{
    struct event event = {VECTOR_DB, false, false, 0};

    c->dr[6] |= dr6;
    note_exception(c, VECTOR_DB, false, 0);
    tell_exception(c, "fault");
    return deliver(c, event);
}

/* ---- events from outside ---- */

/* Interrupts and NMIs that may be taken now. False: shutdown. */
static bool serve_interrupts(struct dbt_vcpu *c)
{
    struct vcpu *vcpu = &c->vcpu;
    int vector;

    if (c->nmi_pending && !c->nmi_blocked && !c->interrupt_shadow) {
        c->nmi_pending = 0;
        c->nmi_blocked = 1;
        c->stat_interrupts++;
        tell_vector(c, "nmi", VECTOR_NMI);
        if (!deliver(c, (struct event){VECTOR_NMI, false, false, 0}))
            return false;
    }
    if (!c->irq_waiting || !(c->sys_flags & RFLAGS_IF) || c->interrupt_shadow)
        return true;
    vector_save(c);
    vector = vcpu->apic_ops->acknowledge(vcpu->apic);
    if (vector < 0) {
        c->irq_waiting = 0;
        return true;
    }
    c->stat_interrupts++;
    c->sys_flags &= ~RFLAGS_RF;
    tell_vector(c, "interrupt", (unsigned)vector);
    return deliver(c, (struct event){(uint8_t)vector, false, false, 0});
}

/* Attention bits that are the engine's to serve. True: the rest is the loop's. */
static bool serve_attention(struct dbt_vcpu *c)
{
    uint32_t mine = ATTENTION_ENGINE | ATTENTION_INTERRUPT | ATTENTION_NMI;
    uint32_t bits = atomic_fetch_and(&c->vcpu.attention, ~mine);

    if (bits & ATTENTION_INTERRUPT)
        c->irq_waiting = 1;
    if (bits & ATTENTION_NMI)
        c->nmi_pending = 1;
    if (bits & ATTENTION_ENGINE) {
        exclusive_leave(c);
        exclusive_enter(c);
        if (__atomic_load_n(&c->remapped, __ATOMIC_SEQ_CST))
            mmu_follow_map(c);
    }
    return (bits & ~mine) != 0;
}

/* ---- single-stepping ---- */

/* An enabled instruction breakpoint at rip: DR6 bits, unless RF holds it off. */
static uint64_t breakpoint_here(const struct dbt_vcpu *c)
{
    uint64_t linear = code_linear(c);
    uint64_t hits = 0;

    if (c->sys_flags & RFLAGS_RF)
        return 0;
    for (unsigned i = 0; i < 4; i++)
        if ((c->dr[7] >> (2 * i) & 3) && !(c->dr[7] >> (16 + 4 * i) & 3) && c->dr[i] == linear)
            hits |= 1ull << i;
    return hits;
}

struct step {
    bool trap;
    uint8_t cpl;
};

static struct step step_begin(struct dbt_vcpu *c)
{
    struct step step = {(c->sys_flags & RFLAGS_TF) != 0, c->cpl};

    c->interrupt_shadow = 0;
    c->debug_hits = 0;
    return step;
}

/* After one instruction that completed. False: shutdown. */
static bool step_end(struct dbt_vcpu *c, struct step step)
{
    uint64_t dr6 = c->debug_hits;

    c->debug_hits = 0;
    mode_update(c);
    if (step.trap && step.cpl == c->cpl)
        dr6 |= DR6_BS;
    return dr6 == 0 || c->interrupt_shadow == 2 || deliver_debug(c, dr6);
}

/* ---- the loop ---- */

static void find_block(struct dbt_vcpu *c, void *argument)
{
    struct block **block = argument;

    if (c->mode & MODE_STEP) {
        uint64_t hits = c->dr[7] & 0xff ? breakpoint_here(c) : 0;

        if (hits) {
            c->dr[6] |= hits;
            raise_fault(c, VECTOR_DB, -1);
        }
        c->sys_flags &= ~RFLAGS_RF; /* for this instruction only */
    }
    *block = block_find(c);
}

static const void *entry_of(const struct dbt_vcpu *c, const struct block *block)
{
    return c->dbt->cache.exec + block->code + block->entry_body;
}

/* An exit that led nowhere leads to the block now. */
static void link_exit(struct dbt_vcpu *c, uint32_t number, uint64_t flushes, struct block *block)
{
    struct dbt_engine *dbt = c->dbt;
    struct chain *chain;

    lock_acquire(&dbt->lock);
    if (flushes == dbt->flushes && block->valid) {
        chain = &dbt->cache.chains[number];
        if (!chain->target && chain->target_rip == block->rip)
            cache_link(&dbt->cache, chain, block);
    }
    lock_release(&dbt->lock);
}

/* Run one stretch of translated code. Returns enum exit; EXIT_RAISE has an exception pending. */
static int run_code(struct dbt_vcpu *c)
{
    uint32_t number = (uint32_t)c->exit_chain;
    uint64_t flushes = c->dbt->flushes;
    struct block *block = NULL;
    int reason;

    c->exit_chain = 0;
    c->exit_wanted = 0;
    if (!(c->dr[7] & 0xff))
        block = block_find_quick(c);
    if (!block) {
        reason = thunk_protect(c, find_block, &block);
        if (reason != EXIT_NONE)
            return reason;
    }
    if (number)
        link_exit(c, number, flushes, block);
    reason = thunk_enter(c, entry_of(c, block));
    if (reason == EXIT_CHAIN)
        c->rip = c->dbt->cache.chains[c->exit_chain].target_rip;
    else
        c->exit_chain = 0;
    tell_exit(c, reason);
    return reason;
}

/* One stretch, and what follows from it. False: shutdown. */
static bool run_once(struct dbt_vcpu *c)
{
    bool stepping = (c->mode & MODE_STEP) != 0;
    struct step step = {false, 0};
    int reason;

    if (stepping)
        step = step_begin(c);
    c->stepping = stepping;
    reason = run_code(c);
    c->stepping = 0;
    if (c->debugging)
        debug_ran(c, stepping, reason == EXIT_RAISE);
    if (reason == EXIT_RAISE)
        return deliver_exception(c);
    return !stepping || step_end(c, step);
}

enum vcpu_exit dbt_run(struct vcpu *vcpu)
{
    struct dbt_vcpu *c = (struct dbt_vcpu *)vcpu;
    enum vcpu_exit exit = VCPU_EXIT_ATTENTION;

    debug_begins(c);
    thread_enter(c);
    exclusive_enter(c);
    for (;;) {
        if (c->debugging && debug_stops(c)) {
            exit = VCPU_EXIT_DEBUG;
            break;
        }
        if (vcpu->attention && serve_attention(c))
            break;
        if ((c->irq_waiting || c->nmi_pending) && !debug_holds_interrupts(c) && !serve_interrupts(c)) {
            exit = VCPU_EXIT_SHUTDOWN;
            break;
        }
        if (c->exception_pending && !deliver_exception(c)) { /* from a state that was set */
            exit = VCPU_EXIT_SHUTDOWN;
            break;
        }
        if (c->debug.single_step && c->delivered)
            continue;
        if (c->halted) {
            exit = VCPU_EXIT_HALT;
            break;
        }
        if (!run_once(c)) {
            exit = VCPU_EXIT_SHUTDOWN;
            break;
        }
    }
    c->debug.pass_breakpoint = false; /* it was for this run */
    vector_save(c);
    exclusive_leave(c);
    return exit;
}
