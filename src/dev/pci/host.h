/*
 * The host bridge of the Q35 chipset, 8086:29C0 at 00:00.0, and the ways to configuration space:
 * ports 0xCF8/0xCFC (PCI 3.0, 3.2.2.3.2) and, once software has set PCIEXBAR, the memory-mapped
 * window (ECAM). Data sheet: Intel 3 Series Express Chipset (316966).
 *
 * Registers for memory that this machine does not remap (PAM, TOLUD and their like) keep what is
 * written where firmware checks it, without further effect.
 */
#ifndef LODGE_DEV_PCI_HOST_H
#define LODGE_DEV_PCI_HOST_H

#include <stdint.h>

#include "core/device.h"
#include "dev/pci/bus.h"
#include "dev/pci/function.h"

enum { PCI_HOST_DEVFN = PCI_DEVFN(0, 0), PCI_HOST_PCIEXBAR = 0x60 };

/* PCIEXBAR: enabled, 256 MiB, at an address. */
#define PCI_HOST_PCIEXBAR_ENABLE 1ull

struct pci_host_state {
    struct pci_state pci;
    uint32_t config_address; /* CONFIG_ADDRESS, port 0xCF8 */
};

/*
 * The reset control register is a byte in the middle of CONFIG_ADDRESS (port 0xCF9): byte accesses
 * there belong to it. Members may be NULL. Any vCPU thread, machine lock held.
 */
struct pci_host_reset_control {
    uint8_t (*read)(void *context);
    void (*write)(void *context, uint8_t value);
    void *context;
};

struct pci_host {
    struct device device;
    struct pci_function function;
    struct pci_bus bus;
    struct pci_host_reset_control reset_control;
    struct region config_address, config_data, ecam;
    struct pci_host_state state;
};

/* Makes the bus and puts the bridge on it. Path "pci/00:00.0". Everything is borrowed. Errors: as bus_add(). */
enum status pci_host_init(struct pci_host *host, struct bus *address_spaces, const struct msi_sink *msi,
                          const struct irq_line *pirq, const struct pci_host_reset_control *reset_control) MUST_CHECK;

#endif
