/*
 * A process that writes numbered records, flushes, and says so is killed at some moment, again and again. No
 * record that it has spoken of may be missing, and QEMU must find nothing wrong with the image.
 *
 *     test_disk_crash [KILLS [SEED]]        50 kills: test_disk_crash 50
 */
#define _GNU_SOURCE
#include "qcow2_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "fake_port.h"

enum { SLOTS = 1024, RECORD = 2048, CRASH_DISK = 64 << 20, SCRATCH_AT = 48 << 20 };

static unsigned kills = 6;
static uint64_t seed;

/* What the child says of a record that is durable. */
struct word {
    uint32_t slot, number;
};

static uint64_t slot_offset(uint32_t slot)
{
    return slot * 40960ull; /* some share a cluster, and none ends with one */
}

static void record_fill(uint8_t *bytes, uint32_t slot, uint32_t number)
{
    disk_fill(bytes, RECORD, (uint64_t)number << 32 | slot);
    memcpy(bytes, &number, sizeof(number));
}

static void child(const char *name, enum image_format format, int words, uint32_t number)
{
    struct disk_options options = {.path = disk_path(name), .format = format};
    uint64_t state = number + seed + 1;
    struct block *block;
    uint8_t bytes[65536];

    if (aio_create(number % 2 ? AIO_AUTO : AIO_THREADS, &options.engine) != STATUS_OK ||
        aio_start(options.engine, NULL) != STATUS_OK || disk_open(&options, &block) != STATUS_OK ||
        disk_start(block, NULL) != STATUS_OK)
        _exit(1);
    for (;; number++) {
        struct word word = {.slot = (uint32_t)(disk_random(&state) % SLOTS), .number = number};

        record_fill(bytes, word.slot, number);
        if (disk_do(block, BLOCK_WRITE, slot_offset(word.slot), bytes, RECORD) != BLOCK_DONE)
            _exit(2);
        if (number % 3 == 0) { /* clusters come and go meanwhile */
            uint64_t at = SCRATCH_AT + disk_random(&state) % 64 * 65536;

            if (disk_do(block, BLOCK_WRITE, at, bytes, sizeof(bytes)) != BLOCK_DONE ||
                disk_do(block, BLOCK_DISCARD, SCRATCH_AT, NULL, 32 * 65536) != BLOCK_DONE)
                _exit(3);
        }
        if (disk_do(block, BLOCK_FLUSH, 0, NULL, 0) != BLOCK_DONE)
            _exit(4);
        if (write(words, &word, sizeof(word)) != sizeof(word))
            _exit(5);
    }
}

/* Listens until the child is dead; answers the next number. */
static uint32_t run_and_kill(const char *name, enum image_format format, uint32_t *durable, uint32_t number,
                             unsigned patience_us)
{
    struct word word;
    int pipes[2], status;

    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pipes[0]);
        child(name, format, pipes[1], number);
    }
    close(pipes[1]);
    bool heard = read(pipes[0], &word, sizeof(word)) == sizeof(word);
    usleep(patience_us);
    kill(pid, SIGKILL);
    while (heard) {
        durable[word.slot] = word.number;
        number = word.number;
        heard = read(pipes[0], &word, sizeof(word)) == sizeof(word);
    }
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return number + 2; /* one more may have been written, and was not spoken of */
}

static void verify(const char *name, enum image_format format, const uint32_t *durable)
{
    struct image_options options = {.format = format};
    struct image *image;
    uint8_t bytes[RECORD], expected[RECORD];
    uint32_t number;

    /* Until the kernel is done with the last writes of the dead, it keeps their locks. */
    struct file file;
    assert_int_equal(file_open(&file, disk_path(name), FILE_WRITE), STATUS_OK);
    file_close(&file);
    if (format == IMAGE_QCOW2) { /* clean, or lost clusters that the dirty bit tells of */
        int status = disk_shell("qemu-img check %s", name);
        assert_true(status == 0 || status == 3);
    }
    assert_int_equal(image_open(disk_path(name), &options, &image), STATUS_OK);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (durable[slot] == 0)
            continue;
        assert_int_equal(image_read(image, slot_offset(slot), bytes, RECORD), BLOCK_DONE);
        memcpy(&number, bytes, sizeof(number));
        assert_true(number >= durable[slot]);
        record_fill(expected, slot, number);
        assert_memory_equal(bytes, expected, RECORD);
    }
    assert_int_equal(image_close(image), BLOCK_DONE);
    if (format == IMAGE_QCOW2)
        assert_int_equal(disk_shell("qemu-img check %s", name), 0);
}

static void crash_test(const char *name, enum image_format format)
{
    uint32_t durable[SLOTS] = {0}, number = 1;
    uint64_t state = seed + 17;

    for (unsigned i = 0; i < kills; i++) {
        uint32_t before = number;

        number = run_and_kill(name, format, durable, number, (unsigned)(disk_random(&state) % 150000));
        assert_true(number > before);
        verify(name, format, durable);
    }
    print_message("%s: %u kills, %u records\n", name, kills, number);
}

static void test_raw(void **state)
{
    (void)state;
    assert_int_equal(disk_shell("truncate -s %d raw", (int)CRASH_DISK), 0);
    crash_test("raw", IMAGE_RAW);
}

static void test_qcow2(void **state)
{
    (void)state;
    create_image("qcow2", (struct qcow2_layout){.size = CRASH_DISK, .version = 3, .cluster_bits = 16});
    crash_test("qcow2", IMAGE_QCOW2);
}

static void test_small_clusters(void **state)
{
    (void)state;
    create_image("small", (struct qcow2_layout){.size = CRASH_DISK, .version = 3, .cluster_bits = 10});
    crash_test("small", IMAGE_QCOW2);
}

static void test_over_backing(void **state)
{
    (void)state;
    assert_int_equal(disk_shell("qemu-img create -f qcow2 base 64M && qemu-io -c 'write -P 3 0 64M' base && "
                                "qemu-img create -f qcow2 -b base -F qcow2 over"),
                     0);
    crash_test("over", IMAGE_QCOW2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_qcow2),
        cmocka_unit_test(test_small_clusters),
        cmocka_unit_test(test_over_backing),
    };

    if (argc > 1)
        kills = (unsigned)strtoul(argv[1], NULL, 10);
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
