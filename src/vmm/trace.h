/* The trace of one run: where the machine's events go. */
#ifndef LODGE_VMM_TRACE_H
#define LODGE_VMM_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/machine.h"
#include "host/recorder.h"
#include "vmm/options.h"

enum { TRACE_PATH = 80 }; /* of NAME.trace */

struct machine_trace {
    struct trace trace; /* for the machine; off until trace_open() */
    struct host_recorder recorder;
    const struct machine *machine;
    struct clock *clock;
    uint64_t start_ns;
    char path[TRACE_PATH];
    uint64_t last_ns, last_tsc; /* the writer's */
};

/*
 * Opens the file that the options ask for, if they do, and says which kinds of event this engine does not tell.
 * clock is borrowed. Logs its errors.
 */
enum status trace_open(struct machine_trace *trace, const struct vmm_options *options, const struct engine_ops *engine,
                       struct clock *clock) MUST_CHECK;

/* Starts its thread. Accepts one that is off. Logs its errors. */
enum status trace_begin(struct machine_trace *trace) MUST_CHECK;

/* The machine is about to run; time counts from the first call. After a reset, once more. */
void trace_start(struct machine_trace *trace, const struct machine *machine);

/* Writes what is left. Accepts a zeroed one. */
void trace_stop(struct machine_trace *trace);

/* The same, and closes the file. No vCPU runs. */
void trace_close(struct machine_trace *trace);

/* The calling thread is that of a vCPU. */
void trace_thread_is(unsigned cpu);

/* The line of an event, as lodge-run(1) explains it; at most RECORDER_LINE bytes, with its end. (trace_text.c) */
size_t trace_text(const struct trace_event *event, char *text);

/* The names of the bits that are set, with commas. (trace_text.c) */
void trace_kinds_text(uint32_t kinds, char *text, size_t room);

#endif
