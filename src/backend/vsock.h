/*
 * The world of a guest's vsock device, on Unix sockets.
 *
 * The guest calls port P of the host (context identifier 2): it is connected to the socket PATH_P. A program of the
 * host connects to PATH and writes "CONNECT P\n": it is connected to port P of the guest, and reads "OK P\n" first.
 * A thread of its own moves the bytes towards the guest; those from the guest go on at once if they can.
 */
#ifndef LODGE_BACKEND_VSOCK_H
#define LODGE_BACKEND_VSOCK_H

#include "base/status.h"
#include "port/lock.h"
#include "port/vsock.h"

struct vsock_host;

/* Listens on a socket that is not there yet. Logs its errors. *host is the caller's to close. */
enum status vsock_host_open(const char *path, struct vsock_host **host) MUST_CHECK;

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
