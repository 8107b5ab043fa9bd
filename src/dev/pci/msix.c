#include "dev/pci/msix.h"

#include "base/bits.h"
#include "base/memory.h"
#include "core/irq.h"
#include "dev/pci/bus.h"
#include "port/log.h"

enum {
    MSIX_CONTROL = 2,
    MSIX_TABLE = 4,
    MSIX_PBA = 8,
    MSIX_SIZE = 12,
    MSIX_CONTROL_ENABLE = 1 << 15,
    MSIX_CONTROL_MASK_ALL = 1 << 14,
};

/* The BAR: table, then pending bits. */
enum {
    ENTRY_SIZE = 16,
    ENTRY_ADDRESS_LOW = 0,
    ENTRY_ADDRESS_HIGH = 4,
    ENTRY_DATA = 8,
    ENTRY_CONTROL = 12,
    ENTRY_CONTROL_MASK = 1 << 0,
    PBA_OFFSET = PCI_MSIX_VECTORS * ENTRY_SIZE,
    BAR_SIZE = 2 * PBA_OFFSET,
};

enum status pci_msix_add(struct pci_function *function, struct pci_msix *msix, struct pci_msix_state *state,
                         unsigned vectors, unsigned bar)
{
    enum status status;
    unsigned at;

    if (vectors == 0 || vectors > PCI_MSIX_VECTORS) {
        log_error("pci: %s cannot have %u MSI-X vectors; 1 to %u are possible", function->device->path, vectors,
                  (unsigned)PCI_MSIX_VECTORS);
        return STATUS_INVALID;
    }
    status = pci_function_add_bar(function, bar, PCI_BAR_KIND_MEMORY64, BAR_SIZE, "msix", PCI_REGION_MSIX, 4, 4);
    if (status != STATUS_OK)
        return status;
    at = pci_function_add_capability(function, PCI_CAPABILITY_MSIX, MSIX_SIZE);
    if (at == 0)
        return STATUS_NO_MEMORY;
    pci_function_define(function, at + MSIX_CONTROL, 2, vectors - 1, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
    pci_function_define(function, at + MSIX_TABLE, 4, bar, 0);
    pci_function_define(function, at + MSIX_PBA, 4, PBA_OFFSET | bar, 0);
    *msix = (struct pci_msix){.state = state, .vectors = vectors, .capability = at};
    function->msix = msix;
    pci_msix_reset(function);
    return STATUS_OK;
}

static uint32_t msix_control(const struct pci_function *function)
{
    return pci_function_get(function, function->msix->capability + MSIX_CONTROL, 2);
}

bool pci_msix_enabled(const struct pci_function *function)
{
    return function->msix && msix_control(function) & MSIX_CONTROL_ENABLE;
}

void pci_msix_send(struct pci_function *function, unsigned vector)
{
    const struct pci_msix *msix = function->msix;
    const struct pci_msix_entry *entry;

    if (!pci_msix_enabled(function) || vector >= msix->vectors)
        return;
    entry = &msix->state->table[vector];
    if (msix_control(function) & MSIX_CONTROL_MASK_ALL || entry->control & ENTRY_CONTROL_MASK) {
        msix->state->pending[vector / 32] |= BIT(vector % 32);
        return;
    }
    msi_send(&function->bus->msi, entry->address, entry->data);
}

/* Sends what waited and is masked no longer. */
void pci_msix_settle(struct pci_function *function)
{
    const struct pci_msix *msix = function->msix;

    if (!pci_msix_enabled(function))
        return;
    for (unsigned word = 0; word < ARRAY_LENGTH(msix->state->pending); word++) {
        uint32_t waiting = msix->state->pending[word];

        msix->state->pending[word] = 0;
        for (; waiting; waiting &= waiting - 1)
            pci_msix_send(function, 32 * word + (unsigned)__builtin_ctz(waiting));
    }
}

void pci_msix_reset(struct pci_function *function)
{
    struct pci_msix_state *state = function->msix->state;

    memset(state, 0, sizeof(*state));
    for (unsigned i = 0; i < PCI_MSIX_VECTORS; i++)
        state->table[i].control = ENTRY_CONTROL_MASK;
}

static uint32_t msix_read_entry(const struct pci_msix_entry *entry, unsigned field)
{
    switch (field) {
    case ENTRY_ADDRESS_LOW:
        return (uint32_t)entry->address;
    case ENTRY_ADDRESS_HIGH:
        return (uint32_t)(entry->address >> 32);
    case ENTRY_DATA:
        return entry->data;
    default:
        return entry->control;
    }
}

static void msix_write_entry(struct pci_msix_entry *entry, unsigned field, uint32_t value)
{
    switch (field) {
    case ENTRY_ADDRESS_LOW:
        entry->address = (entry->address & ~0xffffffffull) | (value & ~3u);
        break;
    case ENTRY_ADDRESS_HIGH:
        entry->address = (entry->address & 0xffffffff) | (uint64_t)value << 32;
        break;
    case ENTRY_DATA:
        entry->data = value;
        break;
    default:
        entry->control = value & ENTRY_CONTROL_MASK;
        break;
    }
}

/* Aligned accesses of 4 bytes. Pending bits are read-only; entries beyond `vectors` are not there. */
enum io_result pci_msix_io(struct pci_function *function, struct io_access *access)
{
    const struct pci_msix *msix = function->msix;
    uint64_t index = access->offset / ENTRY_SIZE, word = (access->offset - PBA_OFFSET) / 4;
    unsigned field = access->offset % ENTRY_SIZE;

    if (index < msix->vectors && access->write) {
        msix_write_entry(&msix->state->table[index], field, (uint32_t)access->value);
        pci_msix_settle(function);
    } else if (index < msix->vectors) {
        access->value = msix_read_entry(&msix->state->table[index], field);
    } else if (access->offset >= PBA_OFFSET && word < ARRAY_LENGTH(msix->state->pending) && !access->write) {
        access->value = msix->state->pending[word];
    } else if (!access->write) {
        access->value = 0;
    }
    return IO_DONE;
}
