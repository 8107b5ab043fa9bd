/* Frames on their way through the network device. */
#include "base/bits.h"
#include "base/memory.h"
#include "dev/virtio/net_internal.h"

/* --- from the guest --- */

/* Which cut a header asks for; false: one that was not negotiated. */
static bool header_cut(const struct virtio_net *net, const uint8_t *header, struct packet *packet)
{
    const struct virtio *virtio = &net->virtio;
    unsigned type = header[NET_HEADER_GSO_TYPE];

    packet->ecn = type & NET_GSO_ECN;
    if (packet->ecn && !virtio_has(virtio, VIRTIO_NET_F_HOST_ECN))
        return false;
    switch (type & ~(unsigned)NET_GSO_ECN) {
    case NET_GSO_NONE:
        packet->cut = PACKET_WHOLE;
        return !packet->ecn;
    case NET_GSO_TCPV4:
        packet->cut = PACKET_CUT_TCP4;
        return virtio_has(virtio, VIRTIO_NET_F_HOST_TSO4);
    case NET_GSO_TCPV6:
        packet->cut = PACKET_CUT_TCP6;
        return virtio_has(virtio, VIRTIO_NET_F_HOST_TSO6);
    default:
        return false;
    }
}

/* What the header says, if it makes sense for a frame of this size. */
static bool header_parse(const struct virtio_net *net, const uint8_t *header, struct packet *packet)
{
    packet->needs_checksum = header[NET_HEADER_FLAGS] & NET_FLAG_NEEDS_CSUM;
    packet->checksum_start = (uint16_t)load_le(header + NET_HEADER_CSUM_START, 2);
    packet->checksum_offset = (uint16_t)load_le(header + NET_HEADER_CSUM_OFFSET, 2);
    packet->header_size = (uint16_t)load_le(header + NET_HEADER_HDR_LEN, 2);
    packet->cut_size = (uint16_t)load_le(header + NET_HEADER_GSO_SIZE, 2);
    if (packet->size < PACKET_HEADER || packet->size > PACKET_MOST || !header_cut(net, header, packet))
        return false;
    if (packet->needs_checksum &&
        (!virtio_has(&net->virtio, VIRTIO_NET_F_CSUM) ||
         !range_inside((uint32_t)packet->checksum_start + packet->checksum_offset, 2, packet->size)))
        return false;
    return packet->cut == PACKET_WHOLE ||
           (packet->needs_checksum && packet->cut_size > 0 && packet->header_size <= packet->size);
}

/* The chain as a frame, without its header; false: it is none. */
static bool chain_to_packet(struct virtio_net *net, struct packet *packet)
{
    const struct virtio_chain *chain = &net->chain;
    uint8_t header[NET_HEADER_SIZE];
    size_t skip = NET_HEADER_SIZE;
    unsigned count = 0;

    if (virtio_chain_read(chain, 0, header, sizeof(header)) != sizeof(header))
        return false;
    for (unsigned i = 0; i < chain->readable; i++) {
        const struct virtio_segment *segment = &chain->segments[i];

        if (skip >= segment->size) {
            skip -= segment->size;
            continue;
        }
        net->segments[count++] = (struct packet_segment){.bytes = segment->bytes + skip, .size = segment->size - skip};
        skip = 0;
    }
    *packet = (struct packet){
        .segments = net->segments, .segment_count = count, .size = chain->readable_bytes - NET_HEADER_SIZE};
    return header_parse(net, header, packet);
}

/* Frames that make no sense, and all while the cable is out, are dropped. */
void net_transmit(struct virtio_net *net, unsigned pair)
{
    struct virtio *virtio = &net->virtio;
    unsigned queue = 2 * pair + 1;
    struct packet packet;

    net->waiting &= ~BIT(pair);
    while (virtio_queue_pop(virtio, queue, &net->chain)) {
        if (chain_to_packet(net, &packet) && net->state.link_up &&
            !net->network->transmit(net->network, pair, &packet)) {
            virtio_queue_unpop(virtio, &net->chain.ticket);
            net->waiting |= BIT(pair);
            break;
        }
        virtio_queue_push(virtio, &net->chain, 0);
    }
    virtio_queue_flush(virtio, queue);
}

/* --- to the guest --- */

static void packet_to_header(const struct virtio_net *net, const struct packet *packet, uint8_t *header)
{
    bool valid = packet->checksum_valid && virtio_has(&net->virtio, VIRTIO_NET_F_GUEST_CSUM);

    static const uint8_t types[] = {
        [PACKET_WHOLE] = NET_GSO_NONE, [PACKET_CUT_TCP4] = NET_GSO_TCPV4, [PACKET_CUT_TCP6] = NET_GSO_TCPV6};

    memset(header, 0, NET_HEADER_SIZE);
    header[NET_HEADER_FLAGS] = packet->needs_checksum ? NET_FLAG_NEEDS_CSUM : valid ? NET_FLAG_DATA_VALID : 0;
    header[NET_HEADER_GSO_TYPE] = (uint8_t)(types[packet->cut] | (packet->ecn ? NET_GSO_ECN : 0));
    if (packet->cut != PACKET_WHOLE) {
        store_le(header + NET_HEADER_HDR_LEN, 2, packet->header_size);
        store_le(header + NET_HEADER_GSO_SIZE, 2, packet->cut_size);
    }
    if (packet->needs_checksum) {
        store_le(header + NET_HEADER_CSUM_START, 2, packet->checksum_start);
        store_le(header + NET_HEADER_CSUM_OFFSET, 2, packet->checksum_offset);
    }
    store_le(header + NET_HEADER_NUM_BUFFERS, 2, 1);
}

/* Can the guest take it? Networks have been told (net_configure), but frames may have been on their way. */
static bool packet_acceptable(const struct virtio_net *net, const struct packet *packet)
{
    const struct virtio *virtio = &net->virtio;

    if (packet->size < PACKET_HEADER || packet->size > PACKET_MOST)
        return false;
    if (packet->needs_checksum && !virtio_has(virtio, VIRTIO_NET_F_GUEST_CSUM))
        return false;
    if (packet->ecn && !virtio_has(virtio, VIRTIO_NET_F_GUEST_ECN))
        return false;
    switch (packet->cut) {
    case PACKET_CUT_TCP4:
        return virtio_has(virtio, VIRTIO_NET_F_GUEST_TSO4);
    case PACKET_CUT_TCP6:
        return virtio_has(virtio, VIRTIO_NET_F_GUEST_TSO6);
    case PACKET_WHOLE:
        break;
    }
    return true;
}

/* Where in a frame the next bytes for the guest are. */
struct cursor {
    const struct packet *packet;
    unsigned segment;
    size_t offset; /* in it */
};

/* Fills a buffer from an offset on; answers how many bytes went in. */
static size_t cursor_fill(struct cursor *cursor, const struct virtio_chain *chain, size_t at)
{
    size_t done = 0;

    while (cursor->segment < cursor->packet->segment_count) {
        const struct packet_segment *segment = &cursor->packet->segments[cursor->segment];
        size_t left = segment->size - cursor->offset;
        size_t here = virtio_chain_write(chain, at + done, (const uint8_t *)segment->bytes + cursor->offset, left);

        done += here;
        if (here < left) {
            cursor->offset += here;
            return done;
        }
        cursor->segment++;
        cursor->offset = 0;
    }
    return done;
}

static void tickets_unpop(struct virtio_net *net, unsigned count)
{
    while (count > 0)
        virtio_queue_unpop(&net->virtio, &net->tickets[--count]);
}

/*
 * Puts header and frame into one buffer, or into several if they may be merged. Answers how many; 0: there are not
 * enough now; -1: this driver's buffers will never do. Then none has been taken.
 */
static int net_scatter(struct virtio_net *net, unsigned queue, const struct packet *packet)
{
    bool merge = virtio_has(&net->virtio, VIRTIO_NET_F_MRG_RXBUF);
    struct cursor cursor = {.packet = packet};
    size_t left = NET_HEADER_SIZE + packet->size;
    uint8_t header[NET_HEADER_SIZE];
    unsigned count = 0;

    packet_to_header(net, packet, header);
    while (left > 0) {
        struct virtio_chain *chain = count == 0 ? &net->first : &net->more;
        size_t written = 0;

        if (count == VIRTIO_QUEUE_SIZE || !virtio_queue_pop(&net->virtio, queue, chain)) {
            tickets_unpop(net, count);
            return count == VIRTIO_QUEUE_SIZE ? -1 : 0;
        }
        net->tickets[count] = chain->ticket;
        if (count == 0)
            written = virtio_chain_write(chain, 0, header, sizeof(header));
        if (count > 0 || written == sizeof(header))
            written += cursor_fill(&cursor, chain, written);
        net->lengths[count++] = (uint32_t)written;
        left -= written;
        virtio_chain_wrote(chain, &net->virtio.machine->memory, (uint32_t)written);
        if (left > 0 && (!merge || written < NET_HEADER_SIZE)) {
            tickets_unpop(net, count);
            return -1;
        }
    }
    return (int)count;
}

bool net_receive(void *device, unsigned pair, const struct packet *packet)
{
    struct virtio_net *net = device;
    struct virtio *virtio = &net->virtio;
    unsigned queue = 2 * (pair % (net->state.pairs ? net->state.pairs : 1u));
    uint8_t buffers[2];
    int count;

    if (virtio->stopped)
        goto refused;
    if (!virtio_queue_running(virtio, queue) || !net->state.link_up || !packet_acceptable(net, packet))
        return true;
    count = net_scatter(net, queue, packet);
    if (count < 0)
        return true;
    if (count == 0)
        goto refused;
    if (count > 1) {
        store_le(buffers, 2, (unsigned)count);
        (void)virtio_chain_write(&net->first, NET_HEADER_NUM_BUFFERS, buffers, sizeof(buffers));
        virtio_chain_wrote(&net->first, &virtio->machine->memory, NET_HEADER_SIZE);
    }
    for (int i = 0; i < count; i++)
        virtio_queue_return(virtio, &net->tickets[i], net->lengths[i]);
    virtio_queue_flush(virtio, queue);
    return true;

refused:
    net->refused |= BIT(queue / 2);
    return false;
}
