/* Packets for the guest. */
#include "base/bits.h"
#include "dev/virtio/vsock_internal.h"

static void header_store(uint8_t *to, const struct vsock_header *header)
{
    store_le(to, 8, header->source_cid);
    store_le(to + 8, 8, header->destination_cid);
    store_le(to + 16, 4, header->source_port);
    store_le(to + 20, 4, header->destination_port);
    store_le(to + 24, 4, header->length);
    store_le(to + 28, 2, header->type);
    store_le(to + 30, 2, header->operation);
    store_le(to + 32, 4, header->flags);
    store_le(to + 36, 4, header->window);
    store_le(to + 40, 4, header->forwarded);
}

/* Takes a buffer that has room for a header at least; those that have not go back empty. False: there is none. */
static bool take_buffer(struct virtio_vsock *vsock)
{
    while (virtio_queue_pop(&vsock->virtio, VSOCK_QUEUE_RECEIVE, &vsock->out)) {
        if (vsock->out.writable_bytes >= VSOCK_HEADER_SIZE)
            return true;
        virtio_queue_push(&vsock->virtio, &vsock->out, 0);
    }
    return false;
}

static void send_packet(struct virtio_vsock *vsock, const struct vsock_header *header, const void *bytes)
{
    uint8_t stored[VSOCK_HEADER_SIZE];

    header_store(stored, header);
    (void)virtio_chain_write(&vsock->out, 0, stored, sizeof(stored));
    (void)virtio_chain_write(&vsock->out, sizeof(stored), bytes, header->length);
    virtio_queue_push(&vsock->virtio, &vsock->out, VSOCK_HEADER_SIZE + header->length);
}

/* Every packet of a connection says how much room there is (5.10.6.3). */
static void send_of_connection(struct virtio_vsock *vsock, struct vsock_connection *connection, unsigned operation,
                               const void *bytes, uint32_t size)
{
    const struct vsock_header header = {
        .source_cid = VIRTIO_VSOCK_HOST,
        .destination_cid = vsock->state.guest_cid,
        .source_port = connection->world_port,
        .destination_port = connection->guest_port,
        .length = size,
        .type = VSOCK_TYPE_STREAM,
        .operation = (uint16_t)operation,
        .flags = operation == VSOCK_OP_SHUTDOWN ? connection->shutdown : 0,
        .window = VSOCK_WINDOW,
        .forwarded = connection->forwarded,
    };

    send_packet(vsock, &header, bytes);
    connection->told = connection->forwarded;
}

void vsock_want(struct vsock_connection *connection, unsigned operation)
{
    connection->pending |= (uint8_t)BIT(operation);
}

bool vsock_can_refuse(const struct virtio_vsock *vsock)
{
    return vsock->reply_count < VIRTIO_VSOCK_REPLIES;
}

void vsock_refuse(struct virtio_vsock *vsock, const struct vsock_header *header)
{
    unsigned at = (vsock->reply_first + vsock->reply_count++) % VIRTIO_VSOCK_REPLIES;

    vsock->replies[at] = (struct vsock_reply){
        .guest_cid = header->source_cid,
        .guest_port = header->source_port,
        .world_port = header->destination_port,
    };
}

static bool send_reply(struct virtio_vsock *vsock)
{
    const struct vsock_reply *reply = &vsock->replies[vsock->reply_first];
    const struct vsock_header header = {
        .source_cid = VIRTIO_VSOCK_HOST,
        .destination_cid = reply->guest_cid,
        .source_port = reply->world_port,
        .destination_port = reply->guest_port,
        .type = VSOCK_TYPE_STREAM,
        .operation = VSOCK_OP_RST,
    };

    if (!take_buffer(vsock))
        return false;
    send_packet(vsock, &header, NULL);
    vsock->reply_first = (vsock->reply_first + 1) % VIRTIO_VSOCK_REPLIES;
    vsock->reply_count--;
    return true;
}

/* In the order of operations: a request before anything else, a reset alone. False: no buffers are left. */
static bool send_wanted(struct virtio_vsock *vsock, struct vsock_connection *connection)
{
    for (unsigned operation = VSOCK_OP_REQUEST; operation < VSOCK_OP_COUNT && connection->pending; operation++) {
        if (!(connection->pending & BIT(operation)))
            continue;
        if (!take_buffer(vsock))
            return false;
        send_of_connection(vsock, connection, operation, NULL, 0);
        connection->pending &= (uint8_t)~BIT(operation);
        if (operation == VSOCK_OP_RST)
            *connection = (struct vsock_connection){.phase = VSOCK_FREE};
    }
    return true;
}

void vsock_send_pending(struct virtio_vsock *vsock)
{
    bool room = true;

    while (room && vsock->reply_count > 0)
        room = send_reply(vsock);
    for (unsigned i = 0; i < VSOCK_CONNECTIONS && room; i++)
        if (vsock->connections[i].pending)
            room = send_wanted(vsock, &vsock->connections[i]);
    virtio_queue_flush(&vsock->virtio, VSOCK_QUEUE_RECEIVE);
}

/* None if it says that it has consumed what was never sent. */
uint32_t vsock_guest_room(const struct vsock_connection *connection)
{
    uint32_t under_way = connection->sent - connection->peer_forwarded;

    return under_way < connection->peer_window ? connection->peer_window - under_way : 0;
}

void vsock_offer_room(struct virtio_vsock *vsock, struct vsock_connection *connection)
{
    if (!connection->refused || connection->phase != VSOCK_OPEN || vsock_guest_room(connection) == 0)
        return;
    connection->refused = false;
    vsock->world->drained(vsock->world, vsock_number(vsock, connection));
}

size_t vsock_receive(void *device, unsigned number, const void *bytes, size_t size)
{
    struct virtio_vsock *vsock = device;
    struct vsock_connection *connection = &vsock->connections[number];
    size_t taken = 0;

    vsock_send_pending(vsock);
    while (taken < size && connection->phase == VSOCK_OPEN && !connection->pending &&
           vsock_guest_room(connection) > 0 && take_buffer(vsock)) {
        uint32_t room = vsock_guest_room(connection), here = vsock->out.writable_bytes - VSOCK_HEADER_SIZE;

        here = here < room ? here : room;
        here = here < size - taken ? here : (uint32_t)(size - taken);
        send_of_connection(vsock, connection, VSOCK_OP_RW, (const uint8_t *)bytes + taken, here);
        connection->sent += here;
        taken += here;
    }
    virtio_queue_flush(&vsock->virtio, VSOCK_QUEUE_RECEIVE);
    connection->refused = taken < size;
    return taken;
}
