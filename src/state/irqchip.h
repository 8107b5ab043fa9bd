/*
 * What the interrupt controllers and the interval timer of a PC hold: the state of the models in
 * dev/chipset, and the form in which an engine that brings its own (KVM's are in the kernel) gives and
 * takes theirs (core/irqchip.h). So a machine is saved from one and restored into the other.
 *
 * The tables that describe these structs, and what is valid in them, are the models'.
 */
#ifndef LODGE_STATE_IRQCHIP_H
#define LODGE_STATE_IRQCHIP_H

#include <stdint.h>

/* --- local APIC (Intel SDM volume 3, chapter 10) --- */

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

/* --- I/O APIC (Intel 82093AA) --- */

enum { IOAPIC_PINS = 24 };

struct ioapic_state {
    uint64_t redirection[IOAPIC_PINS]; /* IOREDTBL */
    uint32_t id;                       /* IOAPICID, as read */
    uint32_t lines;                    /* bit n: pin n is asserted */
    uint8_t select;                    /* IOREGSEL */
};

/* --- the pair of 8259A (Intel 231468) --- */

enum { PIC_MASTER, PIC_SLAVE, PIC_CHIPS, PIC_PINS = 16 };

/* One of them. */
struct pic_chip {
    uint8_t lines;        /* the level of each IR input now */
    uint8_t irr;          /* interrupt request register */
    uint8_t isr;          /* in-service register */
    uint8_t imr;          /* interrupt mask register */
    uint8_t elcr;         /* 1: level triggered */
    uint8_t icw1;
    uint8_t icw2;         /* vector of IR0 */
    uint8_t icw3;         /* kept for nobody: the wiring of a PC is fixed */
    uint8_t icw4;
    uint8_t expect;       /* the ICW that the next write at A0 = 1 is: 2, 3, 4; 0: OCW1 */
    uint8_t lowest;       /* the IR with the lowest priority */
    uint8_t read_isr;     /* OCW3: what a read at A0 = 0 gives */
    uint8_t poll;         /* OCW3: the next read is an acknowledge */
    uint8_t special_mask; /* OCW3: special mask mode */
    uint8_t rotate_aeoi;  /* OCW2: rotate in automatic EOI mode */
};

struct pic_state {
    struct pic_chip chips[PIC_CHIPS];
};

/* --- 8254 (Intel 231164) --- */

enum { PIT_HZ = 1193182, PIT_CHANNELS = 3 };

#define PIT_NEVER UINT64_MAX

/* Not zero, since mode 3 can begin with its low half: its start then lies half a period back. */
enum { PIT_FIRST_TICK = 0x10000, PIT_LONGEST = 0x10000 };

enum pit_activity {
    PIT_IDLE,     /* no count has been loaded since the control word */
    PIT_COUNTING,
    PIT_STOPPED,  /* by GATE */
};

/* The control word of a counter. */
enum {
    PIT_CONTROL = 0x3f,
    PIT_CONTROL_BCD = 1 << 0,
    PIT_CONTROL_M_SHIFT = 1,
    PIT_CONTROL_RW_SHIFT = 4,
    PIT_RW_LATCH = 0,
    PIT_RW_LSB = 1,
    PIT_RW_MSB = 2,
    PIT_RW_BOTH = 3,
};

struct pit_channel {
    uint64_t start;         /* while counting: the tick at which CE held `period` */
    uint64_t held;          /* while stopped: the ticks that CE had counted */
    uint64_t load_at;       /* the tick at which CR goes to CE, or PIT_NEVER */
    uint32_t period;        /* what CE was loaded with, 1..PIT_LONGEST */
    uint16_t count;         /* CR */
    uint16_t latch;         /* the latched count */
    uint8_t control;        /* bits 5..0 of the control word: RW, M, BCD */
    uint8_t activity;       /* enum pit_activity */
    uint8_t gate;
    uint8_t written;        /* CR holds a count for this control word */
    uint8_t null_count;     /* CR has not gone to CE yet */
    uint8_t write_msb;      /* the next write is the second byte */
    uint8_t write_lsb;      /* the first byte */
    uint8_t read_msb;       /* the next read is the second byte */
    uint8_t latched;        /* bytes of the latched count still to be read */
    uint8_t status;         /* the latched status */
    uint8_t status_latched;
};

struct pit_state {
    struct pit_channel channels[PIT_CHANNELS];
    uint64_t elapsed_ns; /* since tick PIT_FIRST_TICK; set by quiesce, used by resume */
    uint8_t nmi_sc;      /* the writable bits of port 0x61 */
    uint8_t irq_level;   /* what irq was last told */
};

#endif
