#include <stdbool.h>
#include <string.h>

#include "unit.h"

#include "core/memory.h"
#include "fake_port.h"

enum { GIB = 1 << 30 };
#define HIGH 0x100000000ull

static uint8_t backing[4 * PAGE_SIZE];
static struct guest_memory memory;

struct witness {
    struct memory_observer observer; /* first */
    uint64_t address, size;
    unsigned calls;
};

static void witness_written(struct memory_observer *observer, uint64_t address, uint64_t size)
{
    struct witness *witness = (struct witness *)observer;

    witness->address = address;
    witness->size += size;
    witness->calls++;
}

static void sizes_are_checked(void **state)
{
    (void)state;
    assert_int_equal(memory_init(&memory, backing, -1, 0), STATUS_INVALID);
    assert_int_equal(memory_init(&memory, backing, -1, 4097), STATUS_INVALID);
    assert_int_equal(memory_init(&memory, NULL, -1, 4096), STATUS_INVALID);
    assert_int_equal(memory_init(&memory, backing, -1, UINT64_MAX - 4095), STATUS_INVALID);
    assert_int_equal(memory_init(&memory, backing, -1, sizeof(backing)), STATUS_OK);
    assert_int_equal(memory.range_count, 1);
}

/* The backing is never touched here, so it need not be as large as we say. */
static void ram_leaves_a_hole_below_4_gib(void **state)
{
    (void)state;
    assert_int_equal(memory_init(&memory, backing, -1, 3ull * GIB), STATUS_OK);
    assert_true(memory_low_size(&memory) == 2ull * GIB);
    assert_true(memory_top(&memory) == 5ull * GIB);
    assert_ptr_equal(memory_at(&memory, 0, 1, false), backing);
    assert_null(memory_at(&memory, 2ull * GIB, 1, false));
    assert_null(memory_at(&memory, HIGH - 1, 1, false));
    assert_true(memory_at(&memory, HIGH, GIB, true) == (void *)((uintptr_t)backing + 2ull * GIB));
    assert_null(memory_at(&memory, HIGH, GIB + 1ull, true));
    assert_null(memory_at(&memory, 2ull * GIB - 1, 2, false));
    assert_null(memory_at(&memory, 16, UINT64_MAX, false));
    assert_null(memory_at(&memory, UINT64_MAX, 1, false));

    assert_int_equal(memory_init(&memory, backing, -1, 2ull * GIB), STATUS_OK);
    assert_true(memory_top(&memory) == 2ull * GIB);
    assert_int_equal(memory.range_count, 1);
}

static int two_ranges(void **state)
{
    (void)state;
    memset(backing, 0, sizeof(backing));
    memory = (struct guest_memory){
        .host = backing,
        .size = sizeof(backing),
        .fd = -1,
        .ranges = {{0, 2 * PAGE_SIZE, 2 * PAGE_SIZE, false},
                   {2 * PAGE_SIZE, PAGE_SIZE, 0, false},
                   {HIGH - PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, true}},
        .range_count = 3,
    };
    return 0;
}

static void copies_cross_ranges(void **state)
{
    struct witness witness = {.observer = {witness_written}};
    char text[] = "across the border", back[sizeof(text)];

    (void)state;
    memory.observer = &witness.observer;
    assert_int_equal(memory_write(&memory, 2 * PAGE_SIZE - 6, text, sizeof(text)), STATUS_OK);
    assert_memory_equal(backing + 4 * PAGE_SIZE - 6, "across", 6);
    assert_memory_equal(backing, " the border", 12);
    assert_int_equal(witness.calls, 2);
    assert_int_equal(witness.size, sizeof(text));
    assert_int_equal(witness.address, 2 * PAGE_SIZE);
    assert_int_equal(memory_read(&memory, 2 * PAGE_SIZE - 6, back, sizeof(back)), STATUS_OK);
    assert_string_equal(back, text);
}

static void a_copy_that_does_not_fit_copies_nothing(void **state)
{
    struct witness witness = {.observer = {witness_written}};
    char bytes[32] = {1, 2, 3};

    (void)state;
    memory.observer = &witness.observer;
    assert_int_equal(memory_write(&memory, 3 * PAGE_SIZE - 16, bytes, 32), STATUS_INVALID);
    assert_int_equal(backing[PAGE_SIZE - 16], 0);
    assert_int_equal(memory_read(&memory, 3 * PAGE_SIZE - 16, bytes, 32), STATUS_INVALID);
    assert_int_equal(bytes[0], 1);
    assert_int_equal(memory_read(&memory, UINT64_MAX - 3, bytes, 8), STATUS_INVALID);
    assert_int_equal(witness.calls, 0);
    assert_int_equal(memory_write(&memory, UINT64_MAX, bytes, 0), STATUS_OK);
}

static void rom_is_read_only(void **state)
{
    char byte = 1;

    (void)state;
    assert_non_null(memory_at(&memory, HIGH - 16, 16, false));
    assert_null(memory_at(&memory, HIGH - 16, 16, true));
    assert_int_equal(memory_read(&memory, HIGH - 16, &byte, 1), STATUS_OK);
    assert_int_equal(memory_write(&memory, HIGH - 16, &byte, 1), STATUS_INVALID);
    assert_true(memory_top(&memory) == 3 * PAGE_SIZE);
    assert_true(memory_low_size(&memory) == 3 * PAGE_SIZE);
}

static unsigned remapped_number, remapped_calls;

static void witness_remapped(struct memory_observer *observer, unsigned number)
{
    (void)observer;
    remapped_number = number;
    remapped_calls++;
}

static void rom_is_added_shown_and_hidden(void **state)
{
    struct memory_observer observer = {.remapped = witness_remapped};
    unsigned number = 99;

    (void)state;
    assert_int_equal(memory_init(&memory, backing, -1, 2 * PAGE_SIZE), STATUS_OK);
    assert_int_equal(memory_add_rom(&memory, PAGE_SIZE, PAGE_SIZE, &number), STATUS_INVALID);
    assert_int_equal(memory_add_rom(&memory, HIGH + 1, PAGE_SIZE, &number), STATUS_INVALID);
    assert_int_equal(memory_add_rom(&memory, HIGH, 0, &number), STATUS_INVALID);
    assert_int_equal(memory_add_rom(&memory, UINT64_MAX - PAGE_SIZE + 1, PAGE_SIZE, &number), STATUS_INVALID);
    assert_int_equal(memory_add_rom(&memory, HIGH, PAGE_SIZE, &number), STATUS_OK);
    assert_int_equal(number, 1);
    assert_true(memory.size == 3 * PAGE_SIZE);
    assert_ptr_equal(memory_at(&memory, HIGH, PAGE_SIZE, false), backing + 2 * PAGE_SIZE);
    assert_null(memory_at(&memory, HIGH, PAGE_SIZE, true));
    assert_true(memory_low_size(&memory) == 2 * PAGE_SIZE);

    remapped_calls = 0;
    memory.observer = &observer;
    memory_show(&memory, number, true);
    assert_int_equal(remapped_calls, 0);
    memory_show(&memory, number, false);
    assert_int_equal(remapped_calls, 1);
    assert_int_equal(remapped_number, number);
    assert_null(memory_at(&memory, HIGH, 1, false));
    memory_show(&memory, number, true);
    assert_int_equal(remapped_calls, 2);
    assert_non_null(memory_at(&memory, HIGH, 1, false));

    while (memory.range_count < MEMORY_RANGES)
        assert_int_equal(memory_add_rom(&memory, HIGH + memory.range_count * PAGE_SIZE, PAGE_SIZE, &number),
                         STATUS_OK);
    assert_int_equal(memory_add_rom(&memory, HIGH + 99 * PAGE_SIZE, PAGE_SIZE, &number), STATUS_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(ram_leaves_a_hole_below_4_gib),
        cmocka_unit_test_setup(copies_cross_ranges, two_ranges),
        cmocka_unit_test_setup(a_copy_that_does_not_fit_copies_nothing, two_ranges),
        cmocka_unit_test_setup(rom_is_read_only, two_ranges),
        cmocka_unit_test(rom_is_added_shown_and_hidden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
