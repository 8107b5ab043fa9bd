/* The root of the ACPI tables, and the small ones: FACS, MADT, MCFG. */
#include "boot/acpi.h"

#include "base/bits.h"
#include "base/memory.h"
#include "boot/acpi_table.h"
#include "boot/table_loader.h"
#include "port/log.h"

enum {
    RSDP_CHECKSUM = 8,
    RSDP_FIRST_PART = 20,
    RSDP_XSDT = 24,
    RSDP_EXTENDED_CHECKSUM = 32,
    FACS_SIZE = 64,
    HEADER_CHECKSUM = 9,
    LOADER_ALIGNMENT = 64, /* the FACS's */
};

enum {
    TIMER_GSI = 2, /* the 8254 is wired to IOAPIC input 2 */
    SCI = 9,
    PCAT_COMPAT = 1,
    PIRQE = 4,
    CHIPSET_SLOTS = 25, /* from here on, the chipset's own devices */
};

#define IOAPIC_ADDRESS 0xfec00000u
#define LAPIC_ADDRESS 0xfee00000u

void acpi_machine_init(struct acpi_machine *machine, unsigned cpus)
{
    *machine = (struct acpi_machine){
        .cpus = cpus,
        .ecam = {.base = 0xb0000000, .size = 0x10000000},
        .pci = {.base = 0xc0000000, .size = 0xfec00000 - 0xc0000000},
        .fw_cfg = true,
    };
    for (unsigned pirq = 0; pirq < ACPI_PIRQS; pirq++)
        machine->pirq_irq[pirq] = pirq & 2 ? 11 : 10; /* as the board's own start-up routes them */
    for (unsigned slot = 0; slot < ACPI_PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < ACPI_PCI_PINS; pin++)
            machine->pci_gsi[slot][pin] =
                (uint8_t)(ACPI_PIRQ_GSI + (slot < CHIPSET_SLOTS ? PIRQE + (slot + pin) % ACPI_PCI_PINS : pin));
    }
}

uint8_t acpi_checksum(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + at[i]);
    return (uint8_t)-sum;
}

uint8_t *acpi_reserve(struct acpi_tables *tables, size_t size, size_t alignment)
{
    size_t start = (size_t)align_up(tables->length, alignment);

    if (tables->failed || !range_inside(start, size, tables->room)) {
        tables->failed = true;
        return NULL;
    }
    memset(tables->bytes + tables->length, 0, start + size - tables->length);
    tables->length = start + size;
    return tables->bytes + start;
}

void acpi_append(struct acpi_tables *tables, const void *bytes, size_t size)
{
    uint8_t *to = acpi_reserve(tables, size, 1);

    if (to)
        memcpy(to, bytes, size);
}

void acpi_begin(struct acpi_tables *tables, const char *signature, uint8_t revision)
{
    uint8_t *header = acpi_reserve(tables, ACPI_HEADER_SIZE, 16);

    if (!header)
        return;
    tables->start = (size_t)(header - tables->bytes);
    memcpy(header, signature, 4);
    header[8] = revision;
    memcpy(header + 10, "LODGE Q35-1   ", 14); /* OEM identifier and table identifier */
    store_le(header + 24, 4, 1);               /* OEM revision */
    memcpy(header + 28, "LDGE", 4);            /* creator and its revision */
    store_le(header + 32, 4, 1);
}

uint64_t acpi_end(struct acpi_tables *tables)
{
    if (tables->failed)
        return 0;
    uint8_t *table = tables->bytes + tables->start;
    size_t length = tables->length - tables->start;

    store_le(table + 4, 4, length);
    if (tables->loader)
        table_loader_add_checksum(tables->loader, ACPI_LOADER_TABLES, (uint32_t)tables->start + HEADER_CHECKSUM,
                                  (uint32_t)tables->start, (uint32_t)length);
    else
        table[HEADER_CHECKSUM] = acpi_checksum(table, length);
    return tables->address + tables->start;
}

void acpi_point(struct acpi_tables *tables, uint8_t *at, uint8_t size, uint64_t address)
{
    store_le(at, size, address);
    if (tables->loader)
        table_loader_add_pointer(tables->loader, ACPI_LOADER_TABLES, (uint32_t)(at - tables->bytes), size,
                                 ACPI_LOADER_TABLES);
}

/* Where OS and firmware exchange wake-up vectors and a lock (section 5.2.10). No checksum. */
static uint64_t acpi_add_facs(struct acpi_tables *tables)
{
    uint8_t *facs = acpi_reserve(tables, FACS_SIZE, 64);

    if (!facs)
        return 0;
    memcpy(facs, "FACS", 4);
    store_le(facs + 4, 4, FACS_SIZE);
    facs[32] = 2; /* version */
    return tables->address + (uint64_t)(facs - tables->bytes);
}

/* Interrupt controllers (section 5.2.12): 8259s are there too. */
static uint64_t acpi_add_madt(struct acpi_tables *tables, const struct acpi_machine *machine)
{
    static const uint8_t timer[10] = {2, 10, 0, 0, TIMER_GSI};          /* ISA IRQ 0, as the bus has it */
    static const uint8_t sci[10] = {2, 10, 0, SCI, SCI, 0, 0, 0, 0x0d}; /* level, active high */
    static const uint8_t nmi[6] = {4, 6, 0xff, 0, 0, 1};                /* all processors' LINT1 */
    uint8_t head[8] = {0, 0, 0, 0, PCAT_COMPAT}, ioapic[12] = {1, 12};  /* identifier 0, inputs from 0 */

    store_le(head, 4, LAPIC_ADDRESS);
    store_le(ioapic + 4, 4, IOAPIC_ADDRESS);
    acpi_begin(tables, "APIC", 5);
    acpi_append(tables, head, sizeof(head));
    for (unsigned i = 0; i < machine->cpus; i++) {
        const uint8_t lapic[8] = {0, 8, (uint8_t)i, (uint8_t)i, 1}; /* UID, APIC identifier, enabled */

        acpi_append(tables, lapic, sizeof(lapic));
    }
    acpi_append(tables, ioapic, sizeof(ioapic));
    acpi_append(tables, timer, sizeof(timer));
    acpi_append(tables, sci, sizeof(sci));
    acpi_append(tables, nmi, sizeof(nmi));
    return acpi_end(tables);
}

/* PCI Express configuration space (PCI Firmware Specification 3.2, section 4.1.2). */
static uint64_t acpi_add_mcfg(struct acpi_tables *tables, const struct acpi_machine *machine)
{
    uint8_t body[8 + 16] = {0};

    store_le(body + 8, 8, machine->ecam.base);
    body[19] = (uint8_t)((machine->ecam.size >> 20) - 1); /* last bus; the first is 0, in segment 0 */
    acpi_begin(tables, "MCFG", 1);
    acpi_append(tables, body, sizeof(body));
    return acpi_end(tables);
}

static uint64_t acpi_add_xsdt(struct acpi_tables *tables, const uint64_t *addresses, size_t count)
{
    acpi_begin(tables, "XSDT", 1);
    for (size_t i = 0; i < count; i++) {
        uint8_t *entry = acpi_reserve(tables, 8, 1);

        if (entry)
            acpi_point(tables, entry, 8, addresses[i]);
    }
    return acpi_end(tables);
}

/* But for checksums. */
static void acpi_fill_rsdp(uint8_t *rsdp, uint64_t xsdt)
{
    memset(rsdp, 0, ACPI_RSDP_SIZE);
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "LODGE ", 6);
    rsdp[15] = 2; /* revision: with an XSDT; there is no RSDT */
    store_le(rsdp + 20, 4, ACPI_RSDP_SIZE);
    store_le(rsdp + RSDP_XSDT, 8, xsdt);
}

static bool acpi_machine_valid(const struct acpi_machine *machine)
{
    uint64_t buses = machine->ecam.size >> 20;

    return machine->cpus >= 1 && machine->cpus <= ACPI_CPUS && buses >= 1 && buses <= 256 &&
           range_inside(machine->ecam.base, machine->ecam.size, BIT64(32)) &&
           range_inside(machine->pci.base, machine->pci.size, BIT64(32)) &&
           machine->pci_64bit.size <= UINT64_MAX - machine->pci_64bit.base;
}

/* Everything but the root pointer. */
static enum status acpi_add_tables(struct acpi_tables *tables, const struct acpi_machine *machine, uint64_t *xsdt)
{
    uint64_t facs = acpi_add_facs(tables), dsdt, entries[3];
    enum status status = acpi_add_dsdt(tables, machine, &dsdt);

    if (status != STATUS_OK)
        return status;
    entries[0] = acpi_add_fadt(tables, facs, dsdt);
    entries[1] = acpi_add_madt(tables, machine);
    entries[2] = acpi_add_mcfg(tables, machine);
    *xsdt = acpi_add_xsdt(tables, entries, ARRAY_LENGTH(entries));
    if (!tables->failed && !(tables->loader && tables->loader->failed))
        return STATUS_OK;
    log_error("boot: the ACPI tables do not fit %zu bytes", tables->room);
    return STATUS_NO_MEMORY;
}

static enum status acpi_check(const struct acpi_machine *machine, uint64_t address, size_t room)
{
    if (acpi_machine_valid(machine) && range_inside(address, room, BIT64(32)))
        return STATUS_OK;
    log_error("boot: no ACPI tables can describe a machine with %u processors and these PCI windows", machine->cpus);
    return STATUS_INVALID;
}

enum status acpi_build(const struct acpi_machine *machine, void *to, size_t room, uint64_t address, size_t *used)
{
    struct acpi_tables tables = {.bytes = to, .room = room, .address = address};
    enum status status = acpi_check(machine, address, room);
    uint64_t xsdt;

    if (status != STATUS_OK)
        return status;
    uint8_t *rsdp = acpi_reserve(&tables, ACPI_RSDP_SIZE, 16);
    status = acpi_add_tables(&tables, machine, &xsdt);
    if (status != STATUS_OK)
        return status;
    acpi_fill_rsdp(rsdp, xsdt);
    rsdp[RSDP_CHECKSUM] = acpi_checksum(rsdp, RSDP_FIRST_PART);
    rsdp[RSDP_EXTENDED_CHECKSUM] = acpi_checksum(rsdp, ACPI_RSDP_SIZE);
    *used = tables.length;
    return STATUS_OK;
}

enum status acpi_build_loader(const struct acpi_machine *machine, void *to, size_t room, size_t *used,
                              uint8_t rsdp[ACPI_RSDP_SIZE], struct table_loader *loader)
{
    struct acpi_tables tables = {.bytes = to, .room = room, .loader = loader};
    enum status status = acpi_check(machine, 0, room);
    uint64_t xsdt;

    if (status != STATUS_OK)
        return status;
    table_loader_allocate(loader, ACPI_LOADER_RSDP, 16, TABLE_LOADER_F_SEGMENT);
    table_loader_allocate(loader, ACPI_LOADER_TABLES, LOADER_ALIGNMENT, TABLE_LOADER_HIGH);
    status = acpi_add_tables(&tables, machine, &xsdt);
    if (status != STATUS_OK)
        return status;
    acpi_fill_rsdp(rsdp, xsdt);
    table_loader_add_pointer(loader, ACPI_LOADER_RSDP, RSDP_XSDT, 8, ACPI_LOADER_TABLES);
    table_loader_add_checksum(loader, ACPI_LOADER_RSDP, RSDP_CHECKSUM, 0, RSDP_FIRST_PART);
    table_loader_add_checksum(loader, ACPI_LOADER_RSDP, RSDP_EXTENDED_CHECKSUM, 0, ACPI_RSDP_SIZE);
    *used = tables.length;
    return loader->failed ? STATUS_NO_MEMORY : STATUS_OK;
}
