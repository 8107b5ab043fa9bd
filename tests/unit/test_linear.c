/* Linear addresses through page tables of every format, good ones and hostile ones. */
#include "core/linear.h"

#include <string.h>

#include "unit.h"

#include "base/bits.h"
#include "x86/paging.h"
#include "x86/regs.h"

enum { RAM = 1 << 20, ROOT = 0x10000, TABLES = 0x11000, DATA = 0x40000 };

static uint8_t ram[RAM];
static struct guest_memory memory;
static struct cpu_state cpu;

static int setup(void **state)
{
    (void)state;
    memset(ram, 0, sizeof(ram));
    assert_int_equal(memory_init(&memory, ram, -1, RAM), STATUS_OK);
    cpu_state_reset(&cpu, 0);
    cpu.cr0 = CR0_PE | CR0_PG;
    cpu.cr3 = ROOT;
    return 0;
}

static void long_mode(void)
{
    cpu.cr4 = CR4_PAE;
    cpu.efer = EFER_LME | EFER_LMA;
}

static void entry(uint64_t table, unsigned index, unsigned size, uint64_t value)
{
    store_le(ram + table + index * size, size, value);
}

static void expect(uint64_t linear, uint64_t physical, uint64_t mapped)
{
    uint64_t got_physical, got_mapped;

    assert_true(linear_translate(&memory, &cpu, linear, &got_physical, &got_mapped));
    assert_int_equal(got_physical, physical);
    assert_int_equal(got_mapped, mapped);
}

static void expect_none(uint64_t linear)
{
    uint64_t physical, mapped;

    assert_false(linear_translate(&memory, &cpu, linear, &physical, &mapped));
}

static void without_paging(void **state)
{
    (void)state;
    cpu.cr0 = CR0_PE;
    expect(0x1234, 0x1234, 0x100000000 - 0x1234);
    expect(0xfffffff0, 0xfffffff0, 0x10);
    expect_none(0x100000000);
}

static void two_levels(void **state)
{
    (void)state;
    entry(ROOT, 1, 4, TABLES | PTE_P);
    entry(TABLES, 2, 4, DATA | PTE_P | PTE_PAT);
    entry(ROOT, 3, 4, 0x00c00000 | PTE_P | PTE_PS);
    expect(0x00402345, DATA + 0x345, PAGE_SIZE - 0x345);
    expect_none(0x00403000);
    expect_none(0x00800000);
    /* PS means something with CR4.PSE only. */
    expect_none(0x00c12345);
    cpu.cr4 = CR4_PSE;
    expect(0x00c12345, 0x00c12345, 0x400000 - 0x12345);
    expect_none(0xffffffff00402345);
}

static void pae(void **state)
{
    (void)state;
    cpu.cr4 = CR4_PAE;
    cpu.cr3 = ROOT + 0x20;
    entry(ROOT + 0x20, 2, 8, TABLES | PTE_P);
    entry(TABLES, 5, 8, (TABLES + 0x1000) | PTE_P);
    entry(TABLES, 6, 8, 0x200000 | PTE_P | PTE_PS);
    entry(TABLES + 0x1000, 7, 8, DATA | PTE_P | PTE_NX);
    expect(0x80a07010, DATA + 0x10, PAGE_SIZE - 0x10);
    expect(0x80c00010, 0x200010, 0x200000 - 0x10);
    expect_none(0x40000000);
}

static void four_levels(void **state)
{
    (void)state;
    long_mode();
    entry(ROOT, 511, 8, TABLES | PTE_P | PTE_W);
    entry(TABLES, 510, 8, (TABLES + 0x1000) | PTE_P);
    entry(TABLES, 509, 8, 0x40000000 | PTE_P | PTE_PS);
    entry(TABLES + 0x1000, 8, 8, 0x1000000 | PTE_P | PTE_PS | PTE_NX | PTE_PAT_LARGE);
    entry(TABLES + 0x1000, 9, 8, (TABLES + 0x2000) | PTE_P);
    entry(TABLES + 0x2000, 1, 8, DATA | PTE_P);
    expect(0xffffffff81000123, 0x1000123, 0x200000 - 0x123);
    expect(0xffffffff81201000, DATA, PAGE_SIZE);
    expect(0xffffffff40000001, 0x40000001, 0x40000000 - 1);
    expect_none(0xffffffff81202000);
    expect_none(0);
    expect_none(0x0000ffff81000000); /* not canonical */
    expect_none(0x00007fff81000000);
}

static void five_levels(void **state)
{
    (void)state;
    long_mode();
    cpu.cr4 |= CR4_LA57;
    entry(ROOT, 1, 8, TABLES | PTE_P);
    entry(TABLES, 0, 8, (TABLES + 0x1000) | PTE_P);
    entry(TABLES + 0x1000, 0, 8, 0x40000000 | PTE_P | PTE_PS);
    expect(0x0001000000000010, 0x40000010, 0x40000000 - 0x10);
    expect_none(0x0100000000000000);
}

/* Tables outside of RAM, tables that are their own children, and no end of it. */
static void hostile_tables(void **state)
{
    (void)state;
    long_mode();
    cpu.cr3 = PTE_ADDRESS;
    expect_none(0x1000);
    cpu.cr3 = ROOT;
    entry(ROOT, 0, 8, ROOT | PTE_P);
    expect(0x10, ROOT + 0x10, PAGE_SIZE - 0x10);
    entry(ROOT, 0, 8, (uint64_t)PTE_ADDRESS | PTE_P);
    expect_none(0x10);
    entry(ROOT, 0, 8, UINT64_MAX); /* PS has no meaning in a PML4E */
    expect_none(0x10);
    entry(ROOT, 0, 8, (RAM - PAGE_SIZE) | PTE_P);
    memset(ram + RAM - PAGE_SIZE, 0xff, PAGE_SIZE);
    expect(0x10, (PTE_ADDRESS & ~0x3fffffffull) | 0x10, 0x40000000 - 0x10);
    /* It is not RAM. */
    assert_int_equal(linear_read(&memory, &cpu, 0x10, ram, 8), 0);
}

static void copies(void **state)
{
    uint8_t bytes[8];

    (void)state;
    long_mode();
    entry(ROOT, 0, 8, TABLES | PTE_P);
    entry(TABLES, 0, 8, (TABLES + 0x1000) | PTE_P);
    entry(TABLES + 0x1000, 0, 8, (TABLES + 0x2000) | PTE_P);
    entry(TABLES + 0x2000, 1, 8, (DATA + 0x5000) | PTE_P);
    entry(TABLES + 0x2000, 2, 8, DATA | PTE_P);

    memcpy(ram + DATA + 0x5ffc, "abcd", 4);
    memcpy(ram + DATA, "efgh", 4);
    assert_int_equal(linear_read(&memory, &cpu, 0x1ffc, bytes, 8), 8);
    assert_memory_equal(bytes, "abcdefgh", 8);

    /* As far as it goes. */
    assert_int_equal(linear_read(&memory, &cpu, 0x2ffc, bytes, 8), 4);
    assert_int_equal(linear_read(&memory, &cpu, 0x5000, bytes, 8), 0);
}

/* A large page half of which is RAM. */
static void large_page_over_the_end(void **state)
{
    uint8_t bytes[16];

    (void)state;
    long_mode();
    entry(ROOT, 0, 8, TABLES | PTE_P);
    entry(TABLES, 0, 8, (TABLES + 0x1000) | PTE_P);
    entry(TABLES + 0x1000, 0, 8, PTE_P | PTE_PS);
    memset(ram + RAM - 8, 7, 8);
    assert_int_equal(linear_read(&memory, &cpu, RAM - 8, bytes, 16), 8);
    assert_int_equal(bytes[7], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_paging, setup),
        cmocka_unit_test_setup(two_levels, setup),
        cmocka_unit_test_setup(pae, setup),
        cmocka_unit_test_setup(four_levels, setup),
        cmocka_unit_test_setup(five_levels, setup),
        cmocka_unit_test_setup(hostile_tables, setup),
        cmocka_unit_test_setup(copies, setup),
        cmocka_unit_test_setup(large_page_over_the_end, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
