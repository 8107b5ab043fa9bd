/*
 * The engine interface: where a virtual CPU gets its cycles from. Implementations: engine/dbt (the
 * binary translator), engine/kvm. Nothing above this line knows which.
 */
#ifndef LODGE_CORE_ENGINE_H
#define LODGE_CORE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "core/irqchip.h"
#include "core/vcpu.h"
#include "x86/cpuid.h"

struct machine;
struct engine;

/* Figures for `lodge run --stats` and the bench; all since creation. */
struct engine_statistics {
    uint64_t code_bytes, blocks, translations, moves, flushes, tlb_fills, exceptions, interrupts, exits;
    uint64_t memory_bytes; /* host memory that the engine holds, guest RAM not counted */
};

/* One exception that an engine raised in a guest. */
struct exception_record {
    uint64_t rip;     /* of the instruction, as an offset in CS; behind it for software interrupts and traps */
    uint64_t address; /* CR2 for #PF */
    uint32_t error;   /* the error code, if there is one */
    uint8_t vector;
    bool has_error;
};

struct engine_ops {
    const char *name; /* "dbt", "kvm" */
    uint32_t traces;  /* of TRACE_OF_ENGINE (core/trace_event.h), the kinds that it can tell */

    /* NULL: the board's models deliver interrupts, and the engine asks them (struct apic_ops). */
    const struct irqchip_ops *irqchip;

    /*
     * HLT, INIT and SIPI are the engine's: run() sleeps in them by itself until attention, knows of all activities, and
     * is called in all of them.
     */
    bool owns_waiting;

    /* Fill in what this engine can carry before the CPUID table is built. Errors are logged. */
    enum status (*limits)(struct cpuid_request *request) MUST_CHECK;

    /* machine->memory, machine->cpuid and machine->cpu_count are set. Owner: the machine. */
    enum status (*create)(struct machine *machine, struct engine **engine) MUST_CHECK;
    void (*destroy)(struct engine *engine); /* all vCPU threads have ended */

    enum status (*vcpu_create)(struct engine *engine, unsigned index, struct vcpu **vcpu) MUST_CHECK;

    /* Run until something needs the loop's attention. The vCPU's own thread. */
    enum vcpu_exit (*run)(struct vcpu *vcpu);

    /* After a bit of vcpu->attention was set: make run() see it soon. Any thread, async-signal-safe. */
    void (*kick)(struct vcpu *vcpu);

    /*
     * The vCPU is not running (its own thread outside run(), or paused). Of the activities an engine
     * without owns_waiting knows running and halted; the others are the loop's, so others call
     * vcpu_get_state() and vcpu_set_state() (core/vcpu.h).
     */
    void (*get_state)(struct vcpu *vcpu, struct cpu_state *state);
    enum status (*set_state)(struct vcpu *vcpu, const struct cpu_state *state) MUST_CHECK;

    /*
     * What a debugger watches from now on; see core/debug.h. All vCPUs of the machine are paused. STATUS_UNSUPPORTED
     * (logged): this engine or host cannot.
     */
    enum status (*set_debug)(struct vcpu *vcpu, const struct debug_control *control) MUST_CHECK;

    /*
     * The last exceptions that the guest saw, oldest first; at most room. Returns how many. The vCPU is not running.
     * NULL: this engine does not see them.
     */
    unsigned (*recent_exceptions)(const struct vcpu *vcpu, struct exception_record *records, unsigned room);

    /* What RDTSC would give this vCPU's guest now. Any thread. */
    uint64_t (*tsc)(const struct vcpu *vcpu);

    /*
     * The guest's time stood still for so many ticks of this counter: they have not passed. The vCPU is paused. NULL: the
     * engine cannot, and its guests see the time that they were paused.
     */
    void (*delay_tsc)(struct vcpu *vcpu, uint64_t ticks);

    /* Pages written since the last call, one bit per page of the memory backing. */
    enum status (*dirty_log)(struct engine *engine, bool enable) MUST_CHECK;
    enum status (*dirty_fetch)(struct engine *engine, uint64_t *bitmap, uint64_t pages) MUST_CHECK;

    void (*statistics)(struct engine *engine, struct engine_statistics *statistics);
};

struct engine {
    const struct engine_ops *ops;
    struct machine *machine;
};

#endif
