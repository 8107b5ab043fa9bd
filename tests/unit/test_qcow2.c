/* qcow2: images that QEMU makes are read byte for byte; sizes, space, rules, locks, refusals. */
#define _GNU_SOURCE
#include "qcow2_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/qcow2_format.h"
#include "base/bits.h"
#include "fake_port.h"

static void test_read_foreign(void **state)
{
    static const char *const options[] = {
        "-o compat=0.10",
        "-o compat=1.1",
        "-o compat=1.1,lazy_refcounts=on",
        "-o compat=0.10,cluster_size=512",
        "-o compat=1.1,cluster_size=512",
        "-o cluster_size=1k",
        "-o cluster_size=4k",
        "-o cluster_size=2M",
        "-o refcount_bits=1",
        "-o refcount_bits=2",
        "-o refcount_bits=8",
        "-o refcount_bits=32",
        "-o refcount_bits=64",
        "-o preallocation=metadata",
        "-o preallocation=falloc",
        "-o preallocation=full",
        "-c",
        "-c -o compat=0.10",
        "-c -o cluster_size=512",
        "-c -o cluster_size=2M",
        "-c -o compression_type=zstd",
        "-c -o compression_type=zstd,cluster_size=4k",
    };

    (void)state;
    pattern();
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        assert_int_equal(disk_shell("qemu-img convert -f raw -O qcow2 %s pattern foreign", options[i]), 0);
        struct image *image = open_image("foreign", true);
        assert_int_equal(image->size, SIZE);
        compare_here(image);
        assert_int_equal(image_close(image), BLOCK_DONE);
    }
}

static void test_resize(void **state)
{
    static const unsigned cluster_bits[] = {9, 16};
    struct image *image;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cluster_bits); i++) {
        memset(model, 0, SIZE);
        create_image("sized", (struct qcow2_layout){.size = 1 << 20, .version = 3, .cluster_bits = cluster_bits[i]});
        image = open_image("sized", false);
        disk_fill(model, 1 << 20, 1);
        assert_int_equal(image_write(image, 0, model, 1 << 20), BLOCK_DONE);
        assert_int_equal(qcow2_resize(image, SIZE), STATUS_OK);
        disk_fill(model + SIZE - 5000, 5000, 2);
        assert_int_equal(image_write(image, SIZE - 5000, model + SIZE - 5000, 5000), BLOCK_DONE);
        assert_int_equal(image_close(image), BLOCK_DONE);
        compare("sized");
        image = open_image("sized", false);
        assert_int_equal(qcow2_resize(image, 700 * 1024 + 512), STATUS_OK);
        assert_int_equal(qcow2_resize(image, SIZE), STATUS_OK);
        assert_int_equal(image_close(image), BLOCK_DONE);
        memset(model + 700 * 1024 + 512, 0, SIZE - 700 * 1024 - 512);
        compare("sized");
    }
}

/* Clusters that are discarded are used again, and their space is given back. */
static void test_discard_frees(void **state)
{
    struct image *image;
    struct stat before, after;

    (void)state;
    create_image("freed", (struct qcow2_layout){.size = SIZE, .version = 3, .cluster_bits = 16});
    image = open_image("freed", false);
    disk_fill(model, SIZE, 9);
    assert_int_equal(image_write(image, 0, model, SIZE), BLOCK_DONE);
    assert_int_equal(image->type->flush(image), BLOCK_DONE);
    assert_int_equal(stat(disk_path("freed"), &before), 0);
    assert_int_equal(image->type->discard(image, 0, SIZE / 2), BLOCK_DONE);
    assert_int_equal(image->type->flush(image), BLOCK_DONE);
    assert_int_equal(stat(disk_path("freed"), &after), 0);
    assert_true(after.st_blocks * 512 <= before.st_blocks * 512 - SIZE / 2 + 65536);
    assert_int_equal(image_write(image, 0, model, SIZE / 2), BLOCK_DONE);
    assert_int_equal(image_close(image), BLOCK_DONE);
    assert_int_equal(stat(disk_path("freed"), &after), 0);
    assert_true(after.st_size <= before.st_size);
    compare("freed");
}

/* --- the rule for backing files --- */

static enum status open_over(enum backing_rule rule)
{
    struct image_options options = {.format = IMAGE_QCOW2, .read_only = true, .backing = rule};
    struct image *image;
    enum status status = image_open(disk_path("over"), &options, &image);

    if (status == STATUS_OK)
        assert_int_equal(image_close(image), BLOCK_DONE);
    return status;
}

static void make_over(const char *backing)
{
    assert_int_equal(disk_shell("rm -f over; qemu-img create -u -f qcow2 -b %s -F raw over 6M", backing), 0);
}

static void test_backing_rule(void **state)
{
    (void)state;
    pattern();
    assert_int_equal(disk_shell("mkdir -p sub && cp pattern sub/inside && ln -sf ../pattern sub/link && "
                                "ln -sf /etc/passwd sub/out && mkfifo sub/pipe"),
                     0);
    make_over("sub/inside");
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_OK);
    assert_int_equal(open_over(BACKING_DENY), STATUS_DENIED);
    make_over("sub/link"); /* stays in the image's folder */
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_OK);
    make_over("$PWD/sub/inside");
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_OK);
    make_over("sub/out");
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_DENIED);
    assert_int_equal(open_over(BACKING_ALLOW), STATUS_OK);
    make_over("/etc/passwd");
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_DENIED);
    assert_non_null(strstr(fake_log_line, "backing=allow"));
    assert_int_equal(open_over(BACKING_ALLOW), STATUS_OK);
    make_over("../../etc/passwd");
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_DENIED);
    make_over("sub/pipe");
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_INVALID);
    make_over("missing");
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_NOT_FOUND);
    make_over("'json:{}'");
    assert_int_equal(open_over(BACKING_ALLOW), STATUS_UNSUPPORTED);
    assert_int_equal(disk_shell("qemu-img create -u -f qcow2 -b ./over -F qcow2 over 6M"), 0);
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_INVALID);
    assert_int_equal(disk_shell("qemu-img create -u -f qcow2 -b over -F qcow2 loop 6M && "
                                "qemu-img create -u -f qcow2 -b loop -F qcow2 over 6M"),
                     0);
    assert_int_equal(open_over(BACKING_BESIDE), STATUS_INVALID);
}

/* QEMU and we keep each other out, and share what both only read. */
static void test_locks_with_qemu(void **state)
{
    struct image *image;

    (void)state;
    create_image("locked", (struct qcow2_layout){.size = SIZE, .version = 3, .cluster_bits = 16});
    image = open_image("locked", false);
    assert_int_equal(disk_shell("qemu-io -c 'write 0 4k' locked 2>&1 | grep -q 'lock'"), 0);
    assert_int_not_equal(disk_shell("qemu-img info locked"), 0);
    assert_int_equal(image_close(image), BLOCK_DONE);
    image = open_image("locked", true);
    assert_int_equal(disk_shell("qemu-img info locked"), 0);
    assert_int_not_equal(disk_shell("qemu-io -c 'write 0 4k' locked"), 0);
    assert_int_equal(image_close(image), BLOCK_DONE);
    assert_int_equal(disk_shell("qemu-io -c 'write 0 4k' locked"), 0);

    /* The other way round: QEMU's has it until it is told to go. */
    struct image_options options = {.format = IMAGE_QCOW2};
    assert_int_equal(
        disk_shell("rm -f go; mkfifo go; (qemu-io locked < go > opened 2>&1 &) ; exec 3> go; "
                   "echo 'write 0 4k' >&3; for i in 1 2 3 4 5 6 7 8 9 10; do grep -q wrote opened && break; "
                   "sleep 0.2; done; (for i in $(seq 100); do [ -e release ] && break; sleep 0.2; done; echo quit >&3) "
                   "& true"),
        0);
    assert_int_equal(image_open(disk_path("locked"), &options, &image), STATUS_BUSY);
    options.read_only = true;
    assert_int_equal(image_open(disk_path("locked"), &options, &image), STATUS_BUSY);
    assert_int_equal(disk_shell("touch release"), 0);
}

static void test_refusals(void **state)
{
    static const char *const options[] = {
        "-o extended_l2=on",
        "-o data_file=data.raw",
    };
    struct image_options image_options = {.format = IMAGE_AUTO};
    struct image *image;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        assert_int_equal(disk_shell("rm -f refused; qemu-img create -f qcow2 %s refused 6M", options[i]), 0);
        assert_int_equal(image_open(disk_path("refused"), &image_options, &image), STATUS_UNSUPPORTED);
        assert_non_null(strstr(fake_log_line, "qemu-img convert"));
    }
}

/* A host that could not write says so once; we go on saying it, and the image stays marked. */
static void test_failed_sync(void **state)
{
    struct image *image;
    struct qcow2_facts facts;

    (void)state;
    create_image("lost", (struct qcow2_layout){.size = SIZE, .version = 3, .cluster_bits = 16});
    image = open_image("lost", false);
    assert_int_equal(image_write(image, 0, model, 65536), BLOCK_DONE);
    assert_int_equal(image->type->flush(image), BLOCK_DONE);
    assert_int_equal(file_sync_failed(&image->file, EIO), BLOCK_ERROR);
    assert_int_equal(image_write(image, 0, model, 65536), BLOCK_DONE);
    assert_int_equal(image->type->flush(image), BLOCK_ERROR);
    assert_int_equal(image->type->flush(image), BLOCK_ERROR);
    assert_int_equal(image_close(image), BLOCK_ERROR);
    image = open_image("lost", true);
    qcow2_describe(image, &facts);
    assert_true(facts.is_dirty);
    assert_int_equal(image_close(image), BLOCK_DONE);
}

/* QEMU with lazy counts, killed: none of what it wrote is counted, and some has no block to be counted in. */
static void test_recovers_lazy_counts(void **state)
{
    static const char *const options[] = {"cluster_size=512", "cluster_size=512,refcount_bits=64", "cluster_size=4k",
                                          "cluster_size=64k"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        struct qcow2_facts facts;

        assert_int_equal(disk_shell("rm -f lazy; qemu-img create -f qcow2 -o lazy_refcounts=on,%s lazy 6M", options[i]),
                         0);
        assert_int_not_equal(disk_shell("qemu-io -c 'write -P 17 0 5M' -c flush -c 'sigraise 9' lazy"), 0);
        assert_int_not_equal(disk_shell("qemu-img check lazy"), 0); /* so there is something to mend */
        struct image *image = open_image("lazy", false);
        memset(model, 0, SIZE);
        memset(model, 17, 5 << 20);
        compare_here(image);
        disk_fill(model + 300000, 2 << 20, 1);
        assert_int_equal(image_write(image, 300000, model + 300000, 2 << 20), BLOCK_DONE);
        disk_fill(model + SIZE - 700000, 700000, 2);
        assert_int_equal(image_write(image, SIZE - 700000, model + SIZE - 700000, 700000), BLOCK_DONE);
        assert_int_equal(image_close(image), BLOCK_DONE);
        compare("lazy");
        image = open_image("lazy", true);
        qcow2_describe(image, &facts);
        assert_true(facts.lazy_refcounts && !facts.is_dirty);
        assert_int_equal(image_close(image), BLOCK_DONE);
    }
}

/* --- images that lie --- */

static void patch(const char *name, uint64_t offset, unsigned size, uint64_t value)
{
    uint8_t bytes[8];
    int fd = open(disk_path(name), O_RDWR);

    store_be(bytes, size, value);
    assert_int_equal(pwrite(fd, bytes, size, (off_t)offset), (ssize_t)size);
    close(fd);
}

static uint64_t look(const char *name, uint64_t offset)
{
    uint8_t bytes[8];
    int fd = open(disk_path(name), O_RDONLY);

    assert_int_equal(pread(fd, bytes, 8, (off_t)offset), 8);
    close(fd);
    return load_be(bytes, 8);
}

/* Clusters of 4 KiB, with the first 16 written. */
static void make_victim(void)
{
    create_image("victim", (struct qcow2_layout){.size = SIZE, .version = 3, .cluster_bits = 12});
    struct image *image = open_image("victim", false);
    disk_fill(model, 65536, 3);
    assert_int_equal(image_write(image, 0, model, 65536), BLOCK_DONE);
    assert_int_equal(image_close(image), BLOCK_DONE);
}

static enum status open_victim(bool read_only, struct image **image)
{
    struct image_options options = {.format = IMAGE_QCOW2, .read_only = read_only};

    return image_open(disk_path("victim"), &options, image);
}

static void test_absurd_headers(void **state)
{
    static const struct {
        unsigned field, size;
        uint64_t value;
    } lies[] = {
        {QCOW2_VERSION, 4, 4},
        {QCOW2_CLUSTER_BITS, 4, 8},
        {QCOW2_CLUSTER_BITS, 4, 22},
        {QCOW2_CLUSTER_BITS, 4, UINT32_MAX},
        {QCOW2_SIZE, 8, UINT64_MAX},
        {QCOW2_SIZE, 8, 1ull << 62},
        {QCOW2_SIZE, 8, 1ull << 40},
        {QCOW2_L1_SIZE, 4, UINT32_MAX},
        {QCOW2_L1_SIZE, 4, 4 << 20},
        {QCOW2_L1_SIZE, 4, 0},
        {QCOW2_L1_TABLE_OFFSET, 8, UINT64_MAX - 4095},
        {QCOW2_L1_TABLE_OFFSET, 8, 1ull << 55},
        {QCOW2_L1_TABLE_OFFSET, 8, 4097},
        {QCOW2_L1_TABLE_OFFSET, 8, 0},
        {QCOW2_REFCOUNT_TABLE_OFFSET, 8, 1ull << 55},
        {QCOW2_REFCOUNT_TABLE_OFFSET, 8, 0},
        {QCOW2_REFCOUNT_TABLE_CLUSTERS, 4, 0},
        {QCOW2_REFCOUNT_TABLE_CLUSTERS, 4, UINT32_MAX},
        {QCOW2_NB_SNAPSHOTS, 4, UINT32_MAX},
        {QCOW2_NB_SNAPSHOTS, 4, 1},
        {QCOW2_HEADER_LENGTH, 4, 4},
        {QCOW2_HEADER_LENGTH, 4, UINT32_MAX},
        {QCOW2_REFCOUNT_ORDER, 4, 7},
        {QCOW2_COMPRESSION_TYPE, 1, 1},
        {QCOW2_INCOMPATIBLE_FEATURES, 8, 1ull << 63},
        {QCOW2_BACKING_FILE_OFFSET, 8, UINT64_MAX},
        {QCOW2_CRYPT_METHOD, 4, 1},
        {QCOW2_CRYPT_METHOD, 4, 2},
    };
    struct image *image;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(lies); i++) {
        make_victim();
        patch("victim", QCOW2_BACKING_FILE_SIZE, 4, 5);
        patch("victim", lies[i].field, lies[i].size, lies[i].value);
        (void)fake_log_count();
        assert_int_not_equal(open_victim(false, &image), STATUS_OK);
        assert_int_equal(fake_log_count(), 1);
        assert_int_not_equal(open_victim(true, &image), STATUS_OK);
    }
}

/* L1 entries that lead to the header, to each other's tables, to the refcount table, out of the file. */
static void test_tables_in_wrong_places(void **state)
{
    struct image *image;

    (void)state;
    make_victim();
    uint64_t l1 = look("victim", QCOW2_L1_TABLE_OFFSET), l2 = look("victim", l1);
    const uint64_t places[] = {l2, l1 | QCOW2_COPIED, 4096 | QCOW2_COPIED, 8192 | QCOW2_COPIED, 1ull << 50, 512};
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        make_victim();
        patch("victim", l1 + 8, 8, places[i]);
        assert_int_equal(open_victim(false, &image), STATUS_CORRUPT);
        assert_int_equal(open_victim(true, &image), STATUS_OK);
        enum block_result result = image_read(image, 0, buffer, SIZE);
        assert_true(result == BLOCK_DONE || result == BLOCK_ERROR);
        assert_int_equal(image_close(image), BLOCK_DONE);
    }
}

/* Data where tables are: written it is not. Data behind the end of the file: read it is not. */
static void test_data_in_wrong_places(void **state)
{
    struct image *image;

    (void)state;
    make_victim();
    uint64_t l1 = look("victim", QCOW2_L1_TABLE_OFFSET), l2 = look("victim", l1) & QCOW2_OFFSET_MASK;
    const uint64_t places[] = {l2, l1, 4096, 8192};
    for (size_t i = 0; i < ARRAY_LENGTH(places); i++) {
        patch("victim", l2, 8, places[i] | QCOW2_COPIED);
        uint64_t before = look("victim", places[i]);
        assert_int_equal(open_victim(false, &image), STATUS_OK);
        assert_int_equal(image_write(image, 0, model, 4096), BLOCK_ERROR);
        assert_int_equal(image_write(image, 4096, model, 4096), BLOCK_DONE);
        assert_int_equal(image_close(image), BLOCK_DONE);
        assert_int_equal(look("victim", places[i]), before);
    }
    const uint64_t beyond[] = {1ull << 50 | QCOW2_COPIED, QCOW2_COMPRESSED | 1ull << 40, 1ull << 57, 4608};
    for (size_t i = 0; i < ARRAY_LENGTH(beyond); i++) {
        patch("victim", l2, 8, beyond[i]);
        assert_int_equal(open_victim(false, &image), STATUS_OK);
        assert_int_equal(image_read(image, 0, buffer, 4096), BLOCK_ERROR);
        assert_int_equal(image_read(image, 4096, buffer, 4096), BLOCK_DONE);
        assert_int_equal(image_close(image), BLOCK_DONE);
    }
}

/* The count of an L2 table is 0: the allocator must not give its cluster away. */
static void test_table_that_counts_as_free(void **state)
{
    struct image_options options = {.format = IMAGE_QCOW2};
    struct image *image;

    (void)state;
    make_victim();
    uint64_t l2 = look("victim", look("victim", QCOW2_L1_TABLE_OFFSET)) & QCOW2_OFFSET_MASK;
    patch("victim", 8192 + 2 * (l2 >> 12), 2, 0);
    image = open_image("victim", false);
    assert_int_equal(image_write(image, 1 << 20, model, 65536), BLOCK_ERROR);
    assert_int_equal(image_write(image, 1 << 20, model, 65536), BLOCK_ERROR);
    assert_int_equal(image_write(image, 0, model, 65536), BLOCK_DONE); /* needs no table to change */
    assert_int_equal(image_read(image, 0, buffer, 65536), BLOCK_DONE);
    assert_memory_equal(buffer, model, 65536);
    (void)image_close(image);
    assert_true(look("victim", QCOW2_INCOMPATIBLE_FEATURES) & QCOW2_CORRUPT);
    assert_int_equal(image_open(disk_path("victim"), &options, &image), STATUS_CORRUPT);
    assert_non_null(strstr(fake_log_line, "--repair"));
    image = open_image("victim", true);
    assert_int_equal(image_close(image), BLOCK_DONE);
    assert_int_equal(disk_shell("qemu-img check -r all victim"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_foreign),         cmocka_unit_test(test_resize),
        cmocka_unit_test(test_discard_frees),        cmocka_unit_test(test_backing_rule),
        cmocka_unit_test(test_locks_with_qemu),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_failed_sync),          cmocka_unit_test(test_recovers_lazy_counts),
        cmocka_unit_test(test_absurd_headers),       cmocka_unit_test(test_tables_in_wrong_places),
        cmocka_unit_test(test_data_in_wrong_places), cmocka_unit_test(test_table_that_counts_as_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
