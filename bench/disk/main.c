/*
 * What a qcow2 disk costs over a raw one, without a guest: this program is the device. Both sides are open at
 * once and take turns, round by round, with the same requests; a row shows the medians and the median of the
 * rounds' ratios.
 *
 *     bench-disk [-d FOLDER] [-s MEBIBYTES] [-r ROUNDS] [-e io_uring|threads] [-c writeback|direct]
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/disk.h"
#include "backend/qcow2.h"
#include "base/bits.h"

enum { DEPTH_MOST = 32, SIDES = 2, ROUNDS_MOST = 64 };

struct work {
    const char *name;
    enum block_operation operation;
    size_t size;    /* bytes of a request */
    unsigned depth; /* requests at a time */
    bool is_random;
    unsigned count; /* requests in a round; 0: once over the disk */
};

static const struct work works[] = {
    {"write 4K random, depth 1", BLOCK_WRITE, 4096, 1, true, 8000},
    {"write 4K random, depth 32", BLOCK_WRITE, 4096, 32, true, 16000},
    {"read 4K random, depth 1", BLOCK_READ, 4096, 1, true, 8000},
    {"read 4K random, depth 32", BLOCK_READ, 4096, 32, true, 16000},
    {"write 1M in sequence, depth 4", BLOCK_WRITE, 1 << 20, 4, false, 0},
    {"read 1M in sequence, depth 4", BLOCK_READ, 1 << 20, 4, false, 0},
};

struct runner;

struct slot {
    struct block_request request;
    struct block_segment segment;
    struct runner *runner;
};

/* One round of one side. Slots that are over take the next request, as a driver in a guest would. */
struct runner {
    struct block *block;
    const struct work *work;
    uint64_t random, size;
    unsigned left, under_way; /* requests to start; that are started */
    bool failed;
    pthread_mutex_t lock;
    pthread_cond_t over;
    struct slot slots[DEPTH_MOST];
};

static uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t next_offset(struct runner *runner)
{
    const struct work *work = runner->work;

    if (!work->is_random)
        return (uint64_t)runner->left * work->size;
    runner->random ^= runner->random << 13;
    runner->random ^= runner->random >> 7;
    runner->random ^= runner->random << 17;
    return runner->random % (runner->size / work->size) * work->size;
}

/* Makes the slot's next request. False: there is none. */
static bool slot_next(struct slot *slot)
{
    struct runner *runner = slot->runner;

    pthread_mutex_lock(&runner->lock);
    bool any = runner->left > 0;
    if (any) {
        runner->left--;
        runner->under_way++;
        slot->request.offset = next_offset(runner);
    }
    pthread_mutex_unlock(&runner->lock);
    return any;
}

static void slot_over(struct runner *runner, enum block_result result)
{
    pthread_mutex_lock(&runner->lock);
    runner->failed |= result != BLOCK_DONE;
    if (--runner->under_way == 0)
        pthread_cond_signal(&runner->over);
    pthread_mutex_unlock(&runner->lock);
}

/* Until one is under way, or none is left. */
static void slot_start(struct slot *slot)
{
    while (slot_next(slot) && slot->runner->block->submit(slot->runner->block, &slot->request))
        slot_over(slot->runner, BLOCK_DONE);
}

static void slot_done(struct block_request *request, enum block_result result)
{
    struct slot *slot = CONTAINER_OF(request, struct slot, request);

    slot_start(slot);
    slot_over(slot->runner, result);
}

static void runner_wait(struct runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    while (runner->under_way > 0)
        pthread_cond_wait(&runner->over, &runner->lock);
    pthread_mutex_unlock(&runner->lock);
}

/* Seconds for one round. A flush behind it, which is not timed, leaves the next one an idle host. */
static double runner_run(struct runner *runner, struct block *block, const struct work *work, uint64_t seed)
{
    runner->block = block;
    runner->work = work;
    runner->random = seed;
    runner->size = block->limits.size;
    runner->left = work->count ? work->count : (unsigned)(runner->size / work->size);
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < work->depth; i++) {
        struct slot *slot = &runner->slots[i];

        slot->segment.size = work->size;
        slot->runner = runner;
        slot->request = (struct block_request){.operation = work->operation,
                                               .length = work->size,
                                               .segments = &slot->segment,
                                               .segment_count = 1,
                                               .done = slot_done};
        slot_start(slot);
    }
    runner_wait(runner);
    uint64_t end = now_ns();
    if (work->operation == BLOCK_WRITE) {
        runner->slots[0].request = (struct block_request){.operation = BLOCK_FLUSH, .done = slot_done};
        runner->left = 0;
        runner->under_way = 1;
        if (block->submit(block, &runner->slots[0].request))
            slot_over(runner, BLOCK_DONE);
        runner_wait(runner);
    }
    return (double)(end - begin) / 1e9;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

static void measure(struct runner *runner, struct block **blocks, const struct work *work, unsigned rounds)
{
    double seconds[SIDES][ROUNDS_MOST], ratios[ROUNDS_MOST];
    unsigned count = work->count ? work->count : (unsigned)(blocks[0]->limits.size / work->size);

    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned turn = 0; turn < SIDES; turn++) {
            unsigned side = (round + turn) % SIDES;

            seconds[side][round] = runner_run(runner, blocks[side], work, round + 1);
        }
        ratios[round] = seconds[1][round] / seconds[0][round];
    }
    double raw = median(seconds[0], rounds), qcow2 = median(seconds[1], rounds);
    if (work->size >= 1 << 20)
        printf("%-32s %9.0f MiB/s %9.0f MiB/s %9.3f%s\n", work->name, count * (double)(work->size >> 20) / raw,
               count * (double)(work->size >> 20) / qcow2, median(ratios, rounds), runner->failed ? " FAILED" : "");
    else
        printf("%-32s %9.0f /s    %9.0f /s    %9.3f%s\n", work->name, count / raw, count / qcow2,
               median(ratios, rounds), runner->failed ? " FAILED" : "");
    (void)fflush(stdout);
}

static bool make_file(const char *path, enum image_format format, uint64_t size)
{
    struct qcow2_layout layout = {.size = size, .version = 3, .cluster_bits = 16};
    struct file file;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || file_adopt(&file, fd, path, FILE_WRITE) != STATUS_OK)
        return false;
    bool made =
        format == IMAGE_RAW ? file_resize(&file, size) == BLOCK_DONE : qcow2_create(&file, &layout) == STATUS_OK;
    file_close(&file);
    return made;
}

struct settings {
    const char *folder;
    uint64_t size;
    unsigned rounds;
    enum aio_mode mode;
    enum disk_cache cache;
};

static bool open_side(const struct settings *settings, unsigned side, struct aio_engine *engine, struct block **block)
{
    char path[4096];
    struct disk_options options = {
        .path = path, .format = side ? IMAGE_QCOW2 : IMAGE_RAW, .cache = settings->cache, .engine = engine};

    (void)snprintf(path, sizeof(path), "%s/bench-disk.%s", settings->folder, side ? "qcow2" : "raw");
    bool opened = make_file(path, options.format, settings->size) && disk_open(&options, block) == STATUS_OK &&
                  disk_start(*block, NULL) == STATUS_OK;
    (void)unlink(path); /* it stays as long as it is open */
    return opened;
}

static int run(const struct settings *settings)
{
    static const struct work fill = {"first write, 1M in sequence", BLOCK_WRITE, 1 << 20, 4, false, 0};
    struct runner *runner = calloc(1, sizeof(*runner));
    struct aio_engine *engine;
    struct block *blocks[SIDES];

    if (!runner || aio_create(settings->mode, &engine) != STATUS_OK ||
        aio_start(engine, NULL) != STATUS_OK)
        return 1;
    pthread_mutex_init(&runner->lock, NULL);
    pthread_cond_init(&runner->over, NULL);
    for (unsigned i = 0; i < DEPTH_MOST; i++) {
        runner->slots[i].segment.bytes = aligned_alloc(4096, 1 << 20);
        memset(runner->slots[i].segment.bytes, (int)i + 1, 1 << 20);
    }
    for (unsigned side = 0; side < SIDES; side++)
        if (!open_side(settings, side, engine, &blocks[side]))
            return 1;
    printf("%s, %s, %llu MiB\n%-32s %15s %15s %9s\n", engine->name,
           settings->cache == DISK_CACHE_DIRECT ? "direct" : "writeback", (unsigned long long)(settings->size >> 20),
           "", "raw", "qcow2", "qcow2/raw");
    measure(runner, blocks, &fill, 1);
    for (size_t i = 0; i < ARRAY_LENGTH(works); i++)
        measure(runner, blocks, &works[i], settings->rounds);
    for (unsigned side = 0; side < SIDES; side++)
        runner->failed |= !disk_close(blocks[side]);
    for (unsigned i = 0; i < DEPTH_MOST; i++)
        free(runner->slots[i].segment.bytes);
    aio_destroy(engine);
    int status = runner->failed;
    free(runner);
    return status;
}

int main(int argc, char **argv)
{
    struct settings settings = {.folder = "/var/tmp", .size = 512ull << 20, .rounds = 9};
    int option;

    while ((option = getopt(argc, argv, "d:s:r:e:c:")) != -1) {
        if (option == 'd')
            settings.folder = optarg;
        else if (option == 's')
            settings.size = strtoull(optarg, NULL, 10) << 20;
        else if (option == 'r')
            settings.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'e')
            settings.mode = strcmp(optarg, "threads") == 0 ? AIO_THREADS : AIO_URING;
        else if (option == 'c')
            settings.cache = strcmp(optarg, "direct") == 0 ? DISK_CACHE_DIRECT : DISK_CACHE_WRITEBACK;
        else
            return 2;
    }
    if (settings.rounds < 1 || settings.rounds > ROUNDS_MOST || settings.size < 1 << 20) {
        (void)fprintf(stderr, "rounds are 1 to %d, and the size at least 1\n", (int)ROUNDS_MOST);
        return 2;
    }
    return run(&settings);
}
