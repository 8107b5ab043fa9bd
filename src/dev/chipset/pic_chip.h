/*
 * One 8259A, without its ports and its partner. Data sheet: Intel 8259A (231468).
 *
 * `master` in the functions below says where it sits: the master's IR2 is driven by the slave, and
 * only the master has use for the special fully nested mode.
 */
#ifndef LODGE_DEV_CHIPSET_PIC_CHIP_H
#define LODGE_DEV_CHIPSET_PIC_CHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "state/irqchip.h"

enum { PIC_CASCADE = 2, PIC_SPURIOUS = 7 };

/* Everything masked, until somebody initializes it; the inputs and their levels stay. */
void pic_chip_reset(struct pic_chip *chip);

/* The CPU reads or writes at A0 = 0 or 1. A read may be a poll, which acknowledges. */
uint8_t pic_chip_read(struct pic_chip *chip, bool master, bool a0);
void pic_chip_write(struct pic_chip *chip, bool master, bool a0, uint8_t value);

/* A 1 makes the input level triggered. */
void pic_chip_set_elcr(struct pic_chip *chip, uint8_t elcr);

/* ir is 0..7. */
void pic_chip_set_line(struct pic_chip *chip, bool master, unsigned ir, bool level);

/* Does it assert INT? */
bool pic_chip_asserts(const struct pic_chip *chip, bool master);

/* INTA: the IR that is now in service; PIC_SPURIOUS, and nothing in service, if no request is left. */
unsigned pic_chip_acknowledge(struct pic_chip *chip, bool master);

/* For state from outside. */
bool pic_chip_valid(const struct pic_chip *chip);

#endif
