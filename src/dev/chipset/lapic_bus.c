/*
 * Who is addressed: the paths from the ICR, from MSIs, from the IOAPIC and from wires to the local
 * APICs (SDM volume 3, 10.6, 10.11 and 10.12.9).
 */
#include "base/memory.h"
#include "dev/chipset/lapic_internal.h"

/* A message on the way. Destinations come in 8 bits (xAPIC, MSI, IOAPIC) or in 32 (x2APIC senders). */
struct message {
    enum delivery delivery;
    uint8_t vector;
    bool logical;
    bool level;
    bool wide;
    uint32_t destination;
};

/* The address and data of an MSI. The IOAPIC's redirection entries carry the same fields. */
enum {
    MSI_ADDRESS_TAG = 0xfee,
    MSI_ADDRESS_LOGICAL = 1 << 2,
    MSI_ADDRESS_REDIRECTION_HINT = 1 << 3,
    MSI_DATA_LEVEL_ASSERT = 1 << 14,
    MSI_DATA_LEVEL_TRIGGER = 1 << 15,
};

enum shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

enum { DFR_MODEL_SHIFT = 28, DFR_FLAT = 0xf, BROADCAST = 0xff };

#define BROADCAST_WIDE 0xffffffffu

static bool message_broadcasts(const struct message *message)
{
    return message->destination == (message->wide ? BROADCAST_WIDE : BROADCAST);
}

/* An xAPIC's logical identifier is one byte: eight flags, or a cluster of four bits and four flags. */
static bool lapic_matches_logical_xapic(const struct lapic *lapic, uint32_t destination)
{
    uint32_t identifier = lapic->state.ldr >> 24;

    if (destination > 0xff)
        return false;
    if (lapic->state.dfr >> DFR_MODEL_SHIFT == DFR_FLAT)
        return identifier & destination;
    return identifier >> 4 == destination >> 4 && identifier & destination & 0xf;
}

static bool lapic_matches(const struct lapic *lapic, const struct message *message)
{
    uint32_t identifier, destination = message->destination;

    if (!lapic_hardware_enabled(lapic))
        return false;
    if (message_broadcasts(message))
        return true;
    if (!message->logical)
        return destination == lapic_identifier(lapic);
    if (!lapic_x2apic(lapic))
        return lapic_matches_logical_xapic(lapic, destination);
    identifier = lapic_logical_identifier(lapic);
    return identifier >> 16 == destination >> 16 && identifier & destination & 0xffff;
}

/* Off in software, an APIC still hears NMI, INIT, SMI and start-up (SDM 10.4.7.2). */
static bool lapic_hears(const struct lapic *lapic, enum delivery delivery)
{
    if (delivery == DELIVERY_FIXED || delivery == DELIVERY_LOWEST_PRIORITY)
        return lapic_software_enabled(lapic);
    return true;
}

/*
 * The least busy of those addressed. Among equals the vector decides where to start, so that vectors
 * spread over processors, and the same machine makes the same choice twice.
 */
static struct lapic *lapic_bus_arbitrate(struct lapic_bus *bus, const struct message *message)
{
    struct lapic *best = NULL;

    for (unsigned i = 0; i < bus->count; i++) {
        struct lapic *lapic = &bus->lapics[(message->vector + i) % bus->count];

        if (!lapic_matches(lapic, message) || !lapic_hears(lapic, message->delivery))
            continue;
        if (!best || lapic_arbitration_priority(lapic) < lapic_arbitration_priority(best))
            best = lapic;
    }
    return best;
}

static void lapic_bus_deliver(struct lapic_bus *bus, const struct message *message)
{
    if (message->delivery == DELIVERY_LOWEST_PRIORITY) {
        struct lapic *best = lapic_bus_arbitrate(bus, message);

        if (best)
            lapic_accept(best, message->delivery, message->vector, message->level);
        return;
    }
    for (unsigned i = 0; i < bus->count; i++) {
        struct lapic *lapic = &bus->lapics[i];

        if (lapic_matches(lapic, message) && lapic_hears(lapic, message->delivery))
            lapic_accept(lapic, message->delivery, message->vector, message->level);
    }
}

static void lapic_send_shorthand(struct lapic *sender, enum shorthand shorthand, const struct message *message)
{
    struct lapic_bus *bus = sender->bus;

    for (unsigned i = 0; i < bus->count; i++) {
        struct lapic *lapic = &bus->lapics[i];

        if (shorthand == SHORTHAND_SELF && lapic != sender)
            continue;
        if (shorthand == SHORTHAND_OTHERS && lapic == sender)
            continue;
        if (lapic_hardware_enabled(lapic) && lapic_hears(lapic, message->delivery))
            lapic_accept(lapic, message->delivery, message->vector, false);
    }
}

/*
 * What the ICR may ask for (SDM table 10-3): a level de-assert of INIT does nothing since the
 * Pentium 4, ExtINT cannot be sent, and only Fixed may be sent to oneself by shorthand. Illegal
 * vectors are told to the sender. Everything goes as an edge.
 */
static bool lapic_may_send(struct lapic *sender, const struct message *message, enum shorthand shorthand, uint32_t icr)
{
    bool fixed = message->delivery == DELIVERY_FIXED || message->delivery == DELIVERY_LOWEST_PRIORITY;

    if (message->delivery == DELIVERY_EXTINT || message->delivery == DELIVERY_RESERVED)
        return false;
    if (message->delivery == DELIVERY_INIT && (icr & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
        return false;
    if (message->delivery != DELIVERY_FIXED && (shorthand == SHORTHAND_SELF || shorthand == SHORTHAND_ALL))
        return false;
    if (fixed && message->vector < LAPIC_FIRST_LEGAL_VECTOR) {
        lapic_report_error(sender, ESR_SEND_ILLEGAL_VECTOR);
        return false;
    }
    return true;
}

void lapic_send_ipi(struct lapic *sender, uint32_t icr, uint32_t destination, bool wide)
{
    enum shorthand shorthand = (enum shorthand)(icr >> ICR_SHORTHAND_SHIFT & 3);
    const struct message message = {
        .delivery = (enum delivery)((icr & LVT_DELIVERY) >> LVT_DELIVERY_SHIFT),
        .vector = (uint8_t)(icr & LVT_VECTOR),
        .logical = icr & ICR_LOGICAL,
        .wide = wide,
        .destination = destination,
    };

    if (!lapic_may_send(sender, &message, shorthand, icr))
        return;
    if (shorthand == SHORTHAND_OTHERS && message.delivery == DELIVERY_LOWEST_PRIORITY)
        return;
    if (shorthand == SHORTHAND_NONE)
        lapic_bus_deliver(sender->bus, &message);
    else
        lapic_send_shorthand(sender, shorthand, &message);
}

void lapic_bus_send_msi(void *bus, uint64_t address, uint32_t data)
{
    struct message message = {
        .delivery = (enum delivery)((data & LVT_DELIVERY) >> LVT_DELIVERY_SHIFT),
        .vector = (uint8_t)data,
        .logical = address & MSI_ADDRESS_LOGICAL,
        .level = data & MSI_DATA_LEVEL_TRIGGER,
        .destination = (uint32_t)bits_get(address, 19, 12),
    };

    if (address >> 20 != MSI_ADDRESS_TAG)
        return;
    if (message.delivery == DELIVERY_STARTUP || message.delivery == DELIVERY_RESERVED)
        return; /* not among those that a message may carry */
    if (message.level && !(data & MSI_DATA_LEVEL_ASSERT))
        return;
    if (message.delivery == DELIVERY_FIXED && address & MSI_ADDRESS_REDIRECTION_HINT)
        message.delivery = DELIVERY_LOWEST_PRIORITY;
    lapic_bus_deliver(bus, &message);
}

/* In ExtINT mode LINT0 follows the level (lapic_update); in the other modes the rising edge counts. */
void lapic_bus_set_intr(void *opaque, unsigned pin, bool level)
{
    struct lapic_bus *bus = opaque;
    bool rises = level && !bus->intr;

    (void)pin;
    bus->intr = level;
    for (unsigned i = 0; i < bus->count; i++) {
        if (rises)
            lapic_accept_local(&bus->lapics[i], LAPIC_LVT_LINT0);
        lapic_update(&bus->lapics[i]);
    }
}

void lapic_bus_pulse_lint1(struct lapic_bus *bus)
{
    for (unsigned i = 0; i < bus->count; i++)
        lapic_accept_local(&bus->lapics[i], LAPIC_LVT_LINT1);
}

void lapic_bus_init(struct lapic_bus *bus, struct machine *machine, const struct guest_tsc *tsc)
{
    *bus = (struct lapic_bus){
        .lock = &machine->lock,
        .timers = &machine->timers,
        .tsc = *tsc,
    };
}

/* "cpu/N/lapic", N < 100. */
static void lapic_name(struct lapic *lapic, unsigned index)
{
    char *at = lapic->path;

    memcpy(at, "cpu/", 4);
    at += 4;
    if (index >= 10)
        *at++ = (char)('0' + index / 10);
    *at++ = (char)('0' + index % 10);
    memcpy(at, "/lapic", sizeof("/lapic"));
}

void lapic_bus_populate(struct lapic_bus *bus, struct machine *machine, struct lapic *lapics)
{
    bus->lapics = lapics;
    bus->count = machine->cpu_count;
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        struct lapic *lapic = &lapics[i];

        memset(lapic, 0, sizeof(*lapic));
        lapic_name(lapic, i);
        lapic->device.type = &lapic_device_type;
        lapic->device.path = lapic->path;
        lapic->bus = bus;
        lapic->vcpu = machine->vcpus[i];
        lapic->vcpu->apic = lapic;
        lapic->vcpu->apic_ops = &lapic_apic_ops;
        lapic_timer_init(lapic);
        lapic_power_up(lapic);
        machine_add_device(machine, &lapic->device);
    }
}
