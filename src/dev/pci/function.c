#include "dev/pci/function.h"

#include "base/bits.h"
#include "base/memory.h"
#include "dev/pci/bar.h"
#include "dev/pci/bus.h"
#include "dev/pci/msix.h"
#include "port/log.h"

enum { CAPABILITY_HEADER = 2, CAPABILITY_ALIGNMENT = 4 };

void pci_function_define(struct pci_function *function, unsigned offset, unsigned size, uint32_t power_on,
                         uint32_t writable)
{
    store_le(&function->power_on[offset], size, power_on);
    store_le(&function->writable[offset], size, writable);
}

void pci_function_init(struct pci_function *function, struct device *device, struct pci_state *state,
                       const struct pci_identity *identity, const struct pci_function_ops *ops)
{
    memset(function, 0, sizeof(*function));
    function->device = device;
    function->state = state;
    function->ops = ops;
    function->capability_end = PCI_HEADER_END;
    pci_function_define(function, PCI_VENDOR_ID, 2, identity->vendor, 0);
    pci_function_define(function, PCI_DEVICE_ID, 2, identity->device, 0);
    pci_function_define(function, PCI_COMMAND, 2, 0, PCI_COMMAND_WRITABLE);
    pci_function_define(function, PCI_REVISION_ID, 4, identity->class_code << 8 | identity->revision, 0);
    pci_function_define(function, PCI_CACHE_LINE_SIZE, 1, 0, 0xff);
    pci_function_define(function, PCI_SUBSYSTEM_VENDOR_ID, 2, identity->subsystem_vendor, 0);
    pci_function_define(function, PCI_SUBSYSTEM_ID, 2, identity->subsystem, 0);
}

void pci_function_set_pin(struct pci_function *function, unsigned pin)
{
    pci_function_define(function, PCI_INTERRUPT_PIN, 1, pin, 0);
    pci_function_define(function, PCI_INTERRUPT_LINE, 1, 0, 0xff);
}

unsigned pci_function_add_capability(struct pci_function *function, unsigned identifier, unsigned size)
{
    unsigned offset = function->capability_end;
    unsigned end = (unsigned)align_up(offset + size, CAPABILITY_ALIGNMENT);

    if (size < CAPABILITY_HEADER || size > PCI_CONFIG_SIZE || end >= PCI_CONFIG_SIZE) {
        log_error("pci: %s has no room for a capability of %u bytes", function->device->path, size);
        return 0;
    }
    function->power_on[offset] = (uint8_t)identifier;
    function->power_on[offset + 1] = function->power_on[PCI_CAPABILITIES];
    function->power_on[PCI_CAPABILITIES] = (uint8_t)offset;
    function->power_on[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    function->capability_end = (uint8_t)end;
    return offset;
}

enum status pci_function_register(struct pci_function *function, struct pci_bus *bus, unsigned devfn)
{
    enum status status = pci_bus_attach(bus, function, devfn);

    for (unsigned i = 0; i < PCI_BARS && status == STATUS_OK; i++)
        if (function->bars[i].kind != PCI_BAR_KIND_NONE)
            status = bus_add(bus->address_spaces, &function->bars[i].region);
    if (status == STATUS_OK)
        memcpy(function->state->config, function->power_on, PCI_CONFIG_SIZE);
    return status;
}

uint32_t pci_function_get(const struct pci_function *function, unsigned offset, unsigned size)
{
    return (uint32_t)load_le(&function->state->config[offset], size);
}

void pci_function_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
    store_le(&function->state->config[offset], size, value);
}

/* The pin's wire follows the request, unless the command register cuts it. */
static void function_drive_pin(struct pci_function *function)
{
    bool requested = function->state->intx;
    bool level = requested && !(pci_function_get(function, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
    uint8_t *status = &function->state->config[PCI_STATUS];

    *status = (uint8_t)((*status & ~PCI_STATUS_INTERRUPT) | (requested ? PCI_STATUS_INTERRUPT : 0));
    if (level == function->intx_driven || function->power_on[PCI_INTERRUPT_PIN] == 0)
        return;
    function->intx_driven = level;
    pci_bus_drive_intx(function->bus, function->devfn, function->power_on[PCI_INTERRUPT_PIN], level);
}

void pci_function_set_intx(struct pci_function *function, bool level)
{
    function->state->intx = level;
    function_drive_pin(function);
}

/* Everything that follows from configuration space. */
static void function_settle(struct pci_function *function)
{
    pci_bars_update(function);
    pci_bus_retry_blocked(function->bus);
    function_drive_pin(function);
    if (function->msix)
        pci_msix_settle(function);
}

void pci_function_reset(struct pci_function *function)
{
    memcpy(function->state->config, function->power_on, PCI_CONFIG_SIZE);
    function->state->intx = 0;
    if (function->msix)
        pci_msix_reset(function);
    function_settle(function);
}

/* A saved machine cannot smuggle in what a guest could not have written. */
void pci_function_resume(struct pci_function *function)
{
    uint8_t *config = function->state->config;

    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
        uint8_t variable = function->writable[i] | function->clear_on_write[i];

        config[i] = (uint8_t)((config[i] & variable) | (function->power_on[i] & ~variable));
    }
    function->state->intx = function->state->intx != 0;
    function_settle(function);
}

uint32_t pci_function_config_read(struct pci_function *function, unsigned offset, unsigned size)
{
    if (!range_inside(offset, size, PCI_CONFIG_SIZE))
        return 0;
    if (function->ops && function->ops->config_read)
        function->ops->config_read(function, offset, size);
    return pci_function_get(function, offset, size);
}

void pci_function_config_write(struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
    uint8_t *config = function->state->config;

    if (!range_inside(offset, size, PCI_CONFIG_SIZE))
        return;
    for (unsigned i = offset; i < offset + size; i++, value >>= 8) {
        uint8_t written = (uint8_t)value, mask = function->writable[i];

        config[i] = (uint8_t)((config[i] & ~mask) | (written & mask));
        config[i] &= (uint8_t) ~(written & function->clear_on_write[i]);
    }
    function_settle(function);
    if (function->ops && function->ops->config_written)
        function->ops->config_written(function, offset, size);
}
