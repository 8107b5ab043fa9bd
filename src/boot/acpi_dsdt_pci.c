/* The PCI root in AML: windows, interrupt routing, what the operating system may control. */
#include "boot/acpi.h"
#include "boot/acpi_dsdt.h"
#include "boot/aml.h"

enum { PCI_CONFIG = 0xcf8 };

#define INTERRUPT_MODEL "\\PICM"

static void dsdt_pci_windows(struct aml *aml, const struct acpi_machine *machine)
{
    struct aml_resources resources = {0};

    aml_resource_window(&resources, AML_WINDOW_BUS, 0, machine->ecam.size >> 20);
    aml_resource_io(&resources, PCI_CONFIG, 8);
    aml_resource_window(&resources, AML_WINDOW_IO, 0, PCI_CONFIG);
    aml_resource_window(&resources, AML_WINDOW_IO, PCI_CONFIG + 8, 0x10000 - PCI_CONFIG - 8);
    if (machine->pci.size)
        aml_resource_window(&resources, AML_WINDOW_MEMORY, machine->pci.base, machine->pci.size);
    if (machine->pci_64bit.size)
        aml_resource_window(&resources, AML_WINDOW_MEMORY, machine->pci_64bit.base, machine->pci_64bit.size);
    aml_name_resources(aml, "_CRS", &resources);
}

/* The interrupt of a slot's pin in either mode, or 0. */
static unsigned dsdt_pci_interrupt(const struct acpi_machine *machine, unsigned slot, unsigned pin, bool apic)
{
    unsigned gsi = machine->pci_gsi[slot][pin];

    if (apic || gsi == 0)
        return gsi;
    return gsi - ACPI_PIRQ_GSI < ACPI_PIRQS ? machine->pirq_irq[gsi - ACPI_PIRQ_GSI] : 0;
}

/* A table for _PRT: {slot << 16 | any function, pin, 0, interrupt}. */
static void dsdt_pci_routes(struct aml *aml, const struct acpi_machine *machine, const char *name, bool apic)
{
    unsigned entries = 0;

    for (unsigned i = 0; i < ACPI_PCI_SLOTS * ACPI_PCI_PINS; i++)
        entries += dsdt_pci_interrupt(machine, i / ACPI_PCI_PINS, i % ACPI_PCI_PINS, apic) != 0;

    aml_name(aml, name);
    aml_open_package(aml, entries);
    for (unsigned i = 0; i < ACPI_PCI_SLOTS * ACPI_PCI_PINS; i++) {
        unsigned slot = i / ACPI_PCI_PINS, pin = i % ACPI_PCI_PINS;
        unsigned interrupt = dsdt_pci_interrupt(machine, slot, pin, apic);

        if (interrupt == 0)
            continue;
        aml_open_package(aml, 4);
        aml_integer(aml, slot << 16 | 0xffff);
        aml_integer(aml, pin);
        aml_integer(aml, 0);
        aml_integer(aml, interrupt);
        aml_close(aml);
    }
    aml_close(aml);
}

/* _PRT answers for the interrupt controllers that the system has said it uses. */
static void dsdt_pci_interrupts(struct aml *aml, const struct acpi_machine *machine)
{
    dsdt_pci_routes(aml, machine, "PRTA", true);
    dsdt_pci_routes(aml, machine, "PRTP", false);
    aml_open_method(aml, "_PRT", 0, false);
    aml_open_if(aml);
    aml_path(aml, INTERRUPT_MODEL);
    aml_op(aml, AML_RETURN);
    aml_path(aml, "PRTA");
    aml_close(aml);
    aml_op(aml, AML_RETURN);
    aml_path(aml, "PRTP");
    aml_close(aml);
}

/* Method (_PIC, 1): 0 for the 8259A pair, 1 for the IOAPIC (ACPI 6.4, section 5.8.1). */
void dsdt_interrupt_model(struct aml *aml)
{
    aml_name_integer(aml, INTERRUPT_MODEL, 0);
    aml_open_method(aml, "\\_PIC", 1, false);
    aml_op(aml, AML_STORE);
    aml_op(aml, AML_ARG0);
    aml_path(aml, INTERRUPT_MODEL);
    aml_close(aml);
}

static void dsdt_dword_field(struct aml *aml, unsigned index, const char *name)
{
    aml_op(aml, AML_CREATE_DWORD_FIELD);
    aml_op(aml, AML_ARG3);
    aml_integer(aml, index);
    aml_path(aml, name);
}

/* name = name op value */
static void dsdt_update(struct aml *aml, uint8_t op, const char *name, uint64_t value)
{
    aml_op(aml, op);
    aml_path(aml, name);
    aml_integer(aml, value);
    aml_path(aml, name);
}

/*
 * Method (_OSC, 4): what the operating system may control itself (PCI Firmware Specification 3.2,
 * section 4.5.1). All but the hot-plug controller of old PCI: no firmware here would do it instead.
 */
static void dsdt_pci_osc(struct aml *aml)
{
    /* 33DB4D5B-1FF7-401C-9657-7441C03DD766, in the byte order of ToUUID(). */
    static const uint8_t uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
                                     0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
    enum { CONTROLS = 0x3d, UNRECOGNIZED_UUID = 0x04, UNRECOGNIZED_REVISION = 0x08 };

    aml_open_method(aml, "_OSC", 4, true);
    dsdt_dword_field(aml, 0, "CDW1");
    aml_open_if(aml);
    aml_op(aml, AML_LOGICAL_EQUAL);
    aml_op(aml, AML_ARG0);
    aml_buffer(aml, uuid, sizeof(uuid));
    {
        dsdt_dword_field(aml, 8, "CDW3");
        dsdt_update(aml, AML_AND, "CDW3", CONTROLS);
        aml_open_if(aml);
        aml_op(aml, AML_LOGICAL_NOT);
        aml_op(aml, AML_LOGICAL_EQUAL);
        aml_op(aml, AML_ARG1);
        aml_integer(aml, 1);
        dsdt_update(aml, AML_OR, "CDW1", UNRECOGNIZED_REVISION);
        aml_close(aml);
    }
    aml_close(aml);
    aml_open_else(aml);
    dsdt_update(aml, AML_OR, "CDW1", UNRECOGNIZED_UUID);
    aml_close(aml);
    aml_op(aml, AML_RETURN);
    aml_op(aml, AML_ARG3);
    aml_close(aml);
}

void dsdt_pci_root(struct aml *aml, const struct acpi_machine *machine)
{
    aml_name_eisa_id(aml, "_HID", "PNP0A08");
    aml_name_eisa_id(aml, "_CID", "PNP0A03");
    aml_name_integer(aml, "_UID", 0);
    aml_name_integer(aml, "_SEG", 0);
    aml_name_integer(aml, "_BBN", 0);
    dsdt_pci_windows(aml, machine);
    dsdt_pci_interrupts(aml, machine);
    dsdt_pci_osc(aml);
}
