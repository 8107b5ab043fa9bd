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

#include "state/irqchip.h"

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
