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
#include "state/irqchip.h"

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
