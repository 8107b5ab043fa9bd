/*
 * A disk image as a device's `struct block` (port/block.h).
 *
 * A request whose bytes lie where the disk's memory says is given to the asynchronous engine by whoever
 * submits it; everything else (allocation, metadata, compressed clusters, discards) is done in order by
 * the disk's own thread, the image's owner.
 */
#ifndef LODGE_BACKEND_DISK_H
#define LODGE_BACKEND_DISK_H

#include "backend/aio.h"
#include "backend/image.h"
#include "port/block.h"

enum disk_cache {
    DISK_CACHE_WRITEBACK, /* through the host's page cache; a flush makes it durable */
    DISK_CACHE_DIRECT,    /* past it where alignment allows; a flush makes it durable */
    DISK_CACHE_UNSAFE,    /* flushes are not done: a host that crashes loses the disk */
};

/* Borrowed until disk_open() returns, but for the engine, which has to stay longer than the disk. */
struct disk_options {
    const char *path;
    enum image_format format; /* IMAGE_AUTO: qcow2 by its magic, otherwise raw with a guarded first sector */
    bool read_only;
    bool discard_changes; /* writes go to a nameless file that is gone at the end; the image is only read */
    enum backing_rule backing;
    enum disk_cache cache;
    struct aio_engine *engine;
};

/* Opens and locks; there is no thread yet. Any thread. Logged. */
enum status disk_open(const struct disk_options *options, struct block **block) MUST_CHECK;

/*
 * Starts its thread, of which enter() is the first thing that it does (backend/thread.h), or NULL. Once, and before
 * anything is submitted; the engine has been started. Logged.
 */
enum status disk_start(struct block *block, bool (*enter)(void)) MUST_CHECK;

/*
 * Drains, writes what waits, closes. Nobody submits any more. NULL is accepted, and one that was not started. False:
 * not everything could be written; logged.
 */
bool disk_close(struct block *block);

#endif
