/*
 * Stream connections between a guest's port numbers and the world, as a vsock device sees them.
 *
 * A connection is a number below VSOCK_CONNECTIONS, the device's. It belongs to both sides from connect() or open()
 * on, until the device calls close() or the world calls hang_up(); after either, neither side speaks of it again.
 *
 * Threads: everything with the machine lock held. None of the calls blocks. From within a call the other side may
 * call back only where it says so.
 */
#ifndef LODGE_PORT_VSOCK_H
#define LODGE_PORT_VSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many there can be; how many bytes from the guest the world holds for each at most. */
enum { VSOCK_CONNECTIONS = 128, VSOCK_WINDOW = 64 << 10 };

struct vsock_world {
    /* The guest calls a port of the world: answered, now (from within) or later, by accepted() or hang_up(). */
    void (*connect)(struct vsock_world *world, unsigned connection, uint32_t port);
    /* The guest has taken a call that the world made with open(). */
    void (*opened)(struct vsock_world *world, unsigned connection);
    /* Bytes from the guest: the world takes all, and says with consumed(), from within or later, what it passed on. */
    void (*send)(struct vsock_world *world, unsigned connection, const void *bytes, size_t size);
    /* receive() took less than it was given; it is worth trying again. May call it from within. */
    void (*drained)(struct vsock_world *world, unsigned connection);
    /* The guest will send no more. */
    void (*finished)(struct vsock_world *world, unsigned connection);
    /* The guest is gone, or never answered; what it sent before still gets through. */
    void (*close)(struct vsock_world *world, unsigned connection);

    /* Set by the device. Calls a port of the guest; answered by opened() or close(). Negative: too many. */
    int (*open)(void *device, uint32_t port);
    void (*accepted)(void *device, unsigned connection);
    /* Bytes for the guest; answers how many it had room for. drained() follows if that is not all. */
    size_t (*receive)(void *device, unsigned connection, const void *bytes, size_t size);
    void (*consumed)(void *device, unsigned connection, size_t size);
    /* The world will send no more. */
    void (*finish)(void *device, unsigned connection);
    /* The world is gone; what it sent before still gets through. */
    void (*hang_up)(void *device, unsigned connection);
    void *device;
};

#endif
