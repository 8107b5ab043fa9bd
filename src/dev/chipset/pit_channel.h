/*
 * One counter of an 8254, in ticks of its clock. Data sheet: Intel 8254 (231164).
 *
 * Nothing here runs. A counter is described by the tick at which its counting element (CE) was
 * loaded; what it holds at any later tick follows by arithmetic, so it can be asked once a second
 * or a million times, and never drifts. As in the chip, a count written to the count register (CR)
 * reaches CE with a later clock pulse: load_at.
 *
 * `now` is the current tick, the same or later at each call. Ticks start at PIT_FIRST_TICK.
 */
#ifndef LODGE_DEV_CHIPSET_PIT_CHANNEL_H
#define LODGE_DEV_CHIPSET_PIT_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#define PIT_NEVER UINT64_MAX

/* Not zero, since mode 3 can begin with its low half: its start then lies half a period back. */
enum { PIT_FIRST_TICK = 0x10000, PIT_LONGEST = 0x10000 };

enum pit_activity {
    PIT_IDLE,     /* no count has been loaded since the control word */
    PIT_COUNTING,
    PIT_STOPPED,  /* by GATE */
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

/* A control word other than a latch or read-back command. Everything but GATE starts anew. */
void pit_channel_control(struct pit_channel *channel, uint8_t control);

/* The CPU reads or writes the counter's port. */
uint8_t pit_channel_read(struct pit_channel *channel, uint64_t now);
void pit_channel_write(struct pit_channel *channel, uint64_t now, uint8_t value);

/* A second latch before the first was read changes nothing. */
void pit_channel_latch_count(struct pit_channel *channel, uint64_t now);
void pit_channel_latch_status(struct pit_channel *channel, uint64_t now);

void pit_channel_set_gate(struct pit_channel *channel, uint64_t now, bool gate);

/* OUT at this tick. */
bool pit_channel_out(struct pit_channel *channel, uint64_t now);

/* The first tick after `now` at which OUT rises if nobody touches the counter; PIT_NEVER if none. */
uint64_t pit_channel_next_rise(struct pit_channel *channel, uint64_t now);

/* CR goes to CE if the clock pulse for it has come. All of the above that are told the time do this first. */
void pit_channel_settle(struct pit_channel *channel, uint64_t now);

/* Could the functions above have left it so at this tick? For state from outside. */
bool pit_channel_valid(const struct pit_channel *channel, uint64_t now);

#endif
