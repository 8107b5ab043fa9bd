/*
 * What a debugger asks of a vCPU, and what it is told. Addresses are linear.
 *
 * The engine contract: set_debug() (core/engine.h) puts a struct debug_control in force until the next
 * one; run() then leaves the guest with VCPU_EXIT_DEBUG, and vcpu->debug_event says why. What the guest
 * does with its own debug registers and its own breakpoints goes on as if nobody watched.
 */
#ifndef LODGE_CORE_DEBUG_H
#define LODGE_CORE_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

enum { DEBUG_POINTS = 4 };

enum debug_point_kind { DEBUG_EXECUTE, DEBUG_WRITE, DEBUG_ACCESS /* reads and writes */ };

/* A breakpoint or watchpoint by address, as a debug register would hold it. */
struct debug_point {
    uint64_t address; /* a multiple of length */
    uint8_t length;   /* bytes: 1, 2, 4 or 8; 1 for DEBUG_EXECUTE */
    uint8_t kind;     /* enum debug_point_kind */
};

/* All zero: nobody watches, and nothing is slower for it. */
struct debug_control {
    bool single_step;      /* leave after one instruction, or after the delivery of an event that came first */
    bool hold_interrupts;  /* with single_step: interrupts and NMIs wait, unless the vCPU is halted; an engine that cannot, delivers */
    bool breakpoints;      /* INT3 leaves the guest instead of raising #BP */
    bool pass_breakpoint;  /* for one run(): the INT3 at RIP is the guest's own, let it raise #BP */
    uint8_t point_count;
    struct debug_point points[DEBUG_POINTS];
};

/* Why a vCPU has stopped. */
enum debug_reason {
    DEBUG_NONE,
    DEBUG_STEPPED,    /* RIP: the next instruction */
    DEBUG_BREAKPOINT, /* RIP: the INT3, not executed */
    DEBUG_POINT,      /* points[point] was met: DEBUG_EXECUTE before the instruction at RIP, others after one */
    DEBUG_SHUTDOWN,   /* the loop's, not the engine's: a triple fault, at RIP; the vCPU will not run again */
};

struct debug_event {
    uint8_t reason; /* enum debug_reason */
    uint8_t point;
};

#endif
