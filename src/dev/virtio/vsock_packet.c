/* Packets from the guest. */
#include "base/bits.h"
#include "dev/virtio/vsock_internal.h"

unsigned vsock_number(const struct virtio_vsock *vsock, const struct vsock_connection *connection)
{
    return (unsigned)(connection - vsock->connections);
}

struct vsock_connection *vsock_find(struct virtio_vsock *vsock, uint32_t guest_port, uint32_t world_port)
{
    for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
        struct vsock_connection *connection = &vsock->connections[i];

        if (connection->phase != VSOCK_FREE && connection->guest_port == guest_port &&
            connection->world_port == world_port)
            return connection;
    }
    return NULL;
}

/* A guest that never confirms what the world has closed shall not use them all up. */
struct vsock_connection *vsock_allocate(struct virtio_vsock *vsock, uint32_t guest_port, uint32_t world_port)
{
    struct vsock_connection *closing = NULL;

    for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
        struct vsock_connection *connection = &vsock->connections[i];

        if (connection->phase == VSOCK_CLOSING && !connection->pending)
            closing = connection;
        if (connection->phase != VSOCK_FREE)
            continue;
        closing = connection;
        break;
    }
    if (closing)
        *closing = (struct vsock_connection){.guest_port = guest_port, .world_port = world_port};
    return closing;
}

static void header_load(const uint8_t *from, struct vsock_header *header)
{
    *header = (struct vsock_header){
        .source_cid = load_le(from, 8),
        .destination_cid = load_le(from + 8, 8),
        .source_port = (uint32_t)load_le(from + 16, 4),
        .destination_port = (uint32_t)load_le(from + 20, 4),
        .length = (uint32_t)load_le(from + 24, 4),
        .type = (uint16_t)load_le(from + 28, 2),
        .operation = (uint16_t)load_le(from + 30, 2),
        .flags = (uint32_t)load_le(from + 32, 4),
        .window = (uint32_t)load_le(from + 36, 4),
        .forwarded = (uint32_t)load_le(from + 40, 4),
    };
}

/* The guest's side is over: the world hears of it, and the number is free. */
static void connection_close(struct virtio_vsock *vsock, struct vsock_connection *connection)
{
    bool known = connection->phase != VSOCK_CLOSING;

    *connection = (struct vsock_connection){.phase = VSOCK_FREE};
    if (known)
        vsock->world->close(vsock->world, vsock_number(vsock, connection));
}

static void connection_abort(struct virtio_vsock *vsock, struct vsock_connection *connection,
                             const struct vsock_header *header)
{
    connection_close(vsock, connection);
    vsock_refuse(vsock, header);
}

static void take_request(struct virtio_vsock *vsock, const struct vsock_header *header)
{
    struct vsock_connection *connection = vsock_allocate(vsock, header->source_port, header->destination_port);

    if (!connection) {
        vsock_refuse(vsock, header);
        return;
    }
    connection->phase = VSOCK_CALLED;
    connection->peer_window = header->window;
    connection->peer_forwarded = header->forwarded;
    vsock->world->connect(vsock->world, vsock_number(vsock, connection), header->destination_port);
}

/* Data behind the header in the chain; the window was checked. */
static void take_data(struct virtio_vsock *vsock, struct vsock_connection *connection, uint32_t length)
{
    const struct virtio_chain *chain = &vsock->chain;
    size_t skip = VSOCK_HEADER_SIZE;

    connection->received += length;
    for (unsigned i = 0; i < chain->readable && length > 0; i++) {
        const struct virtio_segment *segment = &chain->segments[i];
        uint32_t here;

        if (skip >= segment->size) {
            skip -= segment->size;
            continue;
        }
        here = segment->size - (uint32_t)skip;
        here = here < length ? here : length;
        vsock->world->send(vsock->world, vsock_number(vsock, connection), segment->bytes + skip, here);
        length -= here;
        skip = 0;
    }
}

static void take_shutdown(struct virtio_vsock *vsock, struct vsock_connection *connection,
                          const struct vsock_header *header)
{
    uint8_t before = connection->guest_done;

    connection->guest_done |= (uint8_t)(header->flags & VSOCK_SHUTDOWN_BOTH);
    if (connection->guest_done == VSOCK_SHUTDOWN_BOTH)
        connection_abort(vsock, connection, header);
    else if (connection->phase == VSOCK_OPEN && connection->guest_done & ~before & VSOCK_SHUTDOWN_SEND)
        vsock->world->finished(vsock->world, vsock_number(vsock, connection));
}

/* A packet of an open connection, or of one that the world has left. */
static void take_of_open(struct virtio_vsock *vsock, struct vsock_connection *connection,
                         const struct vsock_header *header)
{
    switch (header->operation) {
    case VSOCK_OP_RW:
        if (connection->phase == VSOCK_CLOSING)
            break;
        if (connection->guest_done & VSOCK_SHUTDOWN_SEND ||
            header->length > VSOCK_WINDOW - (connection->received - connection->forwarded))
            connection_abort(vsock, connection, header);
        else
            take_data(vsock, connection, header->length);
        break;
    case VSOCK_OP_SHUTDOWN:
        take_shutdown(vsock, connection, header);
        break;
    case VSOCK_OP_CREDIT_UPDATE:
        break;
    case VSOCK_OP_CREDIT_REQUEST:
        vsock_want(connection, VSOCK_OP_CREDIT_UPDATE);
        break;
    default:
        connection_abort(vsock, connection, header);
        break;
    }
}

static void take_packet(struct virtio_vsock *vsock, const struct vsock_header *header)
{
    struct vsock_connection *connection = vsock_find(vsock, header->source_port, header->destination_port);

    if (!connection) {
        if (header->operation == VSOCK_OP_REQUEST)
            take_request(vsock, header);
        else if (header->operation != VSOCK_OP_RST)
            vsock_refuse(vsock, header);
        return;
    }
    connection->peer_window = header->window;
    connection->peer_forwarded = header->forwarded;
    if (header->operation == VSOCK_OP_RST) {
        connection_close(vsock, connection);
    } else if (connection->phase == VSOCK_CALLING && header->operation == VSOCK_OP_RESPONSE) {
        connection->phase = VSOCK_OPEN;
        vsock->world->opened(vsock->world, vsock_number(vsock, connection));
    } else if (connection->phase == VSOCK_OPEN || connection->phase == VSOCK_CLOSING) {
        take_of_open(vsock, connection, header);
        vsock_offer_room(vsock, connection);
    } else {
        connection_abort(vsock, connection, header);
    }
}

/* Is it from the guest to the world, and as long as it says? */
static bool header_valid(const struct virtio_vsock *vsock, const struct vsock_header *header)
{
    return header->source_cid == vsock->state.guest_cid && header->destination_cid == VIRTIO_VSOCK_HOST &&
           header->type == VSOCK_TYPE_STREAM && header->length <= vsock->chain.readable_bytes - VSOCK_HEADER_SIZE;
}

static void take_chain(struct virtio_vsock *vsock)
{
    uint8_t bytes[VSOCK_HEADER_SIZE];
    struct vsock_header header;

    if (virtio_chain_read(&vsock->chain, 0, bytes, sizeof(bytes)) != sizeof(bytes))
        return;
    header_load(bytes, &header);
    if (header_valid(vsock, &header))
        take_packet(vsock, &header);
    else if (header.operation != VSOCK_OP_RST)
        vsock_refuse(vsock, &header);
}

void vsock_take_packets(struct virtio_vsock *vsock)
{
    struct virtio *virtio = &vsock->virtio;

    while (vsock_can_refuse(vsock) && virtio_queue_pop(virtio, VSOCK_QUEUE_TRANSMIT, &vsock->chain)) {
        take_chain(vsock);
        virtio_queue_push(virtio, &vsock->chain, 0);
        if (!vsock_can_refuse(vsock))
            vsock_send_pending(vsock);
    }
    vsock->blocked = !vsock_can_refuse(vsock);
    virtio_queue_flush(virtio, VSOCK_QUEUE_TRANSMIT);
    vsock_send_pending(vsock);
}
