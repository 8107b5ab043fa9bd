/* qcow2 disks as devices use them: many requests at a time, from several threads, in both ways of I/O. */
#define _GNU_SOURCE
#include "qcow2_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "fake_port.h"

enum { LANES = 4, LANE_OPERATIONS = 300, SLOT = 2048, MOST = 16 * SLOT };

static struct aio_engine *engine;
static struct block *block;

static void start(enum aio_mode mode)
{
    assert_int_equal(aio_create(mode, &engine), STATUS_OK);
    assert_int_equal(aio_start(engine, NULL), STATUS_OK);
}

static void open_disk(const char *name)
{
    struct disk_options options = {.path = disk_path(name), .format = IMAGE_QCOW2, .engine = engine};

    assert_int_equal(disk_open(&options, &block), STATUS_OK);
    assert_int_equal(disk_start(block, NULL), STATUS_OK);
}

static int finish(void **state)
{
    (void)state;
    (void)disk_close(block);
    block = NULL;
    aio_destroy(engine);
    engine = NULL;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    start(AIO_AUTO);
    return 0;
}

static int setup_threads(void **state)
{
    (void)state;
    start(AIO_THREADS);
    return 0;
}

/* Each lane owns every fourth slot of 2 KiB, so that all of them are in each cluster. */
struct lane {
    pthread_t thread;
    unsigned number;
    uint64_t random;
    bool failed;
};

static uint64_t slot_offset(const struct lane *lane, uint64_t slot)
{
    return (slot * LANES + lane->number) * SLOT;
}

static bool lane_step(struct lane *lane)
{
    uint64_t offset = slot_offset(lane, disk_random(&lane->random) % (SIZE / SLOT / LANES));
    uint8_t bytes[SLOT];

    switch (disk_random(&lane->random) % 10) {
    case 0:
        memset(model + offset, 0, SLOT);
        return disk_zero(block, offset, SLOT, disk_random(&lane->random) & 1) == BLOCK_DONE;
    case 1:
        return disk_do(block, BLOCK_FLUSH, 0, NULL, 0) == BLOCK_DONE;
    case 2:
    case 3:
    case 4:
        return disk_do(block, BLOCK_READ, offset, bytes, SLOT) == BLOCK_DONE &&
               memcmp(bytes, model + offset, SLOT) == 0;
    default:
        disk_fill(model + offset, SLOT, disk_random(&lane->random));
        return disk_do(block, BLOCK_WRITE, offset, model + offset, SLOT) == BLOCK_DONE;
    }
}

static void *lane_run(void *argument)
{
    struct lane *lane = argument;

    for (int i = 0; i < LANE_OPERATIONS && !lane->failed; i++)
        lane->failed = !lane_step(lane);
    return NULL;
}

static void run_lanes(const char *name, uint64_t seed)
{
    struct lane lanes[LANES];

    open_disk(name);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = (struct lane){.number = i, .random = seed * 1000 + i + 1};
        assert_int_equal(pthread_create(&lanes[i].thread, NULL, lane_run, &lanes[i]), 0);
    }
    /* Whole clusters meanwhile, where no lane looks: what is freed there is used for the lanes. */
    uint64_t random = seed;
    uint8_t *bytes = malloc(65536);
    for (int i = 0; i < 60; i++) {
        uint64_t offset = SIZE + disk_random(&random) % 16 * 65536;

        disk_fill(bytes, 65536, (uint64_t)i);
        assert_int_equal(disk_do(block, BLOCK_WRITE, offset, bytes, 65536), BLOCK_DONE);
        if (i % 3)
            assert_int_equal(disk_do(block, BLOCK_DISCARD, offset, NULL, 65536), BLOCK_DONE);
    }
    free(bytes);
    for (unsigned i = 0; i < LANES; i++) {
        pthread_join(lanes[i].thread, NULL);
        assert_false(lanes[i].failed);
    }
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, SIZE), BLOCK_DONE);
    assert_memory_equal(buffer, model, SIZE);
    assert_true(disk_close(block));
    block = NULL;
    assert_int_equal(disk_shell("qemu-img check %s", name), 0);
}

static void test_lanes(void **state)
{
    static const unsigned cluster_bits[] = {12, 16};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cluster_bits); i++) {
        memset(model, 0, SIZE);
        create_image("lanes",
                     (struct qcow2_layout){.size = SIZE + (1 << 20), .version = 3, .cluster_bits = cluster_bits[i]});
        for (uint64_t seed = 1; seed <= 3; seed++)
            run_lanes("lanes", seed);
    }
}

static void test_lanes_over_packed(void **state)
{
    (void)state;
    pattern();
    assert_int_equal(disk_shell("qemu-img convert -c -f raw -O qcow2 pattern base && "
                                "qemu-img create -f qcow2 -b base -F qcow2 lanes 7M"),
                     0);
    run_lanes("lanes", 4);
}

/* A write finds no room; the disk goes on, and nothing is wrong with the image. */
static void test_no_space(void **state)
{
    struct rlimit limit, before;

    (void)state;
    create_image("full", (struct qcow2_layout){.size = 32 << 20, .version = 3, .cluster_bits = 16});
    open_disk("full");
    disk_fill(model, SIZE, 1);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, model, 1 << 20), BLOCK_DONE);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 5 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum block_result result = BLOCK_DONE;
    for (uint64_t at = 1 << 20; at < SIZE && result == BLOCK_DONE; at += 65536)
        result = disk_do(block, BLOCK_WRITE, at, model + at, 65536);
    enum block_result flushed = disk_do(block, BLOCK_FLUSH, 0, NULL, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(result, BLOCK_NO_SPACE);
    assert_int_equal(flushed, BLOCK_DONE);
    assert_int_equal(disk_shell("qemu-img check -U full || [ $? = 3 ]"), 0);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, model, SIZE), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, SIZE), BLOCK_DONE);
    assert_memory_equal(buffer, model, SIZE);
    assert_true(disk_close(block));
    block = NULL;
    assert_int_equal(disk_shell("qemu-img check full"), 0);
}

/* The same on a file system that is really full; only root can make one. */
static void test_full_host(void **state)
{
    (void)state;
    if (disk_shell("mkdir -p full.d && mount -t tmpfs -o size=3M none full.d") != 0)
        skip();
    create_image("full.d/disk", (struct qcow2_layout){.size = 32 << 20, .version = 3, .cluster_bits = 16});
    open_disk("full.d/disk");
    disk_fill(model, SIZE, 1);
    enum block_result result = BLOCK_DONE;
    uint64_t end = 0;
    for (; end < SIZE && result == BLOCK_DONE; end += 65536)
        result = disk_do(block, BLOCK_WRITE, end, model + end, 65536);
    end -= 65536;
    assert_int_equal(result, BLOCK_NO_SPACE);
    assert_true(end > 1 << 20);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, end), BLOCK_DONE);
    assert_memory_equal(buffer, model, end);
    /* What is discarded makes room. */
    assert_int_equal(disk_do(block, BLOCK_DISCARD, 0, NULL, 1 << 20), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_WRITE, end, model + end, 65536), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, end, buffer, 65536), BLOCK_DONE);
    assert_memory_equal(buffer, model + end, 65536);
    bool closed = disk_close(block);
    block = NULL;
    int checked = disk_shell("qemu-img check full.d/disk");
    assert_int_equal(disk_shell("umount full.d"), 0);
    assert_true(closed);
    assert_int_equal(checked, 0);
}

static void test_shrinks(void **state)
{
    (void)state;
    create_image("cut", (struct qcow2_layout){.size = SIZE, .version = 3, .cluster_bits = 16});
    open_disk("cut");
    disk_fill(model, SIZE, 2);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, model, SIZE), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    assert_int_equal(truncate(disk_path("cut"), 1 << 20), 0);
    assert_int_equal(disk_do(block, BLOCK_READ, SIZE - 65536, buffer, 4096), BLOCK_ERROR);
    assert_int_equal(disk_do(block, BLOCK_WRITE, SIZE - 65536, model, 4096), BLOCK_ERROR);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, 65536), BLOCK_DONE);
    assert_memory_equal(buffer, model, 65536);
    (void)disk_close(block);
    block = NULL;
}

/* Nobody flushes; after a while the tables are in the file all the same. */
static void test_idle_disk_writes_tables(void **state)
{
    struct image_options options = {.format = IMAGE_QCOW2, .read_only = true, .unlocked = true};
    bool found = false;

    (void)state;
    create_image("idle", (struct qcow2_layout){.size = SIZE, .version = 3, .cluster_bits = 16});
    open_disk("idle");
    disk_fill(model, 65536, 8);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, model, 65536), BLOCK_DONE);
    for (int i = 0; i < 100 && !found; i++) {
        struct image *image;

        usleep(100 * 1000);
        assert_int_equal(image_open(disk_path("idle"), &options, &image), STATUS_OK);
        assert_int_equal(image_read(image, 0, buffer, 65536), BLOCK_DONE);
        found = memcmp(buffer, model, 65536) == 0;
        assert_int_equal(image_close(image), BLOCK_DONE);
        assert_true(found || i < 99);
    }
}

/* One step of repair by hand: the dirty bit makes the next start look for lost clusters. */
static void test_recovers(void **state)
{
    (void)state;
    create_image("lost", (struct qcow2_layout){.size = SIZE, .version = 3, .cluster_bits = 16});
    /* A cluster that counts as used and is not, and the dirty bit. */
    assert_int_equal(disk_shell("printf '\\000\\001' | dd of=lost bs=1 seek=$((131072+2*20)) conv=notrunc && "
                                "printf '\\001' | dd of=lost bs=1 seek=79 conv=notrunc && truncate -s 2M lost"),
                     0);
    assert_int_equal(disk_shell("qemu-img check -U lost"), 3);
    open_disk("lost");
    assert_true(disk_close(block));
    block = NULL;
    assert_int_equal(disk_shell("qemu-img check lost"), 0);
}

#define BOTH(test)                                                                                                     \
    cmocka_unit_test_setup_teardown(test, setup, finish), cmocka_unit_test_setup_teardown(test, setup_threads, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_lanes),
        BOTH(test_lanes_over_packed),
        BOTH(test_no_space),
        BOTH(test_full_host),
        BOTH(test_shrinks),
        cmocka_unit_test_setup_teardown(test_recovers, setup, finish),
        cmocka_unit_test_setup_teardown(test_idle_disk_writes_tables, setup, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
