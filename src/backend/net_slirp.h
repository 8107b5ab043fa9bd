/*
 * A network of the guest's own behind this process, by libslirp: no privileges are needed, and what the guest sends
 * leaves the host as traffic of this process. IPv4: 10.0.2.0/24, the guest is 10.0.2.15 by DHCP, 10.0.2.2 is the way
 * out and the host itself, 10.0.2.3 the host's name server.
 *
 * A thread of its own is the only one in libslirp. What the guest transmits is copied into a queue of limited size;
 * what the world sends goes straight from libslirp's buffer to the device, or waits while the guest has no room, and
 * then nothing more is read from the host's sockets.
 */
#ifndef LODGE_BACKEND_NET_SLIRP_H
#define LODGE_BACKEND_NET_SLIRP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "port/lock.h"
#include "port/packet.h"

enum { NET_FORWARDS = 32 };

/* Whoever reaches the host's address and port is connected to the guest's port. */
struct net_forward {
    bool udp;
    struct in_addr address; /* of the host */
    uint16_t host_port, guest_port;
};

struct net_slirp_config {
    bool restricted;      /* the guest reaches nothing but what DHCP and forwards need */
    const char *hostname; /* that DHCP gives to the guest, or NULL */
    struct net_forward forwards[NET_FORWARDS];
    unsigned forward_count;
};

struct net_slirp;

/* There is no thread yet. Logs its errors. *slirp is the caller's to close. */
enum status net_slirp_open(const struct net_slirp_config *config, struct net_slirp **slirp) MUST_CHECK;

/* Starts its thread, of which enter() is the first thing that it does (backend/thread.h), or NULL. Once. Logged. */
enum status net_slirp_start(struct net_slirp *slirp, bool (*enter)(void)) MUST_CHECK;

/* What the device is given. */
struct network *net_slirp_network(struct net_slirp *slirp);

/*
 * The machine runs, and this is its lock; or (NULL) it is about to go: frames on their way are dropped, and when the
 * call returns nobody is in the device. The lock is not held. Connections of the host stay.
 */
void net_slirp_attach(struct net_slirp *slirp, struct lock *machine_lock);

/* Not attached. Accepts NULL. */
void net_slirp_close(struct net_slirp *slirp);

#endif
