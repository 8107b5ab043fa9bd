/* What the parts of the network device share. Machine lock held. */
#ifndef LODGE_DEV_VIRTIO_NET_INTERNAL_H
#define LODGE_DEV_VIRTIO_NET_INTERNAL_H

#include <stdbool.h>

#include "dev/virtio/net.h"

/* The header in front of each frame (5.1.6). */
enum {
    NET_HEADER_FLAGS = 0,
    NET_HEADER_GSO_TYPE = 1,
    NET_HEADER_HDR_LEN = 2,
    NET_HEADER_GSO_SIZE = 4,
    NET_HEADER_CSUM_START = 6,
    NET_HEADER_CSUM_OFFSET = 8,
    NET_HEADER_NUM_BUFFERS = 10,
    NET_HEADER_SIZE = 12,
    NET_FLAG_NEEDS_CSUM = 1,
    NET_FLAG_DATA_VALID = 2,
    NET_GSO_NONE = 0,
    NET_GSO_TCPV4 = 1,
    NET_GSO_TCPV6 = 4,
    NET_GSO_ECN = 0x80,
};

/* Sends what the guest has put into a pair's queue. */
void net_transmit(struct virtio_net *net, unsigned pair);

/* For struct network. */
bool net_receive(void *device, unsigned pair, const struct packet *packet);

/* Carries out what the control queue says. */
void net_control(struct virtio_net *net, unsigned queue);

/* Tells the network what the guest takes. */
void net_configure(struct virtio_net *net);

#endif
