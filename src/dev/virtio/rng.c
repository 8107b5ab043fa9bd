#include "dev/virtio/rng.h"

#include "base/bits.h"
#include "base/memory.h"

enum { CLASS_OTHER = 0xff0000, QUEUES = 1 };

static const struct state_field rng_fields[] = {
    VIRTIO_STATE_FIELDS(struct virtio_rng_state, virtio, 1),
};

static bool rng_valid(const void *candidate)
{
    return virtio_state_valid(&((const struct virtio_rng_state *)candidate)->virtio);
}

static const struct state_schema rng_schema = {
    .name = "virtio-rng",
    .version = 1,
    .fields = rng_fields,
    .field_count = ARRAY_LENGTH(rng_fields),
    .size = sizeof(struct virtio_rng_state),
    .valid = rng_valid,
};

static void rng_notify(struct virtio *virtio, unsigned queue)
{
    struct virtio_rng *rng = CONTAINER_OF(virtio, struct virtio_rng, virtio);

    while (virtio_queue_pop(virtio, queue, &rng->chain)) {
        uint32_t room = rng->chain.writable_bytes, size = room < VIRTIO_RNG_MOST ? room : VIRTIO_RNG_MOST;

        rng->entropy->fill(rng->entropy, rng->bytes, size);
        (void)virtio_chain_write(&rng->chain, 0, rng->bytes, size);
        virtio_queue_push(virtio, &rng->chain, size);
    }
    memset(rng->bytes, 0, sizeof(rng->bytes));
    virtio_queue_flush(virtio, queue);
}

static const struct device_type rng_type = {
    .name = "virtio-rng",
    .schema = &rng_schema,
    .state_offset = offsetof(struct virtio_rng, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = virtio_quiesce,
    .resume = virtio_resume,
};

static const struct virtio_ops rng_ops = {.notify = rng_notify};

static const struct virtio_kind rng_kind = {.type = VIRTIO_TYPE_RNG, .class_code = CLASS_OTHER, .ops = &rng_ops};

void virtio_rng_init(struct virtio_rng *rng, struct entropy *entropy)
{
    virtio_init(&rng->virtio, &rng_type, &rng_kind, &rng->state.virtio, 0, QUEUES);
    rng->entropy = entropy;
}
