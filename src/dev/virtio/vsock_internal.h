/* What the parts of the vsock device share. Machine lock held. */
#ifndef LODGE_DEV_VIRTIO_VSOCK_INTERNAL_H
#define LODGE_DEV_VIRTIO_VSOCK_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev/virtio/vsock.h"

enum { VSOCK_QUEUE_RECEIVE = 0, VSOCK_QUEUE_TRANSMIT = 1, VSOCK_QUEUE_EVENT = 2, VSOCK_QUEUES = 3 };

/* Operations of a packet (5.10.6). */
enum {
    VSOCK_OP_REQUEST = 1,
    VSOCK_OP_RESPONSE = 2,
    VSOCK_OP_RST = 3,
    VSOCK_OP_SHUTDOWN = 4,
    VSOCK_OP_RW = 5,
    VSOCK_OP_CREDIT_UPDATE = 6,
    VSOCK_OP_CREDIT_REQUEST = 7,
    VSOCK_OP_COUNT = 8,
    VSOCK_TYPE_STREAM = 1,
    VSOCK_SHUTDOWN_RECEIVE = 1,
    VSOCK_SHUTDOWN_SEND = 2,
    VSOCK_SHUTDOWN_BOTH = 3,
    VSOCK_HEADER_SIZE = 44,
};

/* A packet's header. */
struct vsock_header {
    uint64_t source_cid, destination_cid;
    uint32_t source_port, destination_port;
    uint32_t length;
    uint16_t type, operation;
    uint32_t flags, window, forwarded;
};

/* --- towards the guest (vsock_send.c) --- */

/* Notes that a packet with this operation is to be sent; it goes when there is a buffer for it. */
void vsock_want(struct vsock_connection *connection, unsigned operation);

/* Notes a reset for a connection that is not there; the caller has checked that there is room. */
void vsock_refuse(struct virtio_vsock *vsock, const struct vsock_header *header);
bool vsock_can_refuse(const struct virtio_vsock *vsock);

/* Sends what was noted, as far as there are buffers. */
void vsock_send_pending(struct virtio_vsock *vsock);

/* How many bytes the guest has room for. */
uint32_t vsock_guest_room(const struct vsock_connection *connection);

/* If the world has held something back for which there is room now, it hears of that. */
void vsock_offer_room(struct virtio_vsock *vsock, struct vsock_connection *connection);

/* For struct vsock_world. */
size_t vsock_receive(void *device, unsigned connection, const void *bytes, size_t size);

/* --- from the guest (vsock_packet.c) --- */

/* Takes packets from the guest, as long as answers have room. */
void vsock_take_packets(struct virtio_vsock *vsock);

/* A free connection; NULL: none. */
struct vsock_connection *vsock_allocate(struct virtio_vsock *vsock, uint32_t guest_port, uint32_t world_port);
unsigned vsock_number(const struct virtio_vsock *vsock, const struct vsock_connection *connection);
struct vsock_connection *vsock_find(struct virtio_vsock *vsock, uint32_t guest_port, uint32_t world_port);

#endif
