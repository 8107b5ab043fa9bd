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

enum { PIC_CASCADE = 2, PIC_SPURIOUS = 7 };

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
