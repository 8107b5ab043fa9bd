#include <string.h>

#include "unit.h"

#include "base/bits.h"
#include "core/bus.h"
#include "fake_port.h"

/* A device of 16 bytes per region that remembers how it was asked. */
struct recorder {
    struct device device; /* first */
    uint8_t bytes[16];
    struct io_access last;
    unsigned accesses;
    enum io_result answer;
};

static enum io_result recorder_io(struct device *device, unsigned region, struct io_access *access)
{
    struct recorder *recorder = (struct recorder *)device;

    (void)region;
    recorder->accesses++;
    recorder->last = *access;
    assert_int_equal(access->offset % access->size, 0);
    assert_true(range_inside(access->offset, access->size, sizeof(recorder->bytes)));
    if (recorder->answer != IO_DONE)
        return recorder->answer;
    if (access->write)
        store_le(recorder->bytes + access->offset, access->size, access->value);
    else
        access->value = load_le(recorder->bytes + access->offset, access->size);
    return IO_DONE;
}

static const struct device_type recorder_type = {.name = "recorder", .io = recorder_io};

static struct bus bus;
static struct lock lock;
static struct recorder recorder;

static struct region region_of(enum bus_space space, uint64_t base, uint8_t smallest, uint8_t largest)
{
    return (struct region){.name = "test",
                           .space = space,
                           .base = base,
                           .size = 16,
                           .smallest = smallest,
                           .largest = largest,
                           .enabled = true,
                           .device = &recorder.device};
}

static int setup(void **state)
{
    (void)state;
    memset(&recorder, 0, sizeof(recorder));
    recorder.device = (struct device){.type = &recorder_type, .path = "test/recorder"};
    for (unsigned i = 0; i < sizeof(recorder.bytes); i++)
        recorder.bytes[i] = (uint8_t)(i + 1);
    bus_init(&bus, &lock);
    return 0;
}

static uint64_t read_at(enum bus_space space, uint64_t address, unsigned size)
{
    uint64_t value = 0x5555;

    (void)bus_access(&bus, space, address, size, false, &value);
    assert_int_equal(lock.word, 0);
    return value;
}

static bool write_at(enum bus_space space, uint64_t address, unsigned size, uint64_t value)
{
    return bus_access(&bus, space, address, size, true, &value);
}

static void nobody_reads_as_ones(void **state)
{
    uint64_t value = 0;

    (void)state;
    assert_false(bus_access(&bus, BUS_PORT, 0x80, 2, false, &value));
    assert_int_equal(value, 0xffff);
    assert_true(read_at(BUS_MEMORY, UINT64_MAX - 3, 8) == UINT64_MAX);
    assert_true(read_at(BUS_MEMORY, 0, 8) == UINT64_MAX);
    assert_false(write_at(BUS_PORT, 0x80, 1, 0));
}

static void accesses_reach_their_region(void **state)
{
    struct region port = region_of(BUS_PORT, 0x100, 1, 8), memory = region_of(BUS_MEMORY, 0x100, 1, 8);

    (void)state;
    memory.index = 1;
    assert_int_equal(bus_add(&bus, &memory), STATUS_OK);
    assert_int_equal(bus_add(&bus, &port), STATUS_OK);
    assert_int_equal(read_at(BUS_PORT, 0x104, 4), 0x08070605);
    assert_int_equal(recorder.last.offset, 4);
    assert_int_equal(recorder.last.size, 4);
    assert_true(write_at(BUS_MEMORY, 0x108, 8, 0x1122334455667788ull));
    assert_true(read_at(BUS_MEMORY, 0x108, 8) == 0x1122334455667788ull);
    assert_true(write_at(BUS_MEMORY, 0x100, 1, 0xffffffffffffff42ull));
    assert_int_equal(recorder.last.value, 0x42);
    assert_int_equal(read_at(BUS_PORT, 0xff, 1), 0xff);
    assert_int_equal(read_at(BUS_PORT, 0x110, 1), 0xff);
}

static void large_and_misaligned_accesses_are_split(void **state)
{
    struct region region = region_of(BUS_PORT, 0x100, 1, 2);

    (void)state;
    assert_int_equal(bus_add(&bus, &region), STATUS_OK);
    assert_int_equal(read_at(BUS_PORT, 0x104, 4), 0x08070605);
    assert_int_equal(recorder.accesses, 2);
    assert_int_equal(read_at(BUS_PORT, 0x101, 2), 0x0302);
    assert_int_equal(recorder.accesses, 4);
    assert_true(write_at(BUS_PORT, 0x103, 4, 0xaabbccdd));
    assert_int_equal(load_le(recorder.bytes + 3, 4), 0xaabbccdd);
}

static void an_access_over_the_edge_reaches_what_is_there(void **state)
{
    struct region region = region_of(BUS_PORT, 0x100, 1, 4);

    (void)state;
    assert_int_equal(bus_add(&bus, &region), STATUS_OK);
    assert_int_equal(read_at(BUS_PORT, 0x10e, 4), 0xffff100f);
    assert_int_equal(read_at(BUS_PORT, 0xff, 2), 0x01ff);
    assert_int_equal(read_at(BUS_PORT, 0x1000e, 4), 0xffffffff);
}

static void small_reads_are_widened_and_small_writes_dropped(void **state)
{
    struct region region = region_of(BUS_MEMORY, 0x1000, 4, 4);

    (void)state;
    assert_int_equal(bus_add(&bus, &region), STATUS_OK);
    assert_int_equal(read_at(BUS_MEMORY, 0x1006, 1), 0x07);
    assert_int_equal(recorder.last.size, 4);
    assert_int_equal(recorder.last.offset, 4);
    assert_int_equal(read_at(BUS_MEMORY, 0x1002, 4), 0x06050403);
    recorder.accesses = 0;
    assert_false(write_at(BUS_MEMORY, 0x1004, 2, 0));
    assert_int_equal(recorder.accesses, 0);
}

static void refusals_read_as_ones_and_are_logged_a_few_times(void **state)
{
    struct region region = region_of(BUS_PORT, 0x100, 1, 4);

    (void)state;
    assert_int_equal(bus_add(&bus, &region), STATUS_OK);
    recorder.answer = IO_UNCLAIMED;
    (void)fake_log_count();
    assert_int_equal(read_at(BUS_PORT, 0x100, 4), 0xffffffff);
    assert_int_equal(fake_log_count(), 0);
    recorder.answer = IO_FAULT;
    for (unsigned i = 0; i < 1000; i++)
        assert_false(write_at(BUS_PORT, 0x100, 4, 0));
    assert_in_range(fake_log_count(), 1, 100);
}

static void regions_do_not_overlap(void **state)
{
    struct region first = region_of(BUS_PORT, 0x100, 1, 4), second = region_of(BUS_PORT, 0x10f, 1, 4);
    struct region around = region_of(BUS_PORT, 0xff, 1, 4), next = region_of(BUS_PORT, 0x110, 1, 4);
    struct region hidden = region_of(BUS_PORT, 0x108, 1, 4);

    (void)state;
    around.size = 32;
    hidden.enabled = false;
    assert_int_equal(bus_add(&bus, &first), STATUS_OK);
    assert_int_equal(bus_add(&bus, &second), STATUS_EXISTS);
    assert_int_equal(bus_add(&bus, &around), STATUS_EXISTS);
    assert_int_equal(bus_add(&bus, &hidden), STATUS_OK);
    assert_int_equal(bus_add(&bus, &next), STATUS_OK);
    assert_int_equal(read_at(BUS_PORT, 0x10c, 1), 13); /* not hidden's */
    assert_int_equal(bus_place(&bus, &hidden, 0x108, true), STATUS_EXISTS);
    assert_false(hidden.enabled);
    assert_int_equal(bus_place(&bus, &hidden, 0x200, true), STATUS_OK);
    assert_int_equal(read_at(BUS_PORT, 0x200, 1), 1);
    assert_int_equal(bus_place(&bus, &hidden, 0x200, false), STATUS_OK);
    assert_int_equal(read_at(BUS_PORT, 0x200, 1), 0xff);
}

static void impossible_regions_are_refused(void **state)
{
    struct region region;

    (void)state;
    region = region_of(BUS_PORT, 0xfff1, 1, 4);
    assert_int_equal(bus_add(&bus, &region), STATUS_INVALID);
    region = region_of(BUS_MEMORY, UINT64_MAX - 14, 1, 4);
    assert_int_equal(bus_add(&bus, &region), STATUS_INVALID);
    region = region_of(BUS_MEMORY, 0, 4, 2);
    assert_int_equal(bus_add(&bus, &region), STATUS_INVALID);
    region = region_of(BUS_MEMORY, 0, 3, 4);
    assert_int_equal(bus_add(&bus, &region), STATUS_INVALID);
    region = region_of(BUS_MEMORY, 0, 1, 4);
    region.size = 0;
    assert_int_equal(bus_add(&bus, &region), STATUS_INVALID);
    region = region_of(BUS_MEMORY, UINT64_MAX - 15, 1, 4);
    assert_int_equal(bus_add(&bus, &region), STATUS_OK);
    assert_int_equal(read_at(BUS_MEMORY, UINT64_MAX, 1), 16);
    assert_int_equal(bus_place(&bus, &region, UINT64_MAX - 3, true), STATUS_INVALID);
    assert_false(region.enabled);
}

static void a_full_bus_says_so(void **state)
{
    static struct region regions[BUS_REGIONS + 1];

    (void)state;
    for (unsigned i = 0; i <= BUS_REGIONS; i++) {
        /* A permutation, so that the table is not filled in order. */
        regions[i] = region_of(BUS_MEMORY, (uint64_t)(i * 101 % (BUS_REGIONS + 1)) * 16, 1, 4);
        assert_int_equal(bus_add(&bus, &regions[i]), i < BUS_REGIONS ? STATUS_OK : STATUS_NO_MEMORY);
    }
    for (unsigned i = 1; i < BUS_REGIONS; i++)
        assert_true(bus.regions[i - 1]->base < bus.regions[i]->base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nobody_reads_as_ones, setup),
        cmocka_unit_test_setup(accesses_reach_their_region, setup),
        cmocka_unit_test_setup(large_and_misaligned_accesses_are_split, setup),
        cmocka_unit_test_setup(an_access_over_the_edge_reaches_what_is_there, setup),
        cmocka_unit_test_setup(small_reads_are_widened_and_small_writes_dropped, setup),
        cmocka_unit_test_setup(refusals_read_as_ones_and_are_logged_a_few_times, setup),
        cmocka_unit_test_setup(regions_do_not_overlap, setup),
        cmocka_unit_test_setup(impossible_regions_are_refused, setup),
        cmocka_unit_test_setup(a_full_bus_says_so, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
