#include "dev/virtio/console.h"

#include "base/bits.h"

#define CONSOLE_F_SIZE (1ull << 0)
#define CONSOLE_F_EMERG_WRITE (1ull << 2)

enum { QUEUE_RECEIVE = 0, QUEUE_TRANSMIT = 1, QUEUES = 2, CLASS_COMMUNICATION = 0x078000 };

/* The device configuration (5.3.4). */
enum { CONFIG_COLUMNS = 0, CONFIG_ROWS = 2, CONFIG_PORTS = 4, CONFIG_EMERG_WRITE = 8, CONFIG_SIZE = 12 };

static const struct state_field console_fields[] = {
    VIRTIO_STATE_FIELDS(struct virtio_console_state, virtio, 1),
    STATE_SCALAR(struct virtio_console_state, columns, 1),
    STATE_SCALAR(struct virtio_console_state, rows, 1),
};

static bool console_valid(const void *candidate)
{
    return virtio_state_valid(&((const struct virtio_console_state *)candidate)->virtio);
}

static const struct state_schema console_schema = {
    .name = "virtio-console",
    .version = 1,
    .fields = console_fields,
    .field_count = ARRAY_LENGTH(console_fields),
    .size = sizeof(struct virtio_console_state),
    .valid = console_valid,
};

static struct virtio_console *console_of(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct virtio_console, virtio);
}

/*
 * Linux looks at the size only when it changes, and not before its terminal exists. So it is told of a change when it
 * has written something.
 */
static void console_announce_size(struct virtio_console *console)
{
    if (console->announced || console->state.columns == 0)
        return;
    console->announced = true;
    virtio_config_changed(&console->virtio);
}

static void console_transmit(struct virtio_console *console)
{
    struct virtio *virtio = &console->virtio;

    while (virtio_queue_pop(virtio, QUEUE_TRANSMIT, &console->chain)) {
        const struct virtio_chain *chain = &console->chain;

        for (unsigned i = 0; i < chain->readable && console->stream; i++)
            console->stream->write(console->stream, chain->segments[i].bytes, chain->segments[i].size);
        virtio_queue_push(virtio, chain, 0);
        console_announce_size(console);
    }
    virtio_queue_flush(virtio, QUEUE_TRANSMIT);
}

/* What the world sends, into as many buffers as it takes; the rest is offered again when there are more. */
static size_t console_receive(void *device, const void *bytes, size_t size)
{
    struct virtio_console *console = device;
    struct virtio *virtio = &console->virtio;
    size_t taken = 0;

    while (taken < size && virtio_queue_pop(virtio, QUEUE_RECEIVE, &console->chain)) {
        size_t here = virtio_chain_write(&console->chain, 0, (const uint8_t *)bytes + taken, size - taken);

        virtio_queue_push(virtio, &console->chain, (uint32_t)here);
        taken += here;
    }
    virtio_queue_flush(virtio, QUEUE_RECEIVE);
    if (taken < size)
        console->refused = true;
    return taken;
}

/* There are buffers: the stream may go on. It calls console_receive() now or later. */
static void console_drained(struct virtio_console *console)
{
    if (!console->refused || !console->stream || !console->stream->drained)
        return;
    console->refused = false;
    console->stream->drained(console->stream);
}

static void console_notify(struct virtio *virtio, unsigned queue)
{
    if (queue == QUEUE_TRANSMIT)
        console_transmit(console_of(virtio));
    else
        console_drained(console_of(virtio));
}

static void console_config_read(struct virtio *virtio, uint8_t *config)
{
    const struct virtio_console *console = console_of(virtio);

    store_le(config + CONFIG_COLUMNS, 2, console->state.columns);
    store_le(config + CONFIG_ROWS, 2, console->state.rows);
    store_le(config + CONFIG_PORTS, 4, 1);
}

/* One character of a guest that is in trouble: no queue is needed. */
static void console_config_write(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value)
{
    struct virtio_console *console = console_of(virtio);
    uint8_t byte = (uint8_t)value;

    (void)size;
    if (offset == CONFIG_EMERG_WRITE && console->stream)
        console->stream->write(console->stream, &byte, 1);
}

static void console_take_size(struct virtio_console *console)
{
    if (console->state.columns == console->columns && console->state.rows == console->rows)
        return;
    console->state.columns = console->columns;
    console->state.rows = console->rows;
    virtio_config_changed(&console->virtio);
}

static void console_reset(struct virtio *virtio)
{
    struct virtio_console *console = console_of(virtio);

    console->state.columns = console->columns;
    console->state.rows = console->rows;
    console->announced = false;
    console->refused = console->stream != NULL; /* it may hold something back from before */
}

/* A machine that was saved elsewhere finds another terminal here. */
static void console_resume(struct device *device)
{
    struct virtio_console *console = console_of(CONTAINER_OF(device, struct virtio, device));

    console->refused = console->stream != NULL;
    virtio_resume(device);
    console_take_size(console);
}

static const struct device_type console_type = {
    .name = "virtio-console",
    .schema = &console_schema,
    .state_offset = offsetof(struct virtio_console, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = virtio_quiesce,
    .resume = console_resume,
};

static const struct virtio_ops console_ops = {
    .notify = console_notify,
    .reset = console_reset,
    .config_read = console_config_read,
    .config_write = console_config_write,
};

static const struct virtio_kind console_kind = {
    .type = VIRTIO_TYPE_CONSOLE,
    .class_code = CLASS_COMMUNICATION,
    .config_size = CONFIG_SIZE,
    .ops = &console_ops,
};

void virtio_console_init(struct virtio_console *console, struct stream *stream)
{
    virtio_init(&console->virtio, &console_type, &console_kind, &console->state.virtio,
                CONSOLE_F_SIZE | CONSOLE_F_EMERG_WRITE, QUEUES);
    console->stream = stream;
    console->columns = console->rows = 0;
    console->refused = false;
    if (stream) {
        stream->device = console;
        stream->receive = console_receive;
    }
}

void virtio_console_resize(struct virtio_console *console, uint16_t columns, uint16_t rows)
{
    console->columns = columns;
    console->rows = rows;
    console_take_size(console);
}
