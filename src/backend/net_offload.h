/*
 * What a guest leaves to the other side of its network card, done in software: Internet checksums, TCP segments that
 * are larger than the network's, and the maximum segment size that makes them so. IPv4 over Ethernet without tags.
 *
 * Frames are whole, in one piece, and nobody else changes them. Threads: any, no state.
 */
#ifndef LODGE_BACKEND_NET_OFFLOAD_H
#define LODGE_BACKEND_NET_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port/packet.h"

enum { OFFLOAD_MTU = 1500, OFFLOAD_MSS = OFFLOAD_MTU - 40 };

/*
 * The ones' complement sum of RFC 1071, not yet folded nor complemented, over the bytes as 16-bit words in memory
 * order; sum is what came before, an even number of bytes.
 */
uint64_t offload_sum(const void *bytes, size_t size, uint64_t sum);

/* The checksum that belongs to such a sum, as it stands in memory. */
uint16_t offload_fold(uint64_t sum);

/* Where the parts of a TCP segment are. */
struct offload_tcp {
    uint8_t *ip, *tcp, *payload;
    size_t tcp_size; /* header and payload */
};

/* False: it is no TCP over IPv4, or a fragment, or its lengths are not those of a frame of this size. */
bool offload_find_tcp(uint8_t *frame, size_t size, struct offload_tcp *segment);

/*
 * Makes the frame what it would be if nothing had been left out: the checksum that packet asks for is filled in; a
 * segment to be cut becomes one large one. False: the frame is not what packet says.
 */
bool offload_complete(uint8_t *frame, const struct packet *packet);

/*
 * A side that opens a connection says how large segments it takes (RFC 9293, 3.7.1). If the frame says so, and it is
 * what Ethernet carries or more, then it says mss from now on, and its TCP checksum is made anew.
 */
void offload_raise_mss(uint8_t *frame, size_t size, uint16_t mss);

/*
 * Describes a frame whose checksums are right in packet, segments aside. One with a TCP segment that is too large for
 * Ethernet is to be cut, for which its checksum gives way to the sum of the pseudo header.
 */
void offload_describe(uint8_t *frame, size_t size, struct packet *packet);

/* An IPv4 packet that is too large for Ethernet and no TCP: calls take for each fragment, which it may not keep. */
void offload_fragment(const uint8_t *frame, size_t size, void (*take)(void *context, uint8_t *fragment, size_t size),
                      void *context);

#endif
