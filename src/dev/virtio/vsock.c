#include "dev/virtio/vsock.h"

#include "base/bits.h"
#include "base/memory.h"
#include "dev/virtio/vsock_internal.h"

#define VSOCK_F_STREAM (1ull << 0)

/* Ports of the world for its own calls: from here on, once around. */
#define FIRST_PORT 0x40000000u

enum { CONFIG_CID = 0, CONFIG_SIZE = 8, CLASS_COMMUNICATION = 0x078000, EVENT_TRANSPORT_RESET = 0, EVENT_SIZE = 4 };

static const struct state_field vsock_fields[] = {
    VIRTIO_STATE_FIELDS(struct virtio_vsock_state, virtio, 1),
    STATE_SCALAR(struct virtio_vsock_state, guest_cid, 1),
    STATE_SCALAR(struct virtio_vsock_state, rest, 1),
};

static bool vsock_valid(const void *candidate)
{
    const struct virtio_vsock_state *state = candidate;

    return virtio_state_valid(&state->virtio) && state->guest_cid >= VIRTIO_VSOCK_FIRST_GUEST &&
           state->guest_cid < UINT32_MAX;
}

static const struct state_schema vsock_schema = {
    .name = "virtio-vsock",
    .version = 1,
    .fields = vsock_fields,
    .field_count = ARRAY_LENGTH(vsock_fields),
    .size = sizeof(struct virtio_vsock_state),
    .valid = vsock_valid,
};

static struct virtio_vsock *vsock_of(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct virtio_vsock, virtio);
}

/* --- what the world asks for --- */

static int vsock_open(void *device, uint32_t port)
{
    struct virtio_vsock *vsock = device;
    struct vsock_connection *connection;

    if (!virtio_running(&vsock->virtio))
        return -1;
    do {
        vsock->next_port = vsock->next_port >= FIRST_PORT ? vsock->next_port + 1 : FIRST_PORT;
    } while (vsock_find(vsock, port, vsock->next_port));
    connection = vsock_allocate(vsock, port, vsock->next_port);
    if (!connection)
        return -1;
    connection->phase = VSOCK_CALLING;
    vsock_want(connection, VSOCK_OP_REQUEST);
    vsock_send_pending(vsock);
    return (int)vsock_number(vsock, connection);
}

static void vsock_accepted(void *device, unsigned number)
{
    struct virtio_vsock *vsock = device;
    struct vsock_connection *connection = &vsock->connections[number];

    if (connection->phase != VSOCK_CALLED)
        return;
    connection->phase = VSOCK_OPEN;
    vsock_want(connection, VSOCK_OP_RESPONSE);
    vsock_send_pending(vsock);
}

/* The guest hears of it when half of its window has become free, or with the next packet. */
static void vsock_consumed(void *device, unsigned number, size_t size)
{
    struct virtio_vsock *vsock = device;
    struct vsock_connection *connection = &vsock->connections[number];

    connection->forwarded += (uint32_t)size;
    if (connection->phase != VSOCK_OPEN || connection->forwarded - connection->told < VSOCK_WINDOW / 2)
        return;
    vsock_want(connection, VSOCK_OP_CREDIT_UPDATE);
    vsock_send_pending(vsock);
}

static void vsock_finish(void *device, unsigned number)
{
    struct virtio_vsock *vsock = device;
    struct vsock_connection *connection = &vsock->connections[number];

    if (connection->phase != VSOCK_OPEN)
        return;
    connection->shutdown |= VSOCK_SHUTDOWN_SEND;
    vsock_want(connection, VSOCK_OP_SHUTDOWN);
    vsock_send_pending(vsock);
}

static void vsock_hang_up(void *device, unsigned number)
{
    struct virtio_vsock *vsock = device;
    struct vsock_connection *connection = &vsock->connections[number];

    if (connection->phase == VSOCK_OPEN) {
        connection->phase = VSOCK_CLOSING;
        connection->shutdown = VSOCK_SHUTDOWN_BOTH;
        vsock_want(connection, VSOCK_OP_SHUTDOWN);
    } else if (connection->phase == VSOCK_CALLED || connection->phase == VSOCK_CALLING) {
        connection->phase = VSOCK_CLOSING;
        connection->pending &= (uint8_t)BIT(VSOCK_OP_REQUEST);
        vsock_want(connection, VSOCK_OP_RST);
    }
    vsock_send_pending(vsock);
}

/* --- queues --- */

/* There are buffers: what waits goes first, then those connections that had to hold something back. */
static void vsock_resume_sending(struct virtio_vsock *vsock)
{
    vsock_send_pending(vsock);
    for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++)
        vsock_offer_room(vsock, &vsock->connections[i]);
    if (vsock->blocked)
        virtio_queue_run(&vsock->virtio, VSOCK_QUEUE_TRANSMIT);
}

static void vsock_send_event(struct virtio_vsock *vsock)
{
    static const uint8_t event[EVENT_SIZE] = {EVENT_TRANSPORT_RESET};
    size_t written;

    if (!vsock->reset_event || !virtio_queue_pop(&vsock->virtio, VSOCK_QUEUE_EVENT, &vsock->chain))
        return;
    vsock->reset_event = false;
    written = virtio_chain_write(&vsock->chain, 0, event, sizeof(event));
    virtio_queue_push(&vsock->virtio, &vsock->chain, (uint32_t)written);
    virtio_queue_flush(&vsock->virtio, VSOCK_QUEUE_EVENT);
}

static void vsock_notify(struct virtio *virtio, unsigned queue)
{
    struct virtio_vsock *vsock = vsock_of(virtio);

    switch (queue) {
    case VSOCK_QUEUE_RECEIVE:
        vsock_resume_sending(vsock);
        break;
    case VSOCK_QUEUE_TRANSMIT:
        vsock_take_packets(vsock);
        break;
    default:
        vsock_send_event(vsock);
        break;
    }
}

/* --- the device --- */

static void vsock_config_read(struct virtio *virtio, uint8_t *config)
{
    store_le(config + CONFIG_CID, 8, vsock_of(virtio)->state.guest_cid);
}

static void vsock_close_all(struct virtio_vsock *vsock)
{
    for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
        enum vsock_phase phase = vsock->connections[i].phase;

        vsock->connections[i] = (struct vsock_connection){.phase = VSOCK_FREE};
        if (phase != VSOCK_FREE && phase != VSOCK_CLOSING)
            vsock->world->close(vsock->world, i);
    }
    vsock->reply_first = vsock->reply_count = 0;
    vsock->blocked = false;
    vsock->reset_event = false;
}

static void vsock_reset(struct virtio *virtio)
{
    struct virtio_vsock *vsock = vsock_of(virtio);

    vsock_close_all(vsock);
    vsock->state.guest_cid = vsock->cid;
}

static void vsock_quiesce(struct device *device)
{
    struct virtio_vsock *vsock = vsock_of(CONTAINER_OF(device, struct virtio, device));

    vsock->rest = vsock->state.rest = timer_now(&vsock->virtio.machine->timers) | 1;
    virtio_quiesce(device);
}

/* A state that this device did not leave behind a moment ago: nobody holds the other ends of its connections. */
static void vsock_resume(struct device *device)
{
    struct virtio_vsock *vsock = vsock_of(CONTAINER_OF(device, struct virtio, device));

    if (vsock->state.rest != vsock->rest) {
        vsock_close_all(vsock);
        vsock->reset_event = true;
    }
    virtio_resume(device);
}

static const struct device_type vsock_type = {
    .name = "virtio-vsock",
    .schema = &vsock_schema,
    .state_offset = offsetof(struct virtio_vsock, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = vsock_quiesce,
    .resume = vsock_resume,
};

static const struct virtio_ops vsock_ops = {
    .notify = vsock_notify,
    .reset = vsock_reset,
    .config_read = vsock_config_read,
};

static const struct virtio_kind vsock_kind = {
    .type = VIRTIO_TYPE_VSOCK,
    .class_code = CLASS_COMMUNICATION,
    .config_size = CONFIG_SIZE,
    .ops = &vsock_ops,
};

void virtio_vsock_init(struct virtio_vsock *vsock, struct vsock_world *world, uint64_t cid)
{
    virtio_init(&vsock->virtio, &vsock_type, &vsock_kind, &vsock->state.virtio, VSOCK_F_STREAM, VSOCK_QUEUES);
    memset(vsock->connections, 0, sizeof(vsock->connections));
    vsock->world = world;
    vsock->cid = vsock->state.guest_cid = cid;
    vsock->rest = 0;
    vsock->next_port = 0;
    vsock->reply_first = vsock->reply_count = 0;
    vsock->blocked = vsock->reset_event = false;
    world->open = vsock_open;
    world->accepted = vsock_accepted;
    world->receive = vsock_receive;
    world->consumed = vsock_consumed;
    world->finish = vsock_finish;
    world->hang_up = vsock_hang_up;
    world->device = vsock;
}
