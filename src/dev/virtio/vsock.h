/*
 * The virtio socket device (VIRTIO 1.2, 5.10): stream connections between the guest and the world.
 *
 * Each side says how many bytes it can hold; nobody sends more. Packets that answer wait in a small queue; while it
 * is full, nothing is taken from the guest. Connections do not outlive a machine that is saved: where it goes on, the
 * guest is told that they are gone. Threads: as virtio.h.
 */
#ifndef LODGE_DEV_VIRTIO_VSOCK_H
#define LODGE_DEV_VIRTIO_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"
#include "port/vsock.h"

enum {
    VIRTIO_VSOCK_HOST = 2,        /* the context identifier of the world */
    VIRTIO_VSOCK_FIRST_GUEST = 3, /* the least that a guest can have */
    VIRTIO_VSOCK_REPLIES = 64,
};

struct virtio_vsock_state {
    struct virtio_state virtio;
    uint64_t guest_cid;
    uint64_t rest; /* when it was last brought to rest: tells whether connections are of this life */
};

enum vsock_phase {
    VSOCK_FREE,
    VSOCK_CALLED,  /* by the guest; the world has not answered */
    VSOCK_CALLING, /* the guest, which has not answered */
    VSOCK_OPEN,
    VSOCK_CLOSING, /* the world is gone; the guest has not confirmed */
};

struct vsock_connection {
    enum vsock_phase phase;
    uint32_t guest_port, world_port;
    uint32_t sent, peer_window, peer_forwarded; /* towards the guest: bytes, its room, what it has consumed */
    uint32_t received, forwarded, told;         /* from the guest: bytes, consumed, what it was last told of that */
    uint32_t shutdown;                          /* the flags to send with a shutdown */
    uint8_t pending;                            /* packets to send: bits */
    bool refused;                               /* the world has bytes that there was no room for */
    uint8_t guest_done;                         /* the shutdown flags that the guest has sent */
};

/* A reset for a connection that is not there. */
struct vsock_reply {
    uint64_t guest_cid;
    uint32_t guest_port, world_port;
};

struct virtio_vsock {
    struct virtio virtio;
    struct virtio_vsock_state state;
    struct vsock_world *world;
    uint64_t cid; /* after a reset */
    uint64_t rest;
    uint32_t next_port; /* of the world, for its next call */
    bool reset_event;   /* the guest is to be told that all connections are gone */
    bool blocked;       /* the guest has packets for whose answers there was no room */
    unsigned reply_first, reply_count;
    struct vsock_reply replies[VIRTIO_VSOCK_REPLIES];
    struct vsock_connection connections[VSOCK_CONNECTIONS];
    struct virtio_chain chain, out;
};

/* world is borrowed. cid: VIRTIO_VSOCK_FIRST_GUEST to 0xfffffffe. */
void virtio_vsock_init(struct virtio_vsock *vsock, struct vsock_world *world, uint64_t cid);

#endif
