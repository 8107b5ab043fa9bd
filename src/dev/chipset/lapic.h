/*
 * The local APICs of one machine and the paths between them (Intel SDM volume 3, chapter 10).
 *
 * One struct lapic per vCPU, all known to one struct lapic_bus, which finds the targets of
 * inter-processor interrupts, of the IOAPIC's messages and of MSIs. The engine speaks to its own
 * APIC through lapic_apic_ops (core/vcpu.h); devices speak to the bus.
 *
 * Not modelled: SMI, the CMCI entry, arbitration identifiers of the old APIC bus. Level-triggered
 * LINT0 and LINT1 in Fixed mode act on the edge.
 *
 * Threads: everything here with the machine lock held, except lapic_apic_ops, which take it.
 */
#ifndef LODGE_DEV_CHIPSET_LAPIC_H
#define LODGE_DEV_CHIPSET_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "core/device.h"
#include "core/irq.h"
#include "core/machine.h"
#include "core/timer.h"
#include "core/vcpu.h"
#include "port/lock.h"

/* The local vector table, in the order of its registers (SDM 10.5.1). */
enum lapic_lvt {
    LAPIC_LVT_TIMER,
    LAPIC_LVT_THERMAL,
    LAPIC_LVT_PERFORMANCE,
    LAPIC_LVT_LINT0,
    LAPIC_LVT_LINT1,
    LAPIC_LVT_ERROR,
    LAPIC_LVT_COUNT,
};

enum { LAPIC_VECTOR_WORDS = 8 };

/* What the guest can see. */
struct lapic_state {
    uint64_t apic_base; /* IA32_APIC_BASE */
    uint64_t icr;
    uint64_t tsc_deadline;  /* IA32_TSC_DEADLINE; 0: not armed */
    uint64_t timer_left_ns; /* to the next expiry; set by quiesce, used by resume */
    uint32_t isr[LAPIC_VECTOR_WORDS], irr[LAPIC_VECTOR_WORDS], tmr[LAPIC_VECTOR_WORDS];
    uint32_t lvt[LAPIC_LVT_COUNT];
    uint32_t ldr, dfr; /* as in xAPIC mode; x2APIC's LDR follows from the identifier */
    uint32_t svr;
    uint32_t esr, esr_collected; /* what reads give; what the next write moves there */
    uint32_t timer_initial;
    uint32_t timer_divide; /* the Divide Configuration Register */
    uint8_t timer_running; /* the count is not zero */
    uint8_t tpr;
    uint8_t extint_message; /* an ExtINT message waits for its INTA */
};

struct lapic_bus;

struct lapic {
    struct device device;
    struct lapic_state state;
    struct lapic_bus *bus;
    struct vcpu *vcpu;
    struct timer timer;       /* one-shot, periodic or TSC-deadline */
    uint64_t timer_expiry_ns; /* when the count reaches zero; valid while timer_running */
    uint32_t deliverable;     /* atomic hint: acknowledge() would find a vector. Written under the lock */
    char path[16];            /* "cpu/63/lapic" */
};

/* The guest's time stamp counters. now(): any thread, no locks taken. */
struct guest_tsc {
    uint64_t (*now)(void *source, unsigned cpu);
    void *source;
    uint32_t khz;
};

/* What the 8259A pair answers to INTA: a vector, or -1 when it has none. Machine lock held. */
struct lapic_pic {
    int (*acknowledge)(void *pic);
    void *pic;
};

/* Who hears of the end of a level-triggered interrupt: the IOAPIC. Machine lock held. */
struct lapic_eoi_listener {
    void (*eoi)(void *ioapic, uint8_t vector);
    void *ioapic;
};

struct lapic_bus {
    struct lapic *lapics; /* borrowed array; identifiers are its indices */
    unsigned count;
    struct lock *lock; /* the machine lock */
    struct timer_queue *timers;
    struct guest_tsc tsc;
    struct lapic_pic pic;
    struct lapic_eoi_listener eoi_listener;
    bool intr; /* the output of the 8259A pair, which is wired to LINT0 */
};

/* The machine's lock and timers are used. All is borrowed; pic and eoi_listener are set later by the owner. */
void lapic_bus_init(struct lapic_bus *bus, struct machine *machine, const struct guest_tsc *tsc);

/*
 * Makes one APIC for each of the machine's vCPUs in lapics[machine->cpu_count], adds them to the
 * machine as devices and hooks them to their vCPUs. Before the machine runs.
 */
void lapic_bus_populate(struct lapic_bus *bus, struct machine *machine, struct lapic *lapics);

/* For struct msi_sink: a write to 0xFEEx_xxxx (SDM 10.11). Other addresses are dropped. */
void lapic_bus_send_msi(void *bus, uint64_t address, uint32_t data);

/* For struct irq_line: the 8259A pair's INTR output. */
void lapic_bus_set_intr(void *bus, unsigned pin, bool level);

/* A pulse on LINT1 of every APIC: the NMI button. */
void lapic_bus_pulse_lint1(struct lapic_bus *bus);

extern const struct device_type lapic_device_type;
extern const struct apic_ops lapic_apic_ops;

#endif
