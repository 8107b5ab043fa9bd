/*
 * Stream sockets for whoever controls this process from the same host: one that listens, and its connections. TCP on
 * loopback addresses only, or a Unix socket that only this user can reach.
 *
 * Threads: everything by the loop's thread (or before it runs).
 */
#ifndef LODGE_HOST_SOCKET_H
#define LODGE_HOST_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "host/loop.h"

enum { SOCKET_NAME = 128 };

struct socket_listener {
    struct loop_source source;
    char name[SOCKET_NAME]; /* where it listens, as another program is told: "127.0.0.1:1234", "/run/x" */
    bool is_unix;           /* then name is a file of ours */
    void (*accepted)(struct socket_listener *listener, int fd); /* the descriptor is the callee's from now on */
};

/*
 * address: HOST:PORT, :PORT or PORT, with a HOST of 127.x.x.x, [::1] or localhost and 0 for any free port; or
 * unix:PATH, or a PATH with a slash in it. what: for messages ("--gdb"). Errors are logged. STATUS_INVALID: the address
 * is none.
 */
enum status socket_listener_init(struct socket_listener *listener, struct event_loop *loop, const char *what,
                                 const char *address,
                                 void (*accepted)(struct socket_listener *listener, int fd)) MUST_CHECK;
void socket_listener_destroy(struct socket_listener *listener); /* accepts a zeroed one */

/* Could it listen there? Logs why not. Opens nothing. */
bool socket_address_is_valid(const char *what, const char *address);

/* The path in the address of a Unix socket; NULL: it is none. */
const char *socket_address_path(const char *address);

/* One connection. Owns its descriptor. */
struct socket_connection {
    struct loop_source source;
    void (*received)(struct socket_connection *connection, const void *bytes, size_t size);
    void (*closed)(struct socket_connection *connection); /* by the far end, or by an error; destroyed already */
};

/* Takes over the descriptor, in any case. received and closed are set. */
enum status socket_connection_init(struct socket_connection *connection, struct event_loop *loop, int fd) MUST_CHECK;
void socket_connection_destroy(struct socket_connection *connection); /* accepts a zeroed one */

/* Waits some seconds for a slow reader at the most. False: nobody takes it, and closed() will come from the loop. */
bool socket_connection_send(struct socket_connection *connection, const void *bytes, size_t size);

#endif
