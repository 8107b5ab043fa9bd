/* The networks of a machine, as the command line names them. The main thread. */
#ifndef LODGE_VMM_NETS_H
#define LODGE_VMM_NETS_H

#include <stdint.h>

#include "backend/net_slirp.h"
#include "backend/net_tap.h"
#include "base/status.h"
#include "port/lock.h"
#include "port/packet.h"

enum { NET_NAME = 63 };

enum net_kind { NET_NONE, NET_USER, NET_TAP };

/* What -n says. */
struct net_spec {
    enum net_kind kind;
    char interface[NET_NAME + 1]; /* of a tap */
    char hostname[NET_NAME + 1];  /* of a user network; empty: none */
    struct net_slirp_config user; /* but for its hostname */
    bool has_mac;
    uint8_t mac[PACKET_MAC];
};

/* user[,forward=...][,mac=...][,restrict][,hostname=...], tap=IF[,mac=...] or none. Logs its errors. */
enum status vmm_net_parse(const char *text, struct net_spec *spec) MUST_CHECK;

/* One card's: where its frames go. */
struct vmm_net {
    struct network *network; /* NULL: none */
    uint8_t mac[PACKET_MAC];
    struct net_slirp *slirp;
    struct net_tap *tap;
};

/*
 * number: of the card, which with the machine's name makes its address, unless text has one. pairs: of queues, at most.
 * Logs its errors.
 */
enum status vmm_net_open(const char *text, const char *machine, unsigned number, unsigned pairs,
                         struct vmm_net *net) MUST_CHECK;

/* Starts its thread: as net_slirp_start() and net_tap_start(), each with its own enter(). Accepts a zeroed one. */
enum status vmm_net_start(struct vmm_net *net, bool (*enter_slirp)(void), bool (*enter_tap)(void)) MUST_CHECK;

/* As net_slirp_attach(). Accepts a zeroed one. */
void vmm_net_attach(struct vmm_net *net, struct lock *machine_lock);

void vmm_net_close(struct vmm_net *net); /* accepts a zeroed one */

#endif
