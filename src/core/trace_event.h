/* What a trace is made of: the records that are kept, and where they go. Who emits them includes core/trace.h. */
#ifndef LODGE_CORE_TRACE_EVENT_H
#define LODGE_CORE_TRACE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

/* What can be asked for, one bit each. */
enum trace_kind {
    TRACE_EXITS = 1 << 0, /* the engine leaves the guest, or the loop the engine */
    TRACE_IRQ = 1 << 1,   /* lines, messages, what local APICs accept, vectors on delivery */
    TRACE_EXCEPTIONS = 1 << 2,
    TRACE_MMIO = 1 << 3,
    TRACE_PIO = 1 << 4,
    TRACE_MSR = 1 << 5,
    TRACE_CR = 1 << 6,    /* writes of control registers, EFER and XCR0 */
    TRACE_POWER = 1 << 7, /* how the machine ends; INIT, start-up, halt and wake of a vCPU */
};
enum { TRACE_KINDS = 8, TRACE_ALL = (1 << TRACE_KINDS) - 1 };

/* The kinds that only an engine can tell (engine_ops.traces); all others are told outside of it. */
enum { TRACE_OF_ENGINE = TRACE_EXCEPTIONS | TRACE_MSR | TRACE_CR };

/* One event each; the comment names the members of struct trace_event that count. */
enum trace_type {
    TRACE_EXIT,      /* name: why; rip; value: the engine's own detail */
    TRACE_LEAVE,     /* name: why the loop has the vCPU back; value: the attention word */
    TRACE_LINE,      /* name: which wires; number: pin; flag: level */
    TRACE_MESSAGE,   /* name: who sends; address; value: data */
    TRACE_ACCEPT,    /* name: delivery mode; number: vector; value: the vCPU */
    TRACE_VECTOR,    /* name: "interrupt" or "nmi"; number; rip: of the interrupted instruction */
    TRACE_EXCEPTION, /* name: "fault" or "software"; number: vector; flag: value is the error code; rip; address: CR2 */
    TRACE_ACCESS,    /* name: device and region, size, address, value; flag: write; number: enum bus_space */
    TRACE_REGISTER,  /* name: "cr0", "efer"; value; rip */
    TRACE_MODEL,     /* an MSR. number; value; flag: write; size: 1 if it raised #GP; rip */
    TRACE_STATE,     /* name: what happened; value */
};

enum { TRACE_NAME = 40 };

/* Fixed in size and without pointers: it outlives what it tells of. */
struct trace_event {
    uint64_t ns;  /* on the machine's clock, since its start; set by record(), like the next two */
    uint64_t tsc; /* the guest's */
    int16_t cpu;  /* on whose thread it happened; -1: none of a vCPU */
    uint8_t type; /* enum trace_type */
    uint8_t size;
    uint8_t flag;
    uint32_t number;
    uint32_t kind; /* enum trace_kind */
    uint64_t address;
    uint64_t value;
    uint64_t rip;
    char name[TRACE_NAME]; /* ended by NUL, cut if too long */
};

/* The machine's; all zero: nothing is traced. Constant while the machine runs. */
struct trace {
    uint32_t mask; /* enum trace_kind */
    /* Keeps a copy. Any thread, any lock; blocks for a moment at most. */
    void (*record)(void *recorder, const struct trace_event *event);
    void *recorder;
};

static inline bool trace_on(const struct trace *trace, uint32_t kind)
{
    return __builtin_expect((trace->mask & kind) != 0, 0);
}

#endif
