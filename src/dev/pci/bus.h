/*
 * PCI bus 0: the functions on it, and what they share (address spaces, interrupt wires, MSIs).
 *
 * Threads: construction before the machine runs; everything else with the machine lock held.
 */
#ifndef LODGE_DEV_PCI_BUS_H
#define LODGE_DEV_PCI_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/irq.h"
#include "dev/pci/function.h"

struct pci_bus {
    struct bus *address_spaces;
    struct msi_sink msi;
    struct irq_line pirq; /* pin n of its controller is PIRQ n (0 is A) */
    struct pci_function *functions[PCI_FUNCTIONS];
    uint16_t pirq_users[PCI_PIRQS]; /* how many pins hold the wire */
};

/* Where software may put BARs; ends are exclusive. */
struct pci_windows {
    uint64_t io_base, io_end;
    uint64_t memory32_base, memory32_end;
    uint64_t memory64_base, memory64_end;
};

void pci_bus_init(struct pci_bus *bus, struct bus *address_spaces, const struct msi_sink *msi,
                  const struct irq_line *pirq);

/* Configuration accesses of 1, 2 or 4 bytes to a function, 0..255. Nobody there: reads give all ones. */
uint32_t pci_bus_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size);
void pci_bus_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size, uint32_t value);

/*
 * The wire of a slot's interrupt pin (1 INTA .. 4 INTD), 0 PIRQA .. 7 PIRQH. Slots 25 and up, the
 * chipset's own, use A to D in order; the others rotate over E to H. ACPI's _PRT says the same.
 */
unsigned pci_bus_pirq(unsigned slot, unsigned pin);

/*
 * What firmware does before it starts an operating system: gives every BAR an address and turns
 * its decoding on. STATUS_NO_MEMORY (logged) if a window is too small.
 */
enum status pci_bus_assign(struct pci_bus *bus, const struct pci_windows *windows) MUST_CHECK;

/* For function.c. */
enum status pci_bus_attach(struct pci_bus *bus, struct pci_function *function, unsigned devfn) MUST_CHECK;
void pci_bus_drive_intx(struct pci_bus *bus, unsigned devfn, unsigned pin, bool level);
void pci_bus_retry_blocked(struct pci_bus *bus);

#endif
