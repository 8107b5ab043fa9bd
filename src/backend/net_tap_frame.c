/* Frames between a guest and a tap interface. */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend/net_tap_internal.h"
#include "base/bits.h"

enum { PIECES = 1024 }; /* UIO_MAXIOV: the most that the kernel takes */

_Static_assert(sizeof(struct virtio_net_hdr_mrg_rxbuf) == TAP_HEADER, "the header's size is as the kernel is told");

static void header_make(struct virtio_net_hdr *header, const struct packet *packet)
{
    memset(header, 0, sizeof(*header));
    header->flags = packet->needs_checksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0;
    if (packet->needs_checksum) {
        header->csum_start = packet->checksum_start;
        header->csum_offset = packet->checksum_offset;
    }
    if (packet->cut == PACKET_WHOLE)
        return;
    header->gso_type = packet->cut == PACKET_CUT_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
    header->gso_type |= packet->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0;
    header->hdr_len = packet->header_size;
    header->gso_size = packet->cut_size;
}

bool tap_transmit(struct network *network, unsigned pair, const struct packet *packet)
{
    struct net_tap *tap = CONTAINER_OF(network, struct net_tap, network);
    struct virtio_net_hdr_mrg_rxbuf header = {.num_buffers = 0};
    struct iovec pieces[PIECES];

    if (packet->segment_count >= PIECES)
        return true;
    header_make(&header.hdr, packet);
    pieces[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
    for (unsigned i = 0; i < packet->segment_count; i++)
        pieces[i + 1] = (struct iovec){.iov_base = packet->segments[i].bytes, .iov_len = packet->segments[i].size};
    if (writev(tap->queues[pair].fd, pieces, (int)packet->segment_count + 1) >= 0 || errno != EAGAIN)
        return true; /* what an interface does not take, one that is down for instance, is lost */
    atomic_fetch_or(&tap->blocked, BIT(pair));
    (void)eventfd_write(tap->wake, 1);
    return false;
}

bool tap_parse(uint8_t *buffer, size_t size, struct packet *packet, struct packet_segment *segment)
{
    struct virtio_net_hdr header;

    if (size < TAP_HEADER + PACKET_HEADER)
        return false;
    memcpy(&header, buffer, sizeof(header));
    *segment = (struct packet_segment){.bytes = buffer + TAP_HEADER, .size = size - TAP_HEADER};
    *packet = (struct packet){
        .segments = segment,
        .segment_count = 1,
        .size = segment->size,
        .needs_checksum = header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .checksum_valid = header.flags & VIRTIO_NET_HDR_F_DATA_VALID,
        .checksum_start = header.csum_start,
        .checksum_offset = header.csum_offset,
        .ecn = header.gso_type & VIRTIO_NET_HDR_GSO_ECN,
        .header_size = header.hdr_len,
        .cut_size = header.gso_size,
    };
    switch (header.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        packet->cut = PACKET_WHOLE;
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        packet->cut = PACKET_CUT_TCP4;
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        packet->cut = PACKET_CUT_TCP6;
        return true;
    default:
        return false;
    }
}
