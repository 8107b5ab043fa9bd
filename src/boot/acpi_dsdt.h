/* Parts of the DSDT that have a file of their own (acpi_dsdt_pci.c). Private to boot/. */
#ifndef LODGE_BOOT_ACPI_DSDT_H
#define LODGE_BOOT_ACPI_DSDT_H

struct acpi_machine;
struct aml;

/* Method (\_PIC, 1) and the object that it sets; at the top of the name space. */
void dsdt_interrupt_model(struct aml *aml);

/* What belongs to the PCI root itself, into the open device. */
void dsdt_pci_root(struct aml *aml, const struct acpi_machine *machine);

#endif
