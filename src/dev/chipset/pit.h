/*
 * The 8254 programmable interval timer of a PC at 0x40-0x43, and port 0x61, whose bits gate and
 * show its counter 2. Data sheets: Intel 8254 (231164); port 0x61: ICH9, 13.7.1 (NMI_SC).
 *
 * Counter 0 is IRQ 0. A host that comes late for several periods raises one interrupt for all of
 * them. Counter 1 (DRAM refresh) counts but drives nothing; the speaker is silent.
 */
#ifndef LODGE_DEV_CHIPSET_PIT_H
#define LODGE_DEV_CHIPSET_PIT_H

#include <stdint.h>

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"
#include "core/timer.h"
#include "dev/chipset/pit_channel.h"

struct pit {
    struct device device;
    struct region regions[2];
    struct irq_line irq; /* OUT of counter 0 */
    struct timer timer;
    uint64_t epoch_ns;   /* when it was tick PIT_FIRST_TICK */
    uint64_t next_rise;  /* of counter 0, in ticks: not yet told to irq */
    struct pit_state state;
};

/* Adds 0x40-0x43 and 0x61 to the bus. irq is IRQ 0, by edges. Path "isa/pit". Errors: as bus_add(). */
enum status pit_init(struct pit *pit, const struct irq_line *irq, struct timer_queue *timers,
                     struct bus *bus) MUST_CHECK;

#endif
