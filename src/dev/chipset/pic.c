#include "dev/chipset/pic.h"

#include "base/bits.h"
#include "dev/chipset/isa.h"

enum pic_region { REGION_MASTER, REGION_SLAVE, REGION_ELCR };

enum {
    ELCR_MASTER = 0xf8, /* IRQ 0, 1, 2 are always edges */
    ELCR_SLAVE = 0xde,  /* so are IRQ 8 and 13 */
};

#define PIC_FIELD(member) STATE_MEMBERS(struct pic_state, chips, member, 1)

static const struct state_field pic_fields[] = {
    PIC_FIELD(lines),
    PIC_FIELD(irr),
    PIC_FIELD(isr),
    PIC_FIELD(imr),
    PIC_FIELD(elcr),
    PIC_FIELD(icw1),
    PIC_FIELD(icw2),
    PIC_FIELD(icw3),
    PIC_FIELD(icw4),
    PIC_FIELD(expect),
    PIC_FIELD(lowest),
    PIC_FIELD(read_isr),
    PIC_FIELD(poll),
    PIC_FIELD(special_mask),
    PIC_FIELD(rotate_aeoi),
};

static bool pic_valid(const void *candidate)
{
    const struct pic_state *state = candidate;

    return pic_chip_valid(&state->chips[PIC_MASTER]) && pic_chip_valid(&state->chips[PIC_SLAVE]);
}

static const struct state_schema pic_schema = {
    .name = "i8259",
    .version = 1,
    .fields = pic_fields,
    .field_count = ARRAY_LENGTH(pic_fields),
    .size = sizeof(struct pic_state),
    .valid = pic_valid,
};

bool pic_pending(const struct pic *pic)
{
    return pic_chip_asserts(&pic->state.chips[PIC_MASTER], true);
}

static void pic_drive(struct pic *pic, bool level)
{
    pic->asserted = level;
    irq_set(&pic->intr, level);
}

/* After anything that touched a chip: the wire between the two, and INT if it changed. */
static void pic_update(struct pic *pic)
{
    struct pic_chip *chips = pic->state.chips;

    pic_chip_set_line(&chips[PIC_MASTER], true, PIC_CASCADE, pic_chip_asserts(&chips[PIC_SLAVE], false));
    if (pic_pending(pic) != pic->asserted)
        pic_drive(pic, !pic->asserted);
}

void pic_set_irq(void *context, unsigned pin, bool level)
{
    struct pic *pic = context;
    bool master = pin < 8;

    if (pin >= PIC_PINS || pin == PIC_CASCADE)
        return;
    pic_chip_set_line(&pic->state.chips[master ? PIC_MASTER : PIC_SLAVE], master, pin & 7, level);
    pic_update(pic);
}

int pic_acknowledge(void *context)
{
    struct pic *pic = context;
    struct pic_chip *chip = &pic->state.chips[PIC_MASTER];
    unsigned ir = pic_chip_acknowledge(chip, true);

    if (ir == PIC_CASCADE) {
        chip = &pic->state.chips[PIC_SLAVE];
        ir = pic_chip_acknowledge(chip, false);
    }
    pic_drive(pic, false); /* INT drops with each INTA, and comes again if there is more */
    pic_update(pic);
    return chip->icw2 | (int)ir;
}

static enum io_result pic_io(struct device *device, unsigned region, struct io_access *access)
{
    struct pic *pic = CONTAINER_OF(device, struct pic, device);
    bool second = access->offset & 1;
    bool master = region == REGION_MASTER || (region == REGION_ELCR && !second);
    struct pic_chip *chip = &pic->state.chips[master ? PIC_MASTER : PIC_SLAVE];
    uint8_t value = (uint8_t)access->value;

    if (region == REGION_ELCR && access->write)
        pic_chip_set_elcr(chip, value & (master ? ELCR_MASTER : ELCR_SLAVE));
    else if (region == REGION_ELCR)
        access->value = chip->elcr;
    else if (access->write)
        pic_chip_write(chip, master, second, value);
    else
        access->value = pic_chip_read(chip, master, second);
    pic_update(pic);
    return IO_DONE;
}

static void pic_resume(struct device *device)
{
    struct pic *pic = CONTAINER_OF(device, struct pic, device);

    pic_update(pic);
    pic_drive(pic, pic_pending(pic));
}

/*
 * The 8259A has no reset input. Everything is masked, so that nothing reaches a guest that was
 * started without firmware and has not programmed the pair yet.
 */
static void pic_reset(struct device *device)
{
    struct pic *pic = CONTAINER_OF(device, struct pic, device);

    pic_chip_reset(&pic->state.chips[PIC_MASTER]);
    pic_chip_reset(&pic->state.chips[PIC_SLAVE]);
    pic_resume(device);
}

static const struct device_type pic_type = {
    .name = "i8259",
    .schema = &pic_schema,
    .state_offset = offsetof(struct pic, state),
    .io = pic_io,
    .reset = pic_reset,
    .resume = pic_resume,
};

enum status pic_init(struct pic *pic, const struct irq_line *intr, struct bus *bus)
{
    static const struct isa_ports ports[] = {
        [REGION_MASTER] = {"pic-master", 0x20, 2},
        [REGION_SLAVE] = {"pic-slave", 0xa0, 2},
        [REGION_ELCR] = {"pic-elcr", 0x4d0, 2},
    };

    *pic = (struct pic){.device = {.type = &pic_type, .path = "isa/pic"}, .intr = *intr};
    pic_reset(&pic->device);
    return isa_claim(bus, &pic->device, pic->regions, ports, ARRAY_LENGTH(ports));
}
