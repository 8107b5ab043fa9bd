#include "base/bits.h"
#include "core/memory.h"
#include "dev/virtio/queue_internal.h"

/* What an area needs beyond its elements: flags, index and event (split); position and flags (packed). */
enum { SPLIT_EXTRA = 6, SPLIT_AVAILABLE = 2, SPLIT_USED = 8, PACKED_EVENT = 4, DESC_ALIGNMENT = 16 };

static bool is_packed(const struct virtio *virtio)
{
    return virtio_has(virtio, VIRTIO_F_RING_PACKED);
}

struct ring_areas ring_areas(const struct virtio *virtio, unsigned size)
{
    uint64_t descriptors = (uint64_t)VIRTIO_DESC_SIZE * size;

    if (is_packed(virtio))
        return (struct ring_areas){descriptors, PACKED_EVENT, PACKED_EVENT, 4, 4};
    return (struct ring_areas){descriptors, SPLIT_EXTRA + (uint64_t)SPLIT_AVAILABLE * size,
                               SPLIT_EXTRA + (uint64_t)SPLIT_USED * size, 2, 4};
}

/* --- what a buffer is made of --- */

bool virtio_chain_add(struct virtio *virtio, struct virtio_chain *chain, const struct virtio_desc *desc)
{
    unsigned queue = chain->ticket.queue, count = chain->readable + chain->writable;
    bool write = desc->flags & VIRTIO_DESC_WRITE;
    uint32_t *total = write ? &chain->writable_bytes : &chain->readable_bytes;
    uint8_t *bytes = memory_at(&virtio->machine->memory, desc->address, desc->length, write);
    const char *wrong = NULL;

    if (desc->length == 0)
        wrong = "an empty descriptor";
    else if (bytes == NULL)
        wrong = "a buffer outside of memory";
    else if (!write && chain->writable > 0)
        wrong = "a descriptor for the device to read behind one to write";
    else if (count == VIRTIO_SEGMENTS)
        wrong = "a buffer of too many pieces";
    else if (desc->length > UINT32_MAX - *total)
        wrong = "a buffer of 4 GiB and more";
    if (wrong) {
        virtio_break(virtio, queue, wrong);
        return false;
    }
    chain->segments[count] = (struct virtio_segment){.bytes = bytes, .address = desc->address, .size = desc->length};
    *total += desc->length;
    if (write)
        chain->writable++;
    else
        chain->readable++;
    return true;
}

const uint8_t *virtio_indirect(struct virtio *virtio, unsigned queue, const struct virtio_desc *desc, unsigned *count)
{
    const uint8_t *table = memory_at(&virtio->machine->memory, desc->address, desc->length, false);
    const char *wrong = NULL;

    if (!virtio_has(virtio, VIRTIO_F_INDIRECT_DESC))
        wrong = "an indirect table that was not negotiated";
    else if (desc->length == 0 || desc->length % VIRTIO_DESC_SIZE != 0)
        wrong = "an indirect table of no valid length";
    else if (table == NULL)
        wrong = "an indirect table outside of memory";
    if (wrong) {
        virtio_break(virtio, queue, wrong);
        return NULL;
    }
    *count = desc->length / VIRTIO_DESC_SIZE;
    return table;
}

/* --- taking and giving back --- */

bool virtio_queue_pop(struct virtio *virtio, unsigned queue, struct virtio_chain *chain)
{
    struct virtio_queue *ring = &virtio->queues[queue];
    enum ring_pop result;

    if (!virtio_queue_running(virtio, queue))
        return false;
    if (virtio->budget == 0) {
        virtio->postponed |= BIT64(queue);
        timer_arm(&virtio->again, timer_now(virtio->again.queue));
        return false;
    }
    chain->ticket.queue = (uint16_t)queue;
    chain->ticket.generation = ring->generation;
    chain->readable = chain->writable = 0;
    chain->readable_bytes = chain->writable_bytes = 0;
    result = is_packed(virtio) ? ring_packed_pop(virtio, queue, chain) : ring_split_pop(virtio, queue, chain);
    if (result != RING_POPPED)
        return false;
    ring->in_flight = (uint16_t)(ring->in_flight + chain->ticket.descriptors);
    ring->chains++;
    virtio->held++;
    virtio->budget--;
    return true;
}

/* The device holds it no longer. False: its queue has been reset since. */
static bool ticket_redeem(struct virtio *virtio, const struct virtio_ticket *ticket)
{
    struct virtio_queue *ring = &virtio->queues[ticket->queue];

    virtio->held--;
    if (ticket->generation != ring->generation)
        return false;
    ring->in_flight = (uint16_t)(ring->in_flight - ticket->descriptors);
    ring->chains--;
    return true;
}

void virtio_queue_unpop(struct virtio *virtio, const struct virtio_ticket *ticket)
{
    struct virtio_queue_state *state = &virtio->state->queues[ticket->queue];

    if (!ticket_redeem(virtio, ticket))
        return;
    if (is_packed(virtio))
        state->next_available = ring_packed_back(state->next_available, ticket->descriptors, state->size);
    else
        state->next_available--;
    if (virtio->budget != UINT32_MAX)
        virtio->budget++;
}

void virtio_queue_return(struct virtio *virtio, const struct virtio_ticket *ticket, uint32_t written)
{
    struct virtio_queue *ring = &virtio->queues[ticket->queue];

    if (ticket_redeem(virtio, ticket) && ring->descriptors && !ring->resetting && !virtio->resetting) {
        if (is_packed(virtio))
            ring_packed_push(virtio, ticket, written);
        else
            ring_split_push(virtio, ticket, written);
        ring->pushed = true;
    }
    virtio_chain_returned(virtio, ticket->queue);
}

void virtio_queue_push(struct virtio *virtio, const struct virtio_chain *chain, uint32_t written)
{
    virtio_chain_wrote(chain, &virtio->machine->memory, written);
    virtio_queue_return(virtio, &chain->ticket, written);
}

/* Which vector a queue has, or the pin (4.1.5.3). */
static void queue_interrupt(struct virtio *virtio, unsigned queue)
{
    if (pci_msix_enabled(&virtio->function)) {
        pci_msix_send(&virtio->function, virtio->state->queues[queue].vector);
    } else {
        virtio->state->isr |= VIRTIO_ISR_QUEUE;
        pci_function_set_intx(&virtio->function, true);
    }
}

void virtio_queue_flush(struct virtio *virtio, unsigned queue)
{
    struct virtio_queue *ring = &virtio->queues[queue];
    const struct virtio_queue_state *state = &virtio->state->queues[queue];
    const struct ring_areas areas = ring_areas(virtio, state->size);
    const struct guest_memory *memory = &virtio->machine->memory;
    bool wanted;

    if (!ring->pushed)
        return;
    ring->pushed = false;
    if (is_packed(virtio)) {
        memory_wrote(memory, state->descriptors, areas.descriptors);
    } else {
        ring_split_publish(virtio, queue);
        memory_wrote(memory, state->device, areas.device);
    }
    guest_fence();
    wanted = is_packed(virtio) ? ring_packed_wants_interrupt(virtio, queue) : ring_split_wants_interrupt(virtio, queue);
    if (wanted)
        queue_interrupt(virtio, queue);
}

/* --- opening and closing --- */

static uint8_t *area_at(const struct virtio *virtio, uint64_t address, uint64_t size, unsigned alignment, bool write)
{
    return address % alignment == 0 ? memory_at(&virtio->machine->memory, address, size, write) : NULL;
}

/* Can there be such a queue at all? Sizes are powers of two in the split form (2.7). */
static bool queue_size_valid(const struct virtio *virtio, const struct virtio_queue_state *state)
{
    unsigned size = state->size, position = state->next_available & (VIRTIO_WRAP - 1u);

    if (size == 0 || size > VIRTIO_QUEUE_SIZE)
        return false;
    if (!is_packed(virtio))
        return (size & (size - 1)) == 0;
    return position < size && (state->next_used & (VIRTIO_WRAP - 1u)) < size;
}

bool virtio_queue_open(struct virtio *virtio, unsigned queue)
{
    const struct virtio_queue_state *state = &virtio->state->queues[queue];
    struct virtio_queue *ring = &virtio->queues[queue];
    const struct ring_areas areas = ring_areas(virtio, state->size);
    uint8_t *descriptors, *driver, *device;

    virtio_queue_close(virtio, queue);
    if (!queue_size_valid(virtio, state)) {
        virtio_break(virtio, queue, "a size that cannot be");
        return false;
    }
    descriptors = area_at(virtio, state->descriptors, areas.descriptors, DESC_ALIGNMENT, is_packed(virtio));
    driver = area_at(virtio, state->driver, areas.driver, areas.driver_alignment, false);
    device = area_at(virtio, state->device, areas.device, areas.device_alignment, true);
    if (!descriptors || !driver || !device) {
        virtio_break(virtio, queue, "areas that are outside of memory or not aligned");
        return false;
    }
    ring->descriptors = descriptors;
    ring->driver = driver;
    ring->device = device;
    return true;
}

void virtio_queue_close(struct virtio *virtio, unsigned queue)
{
    struct virtio_queue *ring = &virtio->queues[queue];

    *ring = (struct virtio_queue){.generation = ring->generation + 1};
    virtio->postponed &= ~BIT64(queue);
}
