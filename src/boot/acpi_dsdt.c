/*
 * The DSDT: devices that an operating system cannot find by looking, in AML.
 *
 *     \_SB
 *         BRD_        PNP0C02: PCI configuration space and the chipset's own ports
 *         PCI0        PNP0A08: windows, interrupt routing, _OSC
 *             ISA_    00:1f.0: timer, clock, serial ports, keyboard controller
 *         Cnnn        the processors
 *     \_S5            soft off
 */
#include "base/bits.h"
#include "boot/acpi.h"
#include "boot/acpi_dsdt.h"
#include "boot/acpi_table.h"
#include "boot/aml.h"

/* Also what its own devices have fixed, as dev/chipset has it. */
enum {
    PM_BASE = 0x600,
    PM_SIZE = 0x80,
    SMI_PORT = 0xb2,
    ISA_ADDRESS = 0x1f << 16, /* device 31, function 0 */
    SLP_TYP_S5 = 7,
};

static void dsdt_motherboard(struct aml *aml, const struct acpi_machine *machine)
{
    struct aml_resources resources = {0};

    aml_resource_memory_fixed(&resources, (uint32_t)machine->ecam.base, (uint32_t)machine->ecam.size);
    aml_resource_io(&resources, PM_BASE, PM_SIZE);
    aml_resource_io(&resources, SMI_PORT, 2);

    aml_open_device(aml, "BRD_");
    aml_name_eisa_id(aml, "_HID", "PNP0C02");
    aml_name_integer(aml, "_UID", 0);
    aml_name_resources(aml, "_CRS", &resources);
    aml_close(aml);
}

/* A device on the ISA bus with up to two port ranges. */
struct isa_device {
    const char *name;
    const char *id;
    uint8_t unit; /* _UID */
    int8_t irq;   /* -1: none */
    struct {
        uint16_t base;
        uint8_t size; /* 0: none */
    } ports[2];
};

static const struct isa_device isa_devices[] = {
    {"PIC_", "PNP0000", 0, 2, {{0x20, 2}, {0xa0, 2}}}, /* interrupt controllers */
    {"TIMR", "PNP0100", 0, 0, {{0x40, 4}}},            /* timer */
    {"SPKR", "PNP0800", 0, -1, {{0x61, 1}}},           /* its speaker gate */
    {"RTC_", "PNP0B00", 0, 8, {{0x70, 2}}},            /* real-time clock */
    {"KBD_", "PNP0303", 0, 1, {{0x60, 1}, {0x64, 1}}}, /* keyboard controller */
    {"COM1", "PNP0501", 1, 4, {{0x3f8, 8}}},           /* serial port */
};

static const struct isa_device isa_com2 = {"COM2", "PNP0501", 2, 3, {{0x2f8, 8}}};

static void dsdt_isa_device(struct aml *aml, const struct isa_device *device)
{
    struct aml_resources resources = {0};

    for (unsigned i = 0; i < ARRAY_LENGTH(device->ports); i++) {
        if (device->ports[i].size)
            aml_resource_io(&resources, device->ports[i].base, device->ports[i].size);
    }
    if (device->irq >= 0)
        aml_resource_irq(&resources, (unsigned)device->irq);

    aml_open_device(aml, device->name);
    aml_name_eisa_id(aml, "_HID", device->id);
    aml_name_integer(aml, "_UID", device->unit);
    aml_name_integer(aml, "_STA", 0xf); /* present, enabled, shown, working */
    aml_name_resources(aml, "_CRS", &resources);
    aml_close(aml);
}

static void dsdt_pci(struct aml *aml, const struct acpi_machine *machine)
{
    aml_open_device(aml, "PCI0");
    dsdt_pci_root(aml, machine);
    aml_open_device(aml, "ISA_");
    aml_name_integer(aml, "_ADR", ISA_ADDRESS);
    for (unsigned i = 0; i < ARRAY_LENGTH(isa_devices); i++)
        dsdt_isa_device(aml, &isa_devices[i]);
    if (machine->second_serial)
        dsdt_isa_device(aml, &isa_com2);
    aml_close(aml);
    aml_close(aml);
}

static void dsdt_fw_cfg(struct aml *aml)
{
    struct aml_resources resources = {0};

    aml_resource_io(&resources, 0x510, 12); /* selector, data, and DMA address at 0x514 */
    aml_open_device(aml, "FWCF");
    aml_name_string(aml, "_HID", "QEMU0002");
    aml_name_integer(aml, "_STA", 0xb); /* present, enabled, working, not shown */
    aml_name_resources(aml, "_CRS", &resources);
    aml_close(aml);
}

/* The MADT has the same unit numbers. */
static void dsdt_processor(struct aml *aml, unsigned index)
{
    static const char digits[] = "0123456789ABCDEF";
    const char name[] = {'C', digits[index >> 8 & 15], digits[index >> 4 & 15], digits[index & 15], 0};

    aml_open_device(aml, name);
    aml_name_string(aml, "_HID", "ACPI0007");
    aml_name_integer(aml, "_UID", index);
    aml_close(aml);
}

/* SLP_TYPa and SLP_TYPb of the soft-off state. */
static void dsdt_soft_off(struct aml *aml)
{
    aml_name(aml, "\\_S5_");
    aml_open_package(aml, 4);
    aml_integer(aml, SLP_TYP_S5);
    aml_integer(aml, SLP_TYP_S5);
    aml_integer(aml, 0);
    aml_integer(aml, 0);
    aml_close(aml);
}

enum status acpi_add_dsdt(struct acpi_tables *tables, const struct acpi_machine *machine, uint64_t *address)
{
    struct aml aml;
    size_t length = 0;

    acpi_begin(tables, "DSDT", 2); /* 64-bit integers */
    aml_init(&aml, tables->bytes + tables->length, tables->room - tables->length);
    dsdt_interrupt_model(&aml);
    aml_open_scope(&aml, "\\_SB_");
    dsdt_motherboard(&aml, machine);
    dsdt_pci(&aml, machine);
    if (machine->fw_cfg)
        dsdt_fw_cfg(&aml);
    for (unsigned i = 0; i < machine->cpus; i++)
        dsdt_processor(&aml, i);
    aml_close(&aml);
    dsdt_soft_off(&aml);

    enum status status = aml_finish(&aml, &length);
    if (status != STATUS_OK)
        return status;
    tables->length += length;
    *address = acpi_end(tables);
    return STATUS_OK;
}
