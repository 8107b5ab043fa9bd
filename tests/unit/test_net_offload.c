/* Checksums, large segments, fragments, and frames that wait. */
#include "unit.h"

#include <string.h>

#include "backend/net_offload.h"
#include "backend/net_queue.h"

enum { IP_AT = 14, TCP_AT = 34, PAYLOAD_AT = 54 };

static uint8_t frame[PACKET_MOST];

static void put16(size_t at, size_t value)
{
    frame[at] = (uint8_t)(value >> 8);
    frame[at + 1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* The checksum of RFC 1071, one byte after the other. */
static unsigned slow_checksum(const uint8_t *at, size_t size, uint32_t sum)
{
    for (size_t i = 0; i < size; i++)
        sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* 0: the frame's IP header and segment have the right checksums. */
static unsigned tcp_wrong(const uint8_t *at, size_t size)
{
    uint32_t pseudo = 6 + (uint32_t)(size - TCP_AT);

    for (size_t i = 26; i < TCP_AT; i += 2)
        pseudo += get16(at + i);
    return slow_checksum(at + IP_AT, 20, 0) | slow_checksum(at + TCP_AT, size - TCP_AT, pseudo);
}

/* A TCP segment with options of this size and a payload, without its TCP checksum. */
static size_t make_tcp(size_t options, size_t payload, uint8_t flags)
{
    size_t size = PAYLOAD_AT + options + payload;

    for (size_t i = 0; i < size; i++)
        frame[i] = (uint8_t)(i * 7 + 1);
    put16(12, 0x0800);
    memset(frame + IP_AT, 0, 20);
    frame[IP_AT] = 0x45;
    put16(IP_AT + 2, size - IP_AT);
    frame[IP_AT + 8] = 64;
    frame[IP_AT + 9] = 6;
    memcpy(frame + IP_AT + 12, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
    put16(IP_AT + 10, slow_checksum(frame + IP_AT, 20, 0));
    frame[TCP_AT + 12] = (uint8_t)((20 + options) / 4 << 4);
    frame[TCP_AT + 13] = flags;
    memset(frame + PAYLOAD_AT, 1, options);
    return size;
}

static void test_sums(void **state)
{
    static uint8_t bytes[3000];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * i >> 3);
    memset(bytes + 1000, 0xff, 1000);
    for (size_t size = 0; size < sizeof(bytes); size += size < 40 ? 1 : 331) {
        for (size_t start = 0; start < 3 && start + size <= sizeof(bytes); start++) {
            uint16_t sum = offload_fold(offload_sum(bytes + start, size, 0));

            assert_int_equal(get16((uint8_t *)&sum), slow_checksum(bytes + start, size, 0));
        }
    }
}

static void test_partial_checksum(void **state)
{
    size_t size = make_tcp(0, 701, 0x10);
    struct packet packet = {.size = size, .needs_checksum = true, .checksum_start = TCP_AT, .checksum_offset = 16};
    uint32_t pseudo = 6 + (uint32_t)(size - TCP_AT);

    (void)state;
    for (size_t i = 26; i < TCP_AT; i += 2)
        pseudo += get16(frame + i);
    put16(TCP_AT + 16, (pseudo & 0xffff) + (pseudo >> 16)); /* as guests leave it: the sum of the pseudo header */
    assert_true(offload_complete(frame, &packet));
    assert_int_equal(tcp_wrong(frame, size), 0);
    packet.checksum_start = (uint16_t)(size - 10);
    assert_false(offload_complete(frame, &packet));
}

static void test_large_segment(void **state)
{
    size_t size = make_tcp(0, 60000, 0x10);
    struct packet packet = {.size = size, .needs_checksum = true, .cut = PACKET_CUT_TCP4, .cut_size = 1460};

    (void)state;
    put16(IP_AT + 2, 0); /* some guests leave that open, too */
    put16(IP_AT + 10, 0xdead);
    assert_true(offload_complete(frame, &packet));
    assert_int_equal(get16(frame + IP_AT + 2), size - IP_AT);
    assert_int_equal(tcp_wrong(frame, size), 0);
    offload_describe(frame, size, &packet);
    assert_int_equal(packet.cut, PACKET_CUT_TCP4);
    assert_int_equal(packet.header_size, PAYLOAD_AT);
    assert_int_equal(packet.cut_size, 1460);
    assert_true(packet.needs_checksum && !packet.checksum_valid);
    assert_int_not_equal(tcp_wrong(frame, size), 0);
    assert_true(offload_complete(frame, &(struct packet){.size = size,
                                                         .needs_checksum = true,
                                                         .checksum_start = packet.checksum_start,
                                                         .checksum_offset = packet.checksum_offset}));
    assert_int_equal(tcp_wrong(frame, size), 0);
    frame[IP_AT + 9] = 17;
    packet.cut = PACKET_CUT_TCP4;
    assert_false(offload_complete(frame, &packet));
    packet.cut = PACKET_CUT_TCP6;
    assert_false(offload_complete(frame, &packet));
}

static void test_small_frame_is_whole(void **state)
{
    struct packet packet;

    (void)state;
    offload_describe(frame, make_tcp(0, 1460, 0x10), &packet);
    assert_int_equal(packet.cut, PACKET_WHOLE);
    assert_true(packet.checksum_valid && !packet.needs_checksum);
}

static size_t make_syn(uint16_t mss)
{
    size_t size = make_tcp(8, 0, 2);

    frame[PAYLOAD_AT + 1] = 2; /* behind a no-operation: at an odd place */
    frame[PAYLOAD_AT + 2] = 4;
    put16(PAYLOAD_AT + 3, mss);
    return size;
}

static void test_segment_size(void **state)
{
    size_t size = make_syn(1460);

    (void)state;
    offload_raise_mss(frame, size, 32000);
    assert_int_equal(get16(frame + PAYLOAD_AT + 3), 32000);
    assert_int_equal(tcp_wrong(frame, size), 0);
    size = make_syn(1400); /* a tunnel in the guest: it means it */
    offload_raise_mss(frame, size, 32000);
    assert_int_equal(get16(frame + PAYLOAD_AT + 3), 1400);
    size = make_syn(1460);
    frame[TCP_AT + 13] = 0x10; /* no SYN */
    offload_raise_mss(frame, size, 32000);
    assert_int_equal(get16(frame + PAYLOAD_AT + 3), 1460);
}

/* Every header that lies is left alone, and nothing behind the frame is read (the sanitizers look). */
static void test_lies(void **state)
{
    struct offload_tcp segment;
    size_t size = make_syn(1460);

    (void)state;
    for (size_t cut = 0; cut < size; cut++)
        assert_false(offload_find_tcp(frame, cut, &segment));
    frame[PAYLOAD_AT + 2] = 0; /* an option without a size */
    offload_raise_mss(frame, size, 32000);
    frame[PAYLOAD_AT + 2] = 200; /* longer than all */
    offload_raise_mss(frame, size, 32000);
    assert_int_equal(get16(frame + PAYLOAD_AT + 3), 1460);
    frame[TCP_AT + 12] = 0xf0;
    assert_false(offload_find_tcp(frame, size, &segment));
    frame[TCP_AT + 12] = 0x40;
    assert_false(offload_find_tcp(frame, size, &segment));
    size = make_syn(1460);
    put16(IP_AT + 6, 0x2000);
    assert_false(offload_find_tcp(frame, size, &segment));
    size = make_syn(1460);
    frame[IP_AT] = 0x44;
    assert_false(offload_find_tcp(frame, size, &segment));
    frame[IP_AT] = 0x4f;
    assert_false(offload_find_tcp(frame, size, &segment));
}

static uint8_t together[PACKET_MOST];
static size_t together_size, fragments;
static bool last_seen;

static void take_fragment(void *context, uint8_t *fragment, size_t size)
{
    size_t place = (get16(fragment + IP_AT + 6) & 0x1fff) * 8u;

    assert_ptr_equal(context, frame);
    assert_true(size <= 1514);
    assert_int_equal(get16(fragment + IP_AT + 2), size - IP_AT);
    assert_int_equal(slow_checksum(fragment + IP_AT, 20, 0), 0);
    memcpy(together + place, fragment + TCP_AT, size - TCP_AT);
    together_size = place + size - TCP_AT > together_size ? place + size - TCP_AT : together_size;
    last_seen |= !(get16(fragment + IP_AT + 6) & 0x2000);
    fragments++;
}

static void test_fragments(void **state)
{
    size_t size = make_tcp(0, 5000, 0);

    (void)state;
    frame[IP_AT + 9] = 17;
    offload_fragment(frame, size, take_fragment, frame);
    assert_int_equal(fragments, 4);
    assert_true(last_seen);
    assert_int_equal(together_size, size - TCP_AT);
    assert_memory_equal(together, frame + TCP_AT, together_size);
    put16(12, 0x86dd); /* what is no IPv4 is not for this */
    offload_fragment(frame, size, take_fragment, frame);
    assert_int_equal(fragments, 4);
}

static void test_queue(void **state)
{
    struct packet_segment pieces[2] = {{frame, 100}, {frame + 100, 923}}, segment;
    struct packet packet = {.segments = pieces, .segment_count = 2, .size = 1023, .cut_size = 0}, first;
    struct net_queue queue;
    unsigned count = 0;

    (void)state;
    for (size_t i = 0; i < 1023; i++)
        frame[i] = (uint8_t)i;
    assert_true(net_queue_init(&queue, 16384));
    assert_true(net_queue_is_empty(&queue));
    assert_false(net_queue_first(&queue, &first, &segment));
    while (net_queue_put(&queue, &packet))
        packet.cut_size = (uint16_t)++count;
    assert_in_range(count, 10, 16);
    for (unsigned i = 0; i < count; i++) {
        assert_true(net_queue_first(&queue, &first, &segment));
        assert_int_equal(first.cut_size, i);
        assert_int_equal(segment.size, 1023);
        assert_memory_equal(segment.bytes, frame, 1023);
        net_queue_drop(&queue);
    }
    assert_true(net_queue_is_empty(&queue));
    assert_true(net_queue_put(&queue, &packet));
    net_queue_destroy(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),          cmocka_unit_test(test_partial_checksum),
        cmocka_unit_test(test_large_segment), cmocka_unit_test(test_small_frame_is_whole),
        cmocka_unit_test(test_segment_size),  cmocka_unit_test(test_lies),
        cmocka_unit_test(test_fragments),     cmocka_unit_test(test_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
