/* A disk, between its thread and what any thread does. */
#ifndef LODGE_BACKEND_DISK_INTERNAL_H
#define LODGE_BACKEND_DISK_INTERNAL_H

#include <pthread.h>

#include "backend/disk.h"
#include "backend/thread.h"

struct disk {
    struct block block;
    struct image *image;
    struct aio_engine *engine;
    bool unsafe;

    pthread_mutex_t lock;
    pthread_cond_t work;    /* for the disk's thread: the queue has something, or it is to stop */
    pthread_cond_t settled; /* requests or operations are over */
    struct block_request *first, **last;
    unsigned under_way; /* requests, from submit() to done() */
    unsigned phase;     /* of those that begin now */
    unsigned fast[2];   /* requests in the fast way, by phase */
    bool stopping;
    struct backend_thread thread;
};

/*
 * A request in the fast way counts in the phase in which it began, from before it asks map() until the host
 * is done with it.
 */
unsigned disk_enter(struct disk *disk);
void disk_leave(struct disk *disk, unsigned phase);

/* The end of a request: calls done(). */
void disk_complete(struct disk *disk, struct block_request *request, enum block_result result);

/* Any thread. False: the host has not all of it in its page cache, or does not tell. */
bool disk_fast_read_cached(struct disk *disk, struct block_request *request);

/* Any thread. False: the request is for the disk's thread. */
bool disk_fast_transfer(struct disk *disk, struct block_request *request);
bool disk_fast_flush(struct disk *disk, struct block_request *request);

#endif
