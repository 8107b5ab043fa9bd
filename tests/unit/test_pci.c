/* Configuration space and its two ways in, BARs, interrupt wires, MSI and MSI-X, the LPC bridge. */
#include "unit.h"

#include <string.h>

#include "base/bits.h"
#include "dev/pci/host.h"
#include "dev/pci/lpc.h"
#include "dev/pci/msi.h"
#include "dev/pci/msix.h"
#include "fake_machine.h"

enum { SLOT = 3, DEVFN = PCI_DEVFN(SLOT, 0), REGION_IO = 7, REGION_MEMORY = 8 };

#define ECAM 0xb0000000ull

/* A device with one of everything. */
struct gadget_state {
    struct pci_state pci;
    struct pci_msix_state msix;
};

struct gadget {
    struct device device;
    struct pci_function function;
    struct pci_msix msix;
    struct gadget_state state;
    struct io_access last;
    unsigned last_region;
    unsigned config_reads, config_writes;
};

static struct fake_machine fake;
static struct pci_host host;
static struct lpc lpc;
static struct gadget gadget, other;
static uint32_t ioapic_levels, pic_levels, isa_levels;
static unsigned messages;
static uint64_t last_address;
static uint32_t last_data;
static int acpi_base;
static uint8_t reset_value;

static const struct state_field gadget_fields[] = {
    PCI_STATE_FIELDS(struct gadget_state, pci, 1),
    PCI_MSIX_STATE_FIELDS(struct gadget_state, msix, 1),
};

static const struct state_schema gadget_schema = {
    .name = "gadget",
    .version = 1,
    .fields = gadget_fields,
    .field_count = ARRAY_LENGTH(gadget_fields),
    .size = sizeof(struct gadget_state),
};

static enum io_result gadget_io(struct device *device, unsigned region, struct io_access *access)
{
    struct gadget *self = CONTAINER_OF(device, struct gadget, device);

    if (region == PCI_REGION_MSIX)
        return pci_msix_io(&self->function, access);
    if (!access->write)
        access->value = 0x1234;
    self->last = *access;
    self->last_region = region;
    return IO_DONE;
}

static void gadget_reset(struct device *device)
{
    pci_function_reset(&CONTAINER_OF(device, struct gadget, device)->function);
}

static void gadget_resume(struct device *device)
{
    pci_function_resume(&CONTAINER_OF(device, struct gadget, device)->function);
}

static const struct device_type gadget_type = {
    .name = "gadget",
    .schema = &gadget_schema,
    .state_offset = offsetof(struct gadget, state),
    .io = gadget_io,
    .reset = gadget_reset,
    .resume = gadget_resume,
};

static void gadget_config_read(struct pci_function *function, unsigned offset, unsigned size)
{
    (void)offset;
    (void)size;
    CONTAINER_OF(function, struct gadget, function)->config_reads++;
}

static void gadget_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    (void)offset;
    (void)size;
    CONTAINER_OF(function, struct gadget, function)->config_writes++;
}

static const struct pci_function_ops gadget_ops = {
    .config_read = gadget_config_read,
    .config_written = gadget_config_written,
};

static void gadget_init(struct gadget *self, const char *path, unsigned devfn)
{
    static const struct pci_identity identity = {.vendor = 0x1af4, .device = 0x1042, .class_code = 0x010000};
    struct pci_function *function = &self->function;

    memset(self, 0, sizeof(*self));
    self->device = (struct device){.type = &gadget_type, .path = path};
    pci_function_init(function, &self->device, &self->state.pci, &identity, &gadget_ops);
    pci_function_set_pin(function, 1);
    assert_int_equal(pci_function_add_bar(function, 0, PCI_BAR_KIND_IO, 32, "io", REGION_IO, 1, 4), STATUS_OK);
    assert_int_equal(pci_function_add_bar(function, 1, PCI_BAR_KIND_MEMORY32, 0x1000, "memory", REGION_MEMORY, 1, 8),
                     STATUS_OK);
    assert_int_equal(pci_msi_add(function), STATUS_OK);
    assert_int_equal(pci_msix_add(function, &self->msix, &self->state.msix, 40, 2), STATUS_OK);
    assert_int_equal(pci_function_register(function, &host.bus, devfn), STATUS_OK);
    machine_add_device(&fake.machine, &self->device);
}

static void collect_message(void *router, uint64_t address, uint32_t data)
{
    (void)router;
    messages++;
    last_address = address;
    last_data = data;
}

static void collect_line(void *levels, unsigned pin, bool level)
{
    uint32_t *word = levels;

    assert_true(pin < 24);
    *word = level ? *word | BIT(pin) : *word & ~BIT(pin);
}

static void collect_acpi(void *context, uint16_t base, bool enabled)
{
    (void)context;
    acpi_base = enabled ? base : -1;
}

static uint8_t reset_read(void *context)
{
    (void)context;
    return 0x5a;
}

static void reset_write(void *context, uint8_t value)
{
    (void)context;
    reset_value = value;
}

static int setup(void **state)
{
    const struct msi_sink sink = {.send = collect_message};
    const struct irq_line pirq = {.set = lpc_set_pirq, .controller = &lpc};
    const struct pci_host_reset_control control = {.read = reset_read, .write = reset_write};
    const struct lpc_wiring wiring = {
        .ioapic = {.set = collect_line, .controller = &ioapic_levels},
        .pic = {.set = collect_line, .controller = &pic_levels},
        .isa = {.set = collect_line, .controller = &isa_levels},
        .place_acpi = collect_acpi,
    };

    (void)state;
    fake_machine_init(&fake, 1);
    ioapic_levels = pic_levels = isa_levels = messages = 0;
    acpi_base = -2;
    assert_int_equal(pci_host_init(&host, &fake.machine.bus, &sink, &pirq, &control), STATUS_OK);
    assert_int_equal(lpc_init(&lpc, &host.bus, &wiring), STATUS_OK);
    machine_add_device(&fake.machine, &host.device);
    machine_add_device(&fake.machine, &lpc.device);
    gadget_init(&gadget, "pci/00:03.0", DEVFN);
    gadget_init(&other, "pci/00:04.0", PCI_DEVFN(4, 0));
    assert_int_equal(machine_reset_devices(&fake.machine), STATUS_OK);
    return 0;
}

static uint64_t port(uint64_t address, unsigned size, bool write, uint64_t value)
{
    bus_access(&fake.machine.bus, BUS_PORT, address, size, write, &value);
    return value;
}

static uint64_t memory(uint64_t address, unsigned size, bool write, uint64_t value)
{
    bus_access(&fake.machine.bus, BUS_MEMORY, address, size, write, &value);
    return value;
}

static uint32_t config_get(unsigned devfn, unsigned offset, unsigned size)
{
    port(0xcf8, 4, true, 0x80000000u | devfn << 8 | (offset & 0xfc));
    return (uint32_t)port(0xcfc + (offset & 3), size, false, 0);
}

static void config_put(unsigned devfn, unsigned offset, unsigned size, uint32_t value)
{
    port(0xcf8, 4, true, 0x80000000u | devfn << 8 | (offset & 0xfc));
    port(0xcfc + (offset & 3), size, true, value);
}

static void enable_ecam(void)
{
    config_put(PCI_HOST_DEVFN, PCI_HOST_PCIEXBAR, 4, (uint32_t)ECAM | 1);
}

static void test_config_ports(void **state)
{
    (void)state;
    assert_int_equal(config_get(PCI_HOST_DEVFN, 0, 4), 0x29c08086);
    assert_int_equal(config_get(LPC_DEVFN, 0, 4), 0x29188086);
    assert_int_equal(config_get(LPC_DEVFN, 0x0b, 1), 0x06);
    assert_int_equal(config_get(LPC_DEVFN, 0x0a, 2), 0x0601);
    assert_int_equal(config_get(PCI_DEVFN(5, 0), 0, 4), 0xffffffff);
    assert_int_equal(port(0xcf8, 4, false, 0), 0x80000000u | PCI_DEVFN(5, 0) << 8);
    port(0xcf8, 4, true, 0x80010000); /* another bus */
    assert_int_equal(port(0xcfc, 4, false, 0), 0xffffffff);
    port(0xcf8, 4, true, 0); /* not enabled */
    assert_int_equal(port(0xcfc, 4, false, 0), 0xffffffff);
    port(0xcf8, 4, true, 0xffffffff);
    assert_int_equal(port(0xcf8, 4, false, 0), 0x80fffffc);
    config_put(PCI_HOST_DEVFN, 0, 4, 0); /* read-only */
    assert_int_equal(config_get(PCI_HOST_DEVFN, 0, 4), 0x29c08086);
}

static void test_reset_control(void **state)
{
    (void)state;
    port(0xcf8, 4, true, 0x80000060);
    port(0xcf9, 1, true, 0x06);
    assert_int_equal(reset_value, 0x06);
    assert_int_equal(port(0xcf9, 1, false, 0), 0x5a);
    assert_int_equal(port(0xcf8, 4, false, 0), 0x80000060);
    assert_int_equal(port(0xcf8, 1, false, 0), 0xff);
}

static void test_ecam(void **state)
{
    (void)state;
    assert_int_equal(memory(ECAM, 4, false, 0), 0xffffffff);
    enable_ecam();
    assert_int_equal(memory(ECAM, 4, false, 0), 0x29c08086);
    assert_int_equal(memory(ECAM + 2, 2, false, 0), 0x29c0);
    assert_int_equal(memory(ECAM | (uint64_t)LPC_DEVFN << 12, 8, false, 0), 0x0000000029188086);
    assert_int_equal(memory(ECAM | (uint64_t)LPC_DEVFN << 12 | 0x100, 4, false, 0), 0);
    assert_int_equal(memory(ECAM | 1 << 20, 4, false, 0), 0xffffffff);
    memory(ECAM + PCI_HOST_PCIEXBAR, 4, true, 0xe0000001 | 2 << 1); /* moves itself: 64 MiB */
    assert_int_equal(memory(ECAM, 4, false, 0), 0xffffffff);
    assert_int_equal(memory(0xe0000000, 4, false, 0), 0x29c08086);
    assert_int_equal(host.ecam.size, 64 << 20);
    memory(0xe0000000 + PCI_HOST_PCIEXBAR, 4, true, 0xe0000007); /* a reserved length */
    assert_false(host.ecam.enabled);
}

static void test_bar_sizing(void **state)
{
    (void)state;
    config_put(DEVFN, PCI_BAR0, 4, 0xffffffff);
    assert_int_equal(config_get(DEVFN, PCI_BAR0, 4), 0xffffffe1);
    config_put(DEVFN, PCI_BAR0 + 4, 4, 0xffffffff);
    assert_int_equal(config_get(DEVFN, PCI_BAR0 + 4, 4), 0xfffff000);
    config_put(DEVFN, PCI_BAR0 + 8, 4, 0xffffffff);
    config_put(DEVFN, PCI_BAR0 + 12, 4, 0xffffffff);
    assert_int_equal(config_get(DEVFN, PCI_BAR0 + 8, 4), 0xfffff004);
    assert_int_equal(config_get(DEVFN, PCI_BAR0 + 12, 4), 0xffffffff);
    config_put(DEVFN, PCI_BAR0 + 16, 4, 0xffffffff);
    assert_int_equal(config_get(DEVFN, PCI_BAR0 + 16, 4), 0);
    config_put(DEVFN, PCI_COMMAND, 2, 0xffff); /* decoding on at impossible places */
    assert_int_equal(config_get(DEVFN, PCI_COMMAND, 2), PCI_COMMAND_WRITABLE);
    assert_true(gadget.config_writes >= 6);
    assert_true(gadget.config_reads >= 6);
}

static void test_bar_decoding(void **state)
{
    (void)state;
    config_put(DEVFN, PCI_BAR0, 4, 0xc000);
    config_put(DEVFN, PCI_BAR0 + 4, 4, 0xc0000000);
    assert_int_equal(memory(0xc0000010, 4, false, 0), 0xffffffff);
    config_put(DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(memory(0xc0000010, 4, false, 0), 0x1234);
    assert_int_equal(gadget.last_region, REGION_MEMORY);
    assert_int_equal(gadget.last.offset, 0x10);
    assert_int_equal(port(0xc004, 1, false, 0), 0xff);
    config_put(DEVFN, PCI_COMMAND, 2, PCI_COMMAND_IO);
    assert_int_equal(port(0xc004, 2, false, 0), 0x1234);
    assert_int_equal(gadget.last_region, REGION_IO);
    assert_int_equal(memory(0xc0000010, 4, false, 0), 0xffffffff);
    config_put(DEVFN, PCI_BAR0, 4, 0xd000);
    assert_int_equal(port(0xc004, 2, false, 0), 0xffff);
    assert_int_equal(port(0xd004, 2, false, 0), 0x1234);
    assert_int_equal(machine_reset_devices(&fake.machine), STATUS_OK);
    assert_int_equal(port(0xd004, 2, false, 0), 0xffff);
    assert_int_equal(config_get(DEVFN, PCI_BAR0, 4), 1);
}

static void test_bar_conflicts(void **state)
{
    const unsigned other_devfn = PCI_DEVFN(4, 0);

    (void)state;
    config_put(DEVFN, PCI_BAR0 + 4, 4, 0xc0000000);
    config_put(other_devfn, PCI_BAR0 + 4, 4, 0xc0000000);
    config_put(DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    config_put(other_devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    memory(0xc0000000, 4, true, 1);
    assert_int_equal(gadget.last.value, 1);
    config_put(DEVFN, PCI_BAR0 + 4, 4, 0xc0001000); /* makes room for the other */
    memory(0xc0000000, 4, true, 2);
    assert_int_equal(other.last.value, 2);
    memory(0xc0001000, 4, true, 3);
    assert_int_equal(gadget.last.value, 3);
    config_put(PCI_HOST_DEVFN, PCI_HOST_PCIEXBAR, 4, 0xc0000001); /* taken: the window is not there */
    assert_false(host.ecam.enabled);
}

static void test_bad_construction(void **state)
{
    struct pci_function *function = &gadget.function;
    unsigned capabilities = 0;

    (void)state;
    assert_int_equal(pci_function_add_bar(function, 6, PCI_BAR_KIND_IO, 32, "x", 0, 1, 4), STATUS_INVALID);
    assert_int_equal(pci_function_add_bar(function, 5, PCI_BAR_KIND_MEMORY64, 4096, "x", 0, 1, 4), STATUS_INVALID);
    assert_int_equal(pci_function_add_bar(function, 3, PCI_BAR_KIND_MEMORY32, 4096, "x", 0, 1, 4), STATUS_INVALID);
    assert_int_equal(pci_function_add_bar(function, 1, PCI_BAR_KIND_MEMORY32, 4096, "x", 0, 1, 4), STATUS_INVALID);
    assert_int_equal(pci_function_add_bar(function, 4, PCI_BAR_KIND_MEMORY32, 4097, "x", 0, 1, 4), STATUS_INVALID);
    assert_int_equal(pci_function_add_bar(function, 4, PCI_BAR_KIND_IO, 512, "x", 0, 1, 4), STATUS_INVALID);
    while (pci_function_add_capability(function, PCI_CAPABILITY_VENDOR, 16) != 0)
        assert_true(++capabilities < 16);
    assert_int_equal(pci_function_register(&other.function, &host.bus, DEVFN), STATUS_EXISTS);
    assert_int_equal(pci_function_register(&other.function, &host.bus, 256), STATUS_INVALID);
}

static void test_capabilities(void **state)
{
    unsigned at = config_get(DEVFN, PCI_CAPABILITIES, 1), seen = 0;

    (void)state;
    assert_int_equal(config_get(DEVFN, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES, PCI_STATUS_CAPABILITIES);
    for (; at != 0; at = config_get(DEVFN, at + 1, 1)) {
        unsigned identifier = config_get(DEVFN, at, 1);

        assert_true(identifier == PCI_CAPABILITY_MSI || identifier == PCI_CAPABILITY_MSIX);
        seen |= identifier == PCI_CAPABILITY_MSI ? 1 : 2;
    }
    assert_int_equal(seen, 3);
}

static void test_intx(void **state)
{
    (void)state;
    /* Slot 3, INTA: PIRQ H, pin 23. Slot 4: PIRQ E, pin 20. */
    assert_int_equal(pci_bus_pirq(SLOT, 1), 7);
    assert_int_equal(pci_bus_pirq(4, 1), 4);
    assert_int_equal(pci_bus_pirq(31, 2), 1);
    pci_function_set_intx(&gadget.function, true);
    assert_int_equal(ioapic_levels, 1u << 23);
    assert_int_equal(config_get(DEVFN, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    assert_int_equal(pic_levels, 0);
    config_put(LPC_DEVFN, LPC_PIRQE_ROUT + 3, 1, 11);
    assert_int_equal(pic_levels, 1u << 11);
    config_put(LPC_DEVFN, LPC_PIRQE_ROUT + 3, 1, 10);
    assert_int_equal(pic_levels, 1u << 10);
    config_put(LPC_DEVFN, LPC_PIRQE_ROUT + 3, 1, 2); /* not an IRQ for this */
    assert_int_equal(pic_levels, 0);
    config_put(DEVFN, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    assert_int_equal(ioapic_levels, 0);
    config_put(DEVFN, PCI_COMMAND, 2, 0);
    assert_int_equal(ioapic_levels, 1u << 23);
    assert_int_equal(machine_reset_devices(&fake.machine), STATUS_OK);
    assert_int_equal(ioapic_levels, 0);
}

static void test_shared_pirq(void **state)
{
    static struct gadget third;

    (void)state;
    gadget_init(&third, "pci/00:07.0", PCI_DEVFN(7, 0)); /* PIRQ H again */
    pci_function_set_intx(&gadget.function, true);
    pci_function_set_intx(&third.function, true);
    pci_function_set_intx(&third.function, true);
    pci_function_set_intx(&gadget.function, false);
    assert_int_equal(ioapic_levels, 1u << 23);
    pci_function_set_intx(&third.function, false);
    assert_int_equal(ioapic_levels, 0);
}

static void test_msi(void **state)
{
    unsigned at = gadget.function.msi_capability;

    (void)state;
    pci_msi_send(&gadget.function);
    assert_int_equal(messages, 0);
    config_put(DEVFN, at + 4, 4, 0xfee01003);
    config_put(DEVFN, at + 12, 2, 0x4055);
    config_put(DEVFN, at + 2, 2, 0xffff);
    assert_int_equal(config_get(DEVFN, at + 2, 2), 0x81);
    assert_true(pci_msi_enabled(&gadget.function));
    pci_msi_send(&gadget.function);
    assert_int_equal(messages, 1);
    assert_int_equal(last_address, 0xfee01000);
    assert_int_equal(last_data, 0x4055);
}

static void enable_msix(uint32_t control)
{
    config_put(DEVFN, gadget.msix.capability + 2, 2, control);
}

static void test_msix(void **state)
{
    const uint64_t table = 0xc0010000;

    (void)state;
    config_put(DEVFN, PCI_BAR0 + 8, 4, (uint32_t)table);
    config_put(DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(config_get(DEVFN, gadget.msix.capability + 2, 2), 39);
    assert_int_equal(memory(table + 5 * 16 + 12, 4, false, 0), 1); /* masked */
    memory(table + 5 * 16, 8, true, 0x00000000fee02000);
    memory(table + 5 * 16 + 8, 4, true, 0x61);
    pci_msix_send(&gadget.function, 5);
    assert_int_equal(messages, 0);
    enable_msix(0xc000);
    assert_true(pci_msix_enabled(&gadget.function));
    pci_msix_send(&gadget.function, 5);
    pci_msix_send(&gadget.function, 40);
    pci_msix_send(&gadget.function, 4000);
    assert_int_equal(messages, 0);
    assert_int_equal(memory(table + 0x800, 8, false, 0), 1u << 5);
    memory(table + 5 * 16 + 12, 4, true, 0xfffffffe);
    assert_int_equal(messages, 0); /* the whole function is masked */
    enable_msix(0x8000);
    assert_int_equal(messages, 1);
    assert_int_equal(last_address, 0xfee02000);
    assert_int_equal(last_data, 0x61);
    assert_int_equal(memory(table + 0x800, 8, false, 0), 0);
    pci_msix_send(&gadget.function, 5);
    assert_int_equal(messages, 2);
    memory(table + 40 * 16, 4, true, 0xffffffff); /* beyond the last vector */
    assert_int_equal(memory(table + 40 * 16, 4, false, 0), 0);
    assert_int_equal(machine_reset_devices(&fake.machine), STATUS_OK);
    assert_false(pci_msix_enabled(&gadget.function));
}

static void test_lpc_acpi(void **state)
{
    (void)state;
    assert_int_equal(acpi_base, -1);
    config_put(LPC_DEVFN, LPC_PMBASE, 4, 0xffff0601);
    assert_int_equal(config_get(LPC_DEVFN, LPC_PMBASE, 4), 0x601);
    assert_int_equal(acpi_base, -1);
    config_put(LPC_DEVFN, LPC_ACPI_CNTL, 1, LPC_ACPI_CNTL_ENABLE);
    assert_int_equal(acpi_base, 0x600);
    config_put(LPC_DEVFN, LPC_PMBASE, 4, 0x1000);
    assert_int_equal(acpi_base, 0x1000);
    config_put(LPC_DEVFN, LPC_ACPI_CNTL, 1, 0);
    assert_int_equal(acpi_base, -1);
}

static void test_lpc_sci(void **state)
{
    (void)state;
    lpc_set_sci(&lpc, 0, true);
    assert_int_equal(isa_levels, 1u << 9);
    config_put(LPC_DEVFN, LPC_ACPI_CNTL, 1, 2);
    assert_int_equal(isa_levels, 1u << 11);
    config_put(LPC_DEVFN, LPC_ACPI_CNTL, 1, 7); /* shares pin 23 with PIRQ H */
    assert_int_equal(isa_levels, 0);
    assert_int_equal(ioapic_levels, 1u << 23);
    pci_function_set_intx(&gadget.function, true);
    lpc_set_sci(&lpc, 0, false);
    assert_int_equal(ioapic_levels, 1u << 23);
    pci_function_set_intx(&gadget.function, false);
    assert_int_equal(ioapic_levels, 0);
}

static void test_assignment(void **state)
{
    const struct pci_windows windows = {
        .io_base = 0xc000,
        .io_end = 0x10000,
        .memory32_base = 0xc0000000,
        .memory32_end = 0xc0005000,
        .memory64_base = 0x8000000000,
        .memory64_end = 0x10000000000,
    };
    struct pci_windows none = windows;

    (void)state;
    assert_int_equal(pci_bus_assign(&host.bus, &windows), STATUS_OK);
    assert_int_equal(port(0xc000, 4, false, 0), 0x1234);
    assert_int_equal(port(0xc020, 4, false, 0), 0x1234);
    assert_int_equal(memory(0xc0000000, 4, false, 0), 0x1234);
    assert_int_equal(memory(0xc0002000, 4, false, 0), 0x1234);
    assert_true(gadget.function.bars[2].region.enabled);
    assert_int_equal(other.function.bars[2].region.base, 0xc0003000);
    none.io_end = 0xc020;
    assert_int_equal(pci_bus_assign(&host.bus, &none), STATUS_NO_MEMORY);
}

static void test_state(void **state)
{
    static uint8_t bytes[8192];
    static struct gadget_state scratch;
    size_t size;

    (void)state;
    config_put(DEVFN, PCI_BAR0 + 4, 4, 0xc0000000);
    config_put(DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    pci_function_set_intx(&gadget.function, true);
    assert_int_equal(state_encode(&gadget_schema, &gadget.state, bytes, sizeof(bytes), &size), STATUS_OK);
    setup(NULL);
    assert_int_equal(ioapic_levels, 0);
    assert_int_equal(state_decode(&gadget_schema, &scratch, bytes, size), STATUS_OK);
    scratch.pci.config[PCI_VENDOR_ID] = 0x66; /* cannot be smuggled in */
    gadget.state = scratch;
    gadget_resume(&gadget.device);
    assert_int_equal(config_get(DEVFN, PCI_VENDOR_ID, 2), 0x1af4);
    assert_int_equal(memory(0xc0000000, 4, false, 0), 0x1234);
    assert_int_equal(ioapic_levels, 1u << 23);
}

/* Whatever a guest writes, no two windows overlap and nothing breaks. */
static void test_random(void **state)
{
    uint64_t seed = 4711;

    (void)state;
    enable_ecam();
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t random = fake_random(&seed), value = fake_random(&seed);
        static const unsigned devfns[] = {PCI_HOST_DEVFN, LPC_DEVFN, DEVFN, PCI_DEVFN(4, 0)};
        unsigned devfn = devfns[random & 3], offset = random >> 8 & 0xff, size = 1u << (random >> 20 & 3);

        if (random >> 24 & 1)
            value &= 0xc000f007;
        if (random >> 25 & 3)
            offset &= 0x3f;
        if (random >> 28 & 1)
            config_put(devfn, offset, size > 4 ? 4 : size, (uint32_t)value);
        else if (random >> 29 & 1)
            memory(0xb0000000 + (value & 0x3fffffff), size, random >> 30 & 1, value);
        else if (random >> 31 & 1)
            port(random >> 32 & 0xffff, size, random >> 30 & 1, value);
        else
            config_get(devfn, offset, size > 4 ? 4 : size);
        if (i % 1000 == 0)
            pci_function_set_intx(&gadget.function, i / 1000 & 1);
        pci_msix_send(&gadget.function, i & 63);
        if (i % 5000 == 0)
            assert_int_equal(machine_reset_devices(&fake.machine), STATUS_OK);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_true(host.bus.pirq_users[4 + 3 * i] <= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_config_ports, setup),
        cmocka_unit_test_setup(test_reset_control, setup),
        cmocka_unit_test_setup(test_ecam, setup),
        cmocka_unit_test_setup(test_bar_sizing, setup),
        cmocka_unit_test_setup(test_bar_decoding, setup),
        cmocka_unit_test_setup(test_bar_conflicts, setup),
        cmocka_unit_test_setup(test_bad_construction, setup),
        cmocka_unit_test_setup(test_capabilities, setup),
        cmocka_unit_test_setup(test_intx, setup),
        cmocka_unit_test_setup(test_shared_pirq, setup),
        cmocka_unit_test_setup(test_msi, setup),
        cmocka_unit_test_setup(test_msix, setup),
        cmocka_unit_test_setup(test_lpc_acpi, setup),
        cmocka_unit_test_setup(test_lpc_sci, setup),
        cmocka_unit_test_setup(test_assignment, setup),
        cmocka_unit_test_setup(test_state, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
