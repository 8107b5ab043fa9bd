#include "backend/net_offload.h"

#include <string.h>

enum { TYPE_AT = 12, IP_MIN = 20, TCP_MIN = 20, PROTOCOL_TCP = 6 };
enum { IP_LENGTH = 2, IP_FRAGMENT = 6, IP_PROTOCOL = 9, IP_CHECKSUM = 10, IP_ADDRESSES = 12 };
enum { FRAGMENT_OFFSET = 0x1fff, FRAGMENT_MORE = 0x2000, FRAGMENT_UNIT = 8 };
enum { TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_CHECKSUM = 16, TCP_SYN = 2 };
enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2, OPTION_MSS_SIZE = 4 };

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Words of 32 bits, whose carries cannot leave 64 bits for any frame; the compiler makes vectors of it. */
uint64_t offload_sum(const void *bytes, size_t size, uint64_t sum)
{
    const uint8_t *at = bytes;
    uint32_t word;

    for (; size >= 4; size -= 4, at += 4) {
        memcpy(&word, at, sizeof(word));
        sum += word;
    }
    word = 0;
    memcpy(&word, at, size);
    return sum + word;
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t offload_fold(uint64_t sum)
{
    return (uint16_t)~fold(sum);
}

/* Addresses, protocol and length of TCP header and payload (RFC 9293, 3.1). */
static uint64_t pseudo_sum(const struct offload_tcp *segment)
{
    uint8_t rest[4] = {0, PROTOCOL_TCP};

    put16(rest + 2, segment->tcp_size);
    return offload_sum(rest, sizeof(rest), offload_sum(segment->ip + IP_ADDRESSES, 8, 0));
}

static void fill_ip_checksum(uint8_t *ip, size_t header)
{
    uint16_t sum;

    memset(ip + IP_CHECKSUM, 0, 2);
    sum = offload_fold(offload_sum(ip, header, 0));
    memcpy(ip + IP_CHECKSUM, &sum, sizeof(sum));
}

static void fill_tcp_checksum(const struct offload_tcp *segment)
{
    uint16_t sum;

    memset(segment->tcp + TCP_CHECKSUM, 0, 2);
    sum = offload_fold(offload_sum(segment->tcp, segment->tcp_size, pseudo_sum(segment)));
    memcpy(segment->tcp + TCP_CHECKSUM, &sum, sizeof(sum));
}

/* Size of the IPv4 header; 0: there is none. */
static size_t ip_header(const uint8_t *frame, size_t size)
{
    const uint8_t *ip = frame + PACKET_HEADER;
    size_t header;

    if (size < PACKET_HEADER + IP_MIN || get16(frame + TYPE_AT) != 0x0800 || ip[0] >> 4 != 4)
        return 0;
    header = (size_t)(ip[0] & 15) * 4;
    return header >= IP_MIN && PACKET_HEADER + header <= size ? header : 0;
}

/* As offload_find_tcp(), for the length that the IP header has, or all that there is. */
static bool find_tcp(uint8_t *frame, size_t size, bool all, struct offload_tcp *segment)
{
    size_t header = ip_header(frame, size), length, tcp_header;
    uint8_t *ip = frame + PACKET_HEADER;

    if (header == 0 || ip[IP_PROTOCOL] != PROTOCOL_TCP || get16(ip + IP_FRAGMENT) & (FRAGMENT_OFFSET | FRAGMENT_MORE))
        return false;
    length = all ? size - PACKET_HEADER : get16(ip + IP_LENGTH);
    if (length > size - PACKET_HEADER || length > UINT16_MAX || length < header + TCP_MIN)
        return false;
    tcp_header = (size_t)(ip[header + TCP_OFFSET] >> 4) * 4;
    if (tcp_header < TCP_MIN || header + tcp_header > length)
        return false;
    *segment = (struct offload_tcp){
        .ip = ip, .tcp = ip + header, .payload = ip + header + tcp_header, .tcp_size = length - header};
    return true;
}

bool offload_find_tcp(uint8_t *frame, size_t size, struct offload_tcp *segment)
{
    return find_tcp(frame, size, false, segment);
}

/* Guests differ in what they put into the length and the sum of a segment that is to be cut: neither is used. */
static bool complete_segment(uint8_t *frame, size_t size)
{
    struct offload_tcp segment;

    if (!find_tcp(frame, size, true, &segment))
        return false;
    put16(segment.ip + IP_LENGTH, size - PACKET_HEADER);
    fill_ip_checksum(segment.ip, (size_t)(segment.tcp - segment.ip));
    fill_tcp_checksum(&segment);
    return true;
}

bool offload_complete(uint8_t *frame, const struct packet *packet)
{
    size_t start = packet->checksum_start, at = start + packet->checksum_offset;
    uint16_t sum;

    if (packet->cut != PACKET_WHOLE)
        return packet->cut == PACKET_CUT_TCP4 && complete_segment(frame, packet->size);
    if (!packet->needs_checksum)
        return true;
    if (at + sizeof(sum) > packet->size)
        return false;
    sum = offload_fold(offload_sum(frame + start, packet->size - start, 0));
    sum = sum ? sum : UINT16_MAX; /* for UDP, 0 says that there is none; elsewhere both are the same */
    memcpy(frame + at, &sum, sizeof(sum));
    return true;
}

void offload_raise_mss(uint8_t *frame, size_t size, uint16_t mss)
{
    struct offload_tcp segment;
    uint8_t *option;

    if (!offload_find_tcp(frame, size, &segment) || !(segment.tcp[TCP_FLAGS] & TCP_SYN))
        return;
    option = segment.tcp + TCP_MIN;
    while (option < segment.payload && *option != OPTION_END) {
        size_t left = (size_t)(segment.payload - option);

        if (*option == OPTION_NOP) {
            option++;
            continue;
        }
        if (left < 2 || option[1] < 2 || option[1] > left)
            return;
        if (option[0] == OPTION_MSS && option[1] == OPTION_MSS_SIZE && get16(option + 2) >= OFFLOAD_MSS) {
            put16(option + 2, mss);
            fill_tcp_checksum(&segment);
            return;
        }
        option += option[1];
    }
}

void offload_describe(uint8_t *frame, size_t size, struct packet *packet)
{
    struct offload_tcp segment;

    *packet = (struct packet){.size = size, .checksum_valid = true};
    if (size <= PACKET_HEADER + OFFLOAD_MTU || !offload_find_tcp(frame, size, &segment))
        return;
    uint16_t sum = fold(pseudo_sum(&segment));
    memcpy(segment.tcp + TCP_CHECKSUM, &sum, sizeof(sum));
    packet->checksum_valid = false;
    packet->needs_checksum = true;
    packet->checksum_start = (uint16_t)(segment.tcp - frame);
    packet->checksum_offset = TCP_CHECKSUM;
    packet->cut = PACKET_CUT_TCP4;
    packet->header_size = (uint16_t)(segment.payload - frame);
    packet->cut_size = (uint16_t)(PACKET_HEADER + OFFLOAD_MTU - packet->header_size);
}

void offload_fragment(const uint8_t *frame, size_t size, void (*take)(void *context, uint8_t *fragment, size_t size),
                      void *context)
{
    uint8_t fragment[PACKET_HEADER + OFFLOAD_MTU];
    size_t header = ip_header(frame, size), front = PACKET_HEADER + header, most, end;
    unsigned before;

    if (header == 0 || get16(frame + PACKET_HEADER + IP_LENGTH) < header)
        return;
    end = PACKET_HEADER + get16(frame + PACKET_HEADER + IP_LENGTH);
    end = end < size ? end : size;
    before = get16(frame + PACKET_HEADER + IP_FRAGMENT);
    most = (OFFLOAD_MTU - header) / FRAGMENT_UNIT * FRAGMENT_UNIT;
    memcpy(fragment, frame, front);
    for (size_t at = front; at < end; at += most) {
        size_t here = end - at < most ? end - at : most;
        size_t place = (before & FRAGMENT_OFFSET) + (at - front) / FRAGMENT_UNIT;

        memcpy(fragment + front, frame + at, here);
        put16(fragment + PACKET_HEADER + IP_LENGTH, header + here);
        put16(fragment + PACKET_HEADER + IP_FRAGMENT,
              (place & FRAGMENT_OFFSET) | (at + here < end ? FRAGMENT_MORE : before & FRAGMENT_MORE));
        fill_ip_checksum(fragment + PACKET_HEADER, header);
        take(context, fragment, front + here);
    }
}
