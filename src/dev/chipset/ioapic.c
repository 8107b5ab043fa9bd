#include "dev/chipset/ioapic.h"

#include "base/bits.h"

/* Memory-mapped registers, and the indirect ones behind IOREGSEL. */
enum { IOREGSEL = 0x00, IOWIN = 0x10, EOIR = 0x40 };
enum { IOAPICID = 0x00, IOAPICVER = 0x01, IOAPICARB = 0x02, IOREDTBL = 0x10 };

enum { IOAPICVER_VALUE = (IOAPIC_PINS - 1) << 16 | 0x20 };

#define IOAPICID_WRITABLE 0x0f000000u

/* A redirection entry. Bits 0..10 and 15 have the places that they have in an MSI's data. */
#define RTE_VECTOR 0xffull
#define RTE_MESSAGE 0x7ffull
#define RTE_LOGICAL (1ull << 11)
#define RTE_REMOTE_IRR (1ull << 14)
#define RTE_LEVEL (1ull << 15)
#define RTE_MASK (1ull << 16)
#define RTE_WRITABLE 0xff0000000001afffull /* all but delivery status and remote IRR */
#define RTE_DESTINATION_SHIFT 56

#define MSI_ADDRESS 0xfee00000ull
#define MSI_ADDRESS_DESTINATION_SHIFT 12
#define MSI_ADDRESS_LOGICAL (1ull << 2)
#define MSI_DATA_ASSERT (1u << 14)

static const struct state_field ioapic_fields[] = {
    STATE_ARRAY(struct ioapic_state, redirection, 1),
    STATE_SCALAR(struct ioapic_state, id, 1),
    STATE_SCALAR(struct ioapic_state, lines, 1),
    STATE_SCALAR(struct ioapic_state, select, 1),
};

static bool ioapic_valid(const void *candidate)
{
    const struct ioapic_state *state = candidate;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if (state->redirection[pin] & ~(RTE_WRITABLE | RTE_REMOTE_IRR))
            return false;
        if ((state->redirection[pin] & (RTE_REMOTE_IRR | RTE_LEVEL)) == RTE_REMOTE_IRR)
            return false;
    }
    return !(state->lines >> IOAPIC_PINS) && !(state->id & ~IOAPICID_WRITABLE);
}

static const struct state_schema ioapic_schema = {
    .name = "ioapic",
    .version = 1,
    .fields = ioapic_fields,
    .field_count = ARRAY_LENGTH(ioapic_fields),
    .size = sizeof(struct ioapic_state),
    .valid = ioapic_valid,
};

static void ioapic_send(struct ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->state.redirection[pin];
    uint64_t address = MSI_ADDRESS | entry >> RTE_DESTINATION_SHIFT << MSI_ADDRESS_DESTINATION_SHIFT;

    if (entry & RTE_LOGICAL)
        address |= MSI_ADDRESS_LOGICAL;
    if (entry & RTE_LEVEL)
        ioapic->state.redirection[pin] |= RTE_REMOTE_IRR;
    msi_send(&ioapic->messages, address, (uint32_t)(entry & (RTE_MESSAGE | RTE_LEVEL)) | MSI_DATA_ASSERT);
}

/* A level-triggered pin sends when it is asserted and unmasked, and not again before the EOI. */
static void ioapic_serve_level(struct ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->state.redirection[pin];

    if ((entry & (RTE_LEVEL | RTE_MASK | RTE_REMOTE_IRR)) == RTE_LEVEL && ioapic->state.lines & BIT(pin))
        ioapic_send(ioapic, pin);
}

/* An edge on a masked pin is ignored, not held (data sheet, IOREDTBL, interrupt mask). */
void ioapic_set_irq(void *opaque, unsigned pin, bool level)
{
    struct ioapic *ioapic = opaque;
    bool rises;

    if (pin >= IOAPIC_PINS)
        return;
    rises = level && !(ioapic->state.lines & BIT(pin));
    if (level)
        ioapic->state.lines |= BIT(pin);
    else
        ioapic->state.lines &= ~BIT(pin);
    if (ioapic->state.redirection[pin] & RTE_LEVEL)
        ioapic_serve_level(ioapic, pin);
    else if (rises && !(ioapic->state.redirection[pin] & RTE_MASK))
        ioapic_send(ioapic, pin);
}

void ioapic_end_of_interrupt(void *opaque, uint8_t vector)
{
    struct ioapic *ioapic = opaque;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *entry = &ioapic->state.redirection[pin];

        if (!(*entry & RTE_REMOTE_IRR) || (*entry & RTE_VECTOR) != vector)
            continue;
        *entry &= ~RTE_REMOTE_IRR;
        ioapic_serve_level(ioapic, pin);
    }
}

/*
 * One half of an entry. An entry set to edge loses its remote IRR: that is how software clears it
 * where there is no EOI register.
 */
static void ioapic_write_entry(struct ioapic *ioapic, unsigned pin, bool high, uint32_t value)
{
    uint64_t *entry = &ioapic->state.redirection[pin];
    uint64_t half = 0xffffffffull << (high ? 32 : 0);
    uint64_t writable = RTE_WRITABLE & half;

    *entry = (*entry & ~writable) | ((uint64_t)value << (high ? 32 : 0) & writable);
    if (!(*entry & RTE_LEVEL))
        *entry &= ~RTE_REMOTE_IRR;
    ioapic_serve_level(ioapic, pin);
}

static uint32_t ioapic_read_indirect(const struct ioapic *ioapic)
{
    unsigned select = ioapic->state.select, entry = select - IOREDTBL;

    if (select >= IOREDTBL && entry / 2 < IOAPIC_PINS)
        return (uint32_t)(ioapic->state.redirection[entry / 2] >> (entry % 2 ? 32 : 0));
    switch (select) {
    case IOAPICID:
    case IOAPICARB:
        return ioapic->state.id;
    case IOAPICVER:
        return IOAPICVER_VALUE;
    default:
        return UINT32_MAX;
    }
}

static void ioapic_write_indirect(struct ioapic *ioapic, uint32_t value)
{
    unsigned select = ioapic->state.select, entry = select - IOREDTBL;

    if (select >= IOREDTBL && entry / 2 < IOAPIC_PINS)
        ioapic_write_entry(ioapic, entry / 2, entry % 2, value);
    else if (select == IOAPICID)
        ioapic->state.id = value & IOAPICID_WRITABLE;
}

static enum io_result ioapic_io(struct device *device, unsigned region, struct io_access *access)
{
    struct ioapic *ioapic = CONTAINER_OF(device, struct ioapic, device);
    uint32_t value = (uint32_t)access->value;

    (void)region;
    switch (access->offset) {
    case IOREGSEL:
        if (access->write)
            ioapic->state.select = (uint8_t)value;
        else
            access->value = ioapic->state.select;
        return IO_DONE;
    case IOWIN:
        if (access->write)
            ioapic_write_indirect(ioapic, value);
        else
            access->value = ioapic_read_indirect(ioapic);
        return IO_DONE;
    case EOIR:
        if (access->write)
            ioapic_end_of_interrupt(ioapic, (uint8_t)value);
        else
            access->value = 0;
        return IO_DONE;
    default:
        return IO_UNCLAIMED;
    }
}

/* The pins keep their levels: they belong to the devices that drive them. */
static void ioapic_reset(struct device *device)
{
    struct ioapic *ioapic = CONTAINER_OF(device, struct ioapic, device);
    uint32_t lines = ioapic->state.lines;

    ioapic->state = (struct ioapic_state){.lines = lines};
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->state.redirection[pin] = RTE_MASK;
}

static const struct device_type ioapic_type = {
    .name = "ioapic",
    .schema = &ioapic_schema,
    .state_offset = offsetof(struct ioapic, state),
    .io = ioapic_io,
    .reset = ioapic_reset,
};

enum status ioapic_init(struct ioapic *ioapic, const struct msi_sink *messages, struct bus *bus)
{
    *ioapic = (struct ioapic){
        .device = {.type = &ioapic_type, .path = "ioapic"},
        .messages = *messages,
        .region =
            {
                .name = "ioapic",
                .space = BUS_MEMORY,
                .base = IOAPIC_BASE,
                .size = IOAPIC_SIZE,
                .smallest = 1, /* some kernels write IOREGSEL as a byte */
                .largest = 4,
                .enabled = true,
            },
    };
    ioapic->region.device = &ioapic->device;
    ioapic_reset(&ioapic->device);
    return bus_add(bus, &ioapic->region);
}
