/*
 * The ACPI tables of board q35-1 (ACPI 6.4): RSDP, XSDT, FADT, FACS, DSDT, MADT, MCFG. They say
 * what is wired where, so they must agree with dev/ and board/; a unit test holds them together.
 */
#ifndef LODGE_BOOT_ACPI_H
#define LODGE_BOOT_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct table_loader;

enum { ACPI_CPUS = 255, ACPI_PCI_SLOTS = 32, ACPI_PCI_PINS = 4, ACPI_PIRQS = 8, ACPI_PIRQ_GSI = 16 };

struct acpi_window {
    uint64_t base;
    uint64_t size; /* bytes; 0: there is none */
};

/* What differs from one machine to the next. acpi_machine_init() gives the board's values. */
struct acpi_machine {
    unsigned cpus;                                  /* 1..ACPI_CPUS; APIC identifiers 0..cpus-1 */
    struct acpi_window ecam;                        /* of segment 0; 1 MiB a bus */
    struct acpi_window pci;                         /* where BARs may be, below 4 GiB */
    struct acpi_window pci_64bit;                   /* and above RAM */
    uint8_t pci_gsi[ACPI_PCI_SLOTS][ACPI_PCI_PINS]; /* IOAPIC input of INTA..INTD of each slot; 0: not wired */
    uint8_t pirq_irq[ACPI_PIRQS];                   /* where the 8259A pair gets IOAPIC inputs 16..23, PIRQA..PIRQH */
    bool second_serial;                             /* COM2 */
    bool fw_cfg;
};

/*
 * Board q35-1 with its fixed windows, no 64-bit window, one serial port and fw_cfg. PCI interrupts
 * as dev/pci wires the root bus (pci_bus_pirq), PIRQA on IOAPIC input 16.
 */
void acpi_machine_init(struct acpi_machine *machine, unsigned cpus);

/*
 * Builds all tables into to[0..room), which will be seen by the guest at physical address `address`
 * (below 4 GiB, page-aligned). The RSDP is first. *used: bytes written. STATUS_INVALID or
 * STATUS_NO_MEMORY, logged.
 */
enum status acpi_build(const struct acpi_machine *machine, void *to, size_t room, uint64_t address,
                       size_t *used) MUST_CHECK;

/*
 * The same for firmware to place: the tables as the contents of a file ACPI_LOADER_TABLES, the root pointer as those of
 * ACPI_LOADER_RSDP, and the script that puts them together, to `loader`, which has room. *used: bytes of the tables.
 */
#define ACPI_LOADER_TABLES "etc/acpi/tables"
#define ACPI_LOADER_RSDP "etc/acpi/rsdp"
enum { ACPI_RSDP_SIZE = 36 };

enum status acpi_build_loader(const struct acpi_machine *machine, void *to, size_t room, size_t *used,
                              uint8_t rsdp[ACPI_RSDP_SIZE], struct table_loader *loader) MUST_CHECK;

#endif
