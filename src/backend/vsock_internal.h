/* What the parts of the vsock backend share. With the machine lock held, if nothing else is said. */
#ifndef LODGE_BACKEND_VSOCK_INTERNAL_H
#define LODGE_BACKEND_VSOCK_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "backend/thread.h"
#include "backend/vsock.h"

enum { PEERS = 2 * VSOCK_CONNECTIONS, PEER_INPUT = 4096, PEER_LINE = 24, PORT_DIGITS = 11 };

enum peer_phase {
    PEER_GREETING, /* has not said yet what it wants */
    PEER_CALLING,  /* the guest has not answered */
    PEER_OPEN,
    PEER_LEAVING, /* the guest is gone; what it sent is still being written */
    PEER_DEAD,    /* closed; the thread frees it */
};

/* A socket of the host. */
struct peer {
    struct vsock_host *host;
    enum peer_phase phase;
    int fd;
    unsigned connection; /* while CALLING and OPEN */
    uint32_t port;       /* of the guest, that it called */
    uint32_t interest;   /* epoll events that are waited for; 0: not in the set */
    bool broken;         /* cannot be written to any more */
    bool input_ended, guest_finished;
    char line[PEER_LINE];
    size_t line_size;
    uint8_t input[PEER_INPUT]; /* read, and not yet taken by the device */
    size_t input_start, input_end;
    uint8_t output[VSOCK_WINDOW]; /* from the guest, a ring */
    size_t output_start, output_size;
};

struct vsock_host {
    struct vsock_world world;
    struct sockaddr_un address;
    int listener, epoll, stop; /* stop: an event that ends the thread */
    struct backend_thread thread;
    struct vsock_outside *outside; /* NULL: it does these things itself */
    pthread_mutex_t guard;         /* held by the thread while it is in the device; before the machine lock */
    struct lock *machine_lock;     /* NULL: not attached; under the guard */
    struct peer *peers[PEERS];
    struct peer *connections[VSOCK_CONNECTIONS];
};

/* A peer on a connected socket, which it owns; NULL: there are too many, and the socket is closed. */
struct peer *peer_create(struct vsock_host *host, int fd, enum peer_phase phase);

/* Something can be read, or written, or the other end is gone. */
void peer_ready(struct peer *peer, uint32_t events);

/* Closes it, without a word to the device. */
void peer_kill(struct peer *peer);

/* The thread, machine lock held or not attached: frees the dead. */
void peers_reap(struct vsock_host *host);

/* Sets the functions of host->world. */
void peers_init_world(struct vsock_host *host);

#endif
