/* The block device against a disk in memory: requests, limits, completions from elsewhere, resets meanwhile. */
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "dev/virtio/block.h"
#include "fake_port.h"
#include "virtio_bench.h"

enum { SECTORS = 64, SIZE = 64, HEADER = BENCH_DATA, DATA = BENCH_DATA + 0x1000, ANSWER = BENCH_DATA + 0x80000 };
enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { OK, IOERR, UNSUPP };

#define F_RO (1ull << 5)
#define F_FLUSH (1ull << 9)
#define F_MQ (1ull << 12)
#define F_DISCARD (1ull << 13)

/* Keeps requests until the test lets them go. */
static struct disk {
    struct block block;
    uint8_t bytes[SECTORS * BLOCK_SECTOR];
    struct block_request *waiting[VIRTIO_BLOCK_REQUESTS];
    unsigned count, flushes, discards, zeroes;
    bool at_once; /* reads are done when they are submitted */
    bool unmap;
    enum block_result result;
} disk;

static struct virtio_block *device;
static struct bench bench;

static void disk_move(const struct block_request *request)
{
    uint64_t offset = request->offset;

    for (unsigned i = 0; i < request->segment_count; i++) {
        const struct block_segment *segment = &request->segments[i];

        if (request->operation == BLOCK_READ)
            memcpy(segment->bytes, disk.bytes + offset, segment->size);
        else
            memcpy(disk.bytes + offset, segment->bytes, segment->size);
        offset += segment->size;
    }
    assert_int_equal(offset - request->offset, request->length);
}

static bool disk_submit(struct block *block, struct block_request *request)
{
    (void)block;
    assert_true(range_inside(request->offset, request->length, sizeof(disk.bytes)));
    if (disk.at_once && request->operation == BLOCK_READ) {
        disk_move(request);
        return true;
    }
    assert_true(disk.count < VIRTIO_BLOCK_REQUESTS);
    disk.waiting[disk.count++] = request;
    return false;
}

static void disk_finish(struct block_request *request)
{
    if (disk.result == BLOCK_DONE && (request->operation == BLOCK_READ || request->operation == BLOCK_WRITE))
        disk_move(request);
    disk.flushes += request->operation == BLOCK_FLUSH;
    disk.discards += request->operation == BLOCK_DISCARD;
    if (request->operation == BLOCK_WRITE_ZEROES) {
        disk.zeroes++;
        disk.unmap = request->unmap;
        memset(disk.bytes + request->offset, 0, request->length);
    }
    request->done(request, disk.result);
}

/* Finishes all that wait, and what they bring. */
static void disk_drain(struct block *block)
{
    (void)block;
    while (disk.count > 0)
        disk_finish(disk.waiting[--disk.count]);
}

static void make(uint64_t features, unsigned queues, struct block_limits limits)
{
    free(device);
    device = calloc(1, sizeof(*device));
    memset(&disk, 0, sizeof(disk));
    for (size_t i = 0; i < sizeof(disk.bytes); i++)
        disk.bytes[i] = (uint8_t)(i / BLOCK_SECTOR);
    limits.size = sizeof(disk.bytes);
    disk.block = (struct block){.limits = limits, .submit = disk_submit, .drain = disk_drain};
    virtio_block_init(device, &disk.block, "serial-0123456789-and-more", queues);
    bench_init(&bench, &device->virtio);
    bench_use_msix(&bench);
    bench_start(&bench, features, SIZE);
    (void)fake_log_count();
}

static void make_plain(void)
{
    make(F_FLUSH, 1, (struct block_limits){.physical_block = 4096, .discard_granularity = 4096, .write_zeroes = true});
}

/* Makes a request available: header, data, answer. */
static uint16_t request(unsigned queue, unsigned type, uint64_t sector, uint32_t bytes, bool write)
{
    struct bench_buffer buffers[] = {{HEADER, 16, false}, {DATA, bytes, write}, {ANSWER, 1, true}};
    uint8_t *header = bench_at(&bench, HEADER);

    store_le(header, 4, type);
    store_le(header + 4, 4, 0);
    store_le(header + 8, 8, sector);
    *(uint8_t *)bench_at(&bench, ANSWER) = 0xee;
    if (bytes == 0) {
        buffers[1] = buffers[2];
        return bench_add(&bench, queue, buffers, 2);
    }
    return bench_add(&bench, queue, buffers, 3);
}

/* The whole way; answers the device's answer. */
static unsigned perform(unsigned type, uint64_t sector, uint32_t bytes, bool write)
{
    uint16_t id, used;
    uint32_t length;

    id = request(0, type, sector, bytes, write);
    bench_kick(&bench, 0);
    disk_drain(&disk.block);
    assert_true(bench_used(&bench, 0, &used, &length));
    assert_int_equal(used, id);
    assert_int_equal(length, (write ? bytes : 0) + 1);
    return *(uint8_t *)bench_at(&bench, ANSWER);
}

static void test_config(void **state)
{
    (void)state;
    make(F_FLUSH, 40, (struct block_limits){.physical_block = 4096, .read_only = true});
    assert_int_equal(bench_read(&bench, BENCH_CONFIG, 8), SECTORS);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 12, 4), VIRTIO_SEGMENTS - 2);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 20, 4), 512);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 24, 1), 3);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 34, 2), VIRTIO_BLOCK_QUEUES);
    assert_int_equal(bench_features(&bench) & (F_RO | F_MQ | F_DISCARD), F_RO | F_MQ);
    make_plain();
    assert_int_equal(bench_features(&bench) & (F_RO | F_MQ | F_DISCARD), F_DISCARD);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 40, 4), 1);
}

static void test_read_write(void **state)
{
    uint8_t *data;

    (void)state;
    make_plain();
    data = bench_at(&bench, DATA);
    assert_int_equal(perform(T_IN, 5, 2 * BLOCK_SECTOR, true), OK);
    assert_int_equal(data[0], 5);
    assert_int_equal(data[2 * BLOCK_SECTOR - 1], 6);
    memset(data, 0xab, BLOCK_SECTOR);
    assert_int_equal(perform(T_OUT, SECTORS - 1, BLOCK_SECTOR, false), OK);
    assert_int_equal(disk.bytes[(SECTORS - 1) * BLOCK_SECTOR], 0xab);
    assert_int_equal(disk.bytes[(SECTORS - 1) * BLOCK_SECTOR - 1], SECTORS - 2);
    assert_int_equal(perform(T_FLUSH, 0, 0, false), OK);
    assert_int_equal(disk.flushes, 1);
    assert_int_equal(bench.messages[1], 3);
}

/* Answered before the driver's write to the register ends, with one interrupt for all; writes take their time. */
static void test_at_once(void **state)
{
    uint16_t id;
    uint32_t length;

    (void)state;
    make_plain();
    disk.at_once = true;
    for (unsigned i = 0; i < 3; i++)
        (void)request(0, T_IN, 7, BLOCK_SECTOR, true);
    bench_kick(&bench, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(bench_used(&bench, 0, &id, &length));
        assert_int_equal(length, BLOCK_SECTOR + 1);
    }
    assert_int_equal(*(uint8_t *)bench_at(&bench, ANSWER), OK);
    assert_int_equal(*(uint8_t *)bench_at(&bench, DATA), 7);
    assert_int_equal(bench.messages[1], 1);
    (void)request(0, T_OUT, 7, BLOCK_SECTOR, false);
    bench_kick(&bench, 0);
    assert_int_equal(disk.count, 1);
    assert_false(bench_used(&bench, 0, &id, &length));
    disk_drain(&disk.block);
    assert_true(bench_used(&bench, 0, &id, &length));
    assert_int_equal(bench.messages[1], 2);
}

/* A request may be cut anywhere (2.7.4.2): the header in two, data and answer in one. */
static void test_framing(void **state)
{
    const struct bench_buffer buffers[] = {
        {HEADER, 10, false}, {HEADER + 10, 6, false}, {DATA, 500, true}, {DATA + 500, 13, true}};
    uint8_t *data;
    uint16_t id;
    uint32_t length;

    (void)state;
    make_plain();
    data = bench_at(&bench, DATA);
    store_le(bench_at(&bench, HEADER), 8, T_IN);
    store_le(bench_at(&bench, HEADER + 8), 8, 9);
    (void)bench_add(&bench, 0, buffers, 4);
    data[512] = 0xee;
    bench_kick(&bench, 0);
    disk_drain(&disk.block);
    assert_true(bench_used(&bench, 0, &id, &length));
    assert_int_equal(length, 513);
    assert_int_equal(data[511], 9);
    assert_int_equal(data[512], OK);
}

static void test_refusals(void **state)
{
    (void)state;
    make_plain();
    assert_int_equal(perform(T_IN, SECTORS, BLOCK_SECTOR, true), IOERR);
    assert_int_equal(perform(T_IN, SECTORS - 1, 2 * BLOCK_SECTOR, true), IOERR);
    assert_int_equal(perform(T_OUT, ~0ull, BLOCK_SECTOR, false), IOERR);
    assert_int_equal(perform(T_OUT, 0, 100, false), IOERR);
    assert_int_equal(perform(T_IN, 0, 0, true), OK);
    assert_int_equal(perform(77, 0, BLOCK_SECTOR, true), UNSUPP);
    disk.result = BLOCK_ERROR;
    assert_int_equal(perform(T_IN, 0, BLOCK_SECTOR, true), IOERR);
    disk.result = BLOCK_NO_SPACE;
    assert_int_equal(perform(T_OUT, 0, BLOCK_SECTOR, false), IOERR);
    disk.result = BLOCK_UNSUPPORTED;
    assert_int_equal(perform(T_FLUSH, 0, 0, false), UNSUPP);
    make(F_FLUSH, 1, (struct block_limits){.physical_block = 512, .read_only = true});
    assert_int_equal(perform(T_OUT, 0, BLOCK_SECTOR, false), IOERR);
    assert_int_equal(perform(T_DISCARD, 0, 16, false), UNSUPP);
    assert_int_equal(fake_log_count(), 0);
}

static unsigned clear(unsigned type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    uint8_t *range = bench_at(&bench, DATA);

    store_le(range, 8, sector);
    store_le(range + 8, 4, sectors);
    store_le(range + 12, 4, flags);
    return perform(type, 0, 16, false);
}

static void test_clear(void **state)
{
    (void)state;
    make_plain();
    assert_int_equal(clear(T_DISCARD, 8, 8, 0), OK);
    assert_int_equal(disk.discards, 1);
    assert_int_equal(clear(T_DISCARD, 8, 8, 1), UNSUPP); /* unmap is for zeroes alone */
    assert_int_equal(clear(T_DISCARD, SECTORS - 1, 2, 0), IOERR);
    assert_int_equal(clear(T_DISCARD, 0, 0xffffffff, 0), IOERR);
    assert_int_equal(clear(T_WRITE_ZEROES, 1, 2, 1), OK);
    assert_true(disk.unmap);
    assert_int_equal(disk.bytes[BLOCK_SECTOR], 0);
    assert_int_equal(disk.bytes[3 * BLOCK_SECTOR], 3);
    assert_int_equal(clear(T_WRITE_ZEROES, 3, 1, 0), OK);
    assert_false(disk.unmap);
    assert_int_equal(clear(T_WRITE_ZEROES, 3, 1, 2), UNSUPP);
    assert_int_equal(perform(T_DISCARD, 0, 32, false), IOERR); /* two ranges */
    assert_int_equal(disk.discards, 1);
    assert_int_equal(disk.zeroes, 2);
}

static void test_serial(void **state)
{
    (void)state;
    make_plain();
    assert_int_equal(perform(T_GET_ID, 0, 20, true), OK);
    assert_memory_equal(bench_at(&bench, DATA), "serial-0123456789-and-more", 20);
}

/* A driver without flush takes what is written for durable. */
static void test_write_through(void **state)
{
    (void)state;
    make(0, 1, (struct block_limits){.physical_block = 512});
    assert_int_equal(perform(T_OUT, 0, BLOCK_SECTOR, false), OK);
    assert_int_equal(disk.flushes, 1);
    assert_int_equal(perform(T_IN, 0, BLOCK_SECTOR, true), OK);
    assert_int_equal(disk.flushes, 1);
}

/* Nothing to read the type from, nowhere to answer. */
static void test_malformed(void **state)
{
    const struct bench_buffer short_header[] = {{HEADER, 15, false}, {ANSWER, 1, true}};
    const struct bench_buffer no_answer = {HEADER, 16, false};

    (void)state;
    make_plain();
    (void)bench_add(&bench, 0, short_header, 2);
    bench_kick(&bench, 0);
    assert_true(bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET);
    make_plain();
    (void)bench_add(&bench, 0, &no_answer, 1);
    bench_kick(&bench, 0);
    assert_true(bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(device->virtio.held, 0);
}

/* More than the pool has wait in the queues, and all get done. */
static void test_pool(void **state)
{
    unsigned done = 0;
    uint16_t id;
    uint32_t length;

    (void)state;
    make(F_FLUSH | VIRTIO_F_INDIRECT_DESC, 8, (struct block_limits){.physical_block = 512});
    for (unsigned queue = 0; queue < 8; queue++) {
        bench.queues[queue].indirect = true;
        for (unsigned i = 0; i < SIZE; i++)
            (void)request(queue, T_IN, i, BLOCK_SECTOR, true);
        bench_kick(&bench, queue);
    }
    assert_int_equal(disk.count, VIRTIO_BLOCK_REQUESTS);
    disk_drain(&disk.block);
    for (unsigned queue = 0; queue < 8; queue++)
        for (; bench_used(&bench, queue, &id, &length); done++)
            assert_int_equal(length, BLOCK_SECTOR + 1);
    assert_int_equal(done, 8 * SIZE);
    assert_int_equal(device->virtio.held, 0);
}

/* Several that finish while the machine is busy are one interrupt. */
static void *finish_one(void *request)
{
    disk_finish(request);
    return NULL;
}

static void test_batch(void **state)
{
    pthread_t threads[8];

    (void)state;
    make_plain();
    for (unsigned i = 0; i < ARRAY_LENGTH(threads); i++)
        (void)request(0, T_IN, i, BLOCK_SECTOR, true);
    bench_kick(&bench, 0);
    assert_int_equal(disk.count, ARRAY_LENGTH(threads));
    lock_acquire(&bench.fake.machine.lock);
    for (unsigned i = 0; i < ARRAY_LENGTH(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, finish_one, disk.waiting[i]), 0);
    /* All but one return at once; that one waits for the lock. */
    for (unsigned completed = 0; completed < ARRAY_LENGTH(threads);) {
        completed = 0;
        for (struct virtio_block_request *at = __atomic_load_n(&device->completed, __ATOMIC_ACQUIRE); at; at = at->next)
            completed++;
    }
    lock_release(&bench.fake.machine.lock);
    for (unsigned i = 0; i < ARRAY_LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    disk.count = 0;
    assert_int_equal(bench.messages[1], 1);
    assert_int_equal(device->virtio.held, 0);
}

/* The driver resets the device with requests outside: the memory is its own again only when they are back. */
static void test_reset(void **state)
{
    (void)state;
    make_plain();
    (void)request(0, T_IN, 1, BLOCK_SECTOR, true);
    bench_kick(&bench, 0);
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_not_equal(bench_status(&bench), 0);
    disk_drain(&disk.block);
    assert_int_equal(bench_status(&bench), 0);
    bench_start(&bench, F_FLUSH, SIZE);
    assert_int_equal(perform(T_IN, 2, BLOCK_SECTOR, true), OK);
    assert_int_equal(*(uint8_t *)bench_at(&bench, DATA), 2);
}

/* Brought to rest, nothing is outside; afterwards it goes on. */
static void test_rest(void **state)
{
    uint16_t id;
    uint32_t length;

    (void)state;
    make_plain();
    machine_add_device(&bench.fake.machine, &device->virtio.device);
    (void)request(0, T_IN, 1, BLOCK_SECTOR, true);
    bench_kick(&bench, 0);
    bench_rest(&bench);
    assert_int_equal(device->virtio.held, 0);
    (void)request(0, T_IN, 2, BLOCK_SECTOR, true);
    bench_kick(&bench, 0);
    assert_int_equal(disk.count, 0);
    bench_resume(&bench);
    assert_int_equal(disk.count, 1);
    disk_drain(&disk.block);
    assert_true(bench_used(&bench, 0, &id, &length));
    assert_true(bench_used(&bench, 0, &id, &length));
}

static void test_resize(void **state)
{
    (void)state;
    make_plain();
    disk.block.limits.size /= 2;
    virtio_block_resized(device);
    assert_int_equal(bench.messages[0], 1);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG, 8), SECTORS / 2);
    assert_int_equal(perform(T_IN, SECTORS / 2, BLOCK_SECTOR, true), IOERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),  cmocka_unit_test(test_read_write),    cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_framing), cmocka_unit_test(test_refusals),      cmocka_unit_test(test_clear),
        cmocka_unit_test(test_serial),  cmocka_unit_test(test_write_through), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_pool),    cmocka_unit_test(test_batch),         cmocka_unit_test(test_reset),
        cmocka_unit_test(test_rest),    cmocka_unit_test(test_resize),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    free(device);
    return failed;
}
