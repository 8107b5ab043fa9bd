/* The ACPI tables: sound in themselves, and in agreement with the devices they describe. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "board/q35.h"
#include "boot/acpi.h"
#include "boot/aml.h"
#include "boot/smbios.h"
#include "boot/table_loader.h"
#include "dev/chipset/pm.h"
#include "dev/chipset/rtc.h"
#include "dev/pci/bus.h"
#include "dev/pci/lpc.h"
#include "fake_machine.h"
#include "fake_port.h"
#include "unit.h"

enum { ADDRESS = 0xe0000, ROOM = 0x20000 };

static uint8_t area[ROOM];

static uint64_t get(uint64_t address, unsigned size)
{
    assert_true(address >= ADDRESS && range_inside(address - ADDRESS, size, ROOM));
    return load_le(area + (address - ADDRESS), size);
}

static void build(const struct acpi_machine *machine)
{
    size_t used = 0;

    memset(area, 0xcc, sizeof(area));
    assert_int_equal(acpi_build(machine, area, ROOM, ADDRESS, &used), STATUS_OK);
    assert_true(used > 0 && used < ROOM);
    assert_int_equal(area[used], 0xcc);
}

static void build_cpus(unsigned cpus)
{
    struct acpi_machine machine;

    acpi_machine_init(&machine, cpus);
    machine.second_serial = true;
    machine.pci_64bit = (struct acpi_window){.base = 0x200000000, .size = 0x800000000};
    build(&machine);
}

static uint8_t sum(uint64_t address, uint64_t size)
{
    uint8_t total = 0;

    for (uint64_t i = 0; i < size; i++)
        total = (uint8_t)(total + get(address + i, 1));
    return total;
}

/* Finds a table through the XSDT. */
static uint64_t find(const char *signature)
{
    uint64_t xsdt = get(ADDRESS + 24, 8);

    for (uint64_t at = 36; at < get(xsdt + 4, 4); at += 8) {
        uint64_t table = get(xsdt + at, 8);

        if (get(table, 4) == load_le(signature, 4))
            return table;
    }
    fail_msg("no %s", signature);
    return 0;
}

static uint64_t dsdt(void)
{
    return get(find("FACP") + 140, 8);
}

static void test_checksums(void **state)
{
    (void)state;
    for (unsigned cpus = 1; cpus <= ACPI_CPUS; cpus += 127) {
        build_cpus(cpus);
        uint64_t xsdt = get(ADDRESS + 24, 8);
        const uint64_t tables[] = {xsdt, find("FACP"), find("APIC"), find("MCFG"), dsdt()};

        assert_memory_equal(area, "RSD PTR ", 8);
        assert_int_equal(sum(ADDRESS, 20), 0);
        assert_int_equal(sum(ADDRESS, 36), 0);
        for (unsigned i = 0; i < ARRAY_LENGTH(tables); i++) {
            assert_int_equal(sum(tables[i], get(tables[i] + 4, 4)), 0);
            assert_int_equal(tables[i] % 8, 0);
        }
    }
}

static void test_fixed_hardware(void **state)
{
    (void)state;
    build_cpus(1);
    uint64_t fadt = find("FACP"), facs = get(fadt + 36, 4);

    assert_int_equal(get(fadt + 4, 4), 276);
    assert_int_equal(get(fadt + 8, 1), 6);
    assert_int_equal(facs % 64, 0);
    assert_int_equal(get(facs, 4), load_le("FACS", 4));
    assert_int_equal(get(fadt + 40, 4), get(fadt + 140, 8));
    assert_int_equal(get(fadt + 46, 2), PM_SCI_IRQ);
    assert_int_equal(get(fadt + 48, 4), PM_APM);
    assert_int_equal(get(fadt + 52, 1), PM_ACPI_ENABLE);
    assert_int_equal(get(fadt + 53, 1), PM_ACPI_DISABLE);
    assert_int_equal(get(fadt + 56, 4), PM_BASE + PM_PM1_EVT);
    assert_int_equal(get(fadt + 64, 4), PM_BASE + PM_PM1_CNT);
    assert_int_equal(get(fadt + 76, 4), PM_BASE + PM_PM1_TMR);
    assert_int_equal(get(fadt + 80, 4), PM_BASE + PM_GPE0);
    assert_int_equal(get(fadt + 92, 1), PM_GPE0_SIZE);
    assert_int_equal(get(fadt + 108, 1), RTC_CENTURY);
    assert_int_equal(get(fadt + 109, 2) & 3, 3);
    assert_int_equal(get(fadt + 112, 4) >> 8 & 1, PM_TIMER_BITS == 32);
    assert_int_equal(get(fadt + 112, 4) >> 4 & 1, 0); /* the power button is fixed hardware */
    assert_int_equal(get(fadt + 116 + 4, 8), 0xcf9);
    assert_int_equal(get(fadt + 128, 1), 6);

    const unsigned pairs[][2] = {{56, 148}, {64, 172}, {76, 208}, {80, 220}};
    for (unsigned i = 0; i < ARRAY_LENGTH(pairs); i++) {
        assert_int_equal(get(fadt + pairs[i][1], 1), 1); /* system I/O */
        assert_int_equal(get(fadt + pairs[i][1] + 4, 8), get(fadt + pairs[i][0], 4));
    }
}

static void test_interrupt_controllers(void **state)
{
    uint64_t madt, at;
    unsigned processors = 0;

    (void)state;
    build_cpus(200);
    madt = find("APIC");
    assert_int_equal(get(madt + 36, 4), 0xfee00000);
    assert_int_equal(get(madt + 40, 4), 1);
    for (at = 44; get(madt + at, 1) == 0; at += 8) {
        assert_int_equal(get(madt + at + 1, 1), 8);
        assert_int_equal(get(madt + at + 2, 1), processors);
        assert_int_equal(get(madt + at + 3, 1), processors++);
        assert_int_equal(get(madt + at + 4, 4), 1);
    }
    assert_int_equal(processors, 200);
    assert_int_equal(get(madt + at, 2), 0x0c01);
    assert_int_equal(get(madt + at + 4, 4), 0xfec00000);
    assert_int_equal(get(madt + at + 8, 4), 0);
    assert_int_equal(get(madt + at + 12 + 3, 1), 0); /* IRQ 0 on input 2 */
    assert_int_equal(get(madt + at + 12 + 4, 4), 2);
    assert_int_equal(get(madt + at + 22 + 3, 1), PM_SCI_IRQ);
    assert_int_equal(get(madt + at + 22 + 8, 2), 0xd);
    assert_int_equal(get(madt + at + 32, 2), 0x0604); /* LINT1 is NMI, everywhere */
    assert_int_equal(at + 38, get(madt + 4, 4));
}

static void test_configuration_space(void **state)
{
    (void)state;
    build_cpus(1);
    uint64_t mcfg = find("MCFG");

    assert_int_equal(get(mcfg + 4, 4), 60);
    assert_int_equal(get(mcfg + 44, 8), 0xb0000000);
    assert_int_equal(get(mcfg + 54, 1), 0);
    assert_int_equal(get(mcfg + 55, 1), 255);
}

static void test_pci_interrupts_as_wired(void **state)
{
    struct acpi_machine machine;

    (void)state;
    acpi_machine_init(&machine, 1);
    for (unsigned slot = 0; slot < ACPI_PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < ACPI_PCI_PINS; pin++)
            assert_int_equal(machine.pci_gsi[slot][pin], LPC_FIRST_PIRQ_PIN + pci_bus_pirq(slot, pin + 1));
    }
}

static void test_board_as_described(void **state)
{
    static struct fake_machine fake;
    static struct q35 board;
    static uint8_t ram[4096];
    const struct q35_config config = {.tsc = {.now = fake_machine_tsc, .source = &fake, .khz = FAKE_TSC_KHZ}};
    struct acpi_machine machine;

    (void)state;
    fake_machine_init(&fake, 1);
    fake.machine.memory =
        (struct guest_memory){.host = ram, .size = sizeof(ram), .ranges = {{.size = 64 << 20}}, .range_count = 1};
    assert_int_equal(q35_init(&board, &fake.machine, &config), STATUS_OK);
    acpi_machine_init(&machine, 1);
    assert_int_equal(machine.ecam.base, Q35_ECAM_BASE);
    assert_int_equal(machine.ecam.size, Q35_ECAM_SIZE);
    assert_int_equal(machine.pci.base, Q35_PCI_BASE);
    assert_int_equal(machine.pci.base + machine.pci.size, Q35_PCI_END);
    for (unsigned pirq = 0; pirq < ACPI_PIRQS; pirq++) {
        unsigned rout = pirq < 4 ? LPC_PIRQA_ROUT + pirq : LPC_PIRQE_ROUT + pirq - 4;

        assert_int_equal(pci_bus_config_read(&board.pci.bus, LPC_DEVFN, rout, 1), machine.pirq_irq[pirq]);
    }
}

static bool dsdt_has(const void *bytes, size_t size)
{
    uint64_t table = dsdt(), length = get(table + 4, 4);

    for (uint64_t at = 36; at + size <= length; at++) {
        if (memcmp(area + (table + at - ADDRESS), bytes, size) == 0)
            return true;
    }
    return false;
}

static void test_dsdt_follows_the_machine(void **state)
{
    static const uint8_t soft_off[] = {0x08, '\\', '_', 'S', '5', '_', 0x12, 0x08, 4, 0x0a, PM_SLP_TYP_S5};
    struct acpi_machine machine;

    (void)state;
    build_cpus(2);
    assert_true(dsdt_has("PCI0", 4) && dsdt_has("COM1", 4) && dsdt_has("COM2", 4) && dsdt_has("FWCF", 4));
    assert_true(dsdt_has("C001", 4));
    assert_false(dsdt_has("C002", 4));
    assert_true(dsdt_has(soft_off, sizeof(soft_off)));

    acpi_machine_init(&machine, 1);
    machine.fw_cfg = false;
    build(&machine);
    assert_true(dsdt_has("COM1", 4));
    assert_false(dsdt_has("COM2", 4) || dsdt_has("FWCF", 4) || dsdt_has("C001", 4));
}

/* --- placed by firmware --- */

enum { LOADER_FILES = 2, LOADER_TABLES_AT = 64 };

/* A file as firmware has placed it: at this offset of `placed`, which is at ADDRESS. */
struct loader_file {
    const char *name;
    const uint8_t *bytes;
    size_t size;
    size_t at;
    bool allocated;
};

static uint8_t placed[ROOM];

static struct loader_file *loader_file(struct loader_file *files, const uint8_t *name)
{
    assert_non_null(memchr(name, 0, TABLE_LOADER_NAME));
    for (unsigned i = 0; i < LOADER_FILES; i++)
        if (strcmp(files[i].name, (const char *)name) == 0)
            return &files[i];
    fail_msg("no file %s", (const char *)name);
    return NULL;
}

/* What firmware does with one command. */
static void loader_run(struct loader_file *files, const uint8_t *command)
{
    struct loader_file *file = loader_file(files, command + 4), *target;
    uint32_t offset, start, length;

    switch (load_le(command, 4)) {
    case 1:
        assert_false(file->allocated);
        assert_int_equal(file->at % load_le(command + 60, 4), 0);
        assert_in_range(command[64], 1, 2);
        memcpy(placed + file->at, file->bytes, file->size);
        file->allocated = true;
        break;
    case 2:
        target = loader_file(files, command + 60);
        offset = (uint32_t)load_le(command + 116, 4);
        assert_true(file->allocated && target->allocated && range_inside(offset, command[120], file->size));
        store_le(placed + file->at + offset, command[120],
                 load_le(placed + file->at + offset, command[120]) + ADDRESS + target->at);
        break;
    case 3:
        offset = (uint32_t)load_le(command + 60, 4);
        start = (uint32_t)load_le(command + 64, 4);
        length = (uint32_t)load_le(command + 68, 4);
        assert_true(file->allocated && offset < file->size && range_inside(start, length, file->size));
        for (uint32_t i = 0; i < length; i++)
            placed[file->at + offset] =
                (uint8_t)(placed[file->at + offset] - (i + start == offset ? 0 : placed[file->at + start + i]));
        break;
    default:
        fail_msg("command %u", (unsigned)load_le(command, 4));
    }
}

/* What firmware puts together is, byte for byte, what a kernel without firmware is given. */
static void test_loader(void **state)
{
    static uint8_t tables[ROOM], commands[32 * TABLE_LOADER_COMMAND];

    (void)state;
    for (unsigned cpus = 1; cpus <= ACPI_CPUS; cpus += 127) {
        struct table_loader loader = {.bytes = commands, .room = sizeof(commands)};
        uint8_t rsdp[ACPI_RSDP_SIZE];
        struct acpi_machine machine;
        size_t used = 0, direct = 0;

        acpi_machine_init(&machine, cpus);
        memset(area, 0, sizeof(area));
        memset(placed, 0, sizeof(placed));
        assert_int_equal(acpi_build(&machine, area, ROOM, ADDRESS, &direct), STATUS_OK);
        assert_int_equal(acpi_build_loader(&machine, tables, ROOM, &used, rsdp, &loader), STATUS_OK);
        assert_int_equal(used + LOADER_TABLES_AT, direct);

        struct loader_file files[LOADER_FILES] = {
            {.name = "etc/acpi/rsdp", .bytes = rsdp, .size = sizeof(rsdp), .at = 0},
            {.name = "etc/acpi/tables", .bytes = tables, .size = used, .at = LOADER_TABLES_AT},
        };
        assert_int_equal(loader.length % TABLE_LOADER_COMMAND, 0);
        for (size_t at = 0; at < loader.length; at += TABLE_LOADER_COMMAND)
            loader_run(files, commands + at);
        assert_memory_equal(placed, area, direct);
    }
}

static void test_loader_without_room(void **state)
{
    static uint8_t tables[ROOM], commands[32 * TABLE_LOADER_COMMAND];
    struct acpi_machine machine;
    uint8_t rsdp[ACPI_RSDP_SIZE];
    size_t used;

    (void)state;
    acpi_machine_init(&machine, 1);
    for (size_t room = 0; room < 15 * TABLE_LOADER_COMMAND; room += 60) {
        struct table_loader loader = {.bytes = commands, .room = room};

        commands[room] = 0xcc;
        assert_int_equal(acpi_build_loader(&machine, tables, ROOM, &used, rsdp, &loader), STATUS_NO_MEMORY);
        assert_int_equal(commands[room], 0xcc);
    }
}

/* --- SMBIOS --- */

static void test_smbios(void **state)
{
    struct smbios_machine machine = {.cpus = 4, .low = 2ull << 30, .high = 6ull << 40};
    uint8_t entry[SMBIOS_ENTRY_SIZE], total = 0;
    size_t used = 0, at = 0;
    unsigned count = 0, types = 0;

    (void)state;
    assert_int_equal(smbios_build(&machine, area, ROOM, &used, entry), STATUS_OK);
    for (unsigned i = 0; i < SMBIOS_ENTRY_SIZE; i++)
        total = (uint8_t)(total + entry[i]);
    assert_int_equal(total, 0);
    total = 0;
    for (unsigned i = 16; i < SMBIOS_ENTRY_SIZE; i++)
        total = (uint8_t)(total + entry[i]);
    assert_int_equal(total, 0);
    assert_int_equal(load_le(entry + 22, 2), used);
    while (at < used) {
        uint8_t type = area[at];

        types |= type < 32 ? 1u << type : 0;
        if (type == 19 && load_le(area + at + 2, 2) == 0x1301) {
            assert_true(load_le(area + at + 15, 8) == 4ull << 30);
            assert_true(load_le(area + at + 23, 8) == (4ull << 30) + (6ull << 40) - 1);
        }
        for (at += area[at + 1]; load_le(area + at, 2) != 0; at++)
            assert_true(at < used);
        at += 2;
        count++;
        if (type == 127)
            break;
    }
    assert_int_equal(at, used);
    assert_int_equal(count, load_le(entry + 28, 2));
    assert_int_equal(types & (1u << 1 | 1u << 3 | 1u << 4 | 1u << 16 | 1u << 17 | 1u << 19),
                     1u << 1 | 1u << 3 | 1u << 4 | 1u << 16 | 1u << 17 | 1u << 19);
    for (size_t room = 0; room < used; room++) {
        size_t none;

        area[room] = 0xcc;
        assert_int_equal(smbios_build(&machine, area, room, &none, entry), STATUS_NO_MEMORY);
        assert_int_equal(area[room], 0xcc);
    }
}

static void test_refusals(void **state)
{
    struct acpi_machine machine;
    size_t used;

    (void)state;
    (void)fake_log_count();
    acpi_machine_init(&machine, 0);
    assert_int_equal(acpi_build(&machine, area, ROOM, ADDRESS, &used), STATUS_INVALID);
    acpi_machine_init(&machine, ACPI_CPUS + 1);
    assert_int_equal(acpi_build(&machine, area, ROOM, ADDRESS, &used), STATUS_INVALID);
    acpi_machine_init(&machine, 1);
    machine.ecam.size = 0;
    assert_int_equal(acpi_build(&machine, area, ROOM, ADDRESS, &used), STATUS_INVALID);
    acpi_machine_init(&machine, 1);
    assert_int_equal(acpi_build(&machine, area, ROOM, 0xffff0000, &used), STATUS_INVALID);
    assert_int_equal(fake_log_count(), 4);
}

static void test_every_lack_of_room(void **state)
{
    struct acpi_machine machine;
    size_t needed = 0, used;

    (void)state;
    acpi_machine_init(&machine, 1);
    assert_int_equal(acpi_build(&machine, area, ROOM, ADDRESS, &needed), STATUS_OK);
    for (size_t room = 0; room < needed; room += room < 64 ? 1 : 13) {
        uint8_t *exact = test_malloc(room);

        (void)fake_log_count();
        assert_int_equal(acpi_build(&machine, exact, room, ADDRESS, &used), STATUS_NO_MEMORY);
        assert_int_equal(fake_log_count(), 1);
        test_free(exact);
    }
}

/* The lengths at which one more byte is needed (PkgLength, 20.2.4), for a buffer of n bytes in a package. */
static void test_package_lengths(void **state)
{
    static const struct {
        size_t contents;
        uint8_t encoded[4];
        size_t size;
    } cases[] = {
        {60, {0x3d}, 1},
        {62, {0x3f}, 1},
        {63, {0x41, 0x04}, 2},
        {0xffd, {0x4f, 0xff}, 2},
        {0xffe, {0x81, 0x00, 0x01}, 3},
        {0xffffc, {0x8f, 0xff, 0xff}, 3},
        {0xffffd, {0xc1, 0x00, 0x00, 0x01}, 4},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size_t room = cases[i].contents + 16, length = 0;
        uint8_t *bytes = test_calloc(1, room), *fill = test_calloc(1, cases[i].contents);
        struct aml aml;

        aml_init(&aml, bytes, room);
        aml_open_else(&aml);
        aml_raw(&aml, fill, cases[i].contents);
        aml_close(&aml);
        assert_int_equal(aml_finish(&aml, &length), STATUS_OK);
        assert_int_equal(length, 1 + cases[i].size + cases[i].contents);
        assert_memory_equal(bytes + 1, cases[i].encoded, cases[i].size);
        test_free(fill);
        test_free(bytes);
    }
}

static void expect_term(const struct aml *aml, const char *bytes, size_t size)
{
    assert_false(aml->failed);
    assert_int_equal(aml->length, size);
    assert_memory_equal(aml->bytes, bytes, size);
}

static void test_terms(void **state)
{
    uint8_t bytes[64];
    struct aml aml;

    (void)state;
    aml_init(&aml, bytes, sizeof(bytes));
    aml_path(&aml, "\\_SB.PCI0.ISA");
    expect_term(&aml, "\\\x2f\x03_SB_PCI0ISA_", 15);
    aml_init(&aml, bytes, sizeof(bytes));
    aml_path(&aml, "PCI0.A");
    expect_term(&aml, "\x2ePCI0A___", 9);
    aml_init(&aml, bytes, sizeof(bytes));
    aml_eisa_id(&aml, "PNP0A08");
    expect_term(&aml, "\x0c\x41\xd0\x0a\x08", 5);
    aml_init(&aml, bytes, sizeof(bytes));
    aml_integer(&aml, 0);
    aml_integer(&aml, 1);
    aml_integer(&aml, 0xff);
    aml_integer(&aml, 0x1234);
    aml_integer(&aml, 0x100000000);
    expect_term(&aml, "\x00\x01\x0a\xff\x0b\x34\x12\x0e\0\0\0\0\x01\0\0\0", 16);
    aml_init(&aml, bytes, sizeof(bytes));
    for (unsigned i = 0; i <= AML_DEPTH; i++)
        aml_open_else(&aml);
    assert_true(aml.failed);
}

static void write_table(const char *directory, uint64_t table, uint64_t size)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "%s/%.4s.dat", directory, (const char *)area + (table - ADDRESS));
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(area + (table - ADDRESS), 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* ACPICA's own judgement: no complaint on disassembly, and the disassembled DSDT compiles without a warning. */
static void test_acpica_has_no_complaint(void **state)
{
    char directory[] = "/tmp/test_boot_acpi.XXXXXX", command[512];

    (void)state;
    if (system("command -v iasl >/dev/null 2>&1") != 0) // NOLINT(bugprone-command-processor,cert-env33-c)
        skip();
    assert_non_null(mkdtemp(directory));
    build_cpus(4);
    write_table(directory, find("FACP"), get(find("FACP") + 4, 4));
    write_table(directory, find("APIC"), get(find("APIC") + 4, 4));
    write_table(directory, find("MCFG"), get(find("MCFG") + 4, 4));
    write_table(directory, get(find("FACP") + 36, 4), 64);
    write_table(directory, dsdt(), get(dsdt() + 4, 4));
    (void)snprintf(command, sizeof(command),
                   "cd %s && for table in *.dat; do iasl -d $table >$table.log 2>&1 || exit 1; done && "
                   "! grep -iE 'error|warning|incorrect|invalid' *.log && iasl -we DSDT.dsl >/dev/null 2>&1; "
                   "code=$?; rm -rf %s; exit $code",
                   directory, directory);
    assert_int_equal(system(command), 0); // NOLINT(bugprone-command-processor,cert-env33-c)
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_fixed_hardware),
        cmocka_unit_test(test_interrupt_controllers),
        cmocka_unit_test(test_configuration_space),
        cmocka_unit_test(test_pci_interrupts_as_wired),
        cmocka_unit_test(test_board_as_described),
        cmocka_unit_test(test_dsdt_follows_the_machine),
        cmocka_unit_test(test_loader),
        cmocka_unit_test(test_loader_without_room),
        cmocka_unit_test(test_smbios),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_lack_of_room),
        cmocka_unit_test(test_package_lengths),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_acpica_has_no_complaint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
