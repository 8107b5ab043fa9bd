/*
 * A descriptor chain: one buffer that the driver has made available, as the device sees it. Its
 * descriptors have been read once and checked: every segment is guest RAM, none is empty, those
 * that the device reads come before those that it writes. Its bytes may change at any time.
 *
 * Threads: whoever owns the chain.
 */
#ifndef LODGE_DEV_VIRTIO_CHAIN_H
#define LODGE_DEV_VIRTIO_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VIRTIO_SEGMENTS = 256 };

struct guest_memory;

struct virtio_segment {
    uint8_t *bytes;
    uint64_t address; /* guest physical */
    uint32_t size;
};

/* What it takes to give a buffer back. */
struct virtio_ticket {
    uint16_t queue;
    uint16_t id;          /* of the head descriptor, or of the buffer (packed) */
    uint16_t descriptors; /* how many of the ring's it takes (packed) */
    uint32_t generation;  /* of the queue when it was taken */
};

struct virtio_chain {
    struct virtio_ticket ticket;
    uint16_t readable, writable; /* segments; the readable ones come first */
    uint32_t readable_bytes, writable_bytes;
    struct virtio_segment segments[VIRTIO_SEGMENTS];
};

/* Copies out of the readable part, from offset on; answers how many of size bytes there were. */
size_t virtio_chain_read(const struct virtio_chain *chain, size_t offset, void *to, size_t size);

/* Copies into the writable part. Nobody is told of it yet. */
size_t virtio_chain_write(const struct virtio_chain *chain, size_t offset, const void *from, size_t size);

/* Tells dirty logs and translators about the first `size` bytes of the writable part. */
void virtio_chain_wrote(const struct virtio_chain *chain, const struct guest_memory *memory, uint32_t size);

#endif
