/*
 * A network interface of the host's kernel (a tap interface), made before by whoever may: what the guest sends comes
 * in there, and what the host sends over it reaches the guest. Checksums and large segments are left to the kernel.
 *
 * The guest's frames are written at once, by whoever notifies the device; a thread of its own reads the host's.
 */
#ifndef LODGE_BACKEND_NET_TAP_H
#define LODGE_BACKEND_NET_TAP_H

#include <stdbool.h>

#include "base/status.h"
#include "port/lock.h"
#include "port/packet.h"

enum { NET_TAP_PAIRS = 16 };

struct net_tap;

/*
 * pairs: how many pairs of queues would be of use, 1 to NET_TAP_PAIRS; there is one if the interface was not made for
 * several. There is no thread yet. Logs its errors. *tap is the caller's to close.
 */
enum status net_tap_open(const char *interface, unsigned pairs, struct net_tap **tap) MUST_CHECK;

/* Starts its thread, of which enter() is the first thing that it does (backend/thread.h), or NULL. Once. Logged. */
enum status net_tap_start(struct net_tap *tap, bool (*enter)(void)) MUST_CHECK;

/* What the device is given. */
struct network *net_tap_network(struct net_tap *tap);

/*
 * The machine runs, and this is its lock; or (NULL) it is about to go: frames on their way are dropped, and when the
 * call returns nobody is in the device. The lock is not held.
 */
void net_tap_attach(struct net_tap *tap, struct lock *machine_lock);

/* Not attached. Accepts NULL. */
void net_tap_close(struct net_tap *tap);

#endif
