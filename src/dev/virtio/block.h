/*
 * The virtio block device (VIRTIO 1.2, 5.2): a disk for the guest, on a struct block.
 *
 * Several queues; flush, discard, write zeroes, a serial number, read-only disks, topology. Requests come from a
 * fixed pool; when it is empty the rest waits in the queues. A driver that does not negotiate flush gets its writes
 * acknowledged only when they are durable.
 *
 * Threads: as virtio.h; the backend's threads complete requests, and take the machine lock for that.
 */
#ifndef LODGE_DEV_VIRTIO_BLOCK_H
#define LODGE_DEV_VIRTIO_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"
#include "port/block.h"

enum { VIRTIO_BLOCK_QUEUES = 16, VIRTIO_BLOCK_REQUESTS = 256, VIRTIO_BLOCK_SERIAL = 20 };

struct virtio_block_state {
    struct virtio_state virtio;
};

struct virtio_block;

/* One of the pool: from the queue to the backend and back. */
struct virtio_block_request {
    struct virtio_block *disk;
    struct virtio_block_request *next; /* in the free list, or among the completed */
    struct block_request request;
    enum block_result result;
    uint32_t type;
    struct virtio_chain chain;
    struct block_segment segments[VIRTIO_SEGMENTS];
};

struct virtio_block {
    struct virtio virtio;
    struct virtio_block_state state;
    struct block *block;
    char serial[VIRTIO_BLOCK_SERIAL]; /* padded with zeroes */
    uint64_t starved;                 /* bit n: queue n has more than the pool */
    struct virtio_block_request *free;
    unsigned fresh;                         /* requests from this one on have never been used */
    struct virtio_block_request *completed; /* atomic: pushed by any thread, taken with the machine lock held */
    struct virtio_block_request requests[VIRTIO_BLOCK_REQUESTS];
};

/* block is borrowed. serial may be empty; what is longer than VIRTIO_BLOCK_SERIAL is cut. queues: 1 and up. */
void virtio_block_init(struct virtio_block *disk, struct block *block, const char *serial, unsigned queues);

/* block->limits.size has changed. */
void virtio_block_resized(struct virtio_block *disk);

#endif
