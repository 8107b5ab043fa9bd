#include "dev/pci/bar.h"

#include "base/bits.h"
#include "dev/pci/bus.h"
#include "port/log.h"

enum { IO_FLAG_BITS = 2, MEMORY_FLAG_BITS = 4, IO_SPACE = 0x10000, IO_LARGEST = 256 };

/* What a guest could reach: more than any processor's physical address is no place. */
#define MEMORY_SPACE (1ull << 52)

static unsigned bar_register(unsigned number)
{
    return PCI_BAR0 + 4 * number;
}

static bool bar_possible(const struct pci_function *function, unsigned number, enum pci_bar_kind kind, uint64_t size)
{
    unsigned slots = kind == PCI_BAR_KIND_MEMORY64 ? 2 : 1;
    uint64_t least = kind == PCI_BAR_KIND_IO ? 1u << IO_FLAG_BITS : 1u << MEMORY_FLAG_BITS;
    uint64_t most = kind == PCI_BAR_KIND_IO ? IO_LARGEST : kind == PCI_BAR_KIND_MEMORY32 ? 1ull << 31 : 1ull << 48;

    if (kind == PCI_BAR_KIND_NONE || !range_inside(number, slots, PCI_BARS))
        return false;
    for (unsigned i = 0; i < slots; i++)
        if (function->bars[number + i].kind != PCI_BAR_KIND_NONE)
            return false;
    if (number > 0 && function->bars[number - 1].kind == PCI_BAR_KIND_MEMORY64)
        return false;
    return size >= least && size <= most && (size & (size - 1)) == 0;
}

enum status pci_function_add_bar(struct pci_function *function, unsigned number, enum pci_bar_kind kind, uint64_t size,
                                 const char *name, unsigned region_number, uint8_t smallest, uint8_t largest)
{
    uint64_t writable = ~(size - 1);
    uint32_t flags = kind == PCI_BAR_KIND_IO ? PCI_BAR_IO : kind == PCI_BAR_KIND_MEMORY64 ? PCI_BAR_64 : 0;

    if (!bar_possible(function, number, kind, size)) {
        log_error("pci: %s cannot have a BAR %u of %llu bytes", function->device->path, number,
                  (unsigned long long)size);
        return STATUS_INVALID;
    }
    function->bars[number] = (struct pci_bar){
        .kind = kind,
        .region =
            {
                .name = name,
                .space = kind == PCI_BAR_KIND_IO ? BUS_PORT : BUS_MEMORY,
                .size = size,
                .smallest = smallest,
                .largest = largest,
                .device = function->device,
                .index = region_number,
            },
    };
    pci_function_define(function, bar_register(number), 4, flags, (uint32_t)writable);
    if (kind == PCI_BAR_KIND_MEMORY64)
        pci_function_define(function, bar_register(number + 1), 4, 0, (uint32_t)(writable >> 32));
    return STATUS_OK;
}

static uint64_t bar_address(const struct pci_function *function, unsigned number)
{
    uint64_t low = pci_function_get(function, bar_register(number), 4);

    switch (function->bars[number].kind) {
    case PCI_BAR_KIND_IO:
        return low & ~bits_mask(IO_FLAG_BITS);
    case PCI_BAR_KIND_MEMORY64:
        low |= (uint64_t)pci_function_get(function, bar_register(number + 1), 4) << 32;
        return low & ~bits_mask(MEMORY_FLAG_BITS);
    case PCI_BAR_KIND_MEMORY32:
    case PCI_BAR_KIND_NONE:
        break;
    }
    return low & ~bits_mask(MEMORY_FLAG_BITS);
}

/* Does the function answer at this address? Zero is where a BAR is that nobody has placed. */
static bool bar_decodes(const struct pci_function *function, const struct pci_bar *bar, uint64_t address)
{
    bool io = bar->kind == PCI_BAR_KIND_IO;
    uint32_t enable = io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

    if (!(pci_function_get(function, PCI_COMMAND, 2) & enable) || address == 0)
        return false;
    return range_inside(address, bar->region.size, io ? IO_SPACE : MEMORY_SPACE);
}

static void bar_place(struct pci_function *function, struct pci_bar *bar, uint64_t address, bool enabled)
{
    enum status status = bus_place(function->bus->address_spaces, &bar->region, enabled ? address : 0, enabled);

    bar->blocked = enabled && status != STATUS_OK;
}

void pci_bars_update(struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &function->bars[i];
        uint64_t address = bar_address(function, i);
        bool decodes = bar->kind != PCI_BAR_KIND_NONE && bar_decodes(function, bar, address);

        if (decodes != bar->region.enabled || bar->blocked || (decodes && address != bar->region.base))
            bar_place(function, bar, address, decodes);
    }
}

void pci_bars_retry(struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (function->bars[i].blocked)
            bar_place(function, &function->bars[i], bar_address(function, i), true);
}
