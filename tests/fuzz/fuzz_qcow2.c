/*
 * Fuzzes qcow2 images: valid ones in which some bytes of the tables are something else. Whatever they say,
 * opening, reading, writing and checking end with an answer, in bounded memory; the sanitizers watch.
 *
 *     fuzz_qcow2 [--runs N] [--seed S]    mutates made-up images; prints the seed of the run that fails
 *     fuzz_qcow2 FILE...                  replays files
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend/qcow2.h"
#include "backend/qcow2_format.h"
#include "backend/qcow2_writer.h"
#include "base/bits.h"
#include "fuzz.h"
#include "port/log.h"

enum { IMAGES = 6, DISK = 192 << 10, FILE_MOST = 1 << 20, STEPS = 24, SECONDS_MOST = 20 };

struct sample {
    uint8_t bytes[FILE_MOST];
    size_t size;
    unsigned cluster_bits;
};

const char *fuzz_command = "fuzz_qcow2";

static struct sample samples[IMAGES];
static uint64_t opened;

void log_emit(enum log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;

    (void)level;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1dull >> 16;
}

/* --- valid images --- */

static int memory_file(const void *bytes, size_t size)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    fuzz_check(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "cannot make a file in memory");
    return fd;
}

static enum status open_memory(int fd, bool read_only, bool keep_damaged, struct image **image)
{
    struct image_options options = {
        .format = IMAGE_QCOW2, .read_only = read_only, .keep_damaged = keep_damaged, .backing = BACKING_DENY};
    struct file file;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    fuzz_check(copy >= 0 && file_adopt(&file, copy, "image", read_only ? 0 : FILE_WRITE) == STATUS_OK, "cannot adopt");
    return image_open_adopted(&file, &options, image);
}

static void sample_write(struct image *image, uint64_t *state)
{
    static uint8_t bytes[1 << 16];

    for (int i = 0; i < 12; i++) {
        uint64_t offset = random_next(state) % (DISK - sizeof(bytes));

        memset(bytes, i, sizeof(bytes));
        fuzz_check(image_write(image, offset, bytes, random_next(state) % 20000) == BLOCK_DONE, "a valid write failed");
    }
    fuzz_check(image->type->write_zeroes(image, 65536, 8192, false) == BLOCK_DONE, "valid zeroes failed");
}

static void sample_pack(struct image *image)
{
    struct qcow2_writer *writer;
    uint8_t *bytes = calloc(1, image->cluster_size);

    fuzz_check(bytes && qcow2_writer_create(image, &writer) == STATUS_OK, "no memory");
    for (uint64_t at = DISK / 2; at + image->cluster_size <= DISK; at += image->cluster_size) {
        memset(bytes, (int)(at >> 12), image->cluster_size / 2);
        fuzz_check(qcow2_writer_put(writer, at, bytes) == BLOCK_DONE, "valid packing failed");
    }
    qcow2_writer_destroy(writer);
    free(bytes);
}

static void sample_make(struct sample *sample, unsigned number)
{
    static const unsigned cluster_bits[IMAGES] = {9, 10, 12, 12, 9, 14};
    struct qcow2_layout layout = {
        .size = DISK,
        .version = number == 3 ? 2 : 3,
        .cluster_bits = cluster_bits[number],
        .zstd = number == 4,
    };
    uint64_t state = number + 1;
    struct file file;
    struct image *image;
    int fd = memory_file("", 0);

    fuzz_check(file_adopt(&file, fcntl(fd, F_DUPFD_CLOEXEC, 0), "image", FILE_WRITE) == STATUS_OK, "cannot adopt");
    fuzz_check(qcow2_create(&file, &layout) == STATUS_OK, "cannot make an image");
    file_close(&file);
    fuzz_check(open_memory(fd, false, false, &image) == STATUS_OK, "cannot open a valid image");
    if (number % 2 == 0)
        sample_pack(image);
    else
        sample_write(image, &state);
    fuzz_check(image_close(image) == BLOCK_DONE, "cannot close a valid image");
    off_t size = lseek(fd, 0, SEEK_END);
    fuzz_check(size > 0 && size <= FILE_MOST && pread(fd, sample->bytes, (size_t)size, 0) == size,
               "cannot read it back");
    sample->size = (size_t)size;
    sample->cluster_bits = layout.cluster_bits;
    close(fd);
}

/* --- what is not quite right --- */

static const unsigned fields[][2] = {
    {QCOW2_VERSION, 4},
    {QCOW2_BACKING_FILE_OFFSET, 8},
    {QCOW2_BACKING_FILE_SIZE, 4},
    {QCOW2_CLUSTER_BITS, 4},
    {QCOW2_SIZE, 8},
    {QCOW2_CRYPT_METHOD, 4},
    {QCOW2_L1_SIZE, 4},
    {QCOW2_L1_TABLE_OFFSET, 8},
    {QCOW2_REFCOUNT_TABLE_OFFSET, 8},
    {QCOW2_NB_SNAPSHOTS, 4},
    {QCOW2_SNAPSHOTS_OFFSET, 8},
    {QCOW2_INCOMPATIBLE_FEATURES, 8},
    {QCOW2_REFCOUNT_ORDER, 4},
    {QCOW2_HEADER_LENGTH, 4},
    {QCOW2_AUTOCLEAR_FEATURES, 8},
    {QCOW2_COMPRESSION_TYPE, 1},
    {QCOW2_REFCOUNT_TABLE_CLUSTERS, 4},
};

/* A value that somebody might not expect. */
static uint64_t odd_value(const struct sample *sample, uint64_t *state)
{
    uint64_t clusters = sample->size >> sample->cluster_bits;
    uint64_t offset = random_next(state) % (clusters + 3) << sample->cluster_bits;

    switch (random_next(state) % 10) {
    case 0:
        return 0;
    case 1:
        return random_next(state) % 8;
    case 2:
        return UINT64_MAX >> random_next(state) % 64;
    case 3:
        return BIT64(random_next(state) % 64);
    case 4:
        return offset;
    case 5:
        return offset | QCOW2_COMPRESSED | random_next(state) << 50;
    case 6:
        return offset | QCOW2_COPIED | QCOW2_ZERO;
    case 7:
        return random_next(state) << 32 | random_next(state);
    default:
        return offset | QCOW2_COPIED;
    }
}

static void mutate(uint8_t *bytes, const struct sample *sample, uint64_t *state)
{
    uint64_t value = odd_value(sample, state);
    uint64_t at;

    switch (random_next(state) % 8) {
    case 0: {
        const unsigned *field = fields[random_next(state) % ARRAY_LENGTH(fields)];

        store_be(bytes + field[0], field[1], value);
        return;
    }
    case 1: /* anything anywhere */
        bytes[random_next(state) % sample->size] = (uint8_t)value;
        return;
    case 2: /* a count */
        at = load_be(bytes + QCOW2_REFCOUNT_TABLE_OFFSET, 8) + BIT64(sample->cluster_bits);
        at += random_next(state) % (1u << sample->cluster_bits) & ~1ull;
        value = random_next(state) % 4;
        if (at + 2 <= sample->size)
            store_be(bytes + at, 2, value);
        return;
    case 3: /* the refcount table */
        at = load_be(bytes + QCOW2_REFCOUNT_TABLE_OFFSET, 8) + 8 * (random_next(state) % 4);
        break;
    case 4: /* L1 */
        at = load_be(bytes + QCOW2_L1_TABLE_OFFSET, 8) + 8 * (random_next(state) % 8);
        break;
    default: /* L2, through L1 */
        at = load_be(bytes + QCOW2_L1_TABLE_OFFSET, 8);
        if (at + 8 > sample->size)
            return;
        at = (load_be(bytes + at, 8) & QCOW2_OFFSET_MASK) +
             8 * (random_next(state) % (1u << (sample->cluster_bits - 3)));
        break;
    }
    if (at < sample->size - 8)
        store_be(bytes + at, 8, value);
}

/* --- what is done with it --- */

static void step(struct image *image, uint64_t *state)
{
    static uint8_t bytes[1 << 16];
    uint64_t offset = image->size ? random_next(state) % image->size : 0;
    uint64_t length = random_next(state) % sizeof(bytes) + 1;
    enum block_result result = BLOCK_DONE;

    if (length > image->size - offset)
        length = image->size - offset;
    if (length == 0)
        return;
    switch (random_next(state) % 8) {
    case 0:
    case 1:
    case 2:
        result = image_write(image, offset, bytes, length);
        break;
    case 3:
        result = image->type->write_zeroes(image, offset, length, random_next(state) & 1);
        break;
    case 4:
        result = image->type->discard(image, offset, length);
        break;
    case 5:
        result = image->type->flush(image);
        break;
    default:
        result = image_read(image, offset, bytes, length);
        break;
    }
    struct extent extent;
    image->type->map(image, offset, length, random_next(state) & 1, &extent);
    fuzz_check(extent.length > 0 && extent.length <= length, "an impossible extent");
    fuzz_check(result == BLOCK_DONE || result == BLOCK_ERROR || result == BLOCK_NO_SPACE, "an impossible result");
}

static void try_check(int fd, bool repair)
{
    struct qcow2_report report;
    struct image *image;

    if (open_memory(fd, !repair, true, &image) != STATUS_OK)
        return;
    enum status status = qcow2_check(image, repair, &report);
    fuzz_check(status != STATUS_OK || report.repaired <= report.errors + report.leaks, "repaired more than there was");
    (void)image_close(image);
}

static void try_image(const uint8_t *bytes, size_t size, uint64_t *state)
{
    struct image *image;
    int fd = memory_file(bytes, size);
    bool read_only = random_next(state) % 4 == 0;

    (void)alarm(SECONDS_MOST);
    if (random_next(state) % 4 == 0)
        try_check(fd, false);
    if (open_memory(fd, read_only, false, &image) == STATUS_OK) {
        opened++;
        for (int i = 0; i < STEPS; i++) {
            if (read_only) {
                uint8_t sector[512];

                if (image->size >= 512 && image_read(image, random_next(state) % (image->size - 511), sector, 512))
                    continue;
            } else {
                step(image, state);
            }
        }
        (void)image_close(image);
    }
    if (random_next(state) % 4 == 0)
        try_check(fd, true);
    close(fd);
}

static void run_seed(uint64_t seed)
{
    static uint8_t bytes[FILE_MOST];
    uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15ull | 1;
    const struct sample *sample = &samples[random_next(&state) % IMAGES];
    size_t size = sample->size;

    fuzz_seed(seed);
    memcpy(bytes, sample->bytes, size);
    for (uint64_t i = random_next(&state) % 6 + 1; i > 0; i--)
        mutate(bytes, sample, &state);
    if (random_next(&state) % 16 == 0)
        size = random_next(&state) % size;
    try_image(bytes, size, &state);
}

static int replay(char **paths)
{
    for (; *paths; paths++) {
        static uint8_t bytes[FILE_MOST];
        FILE *file = fopen(*paths, "rb");
        uint64_t state = 1;

        if (!file)
            return 1;
        size_t size = fread(bytes, 1, sizeof(bytes), file);
        (void)fclose(file);
        for (int i = 0; i < 16; i++)
            try_image(bytes, size, &state);
    }
    return 0;
}

/* A file that an image makes absurdly large must not fill the host's memory. */
static void limit_files(void)
{
    struct rlimit limit = {.rlim_cur = 256 << 20, .rlim_max = 256 << 20};

    (void)signal(SIGXFSZ, SIG_IGN);
    fuzz_check(setrlimit(RLIMIT_FSIZE, &limit) == 0, "cannot limit files");
}

int main(int argc, char **argv)
{
    uint64_t runs = 2000, seed = 1;
    int at = 1;

    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (strcmp(argv[at], "--runs") == 0)
            runs = strtoull(argv[at + 1], NULL, 10);
        else if (strcmp(argv[at], "--seed") == 0)
            seed = strtoull(argv[at + 1], NULL, 10);
    }
    limit_files();
    if (at < argc)
        return replay(argv + at);
    for (unsigned i = 0; i < IMAGES; i++)
        sample_make(&samples[i], i);
    for (uint64_t i = 0; i < runs; i++)
        run_seed(seed + i);
    printf("%llu runs from seed %llu, %llu images opened\n", (unsigned long long)runs, (unsigned long long)seed,
           (unsigned long long)opened);
    return 0;
}
