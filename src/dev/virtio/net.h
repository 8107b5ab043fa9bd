/*
 * The virtio network device (VIRTIO 1.2, 5.1), on a struct network: several pairs of queues, checksums and TCP
 * segments left to the other side as far as both can, merged receive buffers, link status, a control queue.
 *
 * Nothing is filtered: what the control queue says about promiscuous mode, address tables and VLANs is checked and
 * accepted, and the guest gets all that the network sends it (5.1.6.5.1 calls filters best effort). Threads: as
 * virtio.h.
 */
#ifndef LODGE_DEV_VIRTIO_NET_H
#define LODGE_DEV_VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"
#include "port/packet.h"

enum { VIRTIO_NET_PAIRS = 16 };

#define VIRTIO_NET_F_CSUM (1ull << 0)
#define VIRTIO_NET_F_GUEST_CSUM (1ull << 1)
#define VIRTIO_NET_F_MAC (1ull << 5)
#define VIRTIO_NET_F_GUEST_TSO4 (1ull << 7)
#define VIRTIO_NET_F_GUEST_TSO6 (1ull << 8)
#define VIRTIO_NET_F_GUEST_ECN (1ull << 9)
#define VIRTIO_NET_F_HOST_TSO4 (1ull << 11)
#define VIRTIO_NET_F_HOST_TSO6 (1ull << 12)
#define VIRTIO_NET_F_HOST_ECN (1ull << 13)
#define VIRTIO_NET_F_MRG_RXBUF (1ull << 15)
#define VIRTIO_NET_F_STATUS (1ull << 16)
#define VIRTIO_NET_F_CTRL_VQ (1ull << 17)
#define VIRTIO_NET_F_CTRL_RX (1ull << 18)
#define VIRTIO_NET_F_CTRL_VLAN (1ull << 19)
#define VIRTIO_NET_F_MQ (1ull << 22)
#define VIRTIO_NET_F_CTRL_MAC_ADDR (1ull << 23)

struct virtio_net_state {
    struct virtio_state virtio;
    uint8_t mac[PACKET_MAC];
    uint8_t link_up;
    uint16_t pairs; /* in use */
};

struct virtio_net {
    struct virtio virtio;
    struct virtio_net_state state;
    struct network *network;
    uint8_t mac[PACKET_MAC];         /* after a reset */
    bool link_up;                    /* the owner's word: stays over resets */
    uint16_t pairs;                  /* the most that can be in use */
    uint32_t waiting;                /* bit n: pair n has a frame that the network had no room for */
    uint32_t refused;                /* bit n: the network has a frame that pair n had no room for */
    struct virtio_chain chain;       /* from the guest */
    struct virtio_chain first, more; /* of a received frame: it may come while one is sent */
    struct packet_segment segments[VIRTIO_SEGMENTS];
    struct virtio_ticket tickets[VIRTIO_QUEUE_SIZE]; /* of the buffers that a received frame is put into */
    uint32_t lengths[VIRTIO_QUEUE_SIZE];
};

/* network is borrowed. pairs: at most the network's and VIRTIO_NET_PAIRS. The link is up. */
void virtio_net_init(struct virtio_net *net, struct network *network, const uint8_t mac[PACKET_MAC], unsigned pairs);

/* The cable. Also before the machine runs. */
void virtio_net_set_link(struct virtio_net *net, bool up);

#endif
