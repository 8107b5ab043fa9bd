/* The translator behind the engine interface: creation, state, and what others ask of it. */
#define _GNU_SOURCE
#include "engine/dbt/engine.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "engine/dbt/dbt.h"
#include "engine/dbt/debug.h"
#include "engine/dbt/mmu.h"
#include "engine/dbt/run.h"
#include "engine/dbt/sys.h"
#include "engine/dbt/thunks.h"
#include "engine/dbt/translator.h"
#include "engine/dbt/vector.h"
#include "port/log.h"
#include "x86/msr.h"
#include "x86/paging.h"

#define OFFSET_IS(member, offset) _Static_assert(offsetof(struct dbt_vcpu, member) == (offset), #member)
OFFSET_IS(vcpu.attention, OFF_ATTENTION);
OFFSET_IS(gpr, OFF_GPR);
OFFSET_IS(rip, OFF_RIP);
OFFSET_IS(alu_flags, OFF_ALU_FLAGS);
OFFSET_IS(sys_flags, OFF_SYS_FLAGS);
OFFSET_IS(spill, OFF_SPILL);
OFFSET_IS(saved_flags, OFF_SAVED_FLAGS);
OFFSET_IS(host_rsp, OFF_HOST_RSP);
OFFSET_IS(shadow_rsp, OFF_SHADOW_RSP);
OFFSET_IS(shadow_base, OFF_SHADOW_BASE);
OFFSET_IS(thunk_return, OFF_THUNK_RETURN);
OFFSET_IS(exit_chain, OFF_EXIT_CHAIN);
OFFSET_IS(self, OFF_SELF);
OFFSET_IS(generation, OFF_GENERATION);
OFFSET_IS(vector_live, OFF_VECTOR_LIVE);
OFFSET_IS(thunk, OFF_THUNK);
OFFSET_IS(bounce_kind, OFF_BOUNCE_KIND);
OFFSET_IS(irq_waiting, OFF_IRQ_WAITING);
OFFSET_IS(exit_wanted, OFF_EXIT_WANTED);
OFFSET_IS(jump, OFF_JUMP);

enum { RETURN_STACK = 68 << 10, KVM_CLOCK_FEATURES = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 24 };

static enum status dbt_limits(struct cpuid_request *request)
{
    request->xcr0_allowed = VECTOR_COMPONENTS;
    request->kvm_features = KVM_CLOCK_FEATURES;
    request->one_gib_pages = true;
    request->system_emulated = true;
    request->arch_capabilities = ARCH_CAPABILITIES_VALUE;
    return STATUS_OK;
}

/* ---- guest memory written by devices ---- */

/* As ram_page(), of hidden ranges too. */
static bool backing_page(const struct guest_memory *memory, uint64_t physical, uint64_t *page)
{
    for (unsigned i = 0; i < memory->range_count; i++) {
        const struct memory_range *range = &memory->ranges[i];

        if (physical - range->base < range->size) {
            *page = (physical - range->base + range->offset) >> PAGE_SHIFT;
            return true;
        }
    }
    return false;
}

static void observe(struct memory_observer *observer, uint64_t address, uint64_t size)
{
    struct dbt_engine *dbt = CONTAINER_OF(observer, struct dbt_engine, observer);

    while (size) {
        uint64_t offset = address & (PAGE_SIZE - 1);
        uint64_t here = size < PAGE_SIZE - offset ? size : PAGE_SIZE - offset;
        uint64_t page;

        if (backing_page(dbt->memory, address, &page)) {
            if (cache_page_has_code(&dbt->cache, page)) {
                lock_acquire(&dbt->lock);
                cache_written(&dbt->cache, page, (unsigned)offset, here);
                lock_release(&dbt->lock);
            }
            if (dbt->dirty)
                __atomic_fetch_or(&dbt->dirty[page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
        }
        address += here;
        size -= here;
    }
}

/* TLBs hold pages that are shown; of hidden ones the code goes too. */
static void remap(struct memory_observer *observer, unsigned number)
{
    struct dbt_engine *dbt = CONTAINER_OF(observer, struct dbt_engine, observer);
    const struct memory_range *range = &dbt->memory->ranges[number];
    uint64_t first = range->offset >> PAGE_SHIFT;

    if (!range->hidden)
        return;
    lock_acquire(&dbt->lock);
    for (uint64_t page = first; page < first + (range->size >> PAGE_SHIFT); page++)
        if (cache_page_has_code(&dbt->cache, page))
            cache_written(&dbt->cache, page, 0, PAGE_SIZE);
    lock_release(&dbt->lock);
    for (unsigned i = 0; i < dbt->cpu_count; i++)
        if (dbt->vcpus[i]) {
            __atomic_store_n(&dbt->vcpus[i]->remapped, 1, __ATOMIC_SEQ_CST);
            atomic_fetch_or(&dbt->vcpus[i]->vcpu.attention, ATTENTION_ENGINE);
        }
}

/* ---- life ---- */

static uint64_t backing_pages(const struct guest_memory *memory)
{
    return memory->size >> PAGE_SHIFT;
}

static void dbt_destroy(struct engine *engine)
{
    struct dbt_engine *dbt = (struct dbt_engine *)engine;

    if (!dbt)
        return;
    if (dbt->memory && dbt->memory->observer == &dbt->observer)
        dbt->memory->observer = NULL;
    for (unsigned i = 0; i < MACHINE_CPUS; i++)
        if (dbt->vcpus[i]) {
            if (dbt->vcpus[i]->return_stack)
                munmap(dbt->vcpus[i]->return_stack, RETURN_STACK);
            munmap(dbt->vcpus[i], sizeof(struct dbt_vcpu));
        }
    translator_destroy(dbt->translator);
    cache_destroy(&dbt->cache);
    if (dbt->writers)
        munmap(dbt->writers, backing_pages(dbt->memory) * sizeof(*dbt->writers));
    free(dbt->dirty);
    free(dbt);
}

static void *map_zero(uint64_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

/* What translated code and vector.c take for granted of the host. */
static enum status check_host(void)
{
    if (!(cpuid_host(1, 0).ecx & BIT(27))) { /* OSXSAVE */
        log_error("engine dbt: this host's processor or kernel has no XSAVE, which the translator needs");
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

static enum status dbt_create(struct machine *machine, struct engine **engine)
{
    struct dbt_engine *dbt;
    unsigned bits = cpuid_query(&machine->cpuid, 0x80000008, 0, 0, 0, 1).eax & 0xff;
    enum status status = STATUS_NO_MEMORY;

    if (check_host())
        return STATUS_UNSUPPORTED;
    dbt = calloc(1, sizeof(*dbt));
    if (!dbt)
        goto no_memory;
    dbt->engine.ops = &dbt_engine_ops;
    dbt->engine.machine = machine;
    dbt->memory = &machine->memory;
    dbt->cpu_count = machine->cpu_count;
    dbt->physical_reserved = PTE_ADDRESS & ~bits_mask(bits ? bits : 36);
    dbt->observer.written = observe;
    dbt->observer.remapped = remap;
    dbt->writers = map_zero(backing_pages(dbt->memory) * sizeof(*dbt->writers));
    if (!dbt->writers)
        goto no_memory;
    status = cache_init(&dbt->cache, backing_pages(dbt->memory));
    if (!status)
        status = translator_create(&dbt->cache, &dbt->translator);
    if (!status)
        status = signal_install();
    if (status) {
        dbt_destroy(&dbt->engine);
        return status;
    }
    machine->memory.observer = &dbt->observer;
    *engine = &dbt->engine;
    return STATUS_OK;
no_memory:
    log_error("out of memory for the translator of %llu MiB of guest memory",
              (unsigned long long)(machine->memory.size >> 20));
    dbt_destroy(&dbt->engine);
    return STATUS_NO_MEMORY;
}

static void set_thunks(struct dbt_vcpu *c)
{
    static void (*const entry[THUNK_COUNT])(void) = {
        [THUNK_MEMORY_PRE] = thunk_memory_pre, [THUNK_MEMORY_POST] = thunk_memory_post,
        [THUNK_HELPER] = thunk_helper,         [THUNK_HELPER_END] = thunk_helper_end,
        [THUNK_CHAIN] = thunk_chain,           [THUNK_INDIRECT] = thunk_indirect,
        [THUNK_ATTENTION] = thunk_attention,   [THUNK_RAISE] = thunk_raise,
    };

    for (unsigned i = 0; i < THUNK_COUNT; i++)
        c->thunk[i] = (void *)entry[i];
}

/* The return stack grows down to a guard page; its first entry catches returns without a call. */
static bool map_return_stack(struct dbt_vcpu *c)
{
    uint8_t *stack = map_zero(RETURN_STACK);

    if (!stack)
        return false;
    c->return_stack = stack;
    c->shadow_base = (uint64_t)(uintptr_t)stack + RETURN_STACK - 64;
    c->shadow_rsp = c->shadow_base;
    *(void **)(void *)(stack + RETURN_STACK - 64) = (void *)thunk_return_underflow;
    return mprotect(stack, PAGE_SIZE, PROT_NONE) == 0;
}

static enum status dbt_vcpu_create(struct engine *engine, unsigned index, struct vcpu **vcpu)
{
    struct dbt_engine *dbt = (struct dbt_engine *)engine;
    struct dbt_vcpu *c = map_zero(sizeof(*c));

    if (!c || !map_return_stack(c)) {
        log_error("out of memory for virtual CPU %u", index);
        return STATUS_NO_MEMORY;
    }
    dbt->vcpus[index] = c;
    dbt->cache.jumps[index] = c->jump;
    c->vcpu.index = index;
    c->vcpu.machine = engine->machine;
    c->vcpu.engine = engine;
    c->dbt = dbt;
    c->self = c;
    set_thunks(c);
    for (unsigned i = 0; i < JUMP_CACHE; i++)
        c->jump[i].generation = ~0ull;
    mmu_reset(c);
    *vcpu = &c->vcpu;
    return STATUS_OK;
}

/* ---- state ---- */

static uint64_t guest_tsc(const struct vcpu *vcpu)
{
    const struct dbt_vcpu *c = (const struct dbt_vcpu *)vcpu;

    return __rdtsc() + c->tsc_offset;
}

/* The members that have the same name and meaning in both. */
#define SAME_MEMBERS(X)                                                                                                \
    X(rip)                                                                                                             \
    X(gdt_base)                                                                                                        \
    X(idt_base) X(cr0) X(cr2) X(cr3) X(cr4) X(efer) X(star) X(lstar) X(cstar) X(sfmask) X(kernel_gs_base)              \
        X(sysenter_cs) X(sysenter_esp) X(sysenter_eip) X(pat) X(tsc_aux) X(misc_enable) X(spec_ctrl) X(mtrr_def_type)  \
            X(tsc_adjust) X(kvm_system_time) X(kvm_wall_clock) X(kvm_steal_time) X(kvm_async_pf) X(kvm_pv_eoi) X(xcr0) \
                X(interrupt_shadow) X(nmi_blocked) X(nmi_pending) X(exception_pending) X(exception_vector)             \
                    X(exception_has_error) X(exception_error)
#define SAME_ARRAYS(X) X(gpr) X(segment) X(dr) X(mtrr_fixed) X(mtrr_base) X(mtrr_mask) X(xsave)

static void dbt_get_state(struct vcpu *vcpu, struct cpu_state *state)
{
    const struct dbt_vcpu *c = (const struct dbt_vcpu *)vcpu;

    memset(state, 0, sizeof(*state));
#define COPY(member) state->member = c->member;
    SAME_MEMBERS(COPY)
#undef COPY
#define COPY(member) memcpy(state->member, c->member, sizeof(state->member));
    SAME_ARRAYS(COPY)
#undef COPY
    state->gdt_limit = (uint16_t)c->gdt_limit;
    state->idt_limit = (uint16_t)c->idt_limit;
    state->rflags = rflags_get(c);
    state->tsc = guest_tsc(vcpu);
    state->cr8 = vcpu->apic_ops ? vcpu->apic_ops->get_tpr(vcpu->apic) : 0;
    state->activity = c->halted ? CPU_HALTED : vcpu->activity;
}

/*
 * A state tells the counter of the moment when it was read, which is over; taken at its word, each INIT or change of a
 * register would set the processor's counter back by a little. So what lies near the others' counters is meant to be
 * theirs, but for what the guest has made of its own by IA32_TSC_ADJUST. Near is about a second.
 */
static uint64_t tsc_offset_of(struct dbt_engine *dbt, const struct cpu_state *state)
{
    const uint64_t near = BIT64(31);
    uint64_t base = state->tsc - state->tsc_adjust - __rdtsc();

    lock_acquire(&dbt->lock);
    if (!dbt->tsc_based || base - dbt->tsc_base + near > 2 * near)
        dbt->tsc_base = base;
    dbt->tsc_based = true;
    base = dbt->tsc_base;
    lock_release(&dbt->lock);
    return base + state->tsc_adjust;
}

static enum status dbt_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
    struct dbt_vcpu *c = (struct dbt_vcpu *)vcpu;

    c->vector_live = 0;
#define COPY(member) c->member = state->member;
    SAME_MEMBERS(COPY)
#undef COPY
#define COPY(member) memcpy(c->member, state->member, sizeof(c->member));
    SAME_ARRAYS(COPY)
#undef COPY
    c->gdt_limit = state->gdt_limit;
    c->idt_limit = state->idt_limit;
    rflags_set(c, state->rflags);
    c->tsc_offset = tsc_offset_of(c->dbt, state);
    if (vcpu->apic_ops)
        vcpu->apic_ops->set_tpr(vcpu->apic, state->cr8);
    c->cpl = 0;
    if (c->cr0 & CR0_PE)
        c->cpl = state->rflags & RFLAGS_VM
                     ? 3
                     : (uint8_t)((c->segment[SEG_SS].attributes & SEGMENT_DPL) >> SEGMENT_DPL_SHIFT);
    c->exception_software = 0;
    c->halted = state->activity == CPU_HALTED;
    c->irq_waiting = 1;
    c->exit_chain = 0;
    c->stepped = c->delivered = c->point_hits = 0;
    mmu_reset(c);
    mode_update(c);
    return STATUS_OK;
}

static unsigned dbt_recent_exceptions(const struct vcpu *vcpu, struct exception_record *records, unsigned room)
{
    const struct dbt_vcpu *c = (const struct dbt_vcpu *)vcpu;
    const uint32_t length = ARRAY_LENGTH(c->last_exceptions);
    uint32_t count = c->last_count < length ? c->last_count : length;

    if (count > room)
        count = room;
    for (uint32_t i = 0; i < count; i++)
        records[i] = c->last_exceptions[(c->last_count - count + i) % length];
    return count;
}

/* ---- the rest ---- */

static void dbt_delay_tsc(struct vcpu *vcpu, uint64_t ticks)
{
    ((struct dbt_vcpu *)vcpu)->tsc_offset -= ticks;
}

static void dbt_kick(struct vcpu *vcpu)
{
    (void)vcpu; /* translated code looks at the attention word itself */
}

static enum status dbt_dirty_log(struct engine *engine, bool enable)
{
    struct dbt_engine *dbt = (struct dbt_engine *)engine;
    uint64_t words = (backing_pages(dbt->memory) + 63) / 64;

    if (enable && !dbt->dirty) {
        dbt->dirty = calloc(words, sizeof(*dbt->dirty));
        if (!dbt->dirty) {
            log_error("out of memory for the dirty log");
            return STATUS_NO_MEMORY;
        }
    } else if (!enable) {
        free(dbt->dirty);
        dbt->dirty = NULL;
    }
    for (unsigned i = 0; i < dbt->cpu_count; i++)
        if (dbt->vcpus[i])
            mmu_revoke_all_writes(dbt->vcpus[i]);
    return STATUS_OK;
}

static enum status dbt_dirty_fetch(struct engine *engine, uint64_t *bitmap, uint64_t pages)
{
    struct dbt_engine *dbt = (struct dbt_engine *)engine;

    if (!dbt->dirty || pages < backing_pages(dbt->memory))
        return STATUS_INVALID;
    for (unsigned i = 0; i < dbt->cpu_count; i++)
        if (dbt->vcpus[i])
            mmu_revoke_all_writes(dbt->vcpus[i]);
    for (uint64_t word = 0; word < (backing_pages(dbt->memory) + 63) / 64; word++)
        bitmap[word] = __atomic_exchange_n(&dbt->dirty[word], 0, __ATOMIC_RELAXED);
    return STATUS_OK;
}

static void dbt_statistics(struct engine *engine, struct engine_statistics *statistics)
{
    struct dbt_engine *dbt = (struct dbt_engine *)engine;

    memset(statistics, 0, sizeof(*statistics));
    for (unsigned i = 0; i < dbt->cpu_count; i++) {
        const struct dbt_vcpu *c = dbt->vcpus[i];

        if (!c)
            continue;
        statistics->translations += c->stat_translations;
        statistics->moves += c->stat_moves;
        statistics->tlb_fills += c->stat_fills;
        statistics->exceptions += c->stat_exceptions;
        statistics->interrupts += c->stat_interrupts;
        statistics->exits += c->stat_exits;
        statistics->memory_bytes += sizeof(*c) + RETURN_STACK;
    }
    statistics->code_bytes = dbt->cache.used;
    statistics->blocks = dbt->cache.block_count;
    statistics->flushes = dbt->flushes;
    statistics->memory_bytes += dbt->cache.used + dbt->cache.data_used + dbt->cache.block_count * sizeof(void *) +
                                dbt->cache.chain_count * sizeof(void *);
}

const struct engine_ops dbt_engine_ops = {
    .name = "dbt",
    .traces = TRACE_EXCEPTIONS | TRACE_MSR | TRACE_CR,
    .limits = dbt_limits,
    .create = dbt_create,
    .destroy = dbt_destroy,
    .vcpu_create = dbt_vcpu_create,
    .run = dbt_run,
    .kick = dbt_kick,
    .tsc = guest_tsc,
    .get_state = dbt_get_state,
    .set_state = dbt_set_state,
    .recent_exceptions = dbt_recent_exceptions,
    .set_debug = dbt_set_debug,
    .delay_tsc = dbt_delay_tsc,
    .dirty_log = dbt_dirty_log,
    .dirty_fetch = dbt_dirty_fetch,
    .statistics = dbt_statistics,
};
