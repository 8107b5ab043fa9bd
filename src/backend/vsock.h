/*
 * The world of a guest's vsock device, on Unix sockets.
 *
 * The guest calls port P of the host (context identifier 2): it is connected to the socket PATH_P. A program of the
 * host connects to PATH and writes "CONNECT P\n": it is connected to port P of the guest, and reads "OK P\n" first.
 * A thread of its own moves the bytes towards the guest; those from the guest go on at once if they can.
 */
#ifndef LODGE_BACKEND_VSOCK_H
#define LODGE_BACKEND_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "port/lock.h"
#include "port/vsock.h"

struct vsock_host;

/*
 * Who does for a process that has shut itself in what it no longer may. Borrowed until the host is closed. connect() has
 * the machine lock held and is called by any thread; remove() is vsock_host_close()'s.
 */
struct vsock_outside {
    /* A descriptor of a new connection to the socket PATH_PORT, which does not block; -1: there is none. */
    int (*connect)(struct vsock_outside *outside, uint32_t port);
    /* Removes the socket PATH. */
    void (*remove)(struct vsock_outside *outside);
};

/*
 * Listens on a socket that is not there yet; has no thread. outside: NULL if the process may always do all itself. Logs
 * its errors. *host is the caller's to close.
 */
enum status vsock_host_open(const char *path, struct vsock_outside *outside, struct vsock_host **host) MUST_CHECK;

/* Starts its thread, of which enter() is the first thing that it does (backend/thread.h), or NULL. Once. Logged. */
enum status vsock_host_start(struct vsock_host *host, bool (*enter)(void)) MUST_CHECK;

/* What the device is given. */
struct vsock_world *vsock_host_world(struct vsock_host *host);

/*
 * The machine runs, and this is its lock; or (NULL) it is about to go: all connections are closed, and when the call
 * returns nobody is in the device. The lock is not held.
 */
void vsock_host_attach(struct vsock_host *host, struct lock *machine_lock);

/* Not attached. Removes the socket. Accepts NULL. */
void vsock_host_close(struct vsock_host *host);

#endif
