/* The network device against a network that the test holds in its hand. */
#include "unit.h"

#include <string.h>

#include "base/bits.h"
#include "dev/virtio/net.h"
#include "fake_port.h"
#include "virtio_bench.h"

enum { SIZE = 64, DATA = BENCH_DATA, ANSWER = BENCH_DATA + 0x80000, RX = 0, TX = 1, HEADER = 12, FRAME = 60 };
enum { FLAGS = 0, GSO = 1, HDR_LEN = 2, GSO_SIZE = 4, CSUM_START = 6, CSUM_OFFSET = 8, BUFFERS = 10 };

static const uint8_t mac[PACKET_MAC] = {0x52, 0x54, 0, 1, 2, 3};

static struct {
    struct network network;
    bool full, echoes;
    unsigned sent, drained, abilities, pairs, last_pair;
    struct packet last; /* its segments are gone */
    uint8_t bytes[PACKET_MOST];
} net;

static struct virtio_net device;
static struct bench bench;

static bool take(struct network *network, unsigned pair, const struct packet *packet)
{
    size_t size = 0;

    if (net.full)
        return false;
    for (unsigned i = 0; i < packet->segment_count; i++) {
        assert_true(packet->segments[i].size <= sizeof(net.bytes) - size);
        memcpy(net.bytes + size, packet->segments[i].bytes, packet->segments[i].size);
        size += packet->segments[i].size;
    }
    assert_int_equal(size, packet->size);
    if (net.echoes)
        assert_true(network->receive(network->device, pair, packet));
    net.last = *packet;
    net.last_pair = pair;
    net.sent++;
    return true;
}

static void note_drained(struct network *network, unsigned pair)
{
    (void)network;
    net.drained |= BIT(pair);
}

static void note_configuration(struct network *network, unsigned abilities, unsigned pairs)
{
    (void)network;
    net.abilities = abilities;
    net.pairs = pairs;
}

static void make(unsigned abilities, unsigned pairs, uint64_t features)
{
    memset(&net, 0, sizeof(net));
    memset(&device, 0, sizeof(device));
    net.network = (struct network){
        .pairs = 8,
        .transmit_abilities = abilities,
        .receive_abilities = abilities,
        .transmit = take,
        .drained = note_drained,
        .configure = note_configuration,
    };
    virtio_net_init(&device, &net.network, mac, pairs);
    bench_init(&bench, &device.virtio);
    bench_use_msix(&bench);
    bench_start(&bench, features, SIZE);
    net.drained = 0;
    (void)fake_log_count();
}

static bool broken(void)
{
    return bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET;
}

static uint32_t used(unsigned queue)
{
    uint16_t id;
    uint32_t length;

    assert_true(bench_used(&bench, queue, &id, &length));
    return length;
}

/* The guest sends a frame of `size` bytes, header and frame in one buffer; answers how many were sent. */
static unsigned send(unsigned pair, const uint8_t *header, uint32_t size)
{
    const struct bench_buffer buffer = {DATA, HEADER + size, false};
    uint8_t *bytes = bench_at(&bench, DATA);
    unsigned before = net.sent;

    memset(bytes, 0, HEADER);
    if (header)
        memcpy(bytes, header, HEADER);
    for (uint32_t i = 0; i < size; i++)
        bytes[HEADER + i] = (uint8_t)(i * 7);
    (void)bench_add(&bench, 2 * pair + TX, &buffer, 1);
    bench_kick(&bench, 2 * pair + TX);
    return net.sent - before;
}

static bool receive(unsigned pair, struct packet *packet, size_t size)
{
    static uint8_t frame[PACKET_MOST + 1];
    struct packet_segment segments[2] = {{frame, size / 3}, {frame + size / 3, size - size / 3}};

    for (size_t i = 0; i < size; i++)
        frame[i] = (uint8_t)(i * 11);
    packet->segments = segments;
    packet->segment_count = 2;
    packet->size = size;
    return net.network.receive(net.network.device, pair, packet);
}

static void test_config(void **state)
{
    uint64_t offloads = VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_GUEST_TSO4 |
                        VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_GUEST_TSO6 | VIRTIO_NET_F_HOST_ECN |
                        VIRTIO_NET_F_GUEST_ECN;

    (void)state;
    make(0, 1, 0);
    assert_memory_equal(device.state.mac, mac, PACKET_MAC);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG, 4), load_le(mac, 4));
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 6, 2), 1);
    assert_int_equal(bench_features(&bench) & (offloads | VIRTIO_NET_F_MQ), 0);
    make(PACKET_CHECKSUM | PACKET_TCP4 | PACKET_TCP6 | PACKET_ECN, 4, 0);
    assert_int_equal(bench_features(&bench) & offloads, offloads);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 8, 2), 4);
    assert_false(bench_negotiate(&bench, VIRTIO_NET_F_HOST_TSO4));
    assert_false(bench_negotiate(&bench, VIRTIO_NET_F_GUEST_ECN | VIRTIO_NET_F_GUEST_CSUM));
    assert_false(bench_negotiate(&bench, VIRTIO_NET_F_MQ));
    assert_true(bench_negotiate(&bench, offloads | VIRTIO_NET_F_MQ | VIRTIO_NET_F_CTRL_VQ));
    make(PACKET_TCP4, 1, 0); /* nothing to cut without checksums */
    assert_int_equal(bench_features(&bench) & offloads, 0);
}

static void test_transmit(void **state)
{
    (void)state;
    make(0, 1, 0);
    assert_int_equal(send(0, NULL, FRAME), 1);
    assert_int_equal(net.last.size, FRAME);
    assert_int_equal(net.bytes[FRAME - 1], (uint8_t)((FRAME - 1) * 7));
    assert_false(net.last.needs_checksum);
    assert_int_equal(used(TX), 0);
    assert_int_equal(send(0, NULL, PACKET_HEADER - 1), 0);
    assert_int_equal(used(TX), 0);
    assert_int_equal(send(0, NULL, PACKET_MOST + 1), 0);
    assert_false(broken());
}

/* What a header may ask for is what was negotiated, and lies inside the frame. */
static void test_transmit_offloads(void **state)
{
    uint8_t header[HEADER] = {0};

    (void)state;
    make(PACKET_CHECKSUM | PACKET_TCP4, 1, VIRTIO_NET_F_CSUM | VIRTIO_NET_F_HOST_TSO4);
    header[FLAGS] = 1;
    store_le(header + CSUM_START, 2, 34);
    store_le(header + CSUM_OFFSET, 2, 16);
    assert_int_equal(send(0, header, FRAME), 1);
    assert_true(net.last.needs_checksum);
    assert_int_equal(net.last.checksum_start, 34);
    assert_int_equal(net.last.checksum_offset, 16);
    assert_int_equal(send(0, header, 51), 0);
    store_le(header + CSUM_OFFSET, 2, 0xffff);
    assert_int_equal(send(0, header, FRAME), 0);
    store_le(header + CSUM_OFFSET, 2, 16);
    header[GSO] = 1;
    store_le(header + HDR_LEN, 2, 54);
    assert_int_equal(send(0, header, 4000), 0); /* into pieces of nothing */
    store_le(header + GSO_SIZE, 2, 1448);
    assert_int_equal(send(0, header, 4000), 1);
    assert_int_equal(net.last.cut, PACKET_CUT_TCP4);
    assert_int_equal(net.last.cut_size, 1448);
    assert_int_equal(net.last.header_size, 54);
    header[GSO] = 4;
    assert_int_equal(send(0, header, 4000), 0);
    header[GSO] = 0x81;
    assert_int_equal(send(0, header, 4000), 0);
    header[GSO] = 77;
    assert_int_equal(send(0, header, 4000), 0);
    assert_false(broken());
    /* Not negotiated at all. */
    make(PACKET_CHECKSUM, 1, 0);
    header[GSO] = 0;
    assert_int_equal(send(0, header, FRAME), 0);
}

/* A network that is full keeps the frame in the queue; nothing is lost, nothing is doubled. */
static void test_transmit_waits(void **state)
{
    uint16_t id;
    uint32_t length;

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make(0, 1, packed ? VIRTIO_F_RING_PACKED : 0);
        net.full = true;
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(send(0, NULL, FRAME), 0);
        assert_false(bench_used(&bench, TX, &id, &length));
        assert_int_equal(device.virtio.held, 0);
        net.full = false;
        net.network.sendable(net.network.device, 0);
        assert_int_equal(net.sent, 3);
        net.network.sendable(net.network.device, 0);
        net.network.sendable(net.network.device, 5);
        assert_int_equal(net.sent, 3);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(used(TX), 0);
    }
}

static void test_receive(void **state)
{
    const struct bench_buffer buffer = {DATA, 2000, true};
    struct packet packet = {0};
    const uint8_t *data;

    (void)state;
    make(PACKET_CHECKSUM | PACKET_TCP4, 1, VIRTIO_NET_F_GUEST_CSUM);
    data = bench_at(&bench, DATA);
    assert_false(receive(0, &packet, FRAME));
    (void)bench_add(&bench, RX, &buffer, 1);
    bench_kick(&bench, RX);
    assert_int_equal(net.drained, 1);
    packet.checksum_valid = true;
    assert_true(receive(0, &packet, FRAME));
    assert_int_equal(used(RX), HEADER + FRAME);
    assert_int_equal(data[FLAGS], 2);
    assert_int_equal(load_le(data + BUFFERS, 2), 1);
    assert_int_equal(data[HEADER + FRAME - 1], (uint8_t)((FRAME - 1) * 11));
    assert_int_equal(bench.messages[RX + 1], 1);
    /* Needs a checksum: said where. */
    (void)bench_add(&bench, RX, &buffer, 1);
    packet = (struct packet){.needs_checksum = true, .checksum_start = 34, .checksum_offset = 6};
    assert_true(receive(0, &packet, FRAME));
    assert_int_equal(used(RX), HEADER + FRAME);
    assert_int_equal(data[FLAGS], 1);
    assert_int_equal(load_le(data + CSUM_START, 2), 34);
    /* What the guest did not agree to is dropped: no buffer is used. */
    (void)bench_add(&bench, RX, &buffer, 1);
    packet = (struct packet){.needs_checksum = true, .cut = PACKET_CUT_TCP4, .cut_size = 1000};
    assert_true(receive(0, &packet, 1500));
    packet = (struct packet){0};
    assert_true(receive(0, &packet, PACKET_MOST + 1));
    assert_true(receive(0, &packet, 1989)); /* one byte too many for the buffer */
    assert_true(receive(0, &packet, 1988));
    assert_int_equal(used(RX), 2000);
}

/* Several small buffers make one frame, in both ring forms; too few make none, and wait. */
static void test_merged(void **state)
{
    struct packet packet = {0};
    uint16_t id;
    uint32_t length;

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make(0, 1, VIRTIO_NET_F_MRG_RXBUF | (packed ? VIRTIO_F_RING_PACKED : 0));
        for (unsigned i = 0; i < 3; i++) {
            const struct bench_buffer buffer = {DATA + 0x1000 * i, 500, true};

            (void)bench_add(&bench, RX, &buffer, 1);
        }
        bench_kick(&bench, RX);
        net.drained = 0;
        assert_false(receive(0, &packet, 1489));
        assert_int_equal(device.virtio.held, 0);
        assert_false(bench_used(&bench, RX, &id, &length));
        assert_true(receive(0, &packet, 1300));
        assert_int_equal(load_le((uint8_t *)bench_at(&bench, DATA) + BUFFERS, 2), 3);
        assert_int_equal(used(RX), 500);
        assert_int_equal(used(RX), 500);
        assert_int_equal(used(RX), 312);
        for (size_t i = 0; i < 1300; i++) {
            size_t at = HEADER + i;

            assert_int_equal(*(uint8_t *)bench_at(&bench, DATA + 0x1000 * (at / 500) + at % 500), (uint8_t)(i * 11));
        }
        assert_int_equal(bench.messages[RX + 1], 1);
    }
    /* A first buffer that has no room for the header will never do. */
    make(0, 1, VIRTIO_NET_F_MRG_RXBUF);
    for (unsigned i = 0; i < 10; i++) {
        const struct bench_buffer buffer = {DATA, 11, true};

        (void)bench_add(&bench, RX, &buffer, 1);
    }
    assert_true(receive(0, &packet, FRAME));
    assert_false(bench_used(&bench, RX, &id, &length));
}

/* A network that answers while it is spoken to, into several buffers. */
static void test_echo(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make(0, 1, VIRTIO_NET_F_MRG_RXBUF | (packed ? VIRTIO_F_RING_PACKED : 0));
        net.echoes = true;
        for (unsigned i = 0; i < 4; i++) {
            const struct bench_buffer buffer = {DATA + 0x10000 + 0x1000 * i, 100, true};

            (void)bench_add(&bench, RX, &buffer, 1);
        }
        assert_int_equal(send(0, NULL, 300), 1);
        assert_int_equal(used(TX), 0);
        assert_int_equal(used(RX) + used(RX) + used(RX) + used(RX), HEADER + 300);
        assert_memory_equal((char *)bench_at(&bench, DATA + 0x10000) + HEADER, (char *)bench_at(&bench, DATA) + HEADER,
                            100 - HEADER);
    }
}

static void test_link(void **state)
{
    const struct bench_buffer buffer = {DATA, 2000, true};
    struct packet packet = {0};

    (void)state;
    make(0, 1, 0);
    virtio_net_set_link(&device, false);
    assert_int_equal(bench.messages[0], 1);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 6, 2), 0);
    assert_int_equal(send(0, NULL, FRAME), 0);
    assert_int_equal(used(TX), 0);
    (void)bench_add(&bench, RX, &buffer, 1);
    assert_true(receive(0, &packet, FRAME)); /* and dropped */
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(device.state.link_up, 0);
    virtio_net_set_link(&device, true);
    bench_start(&bench, 0, SIZE);
    assert_int_equal(send(0, NULL, FRAME), 1);
}

/* A command and its answer; answers the latter. */
static unsigned control(unsigned queue, unsigned class, unsigned command, const void *data, uint32_t size)
{
    const struct bench_buffer buffers[] = {{DATA, 2 + size, false}, {ANSWER, 1, true}};
    uint8_t *bytes = bench_at(&bench, DATA);

    bytes[0] = (uint8_t) class;
    bytes[1] = (uint8_t)command;
    memcpy(bytes + 2, data, size);
    *(uint8_t *)bench_at(&bench, ANSWER) = 0xee;
    (void)bench_add(&bench, queue, buffers, 2);
    bench_kick(&bench, queue);
    assert_int_equal(used(queue), 1);
    return *(uint8_t *)bench_at(&bench, ANSWER);
}

static void test_control(void **state)
{
    static const uint8_t one = 1, tables[] = {1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0};
    static const uint8_t long_table[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0};
    static const uint8_t vlan[] = {0xff, 0x0f}, no_vlan[] = {0, 0x10}, other[] = {2, 4, 6, 8, 10, 12};
    uint64_t features =
        VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_CTRL_MAC_ADDR;

    (void)state;
    make(0, 4, features);
    assert_int_equal(control(2, 0, 0, &one, 1), 0);
    assert_int_equal(control(2, 0, 1, &one, 1), 0);
    assert_int_equal(control(2, 0, 2, &one, 1), 1);
    assert_int_equal(control(2, 0, 0, &one, 0), 1);
    assert_int_equal(control(2, 1, 0, tables, sizeof(tables)), 0);
    assert_int_equal(control(2, 1, 0, tables, sizeof(tables) - 1), 1);
    assert_int_equal(control(2, 1, 0, long_table, sizeof(long_table)), 1);
    assert_int_equal(control(2, 2, 0, vlan, 2), 0);
    assert_int_equal(control(2, 2, 1, vlan, 2), 0);
    assert_int_equal(control(2, 2, 0, no_vlan, 2), 1);
    assert_int_equal(control(2, 1, 1, other, 6), 0);
    assert_memory_equal(device.state.mac, other, 6);
    assert_int_equal(control(2, 4, 0, "\2", 2), 1); /* several pairs were not negotiated */
    assert_int_equal(control(2, 9, 0, other, 6), 1);
    virtio_reset(&device.virtio.device);
    assert_memory_equal(device.state.mac, mac, 6);
}

static void test_pairs(void **state)
{
    const struct bench_buffer buffer = {DATA, 2000, true};
    struct packet packet = {0};

    (void)state;
    make(0, 4, VIRTIO_NET_F_CTRL_VQ | VIRTIO_NET_F_MQ);
    assert_int_equal(net.pairs, 1);
    assert_int_equal(control(8, 4, 0, "\5", 2), 1);
    assert_int_equal(control(8, 4, 0, "\0", 2), 1);
    assert_int_equal(control(8, 4, 0, "\3", 2), 0);
    assert_int_equal(net.pairs, 3);
    assert_int_equal(send(2, NULL, FRAME), 1);
    assert_int_equal(net.last_pair, 2);
    (void)bench_add(&bench, 4, &buffer, 1);
    assert_true(receive(2, &packet, FRAME));
    assert_int_equal(used(4), HEADER + FRAME);
    assert_false(receive(1, &packet, FRAME));
    net.drained = 0;
    bench_kick(&bench, 2);
    assert_int_equal(net.drained, BIT(1));
}

static void test_configured(void **state)
{
    (void)state;
    make(PACKET_CHECKSUM | PACKET_TCP4 | PACKET_TCP6, 1, VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO6);
    assert_int_equal(net.abilities, PACKET_CHECKSUM | PACKET_TCP6);
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(net.abilities, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_transmit),
        cmocka_unit_test(test_transmit_offloads),
        cmocka_unit_test(test_transmit_waits),
        cmocka_unit_test(test_receive),
        cmocka_unit_test(test_merged),
        cmocka_unit_test(test_link),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_configured),
        cmocka_unit_test(test_echo),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
