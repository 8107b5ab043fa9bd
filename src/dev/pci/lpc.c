#include "dev/pci/lpc.h"

#include "base/bits.h"
#include "base/memory.h"

enum {
    GPIOBASE = 0x48,
    GPIO_CNTL = 0x4c,
    SIRQ_CNTL = 0x64,
    LPC_IO_DECODE = 0x80, /* and LPC_EN, GEN1_DEC .. GEN4_DEC up to 0x93 */
    LPC_IO_DECODE_END = 0x94,
    GEN_PMCON_1 = 0xa0,
    GEN_PMCON_3 = 0xa4,
    BIOS_CNTL = 0xdc,
    RCBA = 0xf0,
};

enum {
    PMBASE_IO = 1, /* bit 0 of an I/O base, always set */
    PMBASE_WRITABLE = 0xff80,
    ACPI_CNTL_SCI = 0x07,
    ACPI_CNTL_WRITABLE = LPC_ACPI_CNTL_ENABLE | ACPI_CNTL_SCI,
    PIRQ_ROUT_IRQ = 0x0f,
    PIRQ_ROUT_WRITABLE = LPC_PIRQ_ROUT_DISABLE | PIRQ_ROUT_IRQ,
    PIRQ_ROUTABLE = 0xdef8, /* ISA IRQs 3-7, 9-12, 14, 15 */
};

#define ISA_IRQS 0xffffu
#define ACPI_BASE_UNKNOWN 0xffff /* no base ends like this: the first reset tells place_acpi() */

#define RCBA_WRITABLE 0xffffc001u

static const struct state_field lpc_fields[] = {
    PCI_STATE_FIELDS(struct lpc_state, pci, 1),
    STATE_SCALAR(struct lpc_state, sci, 1),
};

static bool lpc_valid(const void *candidate)
{
    return ((const struct lpc_state *)candidate)->sci <= 1;
}

static const struct state_schema lpc_schema = {
    .name = "ich9-lpc",
    .version = 1,
    .fields = lpc_fields,
    .field_count = ARRAY_LENGTH(lpc_fields),
    .size = sizeof(struct lpc_state),
    .valid = lpc_valid,
};

static unsigned pirq_rout_register(unsigned pirq)
{
    return pirq < 4 ? LPC_PIRQA_ROUT + pirq : LPC_PIRQE_ROUT + pirq - 4u;
}

/* Tells the pins whose level has changed. At most 24 pins. */
static void drive(const struct irq_line *to, uint32_t levels, uint32_t *driven)
{
    uint32_t changed = levels ^ *driven;
    struct irq_line line = *to;

    *driven = levels;
    for (line.pin = 0; changed >> line.pin; line.pin++)
        if (changed & BIT(line.pin))
            irq_set(&line, levels & BIT(line.pin));
}

/* The ISA IRQs that asserted PIRQs are routed to (13.1.17): only the 8259A sees those. */
static uint32_t lpc_routed(const struct lpc *lpc)
{
    uint32_t routed = 0;

    for (unsigned pirq = 0; pirq < PCI_PIRQS; pirq++) {
        uint32_t rout = pci_function_get(&lpc->function, pirq_rout_register(pirq), 1);

        if (lpc->pirq_levels & BIT(pirq) && !(rout & LPC_PIRQ_ROUT_DISABLE))
            routed |= BIT(rout & PIRQ_ROUT_IRQ);
    }
    return routed & PIRQ_ROUTABLE;
}

/* ACPI_CNTL, SCI IRQ select (13.1.4): an ISA IRQ, or an IOAPIC pin that a PIRQ may hold too. */
static uint32_t lpc_sci(const struct lpc *lpc)
{
    static const uint8_t pins[ACPI_CNTL_SCI + 1] = {9, 10, 11, 9, 20, 21, 22, 23};

    if (!lpc->state.sci)
        return 0;
    return BIT(pins[pci_function_get(&lpc->function, LPC_ACPI_CNTL, 1) & ACPI_CNTL_SCI]);
}

static void lpc_drive(struct lpc *lpc)
{
    uint32_t sci = lpc_sci(lpc);

    drive(&lpc->wiring.ioapic, (uint32_t)lpc->pirq_levels << LPC_FIRST_PIRQ_PIN | (sci & ~ISA_IRQS),
          &lpc->ioapic_driven);
    drive(&lpc->wiring.pic, lpc_routed(lpc), &lpc->pic_driven);
    drive(&lpc->wiring.isa, sci & ISA_IRQS, &lpc->isa_driven);
}

void lpc_set_pirq(void *opaque, unsigned pin, bool level)
{
    struct lpc *lpc = opaque;

    if (pin >= PCI_PIRQS)
        return;
    if (level)
        lpc->pirq_levels |= (uint8_t)BIT(pin);
    else
        lpc->pirq_levels &= (uint8_t)~BIT(pin);
    lpc_drive(lpc);
}

void lpc_set_sci(void *opaque, unsigned pin, bool level)
{
    struct lpc *lpc = opaque;

    (void)pin;
    lpc->state.sci = level;
    lpc_drive(lpc);
}

static void lpc_place_acpi(struct lpc *lpc)
{
    uint16_t base = (uint16_t)(pci_function_get(&lpc->function, LPC_PMBASE, 2) & PMBASE_WRITABLE);

    if (!(pci_function_get(&lpc->function, LPC_ACPI_CNTL, 1) & LPC_ACPI_CNTL_ENABLE))
        base = 0;
    if (base == lpc->acpi_base)
        return;
    lpc->acpi_base = base;
    if (lpc->wiring.place_acpi)
        lpc->wiring.place_acpi(lpc->wiring.context, base, base != 0);
}

static void lpc_settle(struct lpc *lpc)
{
    lpc_place_acpi(lpc);
    lpc_drive(lpc);
}

static void lpc_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    (void)offset;
    (void)size;
    lpc_settle(CONTAINER_OF(function, struct lpc, function));
}

/* The wires keep the levels that their drivers give them. */
static void lpc_reset(struct device *device)
{
    struct lpc *lpc = CONTAINER_OF(device, struct lpc, device);

    pci_function_reset(&lpc->function);
    lpc_settle(lpc);
}

static void lpc_resume(struct device *device)
{
    struct lpc *lpc = CONTAINER_OF(device, struct lpc, device);

    pci_function_resume(&lpc->function);
    lpc_settle(lpc);
}

static const struct device_type lpc_type = {
    .name = "ich9-lpc",
    .schema = &lpc_schema,
    .state_offset = offsetof(struct lpc, state),
    .reset = lpc_reset,
    .resume = lpc_resume,
};

static void lpc_define(struct lpc *lpc)
{
    static const struct pci_function_ops ops = {.config_written = lpc_config_written};
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x2918,
        .class_code = 0x060100,
        .revision = 2,
    };
    struct pci_function *function = &lpc->function;

    pci_function_init(function, &lpc->device, &lpc->state.pci, &identity, &ops);
    pci_function_define(function, PCI_HEADER_TYPE, 1, PCI_HEADER_MULTI_FUNCTION, 0);
    pci_function_define(function, LPC_PMBASE, 4, PMBASE_IO, PMBASE_WRITABLE);
    pci_function_define(function, LPC_ACPI_CNTL, 1, 0, ACPI_CNTL_WRITABLE);
    pci_function_define(function, GPIOBASE, 4, PMBASE_IO, PMBASE_WRITABLE);
    pci_function_define(function, GPIO_CNTL, 1, 0, 0x10);
    for (unsigned pirq = 0; pirq < PCI_PIRQS; pirq++)
        pci_function_define(function, pirq_rout_register(pirq), 1, LPC_PIRQ_ROUT_DISABLE, PIRQ_ROUT_WRITABLE);
    pci_function_define(function, SIRQ_CNTL, 1, 0x10, 0xff);
    for (unsigned at = LPC_IO_DECODE; at < LPC_IO_DECODE_END; at++)
        pci_function_define(function, at, 1, 0, 0xff);
    pci_function_define(function, GEN_PMCON_1, 2, 0, 0xffff);
    pci_function_define(function, GEN_PMCON_3, 1, 0, 0xff);
    pci_function_define(function, BIOS_CNTL, 1, 0, 0x03);
    pci_function_define(function, RCBA, 4, 0, RCBA_WRITABLE);
}

enum status lpc_init(struct lpc *lpc, struct pci_bus *bus, const struct lpc_wiring *wiring)
{
    memset(lpc, 0, sizeof(*lpc));
    lpc->device.type = &lpc_type;
    lpc->device.path = "pci/00:1f.0";
    lpc->wiring = *wiring;
    lpc->acpi_base = ACPI_BASE_UNKNOWN;
    lpc_define(lpc);
    return pci_function_register(&lpc->function, bus, LPC_DEVFN);
}
