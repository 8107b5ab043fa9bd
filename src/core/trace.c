#include "core/trace.h"

#include <stddef.h>

static void set_name(struct trace_event *event, size_t *used, const char *text)
{
    while (*text && *used < TRACE_NAME - 1)
        event->name[(*used)++] = *text++;
    event->name[*used] = '\0';
}

static void emit(const struct trace *trace, struct trace_event *event, const char *name)
{
    size_t used = 0;

    set_name(event, &used, name);
    trace->record(trace->recorder, event);
}

void trace_emit_exit(const struct trace *trace, const char *why, uint64_t rip, uint64_t detail)
{
    struct trace_event event = {.kind = TRACE_EXITS, .type = TRACE_EXIT, .rip = rip, .value = detail};

    emit(trace, &event, why);
}

void trace_emit_leave(const struct trace *trace, const char *why, uint32_t attention)
{
    struct trace_event event = {.kind = TRACE_EXITS, .type = TRACE_LEAVE, .value = attention};

    emit(trace, &event, why);
}

void trace_emit_line(const struct trace *trace, const char *wires, unsigned pin, bool level)
{
    struct trace_event event = {.kind = TRACE_IRQ, .type = TRACE_LINE, .number = pin, .flag = level};

    emit(trace, &event, wires);
}

void trace_emit_message(const struct trace *trace, const char *sender, uint64_t address, uint32_t data)
{
    struct trace_event event = {.kind = TRACE_IRQ, .type = TRACE_MESSAGE, .address = address, .value = data};

    emit(trace, &event, sender);
}

void trace_emit_accept(const struct trace *trace, unsigned cpu, const char *mode, unsigned vector)
{
    struct trace_event event = {.kind = TRACE_IRQ, .type = TRACE_ACCEPT, .number = vector, .value = cpu};

    emit(trace, &event, mode);
}

void trace_emit_vector(const struct trace *trace, const char *what, unsigned vector, uint64_t rip)
{
    struct trace_event event = {.kind = TRACE_IRQ, .type = TRACE_VECTOR, .number = vector, .rip = rip};

    emit(trace, &event, what);
}

void trace_emit_exception(const struct trace *trace, const char *what, const struct exception_record *exception)
{
    struct trace_event event = {
        .kind = TRACE_EXCEPTIONS,
        .type = TRACE_EXCEPTION,
        .number = exception->vector,
        .flag = exception->has_error,
        .value = exception->error,
        .rip = exception->rip,
        .address = exception->address,
    };

    emit(trace, &event, what);
}

void trace_emit_access(const struct trace *trace, const struct device *device, const char *region, enum bus_space space,
                       uint64_t address, unsigned size, bool write, uint64_t value)
{
    struct trace_event event = {
        .kind = trace_kind_of(space),
        .type = TRACE_ACCESS,
        .address = address,
        .size = (uint8_t)size,
        .flag = write,
        .value = value,
    };
    size_t used = 0;

    set_name(&event, &used, device ? device->path : "none");
    if (device) {
        set_name(&event, &used, " region=");
        set_name(&event, &used, region);
    }
    trace->record(trace->recorder, &event);
}

void trace_emit_msr(const struct trace *trace, uint32_t index, bool write, uint64_t value, bool refused, uint64_t rip)
{
    struct trace_event event = {
        .kind = TRACE_MSR,
        .type = TRACE_MODEL,
        .number = index,
        .flag = write,
        .value = value,
        .size = refused,
        .rip = rip,
    };

    emit(trace, &event, "");
}

void trace_emit_register(const struct trace *trace, const char *name, uint64_t value, uint64_t rip)
{
    struct trace_event event = {.kind = TRACE_CR, .type = TRACE_REGISTER, .value = value, .rip = rip};

    emit(trace, &event, name);
}

void trace_emit_state(const struct trace *trace, const char *what, uint64_t value)
{
    struct trace_event event = {.kind = TRACE_POWER, .type = TRACE_STATE, .value = value};

    emit(trace, &event, what);
}
