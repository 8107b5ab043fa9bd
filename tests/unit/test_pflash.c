/* The flash chip: its commands, what it tells memory and the store, and when its bytes are to be seen. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/pflash.h"

enum { RAM = 16 * PAGE_SIZE, FLASH = 4 * PAGE_SIZE };

#define FLASH_AT 0xffc00000ull

static _Alignas(PAGE_SIZE) uint8_t backing[RAM + FLASH];
static uint8_t kept[FLASH];
static struct bench bench;
static struct pflash flash;
static unsigned writes, remaps;
static uint64_t told_from, told_size;

static void keep(struct store *store, uint64_t offset, const void *bytes, size_t size)
{
    (void)store;
    assert_true(range_inside(offset, size, FLASH) && size != 0);
    memcpy(kept + offset, bytes, size);
    writes++;
}

static void told_written(struct memory_observer *observer, uint64_t address, uint64_t size)
{
    (void)observer;
    told_from = address;
    told_size = size;
}

static void told_remapped(struct memory_observer *observer, unsigned number)
{
    (void)observer;
    assert_int_equal(number, flash.range);
    remaps++;
}

static int setup(void **state)
{
    static struct store store = {.write = keep};
    static struct memory_observer observer = {.written = told_written, .remapped = told_remapped};
    struct guest_memory *memory = &bench.fake.machine.memory;
    unsigned range;

    (void)state;
    bench_init(&bench);
    memset(backing, 0, sizeof(backing));
    memset(backing + RAM, 0xff, FLASH);
    memcpy(kept, backing + RAM, FLASH);
    assert_int_equal(memory_init(memory, backing, -1, RAM), STATUS_OK);
    assert_int_equal(memory_add_rom(memory, FLASH_AT, FLASH, &range), STATUS_OK);
    assert_int_equal(pflash_init(&flash, memory, range, &store, &bench.fake.machine.bus), STATUS_OK);
    memory->observer = &observer;
    writes = remaps = 0;
    return 0;
}

static void put(uint64_t offset, uint8_t value)
{
    uint64_t word = value;

    assert_true(bus_access(&bench.fake.machine.bus, BUS_MEMORY, FLASH_AT + offset, 1, true, &word));
}

/* As a processor would: from memory if it is there, else from the bus. */
static uint8_t get(uint64_t offset)
{
    const uint8_t *byte = memory_at(&bench.fake.machine.memory, FLASH_AT + offset, 1, false);
    uint64_t word;

    if (byte)
        return *byte;
    assert_true(bus_access(&bench.fake.machine.bus, BUS_MEMORY, FLASH_AT + offset, 1, false, &word));
    return (uint8_t)word;
}

static void test_firmware_finds_it(void **state)
{
    (void)state;
    backing[RAM] = 'V';
    put(0, 0x50);
    assert_int_equal(get(0), 'V');
    put(0, 0x70);
    assert_int_equal(get(0), 0);
    assert_int_equal(get(FLASH - 1), 0);
    put(0, 0xff);
    assert_int_equal(get(0), 'V');
    assert_int_equal(writes, 0);
    assert_int_equal(remaps, 2);
}

static void test_programming(void **state)
{
    static const char text[] = "Boot0001";

    (void)state;
    for (unsigned i = 0; i < sizeof(text); i++) {
        put(0x123 + i, 0x10);
        put(0x123 + i, (uint8_t)text[i]);
        assert_true(told_from == FLASH_AT + 0x123 + i && told_size == 1);
    }
    assert_int_equal(writes, 0); /* once for all of it, */
    assert_null(memory_at(&bench.fake.machine.memory, FLASH_AT, 1, false));
    assert_int_equal(get(0), 0x80);
    assert_int_equal(writes, 1); /* before the guest sees that it is done */
    put(0, 0xff);
    assert_int_equal(writes, 1);
    assert_int_equal(remaps, 2);
    for (unsigned i = 0; i < sizeof(text); i++)
        assert_int_equal(get(0x123 + i), text[i]);
    assert_memory_equal(kept, backing + RAM, FLASH);

    put(0x123, 0x40); /* bits do not come back */
    put(0x123, 0xf0);
    put(0, 0xff);
    assert_int_equal(get(0x123), 'B' & 0xf0);
    assert_memory_equal(kept, backing + RAM, FLASH);
}

static void test_erasing(void **state)
{
    (void)state;
    memset(backing + RAM, 0, FLASH);
    memset(kept, 0, FLASH);
    put(PFLASH_BLOCK + 77, 0x20);
    assert_int_equal(get(0), 0x80); /* not yet */
    put(PFLASH_BLOCK + 77, 0xd0);
    assert_true(told_from == FLASH_AT + PFLASH_BLOCK && told_size == PFLASH_BLOCK);
    put(0, 0xff);
    assert_int_equal(get(PFLASH_BLOCK - 1), 0);
    assert_int_equal(get(PFLASH_BLOCK), 0xff);
    assert_int_equal(get(2 * PFLASH_BLOCK - 1), 0xff);
    assert_int_equal(get(2 * PFLASH_BLOCK), 0);
    assert_memory_equal(kept, backing + RAM, FLASH);

    put(0, 0x20); /* not confirmed: nothing, and the status says so */
    put(0, 0x11);
    assert_int_equal(get(0), 0xb0);
    put(0, 0x50);
    assert_int_equal(get(0), 0);
    put(0, 0x70);
    assert_int_equal(get(0), 0);
}

static void test_identity(void **state)
{
    (void)state;
    put(0, 0x90);
    assert_int_equal(get(0), 0x89);
    assert_int_equal(get(1), 0x18);
    put(0, 0x98);
    assert_int_equal(get(0x10), 'Q');
    assert_int_equal(get(0x11), 'R');
    assert_int_equal(get(0x12), 'Y');
    assert_int_equal(get(0x13), 1);
    assert_int_equal(get(0x27), 14);
    assert_int_equal(get(0x2d), FLASH / PFLASH_BLOCK - 1);
    assert_int_equal(get(0x30), PFLASH_BLOCK >> 16);
    assert_int_equal(get(0x31), 0);
    put(0, 0x00); /* no command: read array */
    assert_int_equal(get(0x10), 0xff);
}

static void test_wide_access(void **state)
{
    uint64_t word = 0xffffffffffff4110; /* byte by byte: program 'A', then read array */

    (void)state;
    assert_true(bus_access(&bench.fake.machine.bus, BUS_MEMORY, FLASH_AT, 8, true, &word));
    assert_int_equal(get(1), 'A');
    assert_true(bus_access(&bench.fake.machine.bus, BUS_MEMORY, FLASH_AT, 8, false, &word));
    assert_true(word == 0xffffffffffff41ff);
}

static void test_state(void **state)
{
    (void)state;
    put(0, 0x10);
    bench_round_trip(&bench, &flash.device, 0);
    assert_null(memory_at(&bench.fake.machine.memory, FLASH_AT, 1, false));
    put(5, 0x12); /* the pending program */
    bench_hostile_state(&bench, &flash.device, 2000);
    bench_random_io(&bench, &flash.device, 20000);
    put(7, 0x10);
    put(7, 0);
    flash.device.type->reset(&flash.device);
    assert_non_null(memory_at(&bench.fake.machine.memory, FLASH_AT, 1, false));
    assert_int_equal(get(7), 0);
    assert_memory_equal(kept, backing + RAM, FLASH);
}

static void test_without_store(void **state)
{
    (void)state;
    flash.store = NULL;
    put(0, 0x10);
    put(0, 0);
    put(0, 0xff);
    assert_int_equal(get(0), 0);
    assert_int_equal(kept[0], 0xff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_firmware_finds_it, setup), cmocka_unit_test_setup(test_programming, setup),
        cmocka_unit_test_setup(test_erasing, setup),           cmocka_unit_test_setup(test_identity, setup),
        cmocka_unit_test_setup(test_wide_access, setup),       cmocka_unit_test_setup(test_state, setup),
        cmocka_unit_test_setup(test_without_store, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
