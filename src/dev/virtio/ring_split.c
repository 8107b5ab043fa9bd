/* Split virtqueues (2.7). */
#include "base/bits.h"
#include "core/memory.h"
#include "dev/virtio/queue_internal.h"

/* A descriptor: address, length, flags, next. */
enum { DESC_FLAGS = 12, DESC_NEXT = 14 };

/* The driver's area: flags, index, ring, used_event. The device's: flags, index, elements, avail_event. */
enum { RING_FLAGS = 0, RING_INDEX = 2, RING_START = 4, USED_ELEMENT = 8 };

/* Follows the chain from its head; each descriptor is read once, and no more of them than the table has. */
static enum ring_pop split_walk(struct virtio *virtio, unsigned queue, unsigned head, struct virtio_chain *chain)
{
    const uint8_t *table = virtio->queues[queue].descriptors;
    unsigned count = virtio->state->queues[queue].size, at = head;
    bool indirect = false;

    for (unsigned left = count; left > 0; left--) {
        struct virtio_desc desc;

        if (at >= count) {
            virtio_break(virtio, queue, "a descriptor outside of its table");
            return RING_BROKEN;
        }
        desc = virtio_desc_load(table + (size_t)at * VIRTIO_DESC_SIZE, DESC_FLAGS, DESC_NEXT);
        if (desc.flags & VIRTIO_DESC_INDIRECT) {
            if (indirect || desc.flags & VIRTIO_DESC_NEXT) {
                virtio_break(virtio, queue, "an indirect table where there can be none");
                return RING_BROKEN;
            }
            table = virtio_indirect(virtio, queue, &desc, &count);
            if (table == NULL)
                return RING_BROKEN;
            indirect = true;
            at = 0;
            left = count + 1;
            continue;
        }
        if (!virtio_chain_add(virtio, chain, &desc))
            return RING_BROKEN;
        if (!(desc.flags & VIRTIO_DESC_NEXT))
            return RING_POPPED;
        at = desc.link;
    }
    virtio_break(virtio, queue, "a chain of descriptors without end");
    return RING_BROKEN;
}

/* How many chains are available; the driver is asked to notify of more if there are none. */
static uint16_t split_available(struct virtio *virtio, unsigned queue)
{
    struct virtio_queue *ring = &virtio->queues[queue];
    const struct virtio_queue_state *state = &virtio->state->queues[queue];
    uint16_t available = (uint16_t)(guest_load16(ring->driver + RING_INDEX) - state->next_available);
    uint64_t event = RING_START + (uint64_t)USED_ELEMENT * state->size;

    if (available != 0 || !virtio_has(virtio, VIRTIO_F_EVENT_IDX))
        return available;
    guest_store16(ring->device + event, state->next_available);
    memory_wrote(&virtio->machine->memory, state->device + event, 2);
    guest_fence();
    return (uint16_t)(guest_load16(ring->driver + RING_INDEX) - state->next_available);
}

enum ring_pop ring_split_pop(struct virtio *virtio, unsigned queue, struct virtio_chain *chain)
{
    struct virtio_queue *ring = &virtio->queues[queue];
    struct virtio_queue_state *state = &virtio->state->queues[queue];
    uint16_t available = split_available(virtio, queue);
    enum ring_pop result;

    if (available == 0)
        return RING_EMPTY;
    if (available + ring->in_flight > state->size) {
        virtio_break(virtio, queue, "more buffers than the ring has room for");
        return RING_BROKEN;
    }
    chain->ticket.id =
        guest_load16(ring->driver + RING_START + 2 * (size_t)(state->next_available & (state->size - 1u)));
    chain->ticket.descriptors = 1;
    result = split_walk(virtio, queue, chain->ticket.id, chain);
    if (result == RING_POPPED)
        state->next_available++;
    return result;
}

void ring_split_push(struct virtio *virtio, const struct virtio_ticket *ticket, uint32_t written)
{
    struct virtio_queue_state *state = &virtio->state->queues[ticket->queue];
    uint8_t *element = virtio->queues[ticket->queue].device + RING_START +
                       (size_t)USED_ELEMENT * (state->next_used & (state->size - 1u));

    store_le(element, 4, ticket->id);
    store_le(element + 4, 4, written);
    state->next_used++;
}

void ring_split_publish(struct virtio *virtio, unsigned queue)
{
    guest_store16(virtio->queues[queue].device + RING_INDEX, virtio->state->queues[queue].next_used);
}

bool ring_split_wants_interrupt(struct virtio *virtio, unsigned queue)
{
    const struct virtio_queue *ring = &virtio->queues[queue];
    struct virtio_queue_state *state = &virtio->state->queues[queue];
    uint16_t before = state->signalled;
    bool valid = state->signalled_valid;

    if (!virtio_has(virtio, VIRTIO_F_EVENT_IDX))
        return !(guest_load16(ring->driver + RING_FLAGS) & VIRTIO_AVAIL_NO_INTERRUPT);
    state->signalled = state->next_used;
    state->signalled_valid = 1;
    return !valid ||
           event_passed(guest_load16(ring->driver + RING_START + 2 * (size_t)state->size), state->next_used, before);
}
