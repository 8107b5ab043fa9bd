/* The socket device: calls in both directions, windows, ends, and guests that do not keep to the rules. */
#include "unit.h"

#include <string.h>

#include "base/bits.h"
#include "dev/virtio/vsock.h"
#include "fake_port.h"
#include "virtio_bench.h"

enum { SIZE = 64, CID = 42, HEADER = 44, TX_DATA = BENCH_DATA, RX_DATA = BENCH_DATA + 0x40000, RX_SIZE = 1024 };
enum { RX, TX, EVENT };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };

static struct {
    struct vsock_world world;
    bool accepts; /* at once */
    unsigned connects, opens, closes, finishes, drains;
    unsigned connection; /* the last that was spoken of */
    uint32_t port;
    uint8_t bytes[VSOCK_WINDOW];
    size_t size;
} world;

static struct virtio_vsock vsock;
static struct bench bench;
static uint16_t rx_buffers[VIRTIO_QUEUE_SIZE]; /* where the buffer of an identifier is */
static unsigned rx_next;

static void on_connect(struct vsock_world *self, unsigned connection, uint32_t port)
{
    world.connects++;
    world.connection = connection;
    world.port = port;
    if (world.accepts)
        self->accepted(self->device, connection);
}

static void on_opened(struct vsock_world *self, unsigned connection)
{
    (void)self;
    world.opens++;
    world.connection = connection;
}

static void on_send(struct vsock_world *self, unsigned connection, const void *bytes, size_t size)
{
    (void)self;
    assert_int_equal(connection, world.connection);
    assert_true(size <= sizeof(world.bytes) - world.size);
    memcpy(world.bytes + world.size, bytes, size);
    world.size += size;
}

static void on_drained(struct vsock_world *self, unsigned connection)
{
    (void)self;
    world.drains++;
    world.connection = connection;
}

static void on_finished(struct vsock_world *self, unsigned connection)
{
    (void)self;
    world.finishes++;
    world.connection = connection;
}

static void on_close(struct vsock_world *self, unsigned connection)
{
    (void)self;
    world.closes++;
    world.connection = connection;
}

static void make(void)
{
    memset(&world, 0, sizeof(world));
    memset(&vsock, 0, sizeof(vsock));
    rx_next = 0;
    world.world = (struct vsock_world){
        .connect = on_connect,
        .opened = on_opened,
        .send = on_send,
        .drained = on_drained,
        .finished = on_finished,
        .close = on_close,
    };
    world.accepts = true;
    virtio_vsock_init(&vsock, &world.world, CID);
    bench_init(&bench, &vsock.virtio);
    bench_use_msix(&bench);
    bench_start(&bench, 1, SIZE);
    (void)fake_log_count();
}

static void give_buffers(unsigned count)
{
    while (count-- > 0) {
        const struct bench_buffer buffer = {RX_DATA + (uint64_t)rx_next * RX_SIZE, RX_SIZE, true};

        rx_buffers[bench_add(&bench, RX, &buffer, 1)] = (uint16_t)rx_next;
        rx_next = (rx_next + 1) % SIZE;
    }
    bench_kick(&bench, RX);
}

static void packet(uint64_t cid, uint32_t guest_port, uint32_t world_port, unsigned operation, uint32_t length,
                   uint32_t flags, uint32_t window, uint32_t forwarded)
{
    const struct bench_buffer buffers[] = {{TX_DATA, HEADER, false}, {TX_DATA + 0x1000, length ? length : 1, false}};
    uint8_t *at = bench_at(&bench, TX_DATA);
    uint16_t id;
    uint32_t used;

    store_le(at, 8, cid);
    store_le(at + 8, 8, 2);
    store_le(at + 16, 4, guest_port);
    store_le(at + 20, 4, world_port);
    store_le(at + 24, 4, length);
    store_le(at + 28, 2, 1);
    store_le(at + 30, 2, operation);
    store_le(at + 32, 4, flags);
    store_le(at + 36, 4, window);
    store_le(at + 40, 4, forwarded);
    (void)bench_add(&bench, TX, buffers, length ? 2 : 1);
    bench_kick(&bench, TX);
    (void)bench_used(&bench, TX, &id, &used);
}

static void say(unsigned operation, uint32_t length)
{
    packet(CID, 1000, 80, operation, length, 0, 4096, 0);
}

static struct {
    uint32_t world_port, guest_port, length, flags, window, forwarded;
    const uint8_t *bytes;
} got;

/* The operation of the next packet for the guest; 0: there is none. */
static unsigned next(void)
{
    const uint8_t *at;
    uint16_t id;
    uint32_t used;

    if (!bench_used(&bench, RX, &id, &used))
        return 0;
    at = bench_at(&bench, RX_DATA + (uint64_t)rx_buffers[id] * RX_SIZE);
    assert_int_equal(load_le(at, 8), 2);
    assert_int_equal(load_le(at + 28, 2), 1);
    got.world_port = (uint32_t)load_le(at + 16, 4);
    got.guest_port = (uint32_t)load_le(at + 20, 4);
    got.length = (uint32_t)load_le(at + 24, 4);
    got.flags = (uint32_t)load_le(at + 32, 4);
    got.window = (uint32_t)load_le(at + 36, 4);
    got.forwarded = (uint32_t)load_le(at + 40, 4);
    got.bytes = at + HEADER;
    assert_int_equal(used, HEADER + got.length);
    return (unsigned)load_le(at + 30, 2);
}

static void connect(void)
{
    say(REQUEST, 0);
    assert_int_equal(next(), RESPONSE);
}

static void test_guest_calls(void **state)
{
    (void)state;
    make();
    give_buffers(8);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG, 8), CID);
    connect();
    assert_int_equal(world.port, 80);
    assert_int_equal(got.guest_port, 1000);
    assert_int_equal(got.world_port, 80);
    assert_int_equal(got.window, VSOCK_WINDOW);
    memcpy(bench_at(&bench, TX_DATA + 0x1000), "hello", 5);
    say(RW, 5);
    assert_int_equal(world.size, 5);
    assert_memory_equal(world.bytes, "hello", 5);
    assert_int_equal(world.world.receive(&vsock, world.connection, "answer", 6), 6);
    assert_int_equal(next(), RW);
    assert_int_equal(got.length, 6);
    assert_memory_equal(got.bytes, "answer", 6);
    /* The guest goes: first one way, then both. */
    packet(CID, 1000, 80, SHUTDOWN, 0, 2, 4096, 6);
    assert_int_equal(world.finishes, 1);
    packet(CID, 1000, 80, SHUTDOWN, 0, 3, 4096, 6);
    assert_int_equal(world.closes, 1);
    assert_int_equal(next(), RST);
    say(RW, 5);
    assert_int_equal(next(), RST);
    assert_int_equal(world.size, 5);
}

static void test_refused(void **state)
{
    (void)state;
    make();
    give_buffers(8);
    world.accepts = false;
    say(REQUEST, 0);
    assert_int_equal(world.connects, 1);
    assert_int_equal(next(), 0);
    world.world.hang_up(&vsock, world.connection);
    assert_int_equal(next(), RST);
    assert_int_equal(world.closes, 0);
    /* Data before the world has answered. */
    say(REQUEST, 0);
    say(RW, 5);
    assert_int_equal(world.closes, 1);
    assert_int_equal(next(), RST);
}

static void test_world_calls(void **state)
{
    int connection;

    (void)state;
    make();
    connection = world.world.open(&vsock, 22);
    assert_true(connection >= 0);
    assert_int_equal(next(), 0); /* no buffers yet */
    give_buffers(3);
    assert_int_equal(next(), REQUEST);
    assert_int_equal(got.guest_port, 22);
    assert_int_equal(world.world.receive(&vsock, (unsigned)connection, "early", 5), 0);
    packet(CID, 22, got.world_port, RESPONSE, 0, 0, 4096, 0);
    assert_int_equal(world.opens, 1);
    assert_int_equal(world.connection, connection);
    assert_int_equal(world.world.receive(&vsock, (unsigned)connection, "now", 3), 3);
    assert_int_equal(next(), RW);
    world.world.finish(&vsock, (unsigned)connection);
    assert_int_equal(next(), SHUTDOWN);
    assert_int_equal(got.flags, 2);
    world.world.hang_up(&vsock, (unsigned)connection);
    assert_int_equal(next(), 0);
    give_buffers(1);
    assert_int_equal(next(), SHUTDOWN);
    assert_int_equal(got.flags, 3);
    packet(CID, 22, got.world_port, RST, 0, 0, 4096, 0);
    assert_int_equal(world.closes, 0); /* the world left first */
    assert_int_equal(vsock.connections[connection].phase, VSOCK_FREE);
    /* Nobody listens. */
    connection = world.world.open(&vsock, 23);
    give_buffers(1);
    assert_int_equal(next(), REQUEST);
    packet(CID, 23, got.world_port, RST, 0, 0, 0, 0);
    assert_int_equal(world.closes, 1);
}

/* No more than the guest has room for, and buffers for. */
static void test_window_of_guest(void **state)
{
    static const uint8_t bytes[5000];

    (void)state;
    make();
    give_buffers(12);
    connect();
    assert_int_equal(world.world.receive(&vsock, world.connection, bytes, sizeof(bytes)), 4096);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(next(), RW);
        assert_int_equal(got.length, RX_SIZE - HEADER);
    }
    assert_int_equal(next(), RW);
    assert_int_equal(got.length, 4096 - 4 * (RX_SIZE - HEADER));
    packet(CID, 1000, 80, CREDIT_UPDATE, 0, 0, 4096, 4000);
    assert_int_equal(world.drains, 1);
    assert_int_equal(world.world.receive(&vsock, world.connection, bytes, sizeof(bytes)), 4000);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(next(), RW);
    /* The guest claims to have consumed what was never sent. */
    packet(CID, 1000, 80, CREDIT_UPDATE, 0, 0, 4096, 100000);
    assert_int_equal(world.world.receive(&vsock, world.connection, bytes, 1), 0);
    packet(CID, 1000, 80, CREDIT_UPDATE, 0, 0, 4096, 8096);
    /* Room, but not many buffers. */
    assert_int_equal(world.world.receive(&vsock, world.connection, bytes, 3000), RX_SIZE - HEADER);
    give_buffers(8);
    assert_int_equal(world.drains, 3);
}

/* The guest may send as much as the world holds, and hears when that has gone on. */
static void test_window_of_world(void **state)
{
    (void)state;
    make();
    give_buffers(8);
    connect();
    say(RW, VSOCK_WINDOW / 2);
    say(RW, VSOCK_WINDOW / 2);
    assert_int_equal(world.size, VSOCK_WINDOW);
    world.world.consumed(&vsock, world.connection, 100);
    assert_int_equal(next(), 0);
    world.world.consumed(&vsock, world.connection, VSOCK_WINDOW / 2);
    assert_int_equal(next(), CREDIT_UPDATE);
    assert_int_equal(got.forwarded, VSOCK_WINDOW / 2 + 100);
    say(CREDIT_REQUEST, 0);
    assert_int_equal(next(), CREDIT_UPDATE);
    world.size = 0;
    say(RW, VSOCK_WINDOW / 2 + 101);
    assert_int_equal(world.size, 0);
    assert_int_equal(world.closes, 1);
    assert_int_equal(next(), RST);
}

static void test_foreign_packets(void **state)
{
    (void)state;
    make();
    give_buffers(8);
    packet(CID + 1, 1000, 80, REQUEST, 0, 0, 4096, 0);
    assert_int_equal(next(), RST);
    assert_int_equal(world.connects, 0);
    say(RST, 0);
    assert_int_equal(next(), 0);
    say(99, 0);
    assert_int_equal(next(), RST);
    connect();
    say(RESPONSE, 0);
    assert_int_equal(next(), RST);
    assert_int_equal(world.closes, 1);
}

/* A length that is not there. */
static void test_short_packet(void **state)
{
    const struct bench_buffer buffer = {TX_DATA, HEADER, false}, stub = {TX_DATA, HEADER - 1, false};
    uint8_t *at;

    (void)state;
    make();
    give_buffers(8);
    connect();
    at = bench_at(&bench, TX_DATA);
    store_le(at + 24, 4, 0xffffffff);
    store_le(at + 30, 2, RW);
    (void)bench_add(&bench, TX, &buffer, 1);
    (void)bench_add(&bench, TX, &stub, 1);
    bench_kick(&bench, TX);
    assert_int_equal(world.size, 0);
    assert_int_equal(next(), RST);
    assert_int_equal(next(), 0);
    assert_int_equal(vsock.virtio.held, 0);
}

/* Without buffers for answers nothing more is taken; with them all of it is answered. */
static void test_answers_wait(void **state)
{
    unsigned answers = 0;

    (void)state;
    make();
    for (unsigned i = 0; i < 2 * SIZE; i++)
        say(RW, 0);
    assert_true(vsock.blocked);
    assert_int_equal(vsock.reply_count, VIRTIO_VSOCK_REPLIES);
    for (unsigned i = 0; i < 4; i++) {
        give_buffers(32);
        while (next() == RST)
            answers++;
    }
    assert_false(vsock.blocked);
    assert_int_equal(answers, VIRTIO_VSOCK_REPLIES + SIZE);
}

static void test_many(void **state)
{
    (void)state;
    make();
    for (unsigned i = 0; i <= VSOCK_CONNECTIONS; i++) {
        give_buffers(1);
        packet(CID, i, 80, REQUEST, 0, 0, 4096, 0);
        assert_int_equal(next(), i < VSOCK_CONNECTIONS ? RESPONSE : RST);
    }
    assert_int_equal(world.connects, VSOCK_CONNECTIONS);
    assert_true(world.world.open(&vsock, 1) < 0);
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(world.closes, VSOCK_CONNECTIONS);
    assert_true(world.world.open(&vsock, 1) < 0); /* no driver */
}

/* A pause changes nothing; a state from elsewhere ends all connections, and the guest is told. */
static void test_saved(void **state)
{
    const struct bench_buffer buffer = {TX_DATA, 4, true};
    const struct device_type *type;
    uint16_t id;
    uint32_t length;

    (void)state;
    make();
    type = vsock.virtio.device.type;
    give_buffers(8);
    connect();
    (void)bench_add(&bench, EVENT, &buffer, 1);
    bench_kick(&bench, EVENT);
    type->quiesce(&vsock.virtio.device);
    type->resume(&vsock.virtio.device);
    assert_int_equal(world.closes, 0);
    assert_false(bench_used(&bench, EVENT, &id, &length));
    type->quiesce(&vsock.virtio.device);
    vsock.state.rest ^= 2;
    type->resume(&vsock.virtio.device);
    assert_int_equal(world.closes, 1);
    assert_true(bench_used(&bench, EVENT, &id, &length));
    assert_int_equal(length, 4);
    assert_int_equal(load_le(bench_at(&bench, TX_DATA), 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest_calls),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_world_calls),
        cmocka_unit_test(test_window_of_guest),
        cmocka_unit_test(test_window_of_world),
        cmocka_unit_test(test_foreign_packets),
        cmocka_unit_test(test_short_packet),
        cmocka_unit_test(test_answers_wait),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_saved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
