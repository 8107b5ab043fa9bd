#include "backend/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/aio.h"
#include "backend/disk_internal.h"
#include "backend/temporary.h"
#include "backend/thread.h"
#include "base/bits.h"

enum { DISK_IDLE_SECONDS = 2 };

/* --- accounting --- */

unsigned disk_enter(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    unsigned phase = disk->phase;
    disk->fast[phase]++;
    pthread_mutex_unlock(&disk->lock);
    return phase;
}

void disk_leave(struct disk *disk, unsigned phase)
{
    pthread_mutex_lock(&disk->lock);
    if (--disk->fast[phase] == 0)
        pthread_cond_broadcast(&disk->settled);
    pthread_mutex_unlock(&disk->lock);
}

/*
 * What map() has told before this call is no longer used after it. The owner's: those that begin
 * meanwhile count in the other phase.
 */
static void disk_barrier(void *context)
{
    struct disk *disk = context;

    pthread_mutex_lock(&disk->lock);
    unsigned old = disk->phase;
    disk->phase = !old;
    while (disk->fast[old] > 0)
        pthread_cond_wait(&disk->settled, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
}

void disk_complete(struct disk *disk, struct block_request *request, enum block_result result)
{
    request->done(request, result);
    pthread_mutex_lock(&disk->lock);
    if (--disk->under_way == 0)
        pthread_cond_broadcast(&disk->settled);
    pthread_mutex_unlock(&disk->lock);
}

static void disk_enqueue(struct disk *disk, struct block_request *request)
{
    request->next = NULL;
    pthread_mutex_lock(&disk->lock);
    *disk->last = request;
    disk->last = &request->next;
    pthread_mutex_unlock(&disk->lock);
    pthread_cond_signal(&disk->work);
}

/* --- the disk's thread --- */

static enum block_result slow_transfer(struct disk *disk, struct block_request *request)
{
    const struct image_type *type = disk->image->type;
    struct buffer buffer = buffer_of_request(request);

    if (request->length == 0)
        return BLOCK_DONE;
    if (request->operation == BLOCK_READ)
        return type->read(disk->image, request->offset, request->length, buffer);
    return type->write(disk->image, request->offset, request->length, buffer);
}

static enum block_result slow_perform(struct disk *disk, struct block_request *request)
{
    const struct image_type *type = disk->image->type;

    if (request->operation != BLOCK_READ && request->operation != BLOCK_FLUSH && disk->block.limits.read_only)
        return BLOCK_ERROR;
    switch (request->operation) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return slow_transfer(disk, request);
    case BLOCK_FLUSH:
        return disk->unsafe || disk->block.limits.read_only ? BLOCK_DONE : type->flush(disk->image);
    case BLOCK_DISCARD:
        return type->discard(disk->image, request->offset, request->length);
    case BLOCK_WRITE_ZEROES:
        return type->write_zeroes(disk->image, request->offset, request->length, request->unmap);
    }
    return BLOCK_UNSUPPORTED;
}

/* Often it lacks only the tables: with these in memory, the engine can do it while we go on. */
static bool slow_becomes_fast(struct disk *disk, struct block_request *request)
{
    bool is_write = request->operation == BLOCK_WRITE;

    if ((request->operation != BLOCK_READ && !is_write) || (is_write && disk->block.limits.read_only))
        return false;
    if (disk->image->type->load(disk->image, request->offset, request->length) != BLOCK_DONE)
        return false;
    return disk_fast_transfer(disk, request);
}

/*
 * Nothing is to be done. Tables that wait in memory are written after a while, although nobody has asked: a
 * guest that never flushes should not lose hours of work with its process. The lock is held.
 */
static void disk_idle(struct disk *disk)
{
    struct timespec until;

    if (disk->unsafe || !disk->image->type->needs_flush(disk->image)) {
        pthread_cond_wait(&disk->work, &disk->lock);
        return;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += DISK_IDLE_SECONDS;
    if (pthread_cond_clockwait(&disk->work, &disk->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        return;
    pthread_mutex_unlock(&disk->lock);
    enum block_result result = disk->image->type->flush(disk->image);
    (void)result; /* logged; whoever flushes is told */
    pthread_mutex_lock(&disk->lock);
}

static struct block_request *disk_next(struct disk *disk)
{
    struct block_request *request;

    pthread_mutex_lock(&disk->lock);
    while (!disk->first && !disk->stopping)
        disk_idle(disk);
    request = disk->first;
    if (request) {
        disk->first = request->next;
        if (!disk->first)
            disk->last = &disk->first;
    }
    pthread_mutex_unlock(&disk->lock);
    return request;
}

/*
 * One flush serves all that were submitted before it began: those at the head of the queue. The answer is
 * the same for all.
 */
static void disk_flush_all(struct disk *disk, struct block_request *request)
{
    struct block_request *others = NULL, **end = &others;

    pthread_mutex_lock(&disk->lock);
    while (disk->first && disk->first->operation == BLOCK_FLUSH) {
        *end = disk->first;
        end = &disk->first->next;
        disk->first = disk->first->next;
        if (!disk->first)
            disk->last = &disk->first;
    }
    *end = NULL;
    pthread_mutex_unlock(&disk->lock);

    enum block_result result = slow_perform(disk, request);
    disk_complete(disk, request, result);
    while (others) {
        struct block_request *next = others->next;

        disk_complete(disk, others, result);
        others = next;
    }
}

static void *disk_thread(void *argument)
{
    struct disk *disk = argument;
    struct block_request *request;

    while ((request = disk_next(disk))) {
        if (request->operation == BLOCK_FLUSH)
            disk_flush_all(disk, request);
        else if (!slow_becomes_fast(disk, request))
            disk_complete(disk, request, slow_perform(disk, request));
    }
    return NULL;
}

/* --- struct block --- */

static bool disk_submit(struct block *block, struct block_request *request)
{
    struct disk *disk = CONTAINER_OF(block, struct disk, block);
    bool started = false;

    if (request->operation == BLOCK_READ && disk_fast_read_cached(disk, request))
        return true;
    pthread_mutex_lock(&disk->lock);
    disk->under_way++;
    pthread_mutex_unlock(&disk->lock);
    if (request->operation == BLOCK_READ || (request->operation == BLOCK_WRITE && !block->limits.read_only))
        started = disk_fast_transfer(disk, request);
    else if (request->operation == BLOCK_FLUSH && !block->limits.read_only)
        started = disk_fast_flush(disk, request);
    if (!started)
        disk_enqueue(disk, request);
    return false;
}

static void disk_drain(struct block *block)
{
    struct disk *disk = CONTAINER_OF(block, struct disk, block);

    pthread_mutex_lock(&disk->lock);
    while (disk->under_way > 0)
        pthread_cond_wait(&disk->settled, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
}

static void disk_describe(struct disk *disk)
{
    const struct image *image = disk->image;

    disk->block = (struct block){
        .limits =
            {
                .size = align_down(image->size, BLOCK_SECTOR),
                .physical_block = 4096,
                .discard_granularity = image->read_only ? 0 : image->cluster_size,
                .read_only = image->read_only,
                .write_zeroes = !image->read_only,
            },
        .submit = disk_submit,
        .drain = disk_drain,
    };
}

static enum status disk_open_image(const struct disk_options *options, struct image **image)
{
    struct image_options image_options = {
        .format = options->format,
        .read_only = options->read_only || options->discard_changes,
        .direct = options->cache == DISK_CACHE_DIRECT,
        .backing = options->backing,
    };
    enum status status = image_open(options->path, &image_options, image);

    if (status == STATUS_OK && options->discard_changes && !options->read_only)
        status = temporary_overlay(image);
    return status;
}

static void disk_free(struct disk *disk)
{
    pthread_cond_destroy(&disk->work);
    pthread_cond_destroy(&disk->settled);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
}

enum status disk_open(const struct disk_options *options, struct block **block)
{
    struct disk *disk = calloc(1, sizeof(*disk));

    *block = NULL;
    if (!disk) {
        log_error("no memory for the disk %s", options->path);
        return STATUS_NO_MEMORY;
    }
    enum status status = disk_open_image(options, &disk->image);
    if (status != STATUS_OK) {
        free(disk);
        return status;
    }
    disk->engine = options->engine;
    disk->unsafe = options->cache == DISK_CACHE_UNSAFE;
    disk->last = &disk->first;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->work, NULL);
    pthread_cond_init(&disk->settled, NULL);
    disk->image->barrier = disk_barrier;
    disk->image->barrier_context = disk;
    disk_describe(disk);
    *block = &disk->block;
    return STATUS_OK;
}

enum status disk_start(struct block *block, bool (*enter)(void))
{
    struct disk *disk = CONTAINER_OF(block, struct disk, block);
    int error = backend_thread_start(&disk->thread, "lodge/disk", enter, disk_thread, disk);

    if (error == 0)
        return STATUS_OK;
    log_error("cannot start a thread for the disk %s: %s", disk->image->file.path, strerror(error));
    return STATUS_NO_MEMORY;
}

bool disk_close(struct block *block)
{
    struct disk *disk;

    if (!block)
        return true;
    disk = CONTAINER_OF(block, struct disk, block);
    disk_drain(block);
    pthread_mutex_lock(&disk->lock);
    disk->stopping = true;
    pthread_mutex_unlock(&disk->lock);
    pthread_cond_signal(&disk->work);
    backend_thread_join(&disk->thread);
    bool saved = image_close(disk->image) == BLOCK_DONE;
    disk_free(disk);
    return saved;
}
