#include "dev/pci/bus.h"

#include "base/bits.h"
#include "base/memory.h"
#include "dev/pci/bar.h"
#include "port/log.h"

enum { CHIPSET_FIRST_SLOT = 25, PIRQE = 4, PINS = 4 };

void pci_bus_init(struct pci_bus *bus, struct bus *address_spaces, const struct msi_sink *msi,
                  const struct irq_line *pirq)
{
    memset(bus, 0, sizeof(*bus));
    bus->address_spaces = address_spaces;
    bus->msi = *msi;
    bus->pirq = *pirq;
}

enum status pci_bus_attach(struct pci_bus *bus, struct pci_function *function, unsigned devfn)
{
    if (devfn >= PCI_FUNCTIONS) {
        log_error("pci: %s: there is no device and function number 0x%x", function->device->path, devfn);
        return STATUS_INVALID;
    }
    if (bus->functions[devfn]) {
        log_error("pci: %s and %s both want 00:%02x.%u", function->device->path, bus->functions[devfn]->device->path,
                  PCI_SLOT(devfn), devfn & 7);
        return STATUS_EXISTS;
    }
    function->bus = bus;
    function->devfn = (uint8_t)devfn;
    bus->functions[devfn] = function;
    return STATUS_OK;
}

uint32_t pci_bus_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size)
{
    struct pci_function *function = devfn < PCI_FUNCTIONS ? bus->functions[devfn] : NULL;

    return function ? pci_function_config_read(function, offset, size) : (uint32_t)bits_mask(8 * size);
}

void pci_bus_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size, uint32_t value)
{
    struct pci_function *function = devfn < PCI_FUNCTIONS ? bus->functions[devfn] : NULL;

    if (function)
        pci_function_config_write(function, offset, size, value);
}

unsigned pci_bus_pirq(unsigned slot, unsigned pin)
{
    if (slot >= CHIPSET_FIRST_SLOT)
        return (pin - 1) % PINS;
    return PIRQE + (slot + pin - 1) % PINS;
}

void pci_bus_drive_intx(struct pci_bus *bus, unsigned devfn, unsigned pin, bool level)
{
    unsigned pirq = pci_bus_pirq(PCI_SLOT(devfn), pin);
    uint16_t *users = &bus->pirq_users[pirq];
    struct irq_line line = bus->pirq;

    *users = (uint16_t)(level ? *users + 1 : *users - 1);
    line.pin = pirq;
    irq_set(&line, *users > 0);
}

void pci_bus_retry_blocked(struct pci_bus *bus)
{
    for (unsigned i = 0; i < PCI_FUNCTIONS; i++)
        if (bus->functions[i])
            pci_bars_retry(bus->functions[i]);
}

/* The next free place of this size; 0: none. */
static uint64_t window_take(uint64_t *next, uint64_t end, uint64_t size)
{
    uint64_t base = align_up(*next, size);

    if (base < *next || !range_inside(base, size, end))
        return 0;
    *next = base + size;
    return base;
}

static uint64_t windows_take(struct pci_windows *free, const struct pci_bar *bar)
{
    uint64_t size = bar->region.size, base;

    if (bar->kind == PCI_BAR_KIND_IO)
        return window_take(&free->io_base, free->io_end, size);
    base = window_take(&free->memory32_base, free->memory32_end, size);
    if (base == 0 && bar->kind == PCI_BAR_KIND_MEMORY64)
        base = window_take(&free->memory64_base, free->memory64_end, size);
    return base;
}

static enum status function_assign(struct pci_function *function, struct pci_windows *free)
{
    uint32_t enable = 0;

    for (unsigned i = 0; i < PCI_BARS; i++) {
        const struct pci_bar *bar = &function->bars[i];
        unsigned at = PCI_BAR0 + 4 * i;
        uint64_t base;

        if (bar->kind == PCI_BAR_KIND_NONE)
            continue;
        base = windows_take(free, bar);
        if (base == 0) {
            log_error("pci: no room for BAR %u of %s, %llu bytes", i, function->device->path,
                      (unsigned long long)bar->region.size);
            return STATUS_NO_MEMORY;
        }
        pci_function_config_write(function, at, 4, (uint32_t)base);
        if (bar->kind == PCI_BAR_KIND_MEMORY64)
            pci_function_config_write(function, at + 4, 4, (uint32_t)(base >> 32));
        enable |= bar->kind == PCI_BAR_KIND_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    }
    pci_function_config_write(function, PCI_COMMAND, 2, pci_function_get(function, PCI_COMMAND, 2) | enable);
    return STATUS_OK;
}

enum status pci_bus_assign(struct pci_bus *bus, const struct pci_windows *windows)
{
    struct pci_windows free = *windows;
    enum status status = STATUS_OK;

    for (unsigned i = 0; i < PCI_FUNCTIONS && status == STATUS_OK; i++)
        if (bus->functions[i])
            status = function_assign(bus->functions[i], &free);
    return status;
}
