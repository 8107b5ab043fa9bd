/*
 * Packed virtqueues (2.8). A position is a descriptor's index and, in bit 15, the wrap counter: the driver's
 * (VIRTIO_DESC_AVAIL equals it, VIRTIO_DESC_USED does not: available) or the device's.
 */
#include "base/bits.h"
#include "core/memory.h"
#include "dev/virtio/queue_internal.h"

/* A descriptor: address, length, identifier, flags. An event suppression area: position, flags. */
enum { DESC_ID = 12, DESC_FLAGS = 14, EVENT_POSITION = 0, EVENT_FLAGS = 2, EVENT_FLAGS_MASK = 3 };

static unsigned position_index(uint16_t position)
{
    return position & (VIRTIO_WRAP - 1u);
}

uint16_t ring_packed_forward(uint16_t position, unsigned by, unsigned size)
{
    unsigned index = position_index(position) + by, wrap = position & VIRTIO_WRAP;

    if (index >= size) {
        index -= size;
        wrap ^= VIRTIO_WRAP;
    }
    return (uint16_t)(index | wrap);
}

uint16_t ring_packed_back(uint16_t position, unsigned by, unsigned size)
{
    unsigned index = position_index(position), wrap = position & VIRTIO_WRAP;

    if (index < by) {
        index += size;
        wrap ^= VIRTIO_WRAP;
    }
    return (uint16_t)((index - by) | wrap);
}

static bool packed_is_available(const struct virtio_queue *ring, uint16_t position)
{
    uint16_t flags = guest_load16(ring->descriptors + VIRTIO_DESC_SIZE * (size_t)position_index(position) + DESC_FLAGS);
    bool wrap = position & VIRTIO_WRAP;

    return !!(flags & VIRTIO_DESC_AVAIL) == wrap && !!(flags & VIRTIO_DESC_USED) != wrap;
}

/* The table's descriptors follow each other; of their flags only WRITE counts. */
static bool packed_walk_indirect(struct virtio *virtio, unsigned queue, const struct virtio_desc *indirect,
                                 struct virtio_chain *chain)
{
    unsigned count;
    const uint8_t *table = virtio_indirect(virtio, queue, indirect, &count);

    if (table == NULL)
        return false;
    for (unsigned i = 0; i < count; i++) {
        struct virtio_desc desc = virtio_desc_load(table + VIRTIO_DESC_SIZE * (size_t)i, DESC_FLAGS, DESC_ID);

        if (!virtio_chain_add(virtio, chain, &desc))
            return false;
    }
    return true;
}

/* From the first descriptor, which is available, to the one without NEXT. */
static enum ring_pop packed_walk(struct virtio *virtio, unsigned queue, struct virtio_chain *chain)
{
    const struct virtio_queue *ring = &virtio->queues[queue];
    const struct virtio_queue_state *state = &virtio->state->queues[queue];
    uint16_t position = state->next_available;

    for (unsigned left = state->size - ring->in_flight; left > 0; left--) {
        struct virtio_desc desc = virtio_desc_load(
            ring->descriptors + VIRTIO_DESC_SIZE * (size_t)position_index(position), DESC_FLAGS, DESC_ID);
        bool indirect = desc.flags & VIRTIO_DESC_INDIRECT, next = desc.flags & VIRTIO_DESC_NEXT;

        if (indirect && next) {
            virtio_break(virtio, queue, "an indirect table where there can be none");
            return RING_BROKEN;
        }
        if (indirect ? !packed_walk_indirect(virtio, queue, &desc, chain) : !virtio_chain_add(virtio, chain, &desc))
            return RING_BROKEN;
        chain->ticket.descriptors++;
        chain->ticket.id = desc.link;
        if (!next)
            return RING_POPPED;
        position = ring_packed_forward(position, 1, state->size);
    }
    virtio_break(virtio, queue, "more descriptors than the ring has");
    return RING_BROKEN;
}

/* False: none, and the driver is asked to notify of the next one. */
static bool packed_await(struct virtio *virtio, unsigned queue)
{
    const struct virtio_queue *ring = &virtio->queues[queue];
    const struct virtio_queue_state *state = &virtio->state->queues[queue];

    if (packed_is_available(ring, state->next_available))
        return true;
    if (!virtio_has(virtio, VIRTIO_F_EVENT_IDX))
        return false;
    guest_store16(ring->device + EVENT_POSITION, state->next_available);
    guest_store16(ring->device + EVENT_FLAGS, VIRTIO_EVENT_DESC);
    memory_wrote(&virtio->machine->memory, state->device, 4);
    guest_fence();
    return packed_is_available(ring, state->next_available);
}

enum ring_pop ring_packed_pop(struct virtio *virtio, unsigned queue, struct virtio_chain *chain)
{
    struct virtio_queue_state *state = &virtio->state->queues[queue];
    enum ring_pop result;

    /* With all descriptors held, what looks available is one of those. */
    if (virtio->queues[queue].in_flight >= state->size || !packed_await(virtio, queue))
        return RING_EMPTY;
    chain->ticket.descriptors = 0;
    result = packed_walk(virtio, queue, chain);
    if (result == RING_POPPED)
        state->next_available = ring_packed_forward(state->next_available, chain->ticket.descriptors, state->size);
    return result;
}

/* The flags come last: with them the descriptor is the driver's. */
void ring_packed_push(struct virtio *virtio, const struct virtio_ticket *ticket, uint32_t written)
{
    struct virtio_queue_state *state = &virtio->state->queues[ticket->queue];
    uint8_t *desc =
        virtio->queues[ticket->queue].descriptors + VIRTIO_DESC_SIZE * (size_t)position_index(state->next_used);
    uint16_t flags = state->next_used & VIRTIO_WRAP ? VIRTIO_DESC_AVAIL | VIRTIO_DESC_USED : 0;

    store_le(desc + 8, 4, written);
    store_le(desc + DESC_ID, 2, ticket->id);
    guest_store16(desc + DESC_FLAGS, (uint16_t)(flags | (written ? VIRTIO_DESC_WRITE : 0)));
    if (position_index(state->next_used) + ticket->descriptors >= state->size)
        state->signalled_valid = 0;
    state->next_used = ring_packed_forward(state->next_used, ticket->descriptors, state->size);
}

/* The driver's event, in the wrap that is under way now; an event in the other one lies a ring's size behind. */
bool ring_packed_wants_interrupt(struct virtio *virtio, unsigned queue)
{
    const struct virtio_queue *ring = &virtio->queues[queue];
    struct virtio_queue_state *state = &virtio->state->queues[queue];
    unsigned flags = guest_load16(ring->driver + EVENT_FLAGS) & EVENT_FLAGS_MASK;
    uint16_t wanted = guest_load16(ring->driver + EVENT_POSITION);
    unsigned event = position_index(wanted), before = position_index(state->signalled);
    bool valid = state->signalled_valid;

    state->signalled = state->next_used;
    state->signalled_valid = 1;
    if (flags != VIRTIO_EVENT_DESC || !virtio_has(virtio, VIRTIO_F_EVENT_IDX))
        return flags != VIRTIO_EVENT_DISABLE;
    if ((wanted ^ state->next_used) & VIRTIO_WRAP)
        event -= state->size;
    return !valid || event_passed((uint16_t)event, (uint16_t)position_index(state->next_used), (uint16_t)before);
}
