/* What the parts of the transport share. Machine lock held. */
#ifndef LODGE_DEV_VIRTIO_QUEUE_INTERNAL_H
#define LODGE_DEV_VIRTIO_QUEUE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/memory.h"
#include "dev/virtio/virtio.h"

/* One descriptor, read once. */
struct virtio_desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t link; /* split: the next descriptor; packed: the buffer's identifier */
};

/* --- ring_split.c, ring_packed.c --- */

/* How a pop ended: a chain was taken, there is none, or the driver broke the rules (and was told). */
enum ring_pop { RING_POPPED, RING_EMPTY, RING_BROKEN };

enum ring_pop ring_split_pop(struct virtio *virtio, unsigned queue, struct virtio_chain *chain);
enum ring_pop ring_packed_pop(struct virtio *virtio, unsigned queue, struct virtio_chain *chain);

/* In guest memory; the split ring's index stays behind until ring_split_publish(). */
void ring_split_push(struct virtio *virtio, const struct virtio_ticket *ticket, uint32_t written);
void ring_packed_push(struct virtio *virtio, const struct virtio_ticket *ticket, uint32_t written);

/* The position that is `by` descriptors further on, or back. */
uint16_t ring_packed_forward(uint16_t position, unsigned by, unsigned size);
uint16_t ring_packed_back(uint16_t position, unsigned by, unsigned size);

void ring_split_publish(struct virtio *virtio, unsigned queue);

/* Does the driver want an interrupt for what was published since the last question? */
bool ring_split_wants_interrupt(struct virtio *virtio, unsigned queue);
bool ring_packed_wants_interrupt(struct virtio *virtio, unsigned queue);

/* --- queue.c --- */

/* Bytes of the three areas. */
struct ring_areas {
    uint64_t descriptors, driver, device;
    unsigned driver_alignment, device_alignment;
};
struct ring_areas ring_areas(const struct virtio *virtio, unsigned size);

/* Adds a descriptor's buffer to the chain; false: the driver broke the rules (and was told). */
bool virtio_chain_add(struct virtio *virtio, struct virtio_chain *chain, const struct virtio_desc *desc);

/* The host address of an indirect table and the number of its descriptors; NULL: the driver broke the rules. */
const uint8_t *virtio_indirect(struct virtio *virtio, unsigned queue, const struct virtio_desc *desc, unsigned *count);

/* For transport.c: a queue is (to be) enabled, or forgotten. False: its areas are no good (and the driver was told). */
bool virtio_queue_open(struct virtio *virtio, unsigned queue);
void virtio_queue_close(struct virtio *virtio, unsigned queue);

/* --- common_config.c --- */

/* Registers, by offset; any width may be read. */
uint32_t common_config_read(const struct virtio *virtio, unsigned offset, unsigned size);
void common_config_write(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value);

/* May the driver have the features that it asks for, all of them together? */
bool common_config_acceptable(const struct virtio *virtio);

/* --- transport.c --- */

/* The driver has reset the device, or a queue, and nothing of it is held. */
void transport_reset(struct virtio *virtio);
void transport_forget_queue(struct virtio *virtio, unsigned queue);

/* Takes up what waits in all queues. */
void transport_run_all(struct virtio *virtio);

/* For queue.c: a chain was given back; a reset that waited may go on. */
void virtio_chain_returned(struct virtio *virtio, unsigned queue);

/* Guest memory that others change; addresses are aligned. */
static inline uint16_t guest_load16(const uint8_t *from)
{
    return __atomic_load_n((const uint16_t *)(const void *)from, __ATOMIC_ACQUIRE);
}

static inline void guest_store16(uint8_t *to, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)to, value, __ATOMIC_RELEASE);
}

/* Reads guest memory once, however often the driver changes it; flags_at, link_at: where the ring's form has these. */
static inline struct virtio_desc virtio_desc_load(const uint8_t *from, unsigned flags_at, unsigned link_at)
{
    uint8_t bytes[VIRTIO_DESC_SIZE];

    memcpy(bytes, from, sizeof(bytes));
    __asm__ volatile("" ::: "memory");
    return (struct virtio_desc){
        .address = load_le(bytes, 8),
        .length = (uint32_t)load_le(bytes + 8, 4),
        .flags = (uint16_t)load_le(bytes + flags_at, 2),
        .link = (uint16_t)load_le(bytes + link_at, 2),
    };
}

/* Between writing one thing for the driver and reading another of his. */
static inline void guest_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Would an event at `event` have been passed by going from before to now? (2.7.10; positions of 16 bits) */
static inline bool event_passed(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

#endif
