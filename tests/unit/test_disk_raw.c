/* Raw disks: both engines, all operations, files that shrink, the guarded header, locks. */
#define _GNU_SOURCE
#include "disk_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bits.h"
#include "fake_port.h"

enum { SIZE = 4 << 20 };

static struct aio_engine *engine;
static struct block *block;
static uint8_t buffer[1 << 20], expected[1 << 20];

static void make_file(const char *path, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static struct disk_options options_for(const char *name)
{
    return (struct disk_options){.path = disk_path(name), .format = IMAGE_RAW, .engine = engine};
}

static void open_disk(struct disk_options options)
{
    assert_int_equal(disk_open(&options, &block), STATUS_OK);
    assert_int_equal(disk_start(block, NULL), STATUS_OK);
}

static int setup_mode(void **state, enum aio_mode mode)
{
    assert_int_equal(aio_create(mode, &engine), STATUS_OK);
    assert_int_equal(aio_start(engine, NULL), STATUS_OK);
    make_file(disk_path("raw"), SIZE);
    (void)state;
    return 0;
}

static int setup_threads(void **state)
{
    return setup_mode(state, AIO_THREADS);
}

static int setup(void **state)
{
    return setup_mode(state, AIO_AUTO);
}

static int teardown(void **state)
{
    (void)state;
    (void)disk_close(block);
    block = NULL;
    aio_destroy(engine);
    return 0;
}

static void test_read_write(void **state)
{
    (void)state;
    open_disk(options_for("raw"));
    assert_int_equal(block->limits.size, SIZE);
    disk_fill(expected, sizeof(expected), 1);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 512, expected, sizeof(expected)), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 512, buffer, sizeof(buffer)), BLOCK_DONE);
    assert_memory_equal(buffer, expected, sizeof(buffer));
    assert_int_equal(disk_zero(block, 4096, 8192, false), BLOCK_DONE);
    memset(expected + 4096 - 512, 0, 8192);
    assert_int_equal(disk_zero(block, 65536, 65536, true), BLOCK_DONE);
    memset(expected + 65536 - 512, 0, 65536);
    assert_int_equal(disk_do(block, BLOCK_READ, 512, buffer, sizeof(buffer)), BLOCK_DONE);
    assert_memory_equal(buffer, expected, sizeof(buffer));
}

static long file_blocks(const char *path)
{
    struct stat stat_;

    assert_int_equal(stat(path, &stat_), 0);
    return (long)stat_.st_blocks;
}

static void test_discard(void **state)
{
    (void)state;
    open_disk(options_for("raw"));
    disk_fill(expected, sizeof(expected), 2);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, expected, sizeof(expected)), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    long before = file_blocks(disk_path("raw"));
    assert_int_equal(disk_do(block, BLOCK_DISCARD, 0, NULL, sizeof(expected)), BLOCK_DONE);
    assert_true(file_blocks(disk_path("raw")) < before);
}

/* Many at a time, each with its own place. */
struct many {
    struct block_request request;
    struct block_segment segment;
    uint8_t bytes[4096];
};

static unsigned many_over;

static void many_done(struct block_request *request, enum block_result result)
{
    (void)request;
    if (result == BLOCK_DONE)
        __atomic_fetch_add(&many_over, 1, __ATOMIC_SEQ_CST);
}

static void test_many(void **state)
{
    enum { COUNT = 1000 };
    struct many *all = calloc(COUNT, sizeof(*all));

    (void)state;
    open_disk(options_for("raw"));
    for (int write = 1; write >= 0; write--) {
        many_over = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            struct many *one = &all[i];

            if (write)
                disk_fill(one->bytes, sizeof(one->bytes), i);
            else
                memset(one->bytes, 0, sizeof(one->bytes));
            one->segment = (struct block_segment){one->bytes, sizeof(one->bytes)};
            one->request = (struct block_request){.operation = write ? BLOCK_WRITE : BLOCK_READ,
                                                  .offset = 4096ull * i,
                                                  .length = 4096,
                                                  .segments = &one->segment,
                                                  .segment_count = 1,
                                                  .done = many_done};
            if (block->submit(block, &one->request))
                many_done(&one->request, BLOCK_DONE);
        }
        block->drain(block);
        assert_int_equal(many_over, COUNT);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        disk_fill(expected, 4096, i);
        assert_memory_equal(all[i].bytes, expected, 4096);
    }
    free(all);
}

/* What the host has in its page cache is read by submit() itself, where its file system can tell. */
static void test_cached(void **state)
{
    struct block_segment segments[] = {{buffer, 512}, {buffer + 4096, 3584}};
    struct block_request request = {
        .operation = BLOCK_READ, .offset = 8192, .length = 4096, .segments = segments, .segment_count = 2};
    const struct iovec vector = {.iov_base = expected, .iov_len = 4096};
    int fd = open(disk_path("raw"), O_RDONLY | O_CLOEXEC);

    (void)state;
    open_disk(options_for("raw"));
    disk_fill(expected, 4096, 1);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 8192, expected, 4096), BLOCK_DONE);
    if (preadv2(fd, &vector, 1, 8192, RWF_NOWAIT) == 4096) {
        assert_true(block->submit(block, &request));
        assert_memory_equal(buffer, expected, 512);
        assert_memory_equal(buffer + 4096, (uint8_t *)expected + 512, 3584);
        block->drain(block);
    }
    close(fd);
}

static void test_shrinks(void **state)
{
    (void)state;
    open_disk(options_for("raw"));
    assert_int_equal(truncate(disk_path("raw"), 1 << 20), 0);
    assert_int_equal(disk_do(block, BLOCK_READ, 2 << 20, buffer, 4096), BLOCK_ERROR);
    assert_int_equal(disk_do(block, BLOCK_READ, (1 << 20) - 4096, buffer, 8192), BLOCK_ERROR);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 2 << 20, buffer, 4096), BLOCK_ERROR);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, 4096), BLOCK_DONE);
    assert_true(fake_log_count() > 0);
}

static void test_odd_size(void **state)
{
    (void)state;
    make_file(disk_path("odd"), 1000);
    open_disk(options_for("odd"));
    assert_int_equal(block->limits.size, 1024);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, 1024), BLOCK_DONE);
    disk_fill(expected, 1024, 3);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, expected, 1024), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, 1024), BLOCK_DONE);
    assert_memory_equal(buffer, expected, 1024);
}

static void test_read_only(void **state)
{
    struct disk_options options = options_for("raw");

    (void)state;
    options.read_only = true;
    open_disk(options);
    assert_true(block->limits.read_only);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, buffer, 512), BLOCK_ERROR);
    assert_int_equal(disk_do(block, BLOCK_DISCARD, 0, NULL, 4096), BLOCK_ERROR);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, 512), BLOCK_DONE);
}

/* A raw disk that nobody called raw does not become another format from inside. */
static void test_guarded_header(void **state)
{
    struct disk_options options = options_for("raw");

    (void)state;
    options.format = IMAGE_AUTO;
    open_disk(options);
    memset(buffer, 0, 8192);
    memcpy(buffer, "QFI\xfb", 4);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, buffer, 8192), BLOCK_ERROR);
    memcpy(buffer, "QFI\xfa", 4);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, buffer, 8192), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, expected, 8192), BLOCK_DONE);
    assert_memory_equal(buffer, expected, 8192);
    assert_true(disk_close(block));

    options.format = IMAGE_RAW;
    open_disk(options);
    memcpy(buffer, "QFI\xfb", 4);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, buffer, 8192), BLOCK_DONE);
}

static void test_locks(void **state)
{
    struct disk_options options = options_for("raw");
    struct block *second, *third;

    (void)state;
    open_disk(options);
    assert_int_equal(disk_open(&options, &second), STATUS_BUSY);
    assert_non_null(strstr(fake_log_line, "in use by another"));
    options.read_only = true;
    assert_int_equal(disk_open(&options, &second), STATUS_BUSY);
    assert_true(disk_close(block));
    open_disk(options);
    assert_int_equal(disk_open(&options, &second), STATUS_OK);
    options.read_only = false;
    assert_int_equal(disk_open(&options, &third), STATUS_BUSY);
    assert_true(disk_close(second));
}

static void test_refusals(void **state)
{
    struct disk_options options = options_for("missing");
    struct block *none;

    (void)state;
    assert_int_equal(disk_open(&options, &none), STATUS_NOT_FOUND);
    options.path = disk_folder();
    assert_int_not_equal(disk_open(&options, &none), STATUS_OK);
    assert_int_equal(mkfifo(disk_path("pipe"), 0600), 0);
    options.path = disk_path("pipe");
    assert_int_equal(disk_open(&options, &none), STATUS_INVALID);
    assert_int_equal(unlink(disk_path("pipe")), 0);
    options.path = "/dev/null";
    assert_int_equal(disk_open(&options, &none), STATUS_INVALID);
}

static void test_discard_changes(void **state)
{
    struct disk_options options = options_for("raw");
    struct block *second;

    (void)state;
    open_disk(options);
    disk_fill(expected, 65536, 4);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 0, expected, 65536), BLOCK_DONE);
    assert_true(disk_close(block));
    options.discard_changes = true;
    open_disk(options);
    assert_false(block->limits.read_only);
    assert_int_equal(disk_open(&options, &second), STATUS_OK); /* both only read the file */
    assert_int_equal(disk_start(second, NULL), STATUS_OK);
    disk_fill(buffer, 4096, 5);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 8192, buffer, 4096), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    assert_int_equal(disk_do(second, BLOCK_READ, 0, buffer, 65536), BLOCK_DONE);
    assert_memory_equal(buffer, expected, 65536);
    disk_fill(expected + 8192, 4096, 5);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, 65536), BLOCK_DONE);
    assert_memory_equal(buffer, expected, 65536);
    assert_true(disk_close(second));
    assert_true(disk_close(block));
    options.discard_changes = false;
    open_disk(options);
    disk_fill(expected, 65536, 4);
    assert_int_equal(disk_do(block, BLOCK_READ, 0, buffer, 65536), BLOCK_DONE);
    assert_memory_equal(buffer, expected, 65536);
}

/* A process may write this much and no more: what a full disk looks like, without one. */
static void test_no_space(void **state)
{
    struct rlimit limit, before;

    (void)state;
    make_file(disk_path("small"), 65536);
    open_disk(options_for("small"));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 32768;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum block_result result = disk_do(block, BLOCK_WRITE, 49152, buffer, 4096);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(result, BLOCK_NO_SPACE);
}

static void test_direct(void **state)
{
    struct disk_options options = options_for("raw");

    (void)state;
    options.cache = DISK_CACHE_DIRECT;
    open_disk(options);
    uint8_t *aligned = aligned_alloc(4096, 65536);
    disk_fill(aligned, 65536, 6);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 65536, aligned, 65536), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 65536 - 512, buffer, 65536 + 512), BLOCK_DONE);
    assert_memory_equal(buffer + 512, aligned, 65536);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 65536 + 512, aligned, 1024), BLOCK_DONE);
    disk_fill(expected, 65536, 6);
    memcpy(aligned, expected, 65536);
    memcpy(expected + 512, aligned, 1024);
    assert_int_equal(disk_do(block, BLOCK_READ, 65536, aligned, 65536), BLOCK_DONE);
    assert_memory_equal(aligned, expected, 65536);
    free(aligned);
}

static void use_device(struct disk_options options)
{
    struct block *second;

    open_disk(options);
    assert_int_equal(disk_open(&options, &second), STATUS_BUSY);
    disk_fill(expected, sizeof(expected), 7);
    assert_int_equal(disk_do(block, BLOCK_WRITE, 8192, expected, sizeof(expected)), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_DISCARD, 8192 + 65536, NULL, 65536), BLOCK_DONE);
    assert_int_equal(disk_zero(block, 8192 + 131072, 65536, false), BLOCK_DONE);
    memset(expected + 131072, 0, 65536);
    assert_int_equal(disk_do(block, BLOCK_FLUSH, 0, NULL, 0), BLOCK_DONE);
    assert_int_equal(disk_do(block, BLOCK_READ, 8192, buffer, sizeof(buffer)), BLOCK_DONE);
    memcpy(expected + 65536, buffer + 65536, 65536); /* what is discarded reads as anything */
    assert_memory_equal(buffer, expected, sizeof(buffer));
    assert_true(disk_close(block));
    block = NULL;
}

/* A loop device, which only root can make. */
static void test_block_device(void **state)
{
    struct disk_options options = {.format = IMAGE_RAW, .engine = engine};
    char device[64] = "";

    (void)state;
    if (disk_shell("truncate -s 16M device && losetup -f --show device > name") != 0)
        skip();
    FILE *name = fopen(disk_path("name"), "r");
    assert_non_null(name);
    assert_int_equal(fscanf(name, "%63s", device), 1);
    (void)fclose(name);
    options.path = device;
    use_device(options);
    assert_int_equal(disk_shell("qemu-img create -f qcow2 %s 64M", device), 0);
    options.format = IMAGE_QCOW2;
    use_device(options);
    assert_int_equal(disk_shell("qemu-img check -f qcow2 %s", device), 0);
    options.format = IMAGE_RAW;
    if (disk_shell("mkfs.ext4 -q %s && mkdir -p mounted && mount %s mounted", device, device) == 0) {
        enum status status = disk_open(&options, &block);
        assert_int_equal(disk_shell("umount mounted"), 0);
        assert_int_equal(status, STATUS_BUSY);
        assert_non_null(strstr(fake_log_line, "mounted"));
    }
    assert_int_equal(disk_shell("losetup -d %s", device), 0);
}

#define BOTH(test)                                                                                                     \
    cmocka_unit_test_setup_teardown(test, setup, teardown),                                                            \
        cmocka_unit_test_setup_teardown(test, setup_threads, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_read_write),
        BOTH(test_discard),
        BOTH(test_many),
        BOTH(test_cached),
        BOTH(test_shrinks),
        BOTH(test_odd_size),
        BOTH(test_read_only),
        BOTH(test_no_space),
        BOTH(test_direct),
        cmocka_unit_test_setup_teardown(test_guarded_header, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_discard_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_block_device, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
