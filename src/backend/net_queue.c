#include "backend/net_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

/* In front of each frame; the next one begins aligned to it. */
struct entry {
    struct packet packet; /* its segments mean nothing */
};

static size_t entry_size(size_t frame)
{
    return (size_t)align_up(sizeof(struct entry) + frame, _Alignof(struct entry));
}

static struct entry *entry_at(const struct net_queue *queue, size_t offset)
{
    return (struct entry *)(void *)(queue->memory + offset);
}

bool net_queue_init(struct net_queue *queue, size_t room)
{
    *queue = (struct net_queue){.memory = malloc(room), .room = room};
    return queue->memory;
}

void net_queue_destroy(struct net_queue *queue)
{
    free(queue->memory);
    *queue = (struct net_queue){0};
}

bool net_queue_is_empty(const struct net_queue *queue)
{
    return queue->taken == queue->used;
}

void net_queue_clear(struct net_queue *queue)
{
    queue->used = queue->taken = 0;
}

bool net_queue_put(struct net_queue *queue, const struct packet *packet)
{
    struct entry *entry;
    uint8_t *at;

    if (net_queue_is_empty(queue))
        net_queue_clear(queue);
    if (entry_size(packet->size) > queue->room - queue->used)
        return false;
    entry = entry_at(queue, queue->used);
    entry->packet = *packet;
    at = (uint8_t *)(entry + 1);
    for (unsigned i = 0; i < packet->segment_count; i++) {
        memcpy(at, packet->segments[i].bytes, packet->segments[i].size);
        at += packet->segments[i].size;
    }
    queue->used += entry_size(packet->size);
    return true;
}

bool net_queue_first(struct net_queue *queue, struct packet *packet, struct packet_segment *segment)
{
    struct entry *entry = entry_at(queue, queue->taken);

    if (net_queue_is_empty(queue))
        return false;
    *packet = entry->packet;
    *segment = (struct packet_segment){.bytes = entry + 1, .size = packet->size};
    packet->segments = segment;
    packet->segment_count = 1;
    return true;
}

void net_queue_drop(struct net_queue *queue)
{
    queue->taken += entry_size(entry_at(queue, queue->taken)->packet.size);
}
