/*
 * The machine as a debugger handles it: all of its vCPUs stand still, or it runs. Memory with the debugger's breakpoints
 * hidden; breakpoints; which vCPU does what next. Knows nothing of packets.
 *
 * Threads: one, the owner's, calls everything here.
 */
#ifndef LODGE_DEBUG_TARGET_H
#define LODGE_DEBUG_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/machine.h"

enum { TARGET_BREAKPOINTS = 1024 };

/* An INT3 that we have put into guest memory. */
struct target_breakpoint {
    uint64_t linear, physical;
    uint8_t original; /* the byte that the guest believes to be there */
};

/* What uses a debug point. A watchpoint of several pieces has several, all of the same request. */
struct target_point {
    struct debug_point point;
    char type; /* '0' to '4' as in Z packets; '0': a breakpoint whose page is not mapped yet */
    uint64_t address, length;
};

/* Steps go on by themselves while RIP is in [start, end). */
struct target_range {
    uint64_t start, end;
};

enum target_action { TARGET_STAY, TARGET_CONTINUE, TARGET_STEP };

struct debug_target {
    struct machine *machine; /* NULL: there is none at the moment */
    bool running;
    bool physical_memory; /* addresses of memory are physical ones */
    bool step_interrupts; /* a step may end in an interrupt's handler; otherwise interrupts wait for its end */
    /* The machine stands still; it is about to run. Where its time stops and goes on. May be NULL. */
    void (*stood_still)(struct debug_target *target);
    void (*goes_on)(struct debug_target *target);

    unsigned current;                        /* the vCPU whose address space memory is seen through */
    uint8_t action[MACHINE_CPUS];            /* enum target_action of the last target_run() */
    struct target_range range[MACHINE_CPUS]; /* for TARGET_STEP; empty: one step */
    bool unreported[MACHINE_CPUS];           /* stopped by itself; nobody was told yet */

    struct target_breakpoint breakpoints[TARGET_BREAKPOINTS];
    unsigned breakpoint_count;
    struct target_point points[DEBUG_POINTS];
    unsigned point_count;
};

/* A machine that stands still; its vCPUs have ATTENTION_PAUSE. Breakpoints in memory that is no more are forgotten. */
void target_attach(struct debug_target *target, struct machine *machine);

/* No breakpoint and no watchpoint is left in the machine, which then runs or stands still as before. */
void target_let_go(struct debug_target *target);

/* Stops all vCPUs and waits for them. False: one does not within some seconds (logged). */
bool target_stop(struct debug_target *target);

/*
 * Starts the vCPUs as target->action says. False: one has stopped before, which is still to be reported (target_event);
 * nothing was started.
 */
bool target_run(struct debug_target *target);

/*
 * After machine->debug_stopped, or target_stop(): the vCPU to report, or -1. The guest's own INT3s are handed to it; if
 * that was all, the machine runs again. Stops the machine otherwise.
 */
int target_event(struct debug_target *target);

/* How much could be read. Physical or linear, as physical_memory says. */
size_t target_read(struct debug_target *target, uint64_t address, void *to, size_t size);
size_t target_read_physical(struct debug_target *target, uint64_t address, void *to, size_t size);
bool target_write(struct debug_target *target, uint64_t address, const void *from, size_t size);

/* type as in Z packets. STATUS_UNSUPPORTED: no such type; NO_MEMORY: none is left; INVALID: it cannot be there. */
enum status target_insert(struct debug_target *target, char type, uint64_t address, uint64_t length) MUST_CHECK;
void target_remove(struct debug_target *target, char type, uint64_t address, uint64_t length);
void target_remove_all(struct debug_target *target);

/* The state of a vCPU, which is paused. */
void target_state(const struct debug_target *target, unsigned index, struct cpu_state *state);

/* The linear address of the next instruction. */
uint64_t target_code_address(const struct cpu_state *state);

#endif
