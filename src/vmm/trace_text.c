/* A trace's lines: time, counter, processor, kind and event, then NAME=VALUE. Documented in lodge-run(1). */
#include <inttypes.h>
#include <stdio.h>

#include "base/bits.h"
#include "vmm/trace.h"

static const char *const kind_names[] = {"exits", "irq", "exceptions", "mmio", "pio",
                                         "msr",   "cr",  "power",      "all",  NULL};

_Static_assert(ARRAY_LENGTH(kind_names) == TRACE_KINDS + 2, "a name for each kind, all, and the end");

const char *const *vmm_trace_kinds(void)
{
    return kind_names;
}

void trace_kinds_text(uint32_t kinds, char *text, size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < TRACE_KINDS && used < room; i++) {
        int size = kinds & BIT(i) ? snprintf(text + used, room - used, "%s%s", used ? ", " : "", kind_names[i]) : 0;

        used += size > 0 ? (size_t)size : 0;
    }
}

static const char *kind_name(uint32_t kind)
{
    return kind_names[__builtin_ctz(kind | 1u << TRACE_KINDS)];
}

/* What each type has behind the kind. */
static int text_of_event(const struct trace_event *e, char *text, size_t room)
{
    switch ((enum trace_type)e->type) {
    case TRACE_EXIT:
        return snprintf(text, room, "exit why=%s rip=0x%" PRIx64 " detail=0x%" PRIx64, e->name, e->rip, e->value);
    case TRACE_LEAVE:
        return snprintf(text, room, "leave why=%s attention=0x%" PRIx64, e->name, e->value);
    case TRACE_LINE:
        return snprintf(text, room, "line wire=%s pin=%" PRIu32 " level=%d", e->name, e->number, e->flag);
    case TRACE_MESSAGE:
        return snprintf(text, room, "message from=%s address=0x%" PRIx64 " data=0x%" PRIx64, e->name, e->address,
                        e->value);
    case TRACE_ACCEPT:
        return snprintf(text, room, "accept to=%" PRIu64 " mode=%s vector=0x%" PRIx32, e->value, e->name, e->number);
    case TRACE_VECTOR:
        return snprintf(text, room, "deliver what=%s vector=0x%" PRIx32 " rip=0x%" PRIx64, e->name, e->number, e->rip);
    case TRACE_ACCESS:
        return snprintf(text, room, "%s address=0x%" PRIx64 " size=%d value=0x%" PRIx64 " device=%s",
                        e->flag ? "write" : "read", e->address, e->size, e->value, e->name);
    case TRACE_REGISTER:
        return snprintf(text, room, "write register=%s value=0x%" PRIx64 " rip=0x%" PRIx64, e->name, e->value, e->rip);
    case TRACE_MODEL:
        return snprintf(text, room, "%s index=0x%" PRIx32 " value=0x%" PRIx64 " rip=0x%" PRIx64 " result=%s",
                        e->flag ? "write" : "read", e->number, e->value, e->rip, e->size ? "gp" : "ok");
    case TRACE_STATE:
        return snprintf(text, room, "%s value=0x%" PRIx64, e->name, e->value);
    case TRACE_EXCEPTION:
        break;
    }
    return 0;
}

static int text_of_exception(const struct trace_event *e, char *text, size_t room)
{
    char error[24] = "", address[32] = "";

    if (e->flag)
        (void)snprintf(error, sizeof(error), " error=0x%" PRIx64, e->value);
    if (e->number == 14)
        (void)snprintf(address, sizeof(address), " cr2=0x%" PRIx64, e->address);
    return snprintf(text, room, "%s vector=%" PRIu32 "%s rip=0x%" PRIx64 "%s", e->name, e->number, error, e->rip,
                    address);
}

size_t trace_text(const struct trace_event *event, char *text)
{
    char cpu[8] = "-";
    int used;

    if (event->cpu >= 0)
        (void)snprintf(cpu, sizeof(cpu), "%d", event->cpu);
    used = snprintf(text, RECORDER_LINE / 2, "%" PRIu64 " %" PRIu64 " %s %s ", event->ns, event->tsc, cpu,
                    kind_name(event->kind));
    if (event->type == TRACE_EXCEPTION)
        used += text_of_exception(event, text + used, RECORDER_LINE / 2);
    else
        used += text_of_event(event, text + used, RECORDER_LINE / 2);
    text[used++] = '\n';
    return (size_t)used;
}
