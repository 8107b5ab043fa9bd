#include "vmm/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "core/engine.h"
#include "core/trace.h"
#include "port/log.h"

static _Thread_local int16_t current_cpu = -1; /* of this thread */

void trace_thread_is(unsigned cpu)
{
    current_cpu = (int16_t)cpu;
}

/* The counter of the vCPU that it happened on; of the first if it was none. */
static uint64_t trace_tsc(const struct machine_trace *trace)
{
    const struct machine *machine = trace->machine;
    const struct vcpu *vcpu = machine->vcpus[current_cpu < 0 ? 0 : current_cpu];

    return vcpu && machine->engine->ops->tsc ? machine->engine->ops->tsc(vcpu) : 0;
}

/* Any thread, any lock. */
static void trace_record(void *opaque, const struct trace_event *event)
{
    struct machine_trace *trace = opaque;
    struct trace_event *slot;

    if (!trace->machine)
        return;
    slot = host_recorder_begin(&trace->recorder);
    if (!slot)
        return;
    *slot = *event;
    slot->ns = trace->clock->monotonic_ns(trace->clock) - trace->start_ns;
    slot->tsc = trace_tsc(trace);
    slot->cpu = current_cpu;
    host_recorder_commit(&trace->recorder);
}

/* The writer's thread. */
static size_t trace_format(struct host_recorder *recorder, const void *record, uint64_t lost, char *text)
{
    struct machine_trace *trace = CONTAINER_OF(recorder, struct machine_trace, recorder);
    struct trace_event event = {.ns = trace->last_ns, .tsc = trace->last_tsc};
    size_t used = 0;

    if (record)
        memcpy(&event, record, sizeof(event));
    trace->last_ns = event.ns;
    trace->last_tsc = event.tsc;
    if (lost)
        used = (size_t)snprintf(text, RECORDER_LINE, "%" PRIu64 " %" PRIu64 " - trace lost count=%" PRIu64 "\n",
                                event.ns, event.tsc, lost);
    return record ? used + trace_text(&event, text + used) : used;
}

static void trace_say_what_is_missing(uint32_t wanted, const struct engine_ops *engine)
{
    uint32_t missing = wanted & TRACE_OF_ENGINE & ~engine->traces;
    char names[TRACE_PATH];

    if (!missing)
        return;
    trace_kinds_text(missing, names, sizeof(names));
    log_info("trace: engine %s does not tell: %s", engine->name, names);
}

enum status trace_open(struct machine_trace *trace, const struct vmm_options *options, const struct engine_ops *engine,
                       struct clock *clock)
{
    const char *path = options->trace_file;
    enum status status;

    if (!options->trace)
        return STATUS_OK;
    if (!path) {
        (void)snprintf(trace->path, sizeof(trace->path), "%s.trace", options->name);
        path = trace->path;
    }
    trace->clock = clock;
    trace->recorder.format = trace_format;
    status = host_recorder_open(&trace->recorder, path, sizeof(struct trace_event));
    if (status != STATUS_OK)
        return status;
    trace->trace = (struct trace){.mask = options->trace, .record = trace_record, .recorder = trace};
    trace_say_what_is_missing(options->trace, engine);
    return STATUS_OK;
}

enum status trace_begin(struct machine_trace *trace)
{
    return host_recorder_start(&trace->recorder);
}

void trace_start(struct machine_trace *trace, const struct machine *machine)
{
    if (!trace->trace.mask)
        return;
    if (!trace->machine)
        trace->start_ns = trace->clock->monotonic_ns(trace->clock);
    trace->machine = machine;
    trace_power(machine, "start", machine->cpu_count);
}

void trace_stop(struct machine_trace *trace)
{
    host_recorder_stop(&trace->recorder);
}

void trace_close(struct machine_trace *trace)
{
    host_recorder_close(&trace->recorder);
}
