/* What the parts of the tap backend share. */
#ifndef LODGE_BACKEND_NET_TAP_INTERNAL_H
#define LODGE_BACKEND_NET_TAP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/net_tap.h"
#include "backend/thread.h"

/* The header in front of each frame is the one of virtio with its last field, the number of buffers. */
enum { TAP_HEADER = 12, TAP_BUFFER = TAP_HEADER + PACKET_MOST };

struct tap_queue {
    int fd;
    bool detached;     /* the kernel does not use it; machine lock */
    uint32_t interest; /* epoll events that are waited for; the thread's */
    size_t size;       /* of what is in the buffer, read and not yet taken by the guest; the thread's */
    uint8_t *buffer;
};

struct net_tap {
    struct network network;
    unsigned offloads; /* bits of TUNSETOFFLOAD that the kernel knows */
    int epoll, wake;   /* wake: an event */
    struct backend_thread thread;
    atomic_bool stopping;
    _Atomic uint32_t blocked;  /* bit n: the kernel had no room for a frame of pair n */
    _Atomic uint32_t drained;  /* bit n: the guest may have room again */
    pthread_mutex_t guard;     /* held by the thread except while it waits; before the machine lock */
    struct lock *machine_lock; /* NULL: not attached; under the guard */
    struct tap_queue queues[NET_TAP_PAIRS];
};

/* For struct network; machine lock held. */
bool tap_transmit(struct network *network, unsigned pair, const struct packet *packet);

/* Makes a packet of what the buffer holds; false: it is none. segment is the caller's. */
bool tap_parse(uint8_t *buffer, size_t size, struct packet *packet, struct packet_segment *segment);

/* Opens the interface's queues and finds out what it can do. Logs its errors. */
enum status tap_open_queues(struct net_tap *tap, const char *interface, unsigned pairs);

/* What the kernel is to leave to the guest, and how many queues it is to use. */
void tap_configure(struct network *network, unsigned abilities, unsigned pairs);

#endif
