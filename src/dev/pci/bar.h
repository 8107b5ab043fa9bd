/* Where BARs are: inside the framework only (function.c, bus.c). Machine lock held. */
#ifndef LODGE_DEV_PCI_BAR_H
#define LODGE_DEV_PCI_BAR_H

#include <stdbool.h>

#include "dev/pci/function.h"

/* Moves each BAR to where the configuration space says; a BAR that finds its place taken becomes `blocked`. */
void pci_bars_update(struct pci_function *function);

/* Tries the blocked ones again. */
void pci_bars_retry(struct pci_function *function);

#endif
