/*
 * The power fails. All changes of the image's file are recorded, with the syncs between them. Then, again and
 * again, a file is made that holds all changes up to some sync, and of those after it, up to the cut, only
 * some: what a host's disk may hold afterwards. The image must open, have no errors but lost space, and each
 * sector must hold what the last flush before the cut made durable, or something written later.
 *
 *     test_qcow2_power [CUTS [SEED]]
 */
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

enum { DISK = 1 << 20, SECTORS = DISK / 512, FILE_MOST = 24 << 20, OPERATIONS = 160, BASE = 600 * 1024 };

enum change_kind { CHANGE_WRITE, CHANGE_ZERO, CHANGE_RESIZE, CHANGE_SYNC };

struct change {
    enum change_kind kind;
    uint64_t offset, size;
    uint8_t *bytes;
};

static unsigned cuts = 150;
static uint64_t seed = 1;

static struct change *changes;
static size_t change_count, change_room;

static struct change *change_add(enum change_kind kind, uint64_t offset, uint64_t size)
{
    if (change_count == change_room) {
        change_room = change_room ? change_room * 2 : 1024;
        changes = realloc(changes, change_room * sizeof(*changes));
        assert_non_null(changes);
    }
    changes[change_count] = (struct change){.kind = kind, .offset = offset, .size = size};
    return &changes[change_count++];
}

static void on_write(struct file_observer *observer, uint64_t offset, struct buffer from, size_t size)
{
    struct change *change = change_add(CHANGE_WRITE, offset, size);

    (void)observer;
    change->bytes = malloc(size);
    buffer_copy_from(from, change->bytes, size);
}

static void on_zero(struct file_observer *observer, uint64_t offset, uint64_t size, bool unmapped)
{
    (void)observer, (void)unmapped;
    (void)change_add(CHANGE_ZERO, offset, size);
}

static void on_resize(struct file_observer *observer, uint64_t size)
{
    (void)observer;
    (void)change_add(CHANGE_RESIZE, 0, size);
}

static void on_sync(struct file_observer *observer)
{
    (void)observer;
    (void)change_add(CHANGE_SYNC, 0, 0);
}

static struct file_observer observer = {.wrote = on_write, .zeroed = on_zero, .resized = on_resize, .synced = on_sync};

/* --- what was done to the disk --- */

struct operation {
    size_t begin, end; /* changes */
    enum { WRITE, ZERO, DISCARD, FLUSH } what;
    unsigned first, count; /* sectors */
};

static struct operation operations[OPERATIONS];
static uint8_t initial[SECTORS][512];

static void sector_fill(uint8_t *bytes, unsigned operation, unsigned sector)
{
    disk_fill(bytes, 512, (uint64_t)operation * SECTORS + sector + 1);
}

static void perform(struct image *image, unsigned number, uint64_t *state)
{
    struct operation *operation = &operations[number];
    static uint8_t bytes[DISK];
    uint64_t what = disk_random(state) % 10;

    *operation = (struct operation){.begin = change_count,
                                    .what = what < 5   ? WRITE
                                            : what < 6 ? ZERO
                                            : what < 7 ? DISCARD
                                                       : FLUSH};
    operation->first = (unsigned)(disk_random(state) % SECTORS);
    operation->count = (unsigned)(disk_random(state) % (disk_random(state) % 8 ? 24 : 400)) + 1;
    if (operation->count > SECTORS - operation->first)
        operation->count = SECTORS - operation->first;
    uint64_t offset = operation->first * 512ull, length = operation->count * 512ull;
    for (unsigned i = 0; i < operation->count; i++)
        sector_fill(bytes + 512ull * i, number, operation->first + i);
    enum block_result result = BLOCK_DONE;
    if (operation->what == WRITE)
        result = image_write(image, offset, bytes, length);
    else if (operation->what == ZERO)
        result = image->type->write_zeroes(image, offset, length, disk_random(state) & 1);
    else if (operation->what == DISCARD)
        result = image->type->discard(image, offset, length);
    else
        result = image->type->flush(image);
    assert_int_equal(result, BLOCK_DONE);
    operation->end = change_count;
}

/* Could the sector hold these bytes after a cut at change `cut`? */
static bool sector_is_legal(unsigned sector, const uint8_t *bytes, size_t cut)
{
    static const uint8_t zeroes[512];
    uint8_t expected[512];
    int flushed = -1;

    for (int i = 0; i < OPERATIONS; i++)
        if (operations[i].what == FLUSH && operations[i].end <= cut)
            flushed = i;
    for (int i = OPERATIONS - 1; i >= 0; i--) {
        const struct operation *operation = &operations[i];

        if (operation->what == FLUSH || operation->begin > cut || sector < operation->first ||
            sector >= operation->first + operation->count)
            continue;
        if (operation->what == DISCARD)
            return true;
        if (operation->what == ZERO)
            memset(expected, 0, sizeof(expected));
        else
            sector_fill(expected, (unsigned)i, sector);
        if (memcmp(bytes, expected, 512) == 0)
            return true;
        if (i < flushed)
            return false; /* this one was durable */
    }
    return memcmp(bytes, initial[sector], 512) == 0 || (sector >= SECTORS && memcmp(bytes, zeroes, 512) == 0);
}

/* --- the file after a cut --- */

static uint8_t file_bytes[FILE_MOST];
static uint64_t file_length;
static uint8_t *start_bytes;
static uint64_t start_length;

static void apply(const struct change *change, uint64_t *state, bool torn)
{
    uint64_t size = change->size;

    if (change->kind == CHANGE_RESIZE) {
        assert_true(size <= FILE_MOST);
        if (size < file_length)
            memset(file_bytes + size, 0, file_length - size);
        file_length = size;
    }
    if (change->kind != CHANGE_WRITE && change->kind != CHANGE_ZERO)
        return;
    for (uint64_t at = 0; at < size;) { /* sector by sector: a disk keeps no larger promise */
        uint64_t part = 512 - (change->offset + at) % 512;

        part = part < size - at ? part : size - at;
        if (!torn || disk_random(state) % 2) {
            if (change->kind == CHANGE_ZERO && change->offset + at + part > file_length)
                break;
            assert_true(change->offset + at + part <= FILE_MOST);
            if (change->kind == CHANGE_WRITE)
                memcpy(file_bytes + change->offset + at, change->bytes + at, part);
            else
                memset(file_bytes + change->offset + at, 0, part);
            if (change->offset + at + part > file_length)
                file_length = change->offset + at + part;
        }
        at += part;
    }
}

static void make_file_of_cut(size_t cut, uint64_t *state)
{
    size_t synced = 0;
    uint64_t keep = disk_random(state) % 5; /* from all of it to nothing */

    for (size_t i = 0; i < cut; i++)
        if (changes[i].kind == CHANGE_SYNC)
            synced = i;
    memset(file_bytes, 0, sizeof(file_bytes));
    memcpy(file_bytes, start_bytes, start_length);
    file_length = start_length;
    for (size_t i = 0; i < cut; i++) {
        if (i <= synced || keep == 0)
            apply(&changes[i], state, false);
        else if (disk_random(state) % 5 >= keep)
            apply(&changes[i], state, disk_random(state) % 4 == 0);
    }
    save("cut", file_bytes, file_length);
}

static void examine_cut(size_t cut, bool ask_qemu)
{
    struct image_options options = {.format = IMAGE_QCOW2, .read_only = true, .keep_damaged = true};
    struct qcow2_report report;
    struct image *image;

    assert_int_equal(image_open(disk_path("cut"), &options, &image), STATUS_OK);
    assert_int_equal(qcow2_check(image, false, &report), STATUS_OK);
    struct qcow2_facts facts;
    qcow2_describe(image, &facts);
    assert_int_equal(image_close(image), BLOCK_DONE);
    if (report.errors)
        print_error("cut at %zu of %zu: %s\n", cut, change_count, fake_log_line);
    assert_int_equal(report.errors, 0);
    if (report.leaks > 0 && facts.version >= 3)
        assert_true(facts.is_dirty);
    if (ask_qemu) {
        int status = disk_shell("qemu-img check cut");
        assert_true(status == 0 || status == 3);
    }

    /* The next start mends what is left, and goes on. */
    image = open_image("cut", false);
    for (unsigned sector = 0; sector < SECTORS; sector++) {
        uint8_t bytes[512];

        assert_int_equal(image_read(image, sector * 512ull, bytes, 512), BLOCK_DONE);
        if (!sector_is_legal(sector, bytes, cut))
            fail_msg("sector %u is wrong after a cut at change %zu of %zu, seed %llu", sector, cut, change_count,
                     (unsigned long long)seed);
    }
    uint8_t bytes[4096];
    disk_fill(bytes, sizeof(bytes), cut);
    for (uint64_t at = 0; at < DISK; at += 65536)
        assert_int_equal(image_write(image, at, bytes, sizeof(bytes)), BLOCK_DONE);
    assert_int_equal(image_close(image), BLOCK_DONE);
    options.keep_damaged = true;
    assert_int_equal(image_open(disk_path("cut"), &options, &image), STATUS_OK);
    assert_int_equal(qcow2_check(image, false, &report), STATUS_OK);
    assert_int_equal(report.errors, 0);
    if (facts.version >= 3)
        assert_int_equal(report.leaks, 0);
    assert_int_equal(image_close(image), BLOCK_DONE);
}

static void record(uint64_t *state)
{
    struct image *image = open_image("disk", false);
    struct stat stat_;

    if (image->size < DISK) {
        assert_int_equal(qcow2_resize(image, DISK), STATUS_OK);
        assert_int_equal(image->type->flush(image), BLOCK_DONE);
    }
    assert_int_equal(image_read(image, 0, initial, DISK), BLOCK_DONE);
    assert_int_equal(fstat(image->file.fd, &stat_), 0);
    start_length = (uint64_t)stat_.st_size;
    start_bytes = malloc(start_length);
    assert_int_equal(pread(image->file.fd, start_bytes, start_length, 0), (ssize_t)start_length);
    image->file.observer = &observer;
    for (unsigned i = 0; i < OPERATIONS; i++)
        perform(image, i, state);
    assert_int_equal(image_close(image), BLOCK_DONE);
}

static void forget(void)
{
    for (size_t i = 0; i < change_count; i++)
        free(changes[i].bytes);
    change_count = 0;
    free(start_bytes);
}

static void power_test(const char *command)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 99;

    disk_fill(buffer, BASE, 77);
    save("base", buffer, BASE);
    assert_int_equal(disk_shell("rm -f disk; %s", command), 0);
    record(&state);
    for (unsigned i = 0; i < cuts; i++) {
        size_t cut = (size_t)(disk_random(&state) % (change_count + 1));

        make_file_of_cut(cut, &state);
        examine_cut(cut, i % 50 == 0);
    }
    forget();
}

static void test_plain(void **state)
{
    (void)state;
    power_test("qemu-img create -f qcow2 -o cluster_size=4k disk 1M");
    power_test("qemu-img create -f qcow2 -o cluster_size=512 disk 1M");
    power_test("qemu-img create -f qcow2 -o cluster_size=64k disk 1M");
    power_test("qemu-img create -f qcow2 -o cluster_size=512,compat=0.10 disk 1M");
}

static void test_over_backing(void **state)
{
    (void)state;
    power_test("qemu-img create -f qcow2 -o cluster_size=4k -b base -F raw disk 1M");
    power_test("qemu-img create -f qcow2 -o cluster_size=512,compat=0.10 -b base -F raw disk 1M");
}

/* Caches that are too small: tables are written between flushes too. */
static void test_small_caches(void **state)
{
    (void)state;
    power_test("qemu-img create -f qcow2 -o cluster_size=512 disk 4k");
    power_test("qemu-img create -f qcow2 -o cluster_size=512,refcount_bits=64 -b base -F raw disk 4k");
}

/* What a snapshot or a packed cluster refers to as well is counted down, not freed. */
static void test_shared_clusters(void **state)
{
    (void)state;
    power_test("qemu-img convert -f raw -O qcow2 -o cluster_size=1k base disk && qemu-img resize disk 1M && "
               "qemu-img snapshot -c one disk");
    power_test("qemu-img convert -c -f raw -O qcow2 -o cluster_size=4k base disk && qemu-img resize disk 1M");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_over_backing),
        cmocka_unit_test(test_shared_clusters),
        cmocka_unit_test(test_small_caches),
    };

    if (argc > 1)
        cuts = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
