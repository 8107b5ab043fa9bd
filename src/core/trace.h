/*
 * The calls that make a trace. Each costs one test of a mask while its kind is off. They may be made from any
 * thread with any lock held, but not in a signal handler, and not while a guest's vector state is in the host's
 * registers: an engine that keeps it there tests vcpu_traced() first and saves it.
 */
#ifndef LODGE_CORE_TRACE_H
#define LODGE_CORE_TRACE_H

#include "core/device.h"
#include "core/machine.h"
#include "core/trace_event.h"
#include "core/vcpu.h"

/* Is a kind (enum trace_kind) asked for in this vCPU's machine? */
static inline bool vcpu_traced(const struct vcpu *vcpu, uint32_t kind)
{
    return trace_on(&vcpu->machine->trace, kind);
}

/* The out-of-line halves. (trace.c) */
void trace_emit_exit(const struct trace *trace, const char *why, uint64_t rip, uint64_t detail);
void trace_emit_leave(const struct trace *trace, const char *why, uint32_t attention);
void trace_emit_line(const struct trace *trace, const char *wires, unsigned pin, bool level);
void trace_emit_message(const struct trace *trace, const char *sender, uint64_t address, uint32_t data);
void trace_emit_accept(const struct trace *trace, unsigned cpu, const char *mode, unsigned vector);
void trace_emit_vector(const struct trace *trace, const char *what, unsigned vector, uint64_t rip);
void trace_emit_exception(const struct trace *trace, const char *what, const struct exception_record *exception);
void trace_emit_access(const struct trace *trace, const struct device *device, const char *region, enum bus_space space,
                       uint64_t address, unsigned size, bool write, uint64_t value);
void trace_emit_msr(const struct trace *trace, uint32_t index, bool write, uint64_t value, bool refused, uint64_t rip);
void trace_emit_register(const struct trace *trace, const char *name, uint64_t value, uint64_t rip);
void trace_emit_state(const struct trace *trace, const char *what, uint64_t value);

/* ---- for engines; the vCPU's own thread, but for what the comments say ---- */

/* The guest was left. why: a static word without blanks ("mmio", "halt"); detail: what the engine has to add. */
static inline void trace_exit(const struct vcpu *vcpu, const char *why, uint64_t rip, uint64_t detail)
{
    if (vcpu_traced(vcpu, TRACE_EXITS))
        trace_emit_exit(&vcpu->machine->trace, why, rip, detail);
}

/* An interrupt (what: "interrupt") or NMI ("nmi") is being delivered; rip: the instruction it comes before. */
static inline void trace_vector(const struct vcpu *vcpu, const char *what, unsigned vector, uint64_t rip)
{
    if (vcpu_traced(vcpu, TRACE_IRQ))
        trace_emit_vector(&vcpu->machine->trace, what, vector, rip);
}

/* An exception ("fault") or software interrupt ("software") is being delivered. */
static inline void trace_exception(const struct vcpu *vcpu, const char *what, const struct exception_record *exception)
{
    if (vcpu_traced(vcpu, TRACE_EXCEPTIONS))
        trace_emit_exception(&vcpu->machine->trace, what, exception);
}

/* RDMSR or WRMSR, with the value read or to be written; refused: it raises #GP. */
static inline void trace_msr(const struct vcpu *vcpu, uint32_t index, bool write, uint64_t value, bool refused,
                             uint64_t rip)
{
    if (vcpu_traced(vcpu, TRACE_MSR))
        trace_emit_msr(&vcpu->machine->trace, index, write, value, refused, rip);
}

/* A control register has a new value: "cr0", "cr3", "cr4", "cr8", "efer", "xcr0". */
static inline void trace_control(const struct vcpu *vcpu, const char *name, uint64_t value, uint64_t rip)
{
    if (vcpu_traced(vcpu, TRACE_CR))
        trace_emit_register(&vcpu->machine->trace, name, value, rip);
}

/* ---- for core and board; any thread ---- */

/* run() returned. The vCPU's own thread. */
static inline void trace_leave(const struct vcpu *vcpu, const char *why)
{
    if (vcpu_traced(vcpu, TRACE_EXITS))
        trace_emit_leave(&vcpu->machine->trace, why, vcpu->attention);
}

static inline void trace_power(const struct machine *machine, const char *what, uint64_t value)
{
    if (trace_on(&machine->trace, TRACE_POWER))
        trace_emit_state(&machine->trace, what, value);
}

/* A wire changes its level. wires: "isa", "pirq", "ioapic". */
static inline void trace_line(const struct machine *machine, const char *wires, unsigned pin, bool level)
{
    if (trace_on(&machine->trace, TRACE_IRQ))
        trace_emit_line(&machine->trace, wires, pin, level);
}

/* A message-signalled interrupt. sender: "msi" or "ioapic". */
static inline void trace_message(const struct machine *machine, const char *sender, uint64_t address, uint32_t data)
{
    if (trace_on(&machine->trace, TRACE_IRQ))
        trace_emit_message(&machine->trace, sender, address, data);
}

/* A local APIC takes something in. mode: "fixed", "nmi", "init", "startup", "extint". */
static inline void trace_accept(const struct vcpu *vcpu, const char *mode, unsigned vector)
{
    if (vcpu_traced(vcpu, TRACE_IRQ))
        trace_emit_accept(&vcpu->machine->trace, vcpu->index, mode, vector);
}

static inline uint32_t trace_kind_of(enum bus_space space)
{
    return space == BUS_PORT ? TRACE_PIO : TRACE_MMIO;
}

#endif
