/*
 * The virtio memory balloon (VIRTIO 1.2, 5.5): memory that the guest does not need goes back to the
 * host, because the host asks for it (a target), or because the guest reports pages as free. The
 * guest's own figures come over the statistics queue.
 *
 * Pages that were given up may be used again at any time; they are zeroes then. Threads: as virtio.h.
 */
#ifndef LODGE_DEV_VIRTIO_BALLOON_H
#define LODGE_DEV_VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"

/* Tags of statistics (5.5.6.4). */
enum virtio_balloon_statistic {
    BALLOON_SWAP_IN,      /* bytes */
    BALLOON_SWAP_OUT,     /* bytes */
    BALLOON_MAJOR_FAULTS, /* count */
    BALLOON_MINOR_FAULTS, /* count */
    BALLOON_FREE,         /* bytes that nobody uses */
    BALLOON_TOTAL,        /* bytes */
    BALLOON_AVAILABLE,    /* bytes that could be used without swapping */
    BALLOON_CACHES,       /* bytes */
    BALLOON_HUGETLB_ALLOCATIONS,
    BALLOON_HUGETLB_FAILURES,
    BALLOON_STATISTICS,
};

/* What a guest has not said. */
#define BALLOON_UNKNOWN UINT64_MAX

struct virtio_balloon_state {
    struct virtio_state virtio;
    uint32_t target; /* pages that the guest shall give up */
    uint32_t actual; /* that it has, as it says */
};

struct virtio_balloon {
    struct virtio virtio;
    struct virtio_balloon_state state;
    uint32_t target;                         /* the owner's word: stays over resets */
    uint64_t statistics[BALLOON_STATISTICS]; /* as of the last report */
    struct virtio_chain chain;
};

void virtio_balloon_init(struct virtio_balloon *balloon);

/* Asks the guest to give up that many pages of 4096 bytes in all. Also before the machine runs. */
void virtio_balloon_set_target(struct virtio_balloon *balloon, uint32_t pages);

/* Asks for new statistics; false: the guest has not brought a buffer back for them. They come when they come. */
bool virtio_balloon_poll(struct virtio_balloon *balloon);

#endif
