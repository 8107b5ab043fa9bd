/*
 * A virtual CPU, as everybody but its engine sees it.
 *
 * One thread runs it (vcpu_loop). Others speak to it through one attention word: set a bit, kick.
 */
#ifndef LODGE_CORE_VCPU_H
#define LODGE_CORE_VCPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "core/debug.h"
#include "x86/cpu_state.h"

struct machine;
struct engine;
struct vcpu;

/* Bits of the attention word. The engine leaves guest code soon after any is set. */
enum attention {
    ATTENTION_INTERRUPT = 1 << 0, /* the APIC may have a vector to deliver */
    ATTENTION_NMI = 1 << 1,
    ATTENTION_INIT = 1 << 2,
    ATTENTION_SIPI = 1 << 3,
    ATTENTION_PAUSE = 1 << 4,     /* stay out of the guest while set */
    ATTENTION_STOP = 1 << 5,      /* leave vcpu_loop */
    ATTENTION_ENGINE = 1 << 6,    /* the engine's own: exclusive sections, TLB requests */
};

enum vcpu_exit {
    VCPU_EXIT_ATTENTION, /* an attention bit is set that the engine does not serve itself */
    VCPU_EXIT_HALT,      /* HLT with nothing deliverable: sleep until attention */
    VCPU_EXIT_SHUTDOWN,  /* triple fault */
    VCPU_EXIT_FAILED,    /* the engine cannot go on; it has logged why */
    VCPU_EXIT_DEBUG,     /* vcpu->debug_event: the debugger's turn */
};

/*
 * The local APIC as an engine sees it. Calls take the machine lock themselves. The vCPU's own thread.
 */
struct apic_ops {
    /* The vector to deliver now (moved from IRR to ISR, or INTA from the PIC), or -1. */
    int (*acknowledge)(void *apic);
    /* Is there one, above the task priority? No side effects. */
    bool (*pending)(void *apic);
    uint64_t (*get_tpr)(void *apic);            /* CR8, 0..15 */
    void (*set_tpr)(void *apic, uint64_t cr8);
    /* IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC MSRs 0x800-0x8ff. False: #GP. */
    bool (*read_msr)(void *apic, uint32_t msr, uint64_t *value);
    bool (*write_msr)(void *apic, uint32_t msr, uint64_t value);
    /*
     * The xAPIC register page. It is private to each vCPU and lies over whatever else is at base() &
     * APIC_BASE_ADDRESS (x86/msr.h) while EN is set and EXTD clear, so the engine looks here before
     * RAM and the bus. offset < 4096 from the start of the page; size is 1, 2 or 4 (the engine splits
     * larger accesses). False: the page is not there now; the access belongs to RAM or the bus.
     */
    bool (*read)(void *apic, uint32_t offset, unsigned size, uint32_t *value);
    bool (*write)(void *apic, uint32_t offset, unsigned size, uint32_t value);
    /* IA32_APIC_BASE as RDMSR gives it; changes only by this vCPU's own write_msr() and by reset. */
    uint64_t (*base)(void *apic);
    /* The guest has set its time stamp counter (IA32_TSC, IA32_TSC_ADJUST): judge the deadline anew. */
    void (*tsc_changed)(void *apic);
    /*
     * As a write of command to the ICR with one physical destination, in any mode and even where the
     * guest cannot write the ICR so: for paravirtual IPIs. False: command asks for what the ICR has not.
     */
    bool (*send_ipi)(void *apic, uint32_t command, uint32_t identifier);
};

struct vcpu {
    _Atomic uint32_t attention;      /* enum attention; first: engines address it from code they write */
    _Atomic uint32_t sleeping;       /* 1 while parked */
    unsigned index;                  /* = APIC identifier */
    struct machine *machine;
    struct engine *engine;
    const struct apic_ops *apic_ops; /* set by the board before the first run */
    void *apic;
    uint8_t sipi_vector;             /* valid with ATTENTION_SIPI */
    _Atomic uint8_t activity;        /* enum cpu_activity; written by its own thread */
    _Atomic uint8_t paused;          /* 1 while it stays out of the guest because of ATTENTION_PAUSE */
    struct debug_event debug_event;  /* written by its own thread before VCPU_EXIT_DEBUG, read by others while it is paused */
};

/* Set bits, and make sure that the vCPU notices: out of guest code, out of its sleep. Any thread, any lock. */
void vcpu_attend(struct vcpu *vcpu, uint32_t bits);

/* Clears ATTENTION_PAUSE. Any thread. */
void vcpu_resume(struct vcpu *vcpu);

/* The run loop; returns when ATTENTION_STOP is set. The vCPU's own thread. */
void vcpu_loop(struct vcpu *vcpu);

/*
 * The canonical state with the activity that only the loop knows (waiting for SIPI, shut down), where the engine's
 * own get_state() and set_state() know of running and halted. The vCPU is paused, or its thread has not started.
 */
void vcpu_get_state(struct vcpu *vcpu, struct cpu_state *state);
enum status vcpu_set_state(struct vcpu *vcpu, const struct cpu_state *state) MUST_CHECK;

/* Power-on: attention word clear; number 0 runs from the reset vector, the others wait for SIPI. As above. */
enum status vcpu_reset(struct vcpu *vcpu) MUST_CHECK;

#endif
