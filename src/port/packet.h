/*
 * A network, as a device sees it: Ethernet frames in both directions, in pairs of queues, with what may be left to
 * the other side (checksums, cutting large TCP segments).
 *
 * Threads: everything with the machine lock held. None of the calls blocks for long.
 */
#ifndef LODGE_PORT_PACKET_H
#define LODGE_PORT_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACKET_MAC = 6, PACKET_HEADER = 14, PACKET_MOST = 65536 + PACKET_HEADER };

/* What a side can take, besides plain frames: bits. */
enum packet_ability {
    PACKET_CHECKSUM = 1, /* frames with needs_checksum */
    PACKET_TCP4 = 2,     /* TCP over IPv4 that is to be cut; together with PACKET_CHECKSUM */
    PACKET_TCP6 = 4,     /* the same over IPv6 */
    PACKET_ECN = 8,      /* such segments with the CWR bit set */
};

enum packet_cut { PACKET_WHOLE, PACKET_CUT_TCP4, PACKET_CUT_TCP6 };

struct packet_segment {
    void *bytes;
    size_t size;
};

struct packet {
    const struct packet_segment *segments; /* the frame, from the destination address on, without checksum sequence */
    unsigned segment_count;
    size_t size; /* of all segments: PACKET_HEADER to PACKET_MOST */

    bool needs_checksum; /* from checksum_start on, to be put checksum_offset behind that; both are inside */
    bool checksum_valid; /* nobody needs to look at it again */
    enum packet_cut cut; /* not PACKET_WHOLE: into segments of cut_size bytes behind headers of header_size */
    bool ecn;
    uint16_t checksum_start, checksum_offset;
    uint16_t header_size, cut_size;
};

/*
 * The network's members are constant; the device's are set by the device, before the machine runs. The memory of what
 * a device transmits is guest RAM: it may change at any time.
 */
struct network {
    unsigned pairs;                                 /* of queues that it can serve, 1 and up */
    unsigned transmit_abilities, receive_abilities; /* what it takes; what it would deliver: bits of packet_ability */

    /* Takes the frame, or drops it; false: not now, sendable() follows. */
    bool (*transmit)(struct network *network, unsigned pair, const struct packet *packet);
    /* receive() answered false before; it is worth trying again. May call it from within. */
    void (*drained)(struct network *network, unsigned pair);
    /* What the guest takes, and how many pairs it uses, from now on. abilities are among receive_abilities. */
    void (*configure)(struct network *network, unsigned abilities, unsigned pairs);

    /* Takes the frame, or drops it; false: no room, drained() follows. Also from within transmit() and drained(). */
    bool (*receive)(void *device, unsigned pair, const struct packet *packet);
    /* transmit() answered false before; it is worth trying again. May call it from within. */
    void (*sendable)(void *device, unsigned pair);
    void *device;
};

#endif
