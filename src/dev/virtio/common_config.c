/* The common configuration (4.1.4.3): negotiation, status, the registers of queues. */
#include "base/bits.h"
#include "dev/virtio/queue_internal.h"

enum { FEATURE_WORDS = 2 };

static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select < FEATURE_WORDS ? (uint32_t)(features >> (32 * select)) : 0;
}

static const struct virtio_queue_state *selected(const struct virtio *virtio)
{
    unsigned select = virtio->state->queue_select;

    return select < virtio->queue_count ? &virtio->state->queues[select] : NULL;
}

/* A queue that is not there has size zero, and everything else of it too (4.1.4.3). */
static uint64_t queue_register(const struct virtio *virtio, unsigned at)
{
    const struct virtio_queue_state *queue = selected(virtio);

    if (!queue)
        return at == VIRTIO_COMMON_QUEUE_VECTOR ? VIRTIO_NO_VECTOR : 0;
    switch (at) {
    case VIRTIO_COMMON_QUEUE_SIZE:
        return queue->size;
    case VIRTIO_COMMON_QUEUE_VECTOR:
        return queue->vector;
    case VIRTIO_COMMON_QUEUE_ENABLE:
        return queue->enabled;
    case VIRTIO_COMMON_QUEUE_NOTIFY_OFF:
    case VIRTIO_COMMON_QUEUE_NOTIFY_DATA:
        return virtio->state->queue_select;
    case VIRTIO_COMMON_QUEUE_DESC:
        return queue->descriptors;
    case VIRTIO_COMMON_QUEUE_DRIVER:
        return queue->driver;
    case VIRTIO_COMMON_QUEUE_DEVICE:
        return queue->device;
    case VIRTIO_COMMON_QUEUE_RESET:
        return virtio->queues[virtio->state->queue_select].resetting;
    default:
        return 0;
    }
}

static uint64_t common_register(const struct virtio *virtio, unsigned at)
{
    const struct virtio_state *state = virtio->state;

    switch (at) {
    case VIRTIO_COMMON_DEVICE_FEATURE_SELECT:
        return state->device_feature_select;
    case VIRTIO_COMMON_DEVICE_FEATURE:
        return feature_word(virtio->features, state->device_feature_select);
    case VIRTIO_COMMON_DRIVER_FEATURE_SELECT:
        return state->driver_feature_select;
    case VIRTIO_COMMON_DRIVER_FEATURE:
        return feature_word(state->driver_features, state->driver_feature_select);
    case VIRTIO_COMMON_CONFIG_VECTOR:
        return state->config_vector;
    case VIRTIO_COMMON_NUM_QUEUES:
        return virtio->queue_count;
    case VIRTIO_COMMON_STATUS:
        return state->status;
    case VIRTIO_COMMON_GENERATION:
        return state->config_generation;
    case VIRTIO_COMMON_QUEUE_SELECT:
        return state->queue_select;
    default:
        return queue_register(virtio, at);
    }
}

/* The register that holds a byte, by where it starts. */
static unsigned common_start(unsigned offset)
{
    if (offset < VIRTIO_COMMON_CONFIG_VECTOR)
        return offset & ~3u;
    if (offset == VIRTIO_COMMON_STATUS || offset == VIRTIO_COMMON_GENERATION)
        return offset;
    if (offset < VIRTIO_COMMON_QUEUE_DESC || offset >= VIRTIO_COMMON_QUEUE_NOTIFY_DATA)
        return offset & ~1u;
    return offset & ~7u;
}

/* Of any width: firmware likes to read two registers at once. */
uint32_t common_config_read(const struct virtio *virtio, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size && offset + i < VIRTIO_COMMON_SIZE; i++) {
        unsigned start = common_start(offset + i);
        uint64_t byte = common_register(virtio, start) >> (8 * (offset + i - start)) & 0xff;

        value |= (uint32_t)byte << (8 * i);
    }
    return value;
}

static void write_feature(struct virtio *virtio, uint32_t value)
{
    struct virtio_state *state = virtio->state;
    unsigned shift = 32 * (state->driver_feature_select % FEATURE_WORDS);

    if (state->status & VIRTIO_STATUS_FEATURES_OK || state->driver_feature_select >= FEATURE_WORDS)
        return;
    state->driver_features = (state->driver_features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

bool common_config_acceptable(const struct virtio *virtio)
{
    uint64_t features = virtio->state->driver_features;
    const struct virtio_ops *ops = virtio->kind->ops;

    return !(features & ~virtio->features) && features & VIRTIO_F_VERSION_1 &&
           (!ops->accepts || ops->accepts(virtio, features));
}

/* Bits are only ever added; zero resets (2.1). */
static void write_status(struct virtio *virtio, uint8_t value)
{
    struct virtio_state *state = virtio->state;
    uint8_t added = (uint8_t)(value & ~state->status & ~VIRTIO_STATUS_NEEDS_RESET);

    if (value == 0) {
        virtio->resetting = virtio->held > 0;
        if (!virtio->resetting)
            transport_reset(virtio);
        return;
    }
    if (added & VIRTIO_STATUS_FEATURES_OK && !common_config_acceptable(virtio))
        added &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    if (added & VIRTIO_STATUS_DRIVER_OK && !((state->status | added) & VIRTIO_STATUS_FEATURES_OK))
        added &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
    state->status |= added;
    if (added & VIRTIO_STATUS_DRIVER_OK) {
        if (virtio->kind->ops->driver_ok)
            virtio->kind->ops->driver_ok(virtio);
        transport_run_all(virtio);
    }
}

static uint16_t vector_or_none(const struct virtio *virtio, uint64_t vector)
{
    return vector < virtio->msix.vectors ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

static void enable_queue(struct virtio *virtio, struct virtio_queue_state *queue)
{
    if (queue->enabled || !(virtio->state->status & VIRTIO_STATUS_FEATURES_OK))
        return;
    /* Rings in the packed form start with both wrap counters set (2.8.1). */
    if (virtio_has(virtio, VIRTIO_F_RING_PACKED))
        queue->next_available = queue->next_used = VIRTIO_WRAP;
    queue->enabled = virtio_queue_open(virtio, virtio->state->queue_select);
}

/* The driver takes the queue back (2.6.1). */
static void reset_queue(struct virtio *virtio, struct virtio_queue_state *queue)
{
    struct virtio_queue *ring = &virtio->queues[virtio->state->queue_select];

    if (!virtio_has(virtio, VIRTIO_F_RING_RESET) || !queue->enabled)
        return;
    ring->resetting = ring->chains > 0;
    if (!ring->resetting)
        transport_forget_queue(virtio, virtio->state->queue_select);
}

/* Half of a 64-bit address, or (size 8 is split by the bus) all that there is to write. */
static void write_address(uint64_t *address, unsigned offset, uint32_t value)
{
    unsigned shift = 8 * (offset & 4);

    *address = (*address & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
}

static void write_queue_address(struct virtio_queue_state *queue, unsigned offset, uint32_t value)
{
    if (queue->enabled)
        return;
    if (offset < VIRTIO_COMMON_QUEUE_DRIVER)
        write_address(&queue->descriptors, offset, value);
    else if (offset < VIRTIO_COMMON_QUEUE_DEVICE)
        write_address(&queue->driver, offset, value);
    else
        write_address(&queue->device, offset, value);
}

static void write_queue(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value)
{
    struct virtio_queue_state *queue = &virtio->state->queues[virtio->state->queue_select % VIRTIO_QUEUES];
    bool address = offset >= VIRTIO_COMMON_QUEUE_DESC && offset < VIRTIO_COMMON_QUEUE_NOTIFY_DATA;

    if (!selected(virtio) || size != (address ? 4 : 2))
        return;
    if (address)
        write_queue_address(queue, offset, value);
    else if (offset == VIRTIO_COMMON_QUEUE_SIZE && !queue->enabled && value <= VIRTIO_QUEUE_SIZE)
        queue->size = (uint16_t)value;
    else if (offset == VIRTIO_COMMON_QUEUE_VECTOR)
        queue->vector = vector_or_none(virtio, value);
    else if (offset == VIRTIO_COMMON_QUEUE_ENABLE && value == 1)
        enable_queue(virtio, queue);
    else if (offset == VIRTIO_COMMON_QUEUE_RESET && value == 1)
        reset_queue(virtio, queue);
}

/* Registers take writes of their own width only. While a reset is not done, nothing else is heard. */
void common_config_write(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value)
{
    struct virtio_state *state = virtio->state;

    if (virtio->resetting)
        return;
    if (offset == VIRTIO_COMMON_DEVICE_FEATURE_SELECT && size == 4)
        state->device_feature_select = value;
    else if (offset == VIRTIO_COMMON_DRIVER_FEATURE_SELECT && size == 4)
        state->driver_feature_select = value;
    else if (offset == VIRTIO_COMMON_DRIVER_FEATURE && size == 4)
        write_feature(virtio, value);
    else if (offset == VIRTIO_COMMON_CONFIG_VECTOR && size == 2)
        state->config_vector = vector_or_none(virtio, value);
    else if (offset == VIRTIO_COMMON_STATUS && size == 1)
        write_status(virtio, (uint8_t)value);
    else if (offset == VIRTIO_COMMON_QUEUE_SELECT && size == 2)
        state->queue_select = (uint16_t)value;
    else if (offset >= VIRTIO_COMMON_QUEUE_SIZE)
        write_queue(virtio, offset, size, value);
}
