/*
 * Frames that wait, in the order in which they came, in memory of a fixed size.
 *
 * Threads: whoever owns the queue sees to it that one is in it at a time.
 */
#ifndef LODGE_BACKEND_NET_QUEUE_H
#define LODGE_BACKEND_NET_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port/packet.h"

struct net_queue {
    uint8_t *memory;
    size_t room;        /* bytes of memory */
    size_t used, taken; /* from the front: how far it is filled, and how far it has been read */
};

/* False, unlogged: no memory. */
bool net_queue_init(struct net_queue *queue, size_t room);
void net_queue_destroy(struct net_queue *queue); /* accepts a zeroed one */

bool net_queue_is_empty(const struct net_queue *queue);
void net_queue_clear(struct net_queue *queue);

/* Copies the frame. False: there is no room. */
bool net_queue_put(struct net_queue *queue, const struct packet *packet);

/*
 * The first frame, in one segment, which the caller provides; it stays in the queue's memory, and may be changed
 * there, until net_queue_drop(). False: the queue is empty.
 */
bool net_queue_first(struct net_queue *queue, struct packet *packet, struct packet_segment *segment);
void net_queue_drop(struct net_queue *queue); /* it is not empty */

#endif
