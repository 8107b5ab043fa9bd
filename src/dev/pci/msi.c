#include "dev/pci/msi.h"

#include "core/irq.h"
#include "dev/pci/bus.h"

enum {
    MSI_CONTROL = 2,
    MSI_ADDRESS_LOW = 4,
    MSI_ADDRESS_HIGH = 8,
    MSI_DATA = 12,
    MSI_SIZE = 14,
};

enum { MSI_CONTROL_ENABLE = 1 << 0, MSI_CONTROL_64 = 1 << 7 };

enum status pci_msi_add(struct pci_function *function)
{
    unsigned at = pci_function_add_capability(function, PCI_CAPABILITY_MSI, MSI_SIZE);

    if (at == 0)
        return STATUS_NO_MEMORY;
    function->msi_capability = (uint8_t)at;
    pci_function_define(function, at + MSI_CONTROL, 2, MSI_CONTROL_64, MSI_CONTROL_ENABLE);
    pci_function_define(function, at + MSI_ADDRESS_LOW, 4, 0, 0xfffffffc);
    pci_function_define(function, at + MSI_ADDRESS_HIGH, 4, 0, 0xffffffff);
    pci_function_define(function, at + MSI_DATA, 2, 0, 0xffff);
    return STATUS_OK;
}

bool pci_msi_enabled(const struct pci_function *function)
{
    return function->msi_capability &&
           pci_function_get(function, function->msi_capability + MSI_CONTROL, 2) & MSI_CONTROL_ENABLE;
}

void pci_msi_send(struct pci_function *function)
{
    unsigned at = function->msi_capability;
    uint64_t address;

    if (!pci_msi_enabled(function))
        return;
    address = pci_function_get(function, at + MSI_ADDRESS_LOW, 4);
    address |= (uint64_t)pci_function_get(function, at + MSI_ADDRESS_HIGH, 4) << 32;
    msi_send(&function->bus->msi, address, pci_function_get(function, at + MSI_DATA, 2));
}
