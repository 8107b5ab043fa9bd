/* Guest memory by linear address: each paging format, laid out by hand. */
#include <stdbool.h>
#include <string.h>

#include "unit.h"

#include "core/linear.h"
#include "fake_port.h"
#include "x86/paging.h"
#include "x86/regs.h"

enum { PAGES = 16 };

static _Alignas(4096) uint8_t backing[PAGES * PAGE_SIZE];
static struct guest_memory memory;
static struct cpu_state cpu;

/* Tables are on pages 1 to 4; page 8 and up are what they map. */
static int set_up(void **state)
{
    (void)state;
    memset(backing, 0, sizeof(backing));
    memset(&cpu, 0, sizeof(cpu));
    cpu.cr3 = 0x1000;
    assert_int_equal(memory_init(&memory, backing, -1, sizeof(backing)), STATUS_OK);
    return 0;
}

static void entry64(uint64_t table, unsigned index, uint64_t value)
{
    store_le(backing + table + 8 * index, 8, value);
}

static void entry32(uint64_t table, unsigned index, uint32_t value)
{
    store_le(backing + table + 4 * index, 4, value);
}

static void leads_to(uint64_t linear, uint64_t expected)
{
    uint64_t physical = 0;

    assert_true(linear_to_physical(&cpu, &memory, linear, &physical));
    assert_int_equal(physical, expected);
}

static void leads_nowhere(uint64_t linear)
{
    uint64_t physical;

    assert_false(linear_to_physical(&cpu, &memory, linear, &physical));
}

static void real_and_unpaged_addresses_are_physical(void **state)
{
    (void)state;
    leads_to(0xffff0, 0xffff0);
    leads_to(0x10ffef, 0x10ffef);
    cpu.cr0 = CR0_PE;
    leads_to(0x12345678, 0x12345678);
    leads_to(0x100000004, 4); /* segment base and offset wrap at 4 GiB */
}

static void two_levels(void **state)
{
    (void)state;
    cpu.cr0 = CR0_PE | CR0_PG;
    entry32(0x1000, 0x300, 0x2000 | PTE_P);
    entry32(0x2000, 5, 0x8000 | PTE_P);
    entry32(0x2000, 6, 0x9000); /* not present */
    leads_to(0xc0005123, 0x8123);
    leads_nowhere(0xc0006123);
    leads_nowhere(0xc0400000);

    entry32(0x1000, 1, 0x00c00000 | PTE_P | PTE_PS);
    leads_nowhere(0x00412345); /* without CR4.PSE it is a table, far outside RAM */
    cpu.cr4 = CR4_PSE;
    leads_to(0x00412345, 0x00c12345);
    entry32(0x1000, 1, 0x00c00000 | 0x6000 | PTE_P | PTE_PS);
    leads_to(0x00412345, 0x300c12345);
}

static void three_levels(void **state)
{
    (void)state;
    cpu.cr0 = CR0_PE | CR0_PG;
    cpu.cr4 = CR4_PAE;
    cpu.cr3 = 0x1020; /* 32-byte aligned */
    entry64(0x1000, 4 + 3, 0x2000 | PTE_P);
    entry64(0x2000, 0x1ff, 0x3000 | PTE_P);
    entry64(0x3000, 1, 0x8000 | PTE_P | PTE_NX);
    entry64(0x2000, 1, 0x40000000 | PTE_P | PTE_PS | PTE_PAT_LARGE);
    leads_to(0xffe01fff, 0x8fff);
    leads_to(0xc0234567, 0x40034567);
    leads_nowhere(0xffe00000);
    leads_nowhere(0x00000000);
}

static void long_mode(void)
{
    cpu.cr0 = CR0_PE | CR0_PG;
    cpu.cr4 = CR4_PAE;
    cpu.efer = EFER_LME | EFER_LMA;
    entry64(0x1000, 0x1ff, 0x2000 | PTE_P);
    entry64(0x2000, 0x1fe, 0x3000 | PTE_P);
    entry64(0x3000, 8, 0x4000 | PTE_P);
    entry64(0x4000, 0, 0x8000 | PTE_P);
    entry64(0x4000, 1, 0xa000 | PTE_P);
}

static void four_levels(void **state)
{
    (void)state;
    long_mode();
    leads_to(0xffffffff81000010, 0x8010);
    leads_to(0xffffffff81001010, 0xa010);
    leads_nowhere(0xffffffff81002010);
    leads_nowhere(0x0000ffff81000010); /* not canonical */

    entry64(0x3000, 9, 0x12200000 | PTE_P | PTE_PS);
    leads_to(0xffffffff81212345, 0x12212345);
    entry64(0x2000, 0x1ff, 0x4080000000 | PTE_P | PTE_PS);
    leads_to(0xffffffffc7654321, 0x4087654321);
    entry64(0x1000, 0, 0x2000 | PTE_P | PTE_PS); /* the bit means nothing at the top */
    leads_nowhere(0);
}

static void tables_outside_ram_map_nothing(void **state)
{
    (void)state;
    long_mode();
    entry64(0x3000, 8, 0x100000000 | PTE_P);
    leads_nowhere(0xffffffff81000010);
    cpu.cr3 = PTE_ADDRESS;
    leads_nowhere(0);
}

static void reading_stops_where_nothing_is_mapped(void **state)
{
    uint8_t bytes[2 * PAGE_SIZE];

    (void)state;
    long_mode();
    memset(backing + 0x8000, 0x11, PAGE_SIZE);
    memset(backing + 0xa000, 0x22, PAGE_SIZE);
    assert_int_equal(linear_read(&cpu, &memory, 0xffffffff81000ffe, bytes, 4), 4);
    assert_memory_equal(bytes, "\x11\x11\x22\x22", 4);
    assert_int_equal(linear_read(&cpu, &memory, 0xffffffff81001ffe, bytes, 4), 2);
    assert_int_equal(linear_read(&cpu, &memory, 0xffffffff80ffffff, bytes, 4), 0);
    assert_int_equal(linear_read(&cpu, &memory, 0xffffffff81000000, bytes, sizeof(bytes)), sizeof(bytes));
    entry64(0x4000, 1, 0x40000000 | PTE_P); /* mapped, but to no RAM */
    assert_int_equal(linear_read(&cpu, &memory, 0xffffffff81000ffe, bytes, 4), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(real_and_unpaged_addresses_are_physical, set_up),
        cmocka_unit_test_setup(two_levels, set_up),
        cmocka_unit_test_setup(three_levels, set_up),
        cmocka_unit_test_setup(four_levels, set_up),
        cmocka_unit_test_setup(tables_outside_ram_map_nothing, set_up),
        cmocka_unit_test_setup(reading_stops_where_nothing_is_mapped, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
