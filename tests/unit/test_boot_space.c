/* The memory map, and finding room in it. */

#include "base/bits.h"
#include "boot/e820.h"
#include "boot/space.h"
#include "boot_fixture.h"
#include "fake_port.h"
#include "unit.h"

#define GIB (1ull << 30)

static void expect_entry(const struct e820_map *map, unsigned index, uint64_t base, uint64_t end, unsigned type)
{
    assert_true(index < map->count);
    assert_int_equal(map->entries[index].base, base);
    assert_int_equal(map->entries[index].base + map->entries[index].size, end);
    assert_int_equal(map->entries[index].type, type);
}

static void test_map_of_a_small_machine(void **state)
{
    struct guest_memory memory;
    struct e820_map map;
    uint8_t host;

    (void)state;
    assert_int_equal(memory_init(&memory, &host, -1, 64 * FIXTURE_MIB), STATUS_OK);
    assert_int_equal(e820_build(&map, &memory, 0xb0000000, 0x10000000), STATUS_OK);
    assert_int_equal(map.count, 5);
    expect_entry(&map, 0, 0, 0x9fc00, E820_RAM);
    expect_entry(&map, 1, 0x9fc00, 0xa0000, E820_RESERVED);
    expect_entry(&map, 2, 0xe0000, 0x100000, E820_RESERVED);
    expect_entry(&map, 3, 0x100000, 64 * FIXTURE_MIB, E820_RAM);
    expect_entry(&map, 4, 0xb0000000, 0xc0000000, E820_RESERVED);
    assert_int_equal(e820_ram_total(&map), 63 * FIXTURE_MIB + 0x9fc00);
}

static void test_map_of_a_large_machine(void **state)
{
    struct guest_memory memory;
    struct e820_map map;
    uint8_t host;

    (void)state;
    assert_int_equal(memory_init(&memory, &host, -1, 5 * GIB), STATUS_OK);
    assert_int_equal(e820_build(&map, &memory, 0xb0000000, 0x10000000), STATUS_OK);
    assert_int_equal(map.count, 6);
    expect_entry(&map, 3, 0x100000, 2 * GIB, E820_RAM);
    expect_entry(&map, 4, 0xb0000000, 0xc0000000, E820_RESERVED);
    expect_entry(&map, 5, 4 * GIB, 7 * GIB, E820_RAM);
    assert_true(e820_is_ram(&map, 4 * GIB, 3 * GIB));
    assert_false(e820_is_ram(&map, 4 * GIB, 3 * GIB + 1));
    assert_false(e820_is_ram(&map, 2 * GIB - 1, 2));
    assert_false(e820_is_ram(&map, 0xa0000, 1));
    assert_false(e820_is_ram(&map, 4 * GIB, UINT64_MAX));
    assert_false(e820_is_ram(&map, UINT64_MAX, 2));
}

static void test_map_wants_more_than_a_mebibyte(void **state)
{
    struct guest_memory memory;
    struct e820_map map;
    uint8_t host;

    (void)state;
    assert_int_equal(memory_init(&memory, &host, -1, FIXTURE_MIB), STATUS_OK);
    assert_int_equal(e820_build(&map, &memory, 0xb0000000, 0x10000000), STATUS_INVALID);
    assert_string_equal(fake_log_line, "boot: 1024 KiB of memory are too few to start a kernel; "
                                       "give the machine more memory with -m");
}

static struct e820_map two_regions(void)
{
    return (struct e820_map){
        .entries = {{0x0, 0x80000, E820_RAM}, {0x80000, 0x80000, E820_RESERVED}, {0x100000, 0x700000, E820_RAM}},
        .count = 3,
    };
}

static void test_find_low(void **state)
{
    struct e820_map map = two_regions();
    struct boot_space space;
    uint64_t address;

    (void)state;
    space_init(&space, &map);
    assert_true(space_find_low(&space, 0x1000, 0x1000, 0, GIB, &address));
    assert_int_equal(address, 0x1000); /* never the first page */
    assert_int_equal(space_take(&space, 0x2000, 0x1800), STATUS_OK);
    assert_true(space_find_low(&space, 0x1001, 0x1000, 0, GIB, &address));
    assert_int_equal(address, 0x4000); /* around what is taken */
    assert_true(space_find_low(&space, 0x80000, 0x1000, 0, GIB, &address));
    assert_int_equal(address, 0x100000); /* into the next region */
    assert_true(space_find_low(&space, 1, 0x400000, 0x100001, GIB, &address));
    assert_int_equal(address, 0x400000);
    assert_false(space_find_low(&space, 0x700001, 1, 0, GIB, &address));
    assert_false(space_find_low(&space, UINT64_MAX, 1, 0, UINT64_MAX, &address));
    assert_false(space_find_low(&space, 0x1000, BIT64(63), 0, GIB, &address));
    assert_false(space_find_low(&space, 0x1000, 1, 0x700000, 0x700fff, &address));
}

static void test_find_high(void **state)
{
    struct e820_map map = two_regions();
    struct boot_space space;
    uint64_t address;

    (void)state;
    space_init(&space, &map);
    assert_true(space_find_high(&space, 0x1001, 0x1000, 0, UINT64_MAX, &address));
    assert_int_equal(address, 0x7fe000);
    assert_int_equal(space_take(&space, 0x7fe800, 0x800), STATUS_OK);
    assert_true(space_find_high(&space, 0x1000, 0x1000, 0, UINT64_MAX, &address));
    assert_int_equal(address, 0x7ff000); /* above what is taken */
    assert_true(space_find_high(&space, 0x1001, 0x1000, 0, UINT64_MAX, &address));
    assert_int_equal(address, 0x7fd000); /* below it */
    assert_true(space_find_high(&space, 0x1000, 0x1000, 0, 0x300000, &address));
    assert_int_equal(address, 0x2ff000);
    assert_true(space_find_high(&space, 0x1000, 0x1000, 0, 0x100fff, &address));
    assert_int_equal(address, 0x7f000); /* into the region below */
    assert_false(space_find_high(&space, 0x1000, 0x1000, 0x80000, 0x100fff, &address));
    assert_false(space_find_high(&space, 0x700001, 1, 0, UINT64_MAX, &address));
    assert_false(space_find_high(&space, UINT64_MAX, 1, 0, UINT64_MAX, &address));
}

static void test_take(void **state)
{
    struct e820_map map = two_regions();
    struct boot_space space;

    (void)state;
    space_init(&space, &map);
    assert_int_equal(space_take(&space, 0x10000, 0x1000), STATUS_OK);
    assert_int_equal(space_take(&space, 0x10fff, 1), STATUS_EXISTS);
    assert_int_equal(space_take(&space, 0xf000, 0x1001), STATUS_EXISTS);
    assert_int_equal(space_take(&space, 0x11000, 0x1000), STATUS_OK); /* grows its neighbour */
    assert_int_equal(space.count, 1);
    assert_int_equal(space_take(&space, 0x80000, 1), STATUS_EXISTS);
    assert_int_equal(space_take(&space, 0x7f000, 0x1001), STATUS_EXISTS);
    for (uint64_t at = 0x100000; space.count < SPACE_TAKEN; at += 0x1000)
        assert_int_equal(space_take(&space, at, 0x800), STATUS_OK);
    assert_int_equal(space_take(&space, 0x700000, 1), STATUS_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_of_a_small_machine),
        cmocka_unit_test(test_map_of_a_large_machine),
        cmocka_unit_test(test_map_wants_more_than_a_mebibyte),
        cmocka_unit_test(test_find_low),
        cmocka_unit_test(test_find_high),
        cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
