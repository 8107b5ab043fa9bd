/* The virtio entropy device (VIRTIO 1.2, 5.4). Threads: as virtio.h. */
#ifndef LODGE_DEV_VIRTIO_RNG_H
#define LODGE_DEV_VIRTIO_RNG_H

#include "dev/virtio/virtio.h"
#include "port/entropy.h"

/* The most that one buffer is given, so that a large one does not hold the machine. */
enum { VIRTIO_RNG_MOST = 4096 };

struct virtio_rng_state {
    struct virtio_state virtio;
};

struct virtio_rng {
    struct virtio virtio;
    struct virtio_rng_state state;
    struct entropy *entropy;
    struct virtio_chain chain;
    uint8_t bytes[VIRTIO_RNG_MOST];
};

/* entropy is borrowed. */
void virtio_rng_init(struct virtio_rng *rng, struct entropy *entropy);

#endif
