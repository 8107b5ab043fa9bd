#include "dev/chipset/pic_chip.h"

#include "base/bits.h"

enum {
    ICW1_IC4 = 1 << 0,  /* ICW4 follows */
    ICW1_SNGL = 1 << 1, /* no ICW3 */
    ICW1_SELECT = 1 << 4,
    ICW2_T7_T3 = 0xf8,
    ICW4_AEOI = 1 << 1,
    ICW4_SFNM = 1 << 4, /* special fully nested mode */

    OCW2_LEVEL = 0x07,
    OCW2_COMMAND_SHIFT = 5,
    OCW3_SELECT = 1 << 3,
    OCW3_RIS = 1 << 0,
    OCW3_RR = 1 << 1,
    OCW3_P = 1 << 2,
    OCW3_SMM = 1 << 5,
    OCW3_ESMM = 1 << 6,

    POLL_I = 1 << 7,
};

/* OCW2: bits R, SL, EOI. */
enum ocw2_command {
    OCW2_ROTATE_AEOI_CLEAR,
    OCW2_EOI,
    OCW2_NOTHING,
    OCW2_SPECIFIC_EOI,
    OCW2_ROTATE_AEOI_SET,
    OCW2_ROTATE_EOI,
    OCW2_SET_PRIORITY,
    OCW2_ROTATE_SPECIFIC_EOI,
};

/* The IR with the highest priority of a set; the set is not empty. */
static unsigned chip_highest(const struct pic_chip *chip, uint8_t set)
{
    unsigned first = (chip->lowest + 1u) & 7;
    unsigned rotated = set * 0x101u >> first & 0xff;

    return ((unsigned)__builtin_ctz(rotated) + first) & 7;
}

/* How many IRs are more important than this one. */
static unsigned chip_rank(const struct pic_chip *chip, unsigned ir)
{
    return (ir - chip->lowest - 1u) & 7;
}

/* The IR that the chip asks the processor to serve, or -1. */
static int chip_pick(const struct pic_chip *chip, bool master)
{
    uint8_t requests = chip->irr & (uint8_t)~chip->imr;
    uint8_t serving = chip->isr & (uint8_t)~(chip->special_mask ? chip->imr : 0);
    unsigned ir;

    if (requests == 0 || chip->expect != 0)
        return -1;
    ir = chip_highest(chip, requests);
    if (serving == 0 || chip_rank(chip, ir) < chip_rank(chip, chip_highest(chip, serving)))
        return (int)ir;
    /* A slave in service is not locked out: it may have something more important now. */
    if (master && (chip->icw4 & ICW4_SFNM) && ir == PIC_CASCADE && ir == chip_highest(chip, serving))
        return (int)ir;
    return -1;
}

/* The slave holds its INT until it is served, so the master's cascade input counts as level triggered. */
static uint8_t chip_level_triggered(const struct pic_chip *chip, bool master)
{
    return chip->elcr | (master ? BIT(PIC_CASCADE) : 0);
}

void pic_chip_set_line(struct pic_chip *chip, bool master, unsigned ir, bool level)
{
    uint8_t bit = (uint8_t)BIT(ir);
    bool rise = level && !(chip->lines & bit);

    if (!level) {
        chip->lines &= (uint8_t)~bit;
        chip->irr &= (uint8_t)~bit;
        return;
    }
    chip->lines |= bit;
    if (rise || (chip_level_triggered(chip, master) & bit))
        chip->irr |= bit;
}

/* One acknowledge cycle for an IR that chip_pick() chose. */
static void chip_serve(struct pic_chip *chip, bool master, unsigned ir)
{
    uint8_t bit = (uint8_t)BIT(ir);

    if (!(chip_level_triggered(chip, master) & bit))
        chip->irr &= (uint8_t)~bit;
    if (!(chip->icw4 & ICW4_AEOI))
        chip->isr |= bit;
    else if (chip->rotate_aeoi)
        chip->lowest = (uint8_t)ir;
}

static void chip_initialize(struct pic_chip *chip, bool master, uint8_t icw1)
{
    chip->icw1 = icw1;
    chip->expect = 2;
    chip->irr = chip->lines & chip_level_triggered(chip, master); /* edges must come anew */
    chip->isr = 0;
    chip->imr = 0;
    chip->lowest = 7;
    chip->special_mask = 0;
    chip->read_isr = 0;
    chip->poll = 0;
    chip->rotate_aeoi = 0;
    if (!(icw1 & ICW1_IC4))
        chip->icw4 = 0;
}

/* The in-service IR that a non-specific EOI ends, or -1. In special mask mode a masked one stays. */
static int chip_eoi_target(const struct pic_chip *chip)
{
    uint8_t serving = chip->isr & (uint8_t)~(chip->special_mask ? chip->imr : 0);

    return serving ? (int)chip_highest(chip, serving) : -1;
}

static void chip_ocw2(struct pic_chip *chip, uint8_t value)
{
    enum ocw2_command command = value >> OCW2_COMMAND_SHIFT;
    int ir = value & OCW2_LEVEL;

    switch (command) {
    case OCW2_ROTATE_AEOI_CLEAR:
    case OCW2_ROTATE_AEOI_SET:
        chip->rotate_aeoi = command == OCW2_ROTATE_AEOI_SET;
        return;
    case OCW2_NOTHING:
        return;
    case OCW2_SET_PRIORITY:
        chip->lowest = (uint8_t)ir;
        return;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI:
        ir = chip_eoi_target(chip);
        if (ir < 0)
            return;
        break;
    case OCW2_SPECIFIC_EOI:
    case OCW2_ROTATE_SPECIFIC_EOI:
        break;
    }
    chip->isr &= (uint8_t)~BIT(ir);
    if (command == OCW2_ROTATE_EOI || command == OCW2_ROTATE_SPECIFIC_EOI)
        chip->lowest = (uint8_t)ir;
}

static void chip_ocw3(struct pic_chip *chip, uint8_t value)
{
    if (value & OCW3_ESMM)
        chip->special_mask = (value & OCW3_SMM) != 0;
    if (value & OCW3_P)
        chip->poll = 1;
    else if (value & OCW3_RR)
        chip->read_isr = (value & OCW3_RIS) != 0;
}

/* A write at A0 = 1: the rest of an initialization, or the mask. */
static void chip_write_data(struct pic_chip *chip, uint8_t value)
{
    uint8_t last = chip->icw1 & ICW1_IC4 ? 4 : 0;

    switch (chip->expect) {
    case 2:
        chip->icw2 = value & ICW2_T7_T3;
        chip->expect = chip->icw1 & ICW1_SNGL ? last : 3;
        break;
    case 3:
        chip->icw3 = value;
        chip->expect = last;
        break;
    case 4:
        chip->icw4 = value;
        chip->expect = 0;
        break;
    default:
        chip->imr = value;
    }
}

void pic_chip_write(struct pic_chip *chip, bool master, bool a0, uint8_t value)
{
    if (a0)
        chip_write_data(chip, value);
    else if (value & ICW1_SELECT)
        chip_initialize(chip, master, value);
    else if (value & OCW3_SELECT)
        chip_ocw3(chip, value);
    else
        chip_ocw2(chip, value);
}

/* The poll word; a request that it shows is thereby acknowledged. */
static uint8_t chip_poll(struct pic_chip *chip, bool master)
{
    int ir = chip_pick(chip, master);

    chip->poll = 0;
    if (ir < 0)
        return 0;
    chip_serve(chip, master, (unsigned)ir);
    return (uint8_t)(POLL_I | ir);
}

uint8_t pic_chip_read(struct pic_chip *chip, bool master, bool a0)
{
    if (chip->poll)
        return chip_poll(chip, master);
    if (a0)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip->irr;
}

void pic_chip_set_elcr(struct pic_chip *chip, uint8_t elcr)
{
    chip->elcr = elcr;
    chip->irr |= chip->lines & elcr;
}

bool pic_chip_asserts(const struct pic_chip *chip, bool master)
{
    return chip_pick(chip, master) >= 0;
}

unsigned pic_chip_acknowledge(struct pic_chip *chip, bool master)
{
    int ir = chip_pick(chip, master);

    if (ir < 0)
        return PIC_SPURIOUS;
    chip_serve(chip, master, (unsigned)ir);
    return (unsigned)ir;
}

void pic_chip_reset(struct pic_chip *chip)
{
    *chip = (struct pic_chip){.lines = chip->lines, .imr = 0xff, .lowest = 7};
}

bool pic_chip_valid(const struct pic_chip *chip)
{
    return chip->lowest <= 7 && chip->expect != 1 && chip->expect <= 4 && chip->read_isr <= 1 && chip->poll <= 1 &&
           chip->special_mask <= 1 && chip->rotate_aeoi <= 1;
}
