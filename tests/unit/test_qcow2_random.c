/* qcow2 against QEMU's programs: random sequences of writes, on images of ours and of theirs, and a model in memory. */
#define _GNU_SOURCE
#include "qcow2_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "fake_port.h"

/* --- images that we write --- */

struct random_options {
    uint64_t seed;
    unsigned operations;
    bool reopen;
};

static void random_step(struct image *image, uint64_t *state)
{
    uint64_t offset = disk_random(state) % SIZE;
    uint64_t length = disk_random(state) % (disk_random(state) % 4 ? 20000 : 400000) + 1;
    uint64_t what = disk_random(state) % 16;

    if (what < 12) { /* as a guest would */
        offset = align_down(offset, 512);
        length = align_up(length, 512);
    }
    if (length > SIZE - offset)
        length = SIZE - offset;
    if (what % 8 < 4) {
        disk_fill(model + offset, length, disk_random(state));
        assert_int_equal(image_write(image, offset, model + offset, length), BLOCK_DONE);
    } else if (what % 8 == 4) {
        bool unmap = disk_random(state) & 1;

        memset(model + offset, 0, length);
        assert_int_equal(image->type->write_zeroes(image, offset, length, unmap), BLOCK_DONE);
    } else if (what % 8 == 5) {
        assert_int_equal(image->type->discard(image, offset, length), BLOCK_DONE);
        /* What it reads as now is open: make it known. */
        assert_int_equal(image_read(image, offset, model + offset, length), BLOCK_DONE);
    } else if (what % 8 == 6) {
        assert_int_equal(image->type->flush(image), BLOCK_DONE);
    } else {
        assert_int_equal(image_read(image, offset, buffer, length), BLOCK_DONE);
        assert_memory_equal(buffer, model + offset, length);
    }
}

static void random_run(const char *name, unsigned rounds, unsigned operations, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 7;

    for (unsigned round = 0; round < rounds; round++) {
        struct image *image = open_image(name, false);

        for (unsigned i = 0; i < operations; i++)
            random_step(image, &state);
        compare_here(image);
        assert_int_equal(image_close(image), BLOCK_DONE);
        compare(name);
    }
}

static void test_write_own(void **state)
{
    static const unsigned cluster_bits[] = {9, 10, 12, 16, 18, 21};

    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        for (size_t i = 0; i < ARRAY_LENGTH(cluster_bits); i++) {
            memset(model, 0, SIZE);
            create_image("own",
                         (struct qcow2_layout){.size = SIZE, .version = version, .cluster_bits = cluster_bits[i]});
            assert_int_equal(disk_shell("qemu-img check own"), 0);
            random_run("own", 2, 120, version * 100 + i);
        }
    }
}

static void test_write_foreign(void **state)
{
    static const char *const options[] = {
        "-o compat=0.10",
        "-o cluster_size=512,refcount_bits=1",
        "-o cluster_size=1k,refcount_bits=64",
        "-o cluster_size=2k,refcount_bits=4",
        "-o lazy_refcounts=on",
        "-o preallocation=metadata",
        "-c",
        "-c -o compression_type=zstd,cluster_size=8k",
        "-c -o compat=0.10,cluster_size=512",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        /* A cluster that is packed with others may be counted often: not with one-bit counts. */
        pattern();
        assert_int_equal(disk_shell("qemu-img convert -f raw -O qcow2 %s pattern foreign", options[i]), 0);
        random_run("foreign", 2, 120, 1000 + i);
    }
}

/* The caches are as large as the disk was when it was opened: now slices with changes have to make room. */
static void test_small_caches(void **state)
{
    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        uint64_t random = version;

        memset(model, 0, SIZE);
        create_image("tight", (struct qcow2_layout){.size = 4096, .version = version, .cluster_bits = 9});
        struct image *image = open_image("tight", false);
        assert_int_equal(qcow2_resize(image, SIZE), STATUS_OK);
        for (unsigned i = 0; i < 500; i++)
            random_step(image, &random);
        compare_here(image);
        assert_int_equal(image_close(image), BLOCK_DONE);
        compare("tight");
    }
}

/* Overlays over raw and qcow2, shorter and longer than their backing. */
static void test_backing(void **state)
{
    static const char *const commands[] = {
        "qemu-img create -f qcow2 -b base.raw -F raw over 6M",
        "qemu-img create -f qcow2 -b base.qcow2 -F qcow2 over 6M",
        "qemu-img create -f qcow2 -o compat=0.10,cluster_size=4k -b base.qcow2 -F qcow2 over 6M",
        "qemu-img create -f qcow2 -b short.raw -F raw over 6M",
        "qemu-img create -f qcow2 -b long.qcow2 -F qcow2 over 6M",
        "qemu-img create -f qcow2 -b base.qcow2 -F qcow2 mid && qemu-io -c 'write -P 7 1M 100k' mid && "
        "qemu-img create -f qcow2 -o cluster_size=512 -b mid -F qcow2 over 6M",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        pattern();
        assert_int_equal(disk_shell("cp pattern base.raw && qemu-img convert -c -f raw -O qcow2 pattern base.qcow2 && "
                                    "head -c 3000320 pattern > short.raw && cp pattern long.raw && "
                                    "head -c 65536 pattern >> long.raw && "
                                    "qemu-img convert -f raw -O qcow2 long.raw long.qcow2"),
                         0);
        assert_int_equal(disk_shell("%s", commands[i]), 0);
        assert_int_equal(disk_shell("qemu-img convert -f qcow2 -O raw over flat"), 0);
        int fd = open(disk_path("flat"), O_RDONLY);
        assert_int_equal(read(fd, model, SIZE), SIZE);
        close(fd);
        random_run("over", 3, 100, 2000 + i);
    }
}

/* Snapshots keep what they held while the disk goes on. */
static void test_snapshots(void **state)
{
    static const char *const options[] = {"", "-o cluster_size=512", "-o compat=0.10,cluster_size=4k", "-c"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        pattern();
        assert_int_equal(disk_shell("qemu-img convert -f raw -O qcow2 %s pattern snap", options[i]), 0);
        assert_int_equal(disk_shell("qemu-img snapshot -c first snap"), 0);
        random_run("snap", 2, 100, 3000 + i);
        assert_int_equal(disk_shell("qemu-img snapshot -c second snap && cp model model2"), 0);
        random_run("snap", 2, 100, 3100 + i);
        assert_int_equal(disk_shell("qemu-img snapshot -a second snap && qemu-img compare -f qcow2 -F raw snap model2"),
                         0);
        assert_int_equal(disk_shell("qemu-img snapshot -a first snap && qemu-img compare -f qcow2 -F raw snap pattern"),
                         0);
        assert_int_equal(disk_shell("qemu-img snapshot -d first snap && qemu-img snapshot -d second snap && "
                                    "qemu-img check snap"),
                         0);
    }
}

/* The refcount table has to grow many times with the smallest clusters. */
static void test_refcount_table_grows(void **state)
{
    enum { LARGE = 64 << 20 };
    struct image *image;

    (void)state;
    create_image("large", (struct qcow2_layout){.size = LARGE, .version = 3, .cluster_bits = 9});
    image = open_image("large", false);
    for (uint64_t at = 0; at < LARGE; at += SIZE) {
        size_t part = LARGE - at < SIZE ? (size_t)(LARGE - at) : SIZE;

        disk_fill(model, part, at);
        assert_int_equal(image_write(image, at, model, part), BLOCK_DONE);
    }
    assert_int_equal(image_close(image), BLOCK_DONE);
    assert_int_equal(disk_shell("qemu-img check large"), 0);
    image = open_image("large", true);
    for (uint64_t at = 0; at < LARGE; at += SIZE) {
        size_t part = LARGE - at < SIZE ? (size_t)(LARGE - at) : SIZE;

        disk_fill(model, part, at);
        assert_int_equal(image_read(image, at, buffer, part), BLOCK_DONE);
        assert_memory_equal(buffer, model, part);
    }
    assert_int_equal(image_close(image), BLOCK_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_own),    cmocka_unit_test(test_write_foreign),
        cmocka_unit_test(test_small_caches), cmocka_unit_test(test_backing),
        cmocka_unit_test(test_snapshots),    cmocka_unit_test(test_refcount_table_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
