#include "dev/pci/host.h"

#include "base/bits.h"
#include "base/memory.h"

enum host_region { REGION_CONFIG_ADDRESS, REGION_CONFIG_DATA, REGION_ECAM };

enum { CONFIG_ADDRESS_PORT = 0xcf8, CONFIG_DATA_PORT = 0xcfc, RESET_CONTROL_OFFSET = 1 };

#define CONFIG_ADDRESS_ENABLE 0x80000000u
#define CONFIG_ADDRESS_WRITABLE 0x80fffffcu

/* PCIEXBAR: bit 0 enables; bits 2..1 say 256, 128 or 64 MiB; the base has the bits above that. */
#define PCIEXBAR_LENGTH_SHIFT 1
#define PCIEXBAR_BASE_HIGH 35
#define PCIEXBAR_WRITABLE 0xffc000007ull
#define PCIEXBAR_POWER_ON 0xe0000000ull
#define ECAM_LARGEST 0x10000000ull

enum { ECAM_BUS_SHIFT = 20, ECAM_DEVFN_SHIFT = 12 };

/* Other registers of the bridge. */
enum { PAM0 = 0x90, PAM_COUNT = 7, SMRAM = 0x9d, SMRAM_POWER_ON = 0x02 };

static const struct state_field host_fields[] = {
    PCI_STATE_FIELDS(struct pci_host_state, pci, 1),
    STATE_SCALAR(struct pci_host_state, config_address, 1),
};

static bool host_valid(const void *candidate)
{
    const struct pci_host_state *state = candidate;

    return !(state->config_address & ~CONFIG_ADDRESS_WRITABLE);
}

static const struct state_schema host_schema = {
    .name = "q35-host",
    .version = 1,
    .fields = host_fields,
    .field_count = ARRAY_LENGTH(host_fields),
    .size = sizeof(struct pci_host_state),
    .valid = host_valid,
};

static void access_config(struct pci_bus *bus, unsigned devfn, unsigned offset, struct io_access *access)
{
    if (access->write)
        pci_bus_config_write(bus, devfn, offset, access->size, (uint32_t)access->value);
    else
        access->value = pci_bus_config_read(bus, devfn, offset, access->size);
}

static enum io_result host_reset_control_io(struct pci_host *host, struct io_access *access)
{
    const struct pci_host_reset_control *control = &host->reset_control;

    if (access->write && control->write)
        control->write(control->context, (uint8_t)access->value);
    else if (!access->write && control->read)
        access->value = control->read(control->context);
    else
        return IO_UNCLAIMED;
    return IO_DONE;
}

/* Only a doubleword access is CONFIG_ADDRESS; narrower ones are ordinary I/O cycles to somebody else. */
static enum io_result host_config_address_io(struct pci_host *host, struct io_access *access)
{
    if (access->size == 1 && access->offset == RESET_CONTROL_OFFSET)
        return host_reset_control_io(host, access);
    if (access->size != 4)
        return IO_UNCLAIMED;
    if (access->write)
        host->state.config_address = (uint32_t)access->value & CONFIG_ADDRESS_WRITABLE;
    else
        access->value = host->state.config_address;
    return IO_DONE;
}

/* Bit 31, bus 23..16, device and function 15..8, register 7..2. Only bus 0 has anything. */
static enum io_result host_config_data_io(struct pci_host *host, struct io_access *access)
{
    uint32_t address = host->state.config_address;

    if (!(address & CONFIG_ADDRESS_ENABLE))
        return IO_UNCLAIMED;
    if (bits_get(address, 23, 16) != 0)
        return IO_UNCLAIMED;
    access_config(&host->bus, (unsigned)bits_get(address, 15, 8), (address & 0xfc) + (unsigned)access->offset, access);
    return IO_DONE;
}

/* Accesses are aligned and at most 4 bytes, so none leaves its register. */
static enum io_result host_ecam_io(struct pci_host *host, struct io_access *access)
{
    if (access->offset >> ECAM_BUS_SHIFT != 0)
        return IO_UNCLAIMED;
    access_config(&host->bus, (unsigned)(access->offset >> ECAM_DEVFN_SHIFT),
                  access->offset & (PCI_CONFIG_EXTENDED_SIZE - 1), access);
    return IO_DONE;
}

static enum io_result host_io(struct device *device, unsigned region, struct io_access *access)
{
    struct pci_host *host = CONTAINER_OF(device, struct pci_host, device);

    switch (region) {
    case REGION_CONFIG_ADDRESS:
        return host_config_address_io(host, access);
    case REGION_CONFIG_DATA:
        return host_config_data_io(host, access);
    default:
        return host_ecam_io(host, access);
    }
}

/* Moves the window to where PCIEXBAR says. A window that overlaps something else is not there. */
static void host_place_ecam(struct pci_host *host)
{
    uint64_t pciexbar = pci_function_get(&host->function, PCI_HOST_PCIEXBAR, 4) |
                        (uint64_t)pci_function_get(&host->function, PCI_HOST_PCIEXBAR + 4, 4) << 32;
    unsigned length = (unsigned)bits_get(pciexbar, 2, PCIEXBAR_LENGTH_SHIFT);
    bool enabled = pciexbar & PCI_HOST_PCIEXBAR_ENABLE && length < 3;
    uint64_t size = ECAM_LARGEST >> (length < 3 ? length : 0);
    uint64_t base = align_down(pciexbar & bits_mask(PCIEXBAR_BASE_HIGH + 1), size);
    enum status status;

    if (enabled == host->ecam.enabled && (!enabled || (base == host->ecam.base && size == host->ecam.size)))
        return;
    status = bus_place(host->bus.address_spaces, &host->ecam, 0, false);
    host->ecam.size = size;
    if (status == STATUS_OK && enabled)
        status = bus_place(host->bus.address_spaces, &host->ecam, base, true);
    (void)status; /* where it does not fit, it is disabled */
}

static void host_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    (void)offset;
    (void)size;
    host_place_ecam(CONTAINER_OF(function, struct pci_host, function));
}

static void host_reset(struct device *device)
{
    struct pci_host *host = CONTAINER_OF(device, struct pci_host, device);

    host->state.config_address = 0;
    pci_function_reset(&host->function);
    host_place_ecam(host);
}

static void host_resume(struct device *device)
{
    struct pci_host *host = CONTAINER_OF(device, struct pci_host, device);

    pci_function_resume(&host->function);
    host_place_ecam(host);
}

static const struct device_type host_type = {
    .name = "q35-host",
    .schema = &host_schema,
    .state_offset = offsetof(struct pci_host, state),
    .io = host_io,
    .reset = host_reset,
    .resume = host_resume,
};

static const struct pci_function_ops host_function_ops = {.config_written = host_config_written};

static void host_define(struct pci_host *host)
{
    struct pci_function *function = &host->function;
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x29c0,
        .class_code = 0x060000,
        .revision = 2,
    };

    pci_function_init(function, &host->device, &host->state.pci, &identity, &host_function_ops);
    pci_function_define(function, PCI_HOST_PCIEXBAR, 4, (uint32_t)PCIEXBAR_POWER_ON, (uint32_t)PCIEXBAR_WRITABLE);
    pci_function_define(function, PCI_HOST_PCIEXBAR + 4, 4, 0, (uint32_t)(PCIEXBAR_WRITABLE >> 32));
    pci_function_define(function, PAM0, 1, 0, 0x30);
    for (unsigned i = 1; i < PAM_COUNT; i++)
        pci_function_define(function, PAM0 + i, 1, 0, 0x33);
    pci_function_define(function, SMRAM, 1, SMRAM_POWER_ON, 0);
}

static struct region host_region(struct pci_host *host, const char *name, enum host_region index)
{
    return (struct region){
        .name = name,
        .space = BUS_PORT,
        .size = 4,
        .smallest = 1,
        .largest = 4,
        .enabled = true,
        .device = &host->device,
        .index = index,
    };
}

static enum status host_add_regions(struct pci_host *host, struct bus *address_spaces)
{
    enum status status;

    host->config_address = host_region(host, "pci-config-address", REGION_CONFIG_ADDRESS);
    host->config_address.base = CONFIG_ADDRESS_PORT;
    host->config_data = host_region(host, "pci-config-data", REGION_CONFIG_DATA);
    host->config_data.base = CONFIG_DATA_PORT;
    host->ecam = host_region(host, "pci-ecam", REGION_ECAM);
    host->ecam.space = BUS_MEMORY;
    host->ecam.size = ECAM_LARGEST;
    host->ecam.enabled = false;
    status = bus_add(address_spaces, &host->config_address);
    if (status == STATUS_OK)
        status = bus_add(address_spaces, &host->config_data);
    if (status == STATUS_OK)
        status = bus_add(address_spaces, &host->ecam);
    return status;
}

enum status pci_host_init(struct pci_host *host, struct bus *address_spaces, const struct msi_sink *msi,
                          const struct irq_line *pirq, const struct pci_host_reset_control *reset_control)
{
    enum status status;

    memset(host, 0, sizeof(*host));
    host->device.type = &host_type;
    host->device.path = "pci/00:00.0";
    host->reset_control = *reset_control;
    pci_bus_init(&host->bus, address_spaces, msi, pirq);
    host_define(host);
    status = host_add_regions(host, address_spaces);
    if (status == STATUS_OK)
        status = pci_function_register(&host->function, &host->bus, PCI_HOST_DEVFN);
    return status;
}
