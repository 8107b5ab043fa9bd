/*
 * MSI-X (PCI 3.0, 6.8.2): a table of messages and their pending bits, in a BAR of their own.
 *
 * A model that wants it embeds a struct pci_msix, puts a struct pci_msix_state into its state
 * struct, and passes accesses to region PCI_REGION_MSIX on to pci_msix_io(). Machine lock held.
 */
#ifndef LODGE_DEV_PCI_MSIX_H
#define LODGE_DEV_PCI_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "core/device.h"
#include "dev/pci/function.h"

enum { PCI_MSIX_VECTORS = 128, PCI_REGION_MSIX = 0xff };

struct pci_msix_entry {
    uint64_t address;
    uint32_t data;
    uint32_t control; /* bit 0: masked */
};

struct pci_msix_state {
    struct pci_msix_entry table[PCI_MSIX_VECTORS];
    uint32_t pending[PCI_MSIX_VECTORS / 32];
};

#define PCI_MSIX_STATE_FIELDS(type, member, version)                                                                   \
    STATE_MEMBERS(type, member.table, address, version), STATE_MEMBERS(type, member.table, data, version),             \
        STATE_MEMBERS(type, member.table, control, version), STATE_ARRAY(type, member.pending, version)

struct pci_msix {
    struct pci_msix_state *state;
    unsigned vectors;
    unsigned capability;
};

/*
 * Adds the capability and a 64-bit BAR (`bar` and the next). vectors: 1..PCI_MSIX_VECTORS. At construction,
 * before pci_function_register(). STATUS_INVALID or STATUS_NO_MEMORY (logged).
 */
enum status pci_msix_add(struct pci_function *function, struct pci_msix *msix, struct pci_msix_state *state,
                         unsigned vectors, unsigned bar) MUST_CHECK;

/* Has software chosen MSI-X over the pin? */
bool pci_msix_enabled(const struct pci_function *function);

/* Sends a vector's message, or notes it as pending while it is masked. Vectors that are not there are ignored. */
void pci_msix_send(struct pci_function *function, unsigned vector);

/* An access to region PCI_REGION_MSIX. */
enum io_result pci_msix_io(struct pci_function *function, struct io_access *access);

/* For function.c: power-on state; what follows from a changed message control register. */
void pci_msix_reset(struct pci_function *function);
void pci_msix_settle(struct pci_function *function);

#endif
