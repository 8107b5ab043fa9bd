/* What the log says of a processor that shut down, or that its engine could not go on with. */
#ifndef LODGE_VMM_REPORT_H
#define LODGE_VMM_REPORT_H

#include "core/engine.h"
#include "core/memory.h"
#include "core/vcpu.h"
#include "x86/cpu_state.h"

/* All borrowed for the call. */
struct report {
    const char *what; /* "triple fault" */
    unsigned cpu;
    const struct cpu_state *state;
    const struct guest_memory *memory;
    const char *engine;
    const struct exception_record *exceptions; /* oldest first; NULL: the engine does not keep them */
    unsigned exception_count;
};

/* Some forty lines, as docs/debugging.md explains them. */
void report_print(const struct report *report);

/* Gathers and prints it: machine->crashed. The vCPU's own thread, outside of run(). */
void report_crash(struct vcpu *vcpu, enum vcpu_exit exit);

#endif
