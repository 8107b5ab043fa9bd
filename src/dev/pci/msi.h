/* Message-signalled interrupts, one vector, 64-bit address (PCI 3.0, 6.8.1). Machine lock held. */
#ifndef LODGE_DEV_PCI_MSI_H
#define LODGE_DEV_PCI_MSI_H

#include <stdbool.h>

#include "dev/pci/function.h"

/* Adds the capability. At construction, before pci_function_register(). STATUS_NO_MEMORY: no room (logged). */
enum status pci_msi_add(struct pci_function *function) MUST_CHECK;

/* Has software chosen MSI over the pin? */
bool pci_msi_enabled(const struct pci_function *function);

/* Sends the message, if enabled. */
void pci_msi_send(struct pci_function *function);

#endif
