/* One machine: memory, buses, devices, vCPUs, time. Several may live in one process. */
#ifndef LODGE_CORE_MACHINE_H
#define LODGE_CORE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "core/bus.h"
#include "core/engine.h"
#include "core/memory.h"
#include "core/timer.h"
#include "core/trace_event.h"
#include "core/vcpu.h"
#include "port/lock.h"
#include "x86/cpuid.h"

enum { MACHINE_CPUS = 64 };

/* How and why the machine stopped running. */
enum machine_end {
    MACHINE_RUNNING,
    MACHINE_POWER_OFF,
    MACHINE_RESET,        /* the owner restarts it, or ends with --no-reboot */
    MACHINE_TRIPLE_FAULT,
    MACHINE_DEBUG_EXIT,   /* exit_value is what the guest wrote */
    MACHINE_FAILED,       /* the engine gave up */
    MACHINE_STOPPED,      /* by its owner */
};

struct machine {
    struct lock lock;                 /* the machine lock: every device, timer and controller call */
    struct bus bus;
    struct trace trace;
    struct guest_memory memory;
    struct timer_queue timers;
    struct clock *clock;
    struct cpuid_table cpuid;
    struct engine *engine;
    struct vcpu *vcpus[MACHINE_CPUS];
    unsigned cpu_count;
    struct device *devices;           /* in the order they were added */
    struct device **devices_tail;
    _Atomic uint32_t end;             /* enum machine_end; the first reason stays */
    uint32_t exit_value;
    void (*ended)(struct machine *machine); /* told once per end, with or without locks, any thread; NULL or the owner's */
    /*
     * A vCPU shut down (VCPU_EXIT_SHUTDOWN) or its engine gave up (VCPU_EXIT_FAILED): the time for a report. Its own
     * thread, no locks, before the machine ends; NULL or the owner's.
     */
    void (*crashed)(struct vcpu *vcpu, enum vcpu_exit exit);
    _Atomic bool debug_shutdown; /* a triple fault is told as a stop (DEBUG_SHUTDOWN) and does not end the machine */
    void (*debug_stopped)(struct vcpu *vcpu); /* VCPU_EXIT_DEBUG: it pauses itself next; its own thread, no locks; may be NULL */
};

/* All empty but memory, which the caller lays out (memory_init), before or after. clock and alarm are borrowed. */
void machine_init(struct machine *machine, struct clock *clock, struct alarm *alarm);

/* Before the machine runs. The device's regions are added by its own constructor. */
void machine_add_device(struct machine *machine, struct device *device);

/* End the machine: all vCPUs get ATTENTION_STOP. The first reason wins. Any thread, any lock. */
void machine_end(struct machine *machine, enum machine_end end, uint32_t value);

/* All devices back to power-on; vCPUs are not touched. Machine lock held, no vCPU runs. Errors are a proxy's. */
enum status machine_reset_devices(struct machine *machine) MUST_CHECK;

/*
 * Before the devices' state structs are read, and after they were replaced: in the order in which the devices were
 * added, all of them, and the first error is kept. Machine lock held, no vCPU runs. Errors are a proxy's.
 */
enum status machine_quiesce_devices(struct machine *machine) MUST_CHECK;
enum status machine_resume_devices(struct machine *machine) MUST_CHECK;

/*
 * Before machine_quiesce_devices(), or before devices go away: those with work outside of the machine take up no more
 * of it, and when the call returns none is under way. Takes the machine lock; no vCPU runs.
 */
void machine_drain_devices(struct machine *machine);

#endif
