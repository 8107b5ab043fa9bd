/* The balloon: which pages go back, the target, statistics, reports of free pages. */
#include "unit.h"

#include <string.h>

#include "base/bits.h"
#include "dev/virtio/balloon.h"
#include "fake_port.h"
#include "virtio_bench.h"

enum { SIZE = 8, DATA = BENCH_DATA, INFLATE = 0, DEFLATE = 1, STATISTICS = 2, RUNS = 16 };

#define F_STATS 2ull
#define F_REPORTING 32ull

static struct virtio_balloon balloon;
static struct bench bench;
static struct {
    uint64_t offset, size;
} runs[RUNS];
static unsigned run_count;
static uint64_t last_written, last_size;

static void release(struct memory_releaser *releaser, uint64_t offset, uint64_t size)
{
    (void)releaser;
    assert_true(run_count < RUNS);
    assert_true(range_inside(offset, size, BENCH_RAM));
    runs[run_count].offset = offset;
    runs[run_count++].size = size;
}

static void written(struct memory_observer *observer, uint64_t address, uint64_t size)
{
    (void)observer;
    last_written = address;
    last_size = size;
}

static struct memory_releaser releaser = {.release = release};
static struct memory_observer observer = {.written = written};

static void make(uint64_t features)
{
    memset(&balloon, 0, sizeof(balloon));
    virtio_balloon_init(&balloon);
    bench_init(&bench, &balloon.virtio);
    bench.fake.machine.memory.releaser = &releaser;
    bench_use_msix(&bench);
    bench_start(&bench, features, SIZE);
    run_count = 0;
    (void)fake_log_count();
}

static void give(unsigned queue, const struct bench_buffer *buffers, unsigned count)
{
    uint16_t id;
    uint32_t length;

    (void)bench_add(&bench, queue, buffers, count);
    bench_kick(&bench, queue);
    assert_true(bench_used(&bench, queue, &id, &length));
    assert_int_equal(length, 0);
}

/* Neighbours in one go; what is not RAM not at all. */
static void test_inflate(void **state)
{
    static const uint32_t pages[] = {0x201, 0x202, 0x200, 0x210, 0xffffffff, 0x211, 0x3ff};
    const struct bench_buffer list = {DATA, sizeof(pages), false};

    (void)state;
    make(0);
    bench.fake.machine.memory.observer = &observer;
    memcpy(bench_at(&bench, DATA), pages, sizeof(pages));
    (void)bench_add(&bench, INFLATE, &list, 1);
    bench_kick(&bench, INFLATE);
    assert_int_equal(run_count, 4);
    assert_int_equal(runs[0].offset, 0x200000);
    assert_int_equal(runs[0].size, 0x3000);
    assert_int_equal(runs[1].offset, 0x210000);
    assert_int_equal(runs[2].offset, 0x211000);
    assert_int_equal(runs[3].offset, 0x3ff000);
    bench.fake.machine.memory.observer = NULL;
    give(DEFLATE, &list, 1);
    assert_int_equal(run_count, 4);
}

/* The engine hears of pages that became zeroes. */
static void test_observed(void **state)
{
    (void)state;
    make(0);
    bench.fake.machine.memory.observer = &observer;
    memory_release(&bench.fake.machine.memory, 0x5000, 0x2000);
    assert_int_equal(last_written, 0x5000);
    assert_int_equal(last_size, 0x2000);
    memory_release(&bench.fake.machine.memory, BENCH_RAM - 0x1000, 0x2000);
    assert_int_equal(run_count, 1);
    bench.fake.machine.memory.observer = NULL;
}

static void test_long_list(void **state)
{
    const struct bench_buffer list = {DATA, (1 << 16) + 4, false};

    (void)state;
    make(0);
    (void)bench_add(&bench, INFLATE, &list, 1);
    bench_kick(&bench, INFLATE);
    assert_true(bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(run_count, 0);
}

static void test_target(void **state)
{
    (void)state;
    make(0);
    virtio_balloon_set_target(&balloon, 100);
    assert_int_equal(bench.messages[0], 1);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG, 4), 100);
    bench_write(&bench, BENCH_CONFIG + 4, 4, 60);
    assert_int_equal(balloon.state.actual, 60);
    bench_write(&bench, BENCH_CONFIG, 4, 1);
    assert_int_equal(balloon.state.target, 100);
    virtio_reset(&balloon.virtio.device);
    assert_int_equal(balloon.state.target, 100);
    assert_int_equal(balloon.state.actual, 0);
}

static void put_statistic(unsigned index, unsigned tag, uint64_t value)
{
    uint8_t *at = bench_at(&bench, DATA + 10ull * index);

    store_le(at, 2, tag);
    store_le(at + 2, 8, value);
}

/* The buffer waits in the queue; asking gives it back, and new figures come with the next. */
static void test_statistics(void **state)
{
    const struct bench_buffer buffer = {DATA, 30, false};
    uint16_t id;
    uint32_t length;

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make(F_STATS | VIRTIO_F_EVENT_IDX | (packed ? VIRTIO_F_RING_PACKED : 0));
        assert_true(balloon.statistics[BALLOON_FREE] == BALLOON_UNKNOWN);
        assert_false(virtio_balloon_poll(&balloon));
        for (unsigned round = 0; round < 3 * SIZE; round++) {
            put_statistic(0, BALLOON_FREE, 1000 + round);
            put_statistic(1, BALLOON_TOTAL, 5000);
            put_statistic(2, 999, 1);
            (void)bench_add(&bench, STATISTICS, &buffer, 1);
            bench_kick(&bench, STATISTICS);
            assert_int_equal(balloon.statistics[BALLOON_FREE], 1000 + round);
            assert_int_equal(balloon.statistics[BALLOON_TOTAL], 5000);
            assert_false(bench_used(&bench, STATISTICS, &id, &length));
            assert_int_equal(balloon.virtio.held, 0);
            assert_true(virtio_balloon_poll(&balloon));
            assert_true(bench_used(&bench, STATISTICS, &id, &length));
            assert_false(virtio_balloon_poll(&balloon));
        }
    }
}

/* Only whole pages, wherever the guest numbers its queue. */
static void test_reports(void **state)
{
    const struct bench_buffer pages[] = {{0x200000, 0x10000, true}, {0x300800, 0x2000, true}, {0x340001, 0xfff, true}};

    (void)state;
    for (unsigned queue = 3; queue < 5; queue++) {
        make(F_STATS | F_REPORTING);
        give(queue, pages, 3);
        assert_int_equal(run_count, 2);
        assert_int_equal(runs[0].offset, 0x200000);
        assert_int_equal(runs[0].size, 0x10000);
        assert_int_equal(runs[1].offset, 0x301000);
        assert_int_equal(runs[1].size, 0x1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inflate), cmocka_unit_test(test_observed),   cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_target),  cmocka_unit_test(test_statistics), cmocka_unit_test(test_reports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
