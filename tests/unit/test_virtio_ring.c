/* Rings of both forms: buffers there and back, wrapping, events, and drivers that break the rules. */
#include "unit.h"

#include <string.h>

#include "base/bits.h"
#include "dev/virtio/virtio.h"
#include "fake_port.h"
#include "virtio_bench.h"

enum { SIZE = 8, DATA = BENCH_DATA };

/* A device that upper-cases what it is given, or keeps buffers until it is told. */
struct gadget_state {
    struct virtio_state virtio;
};

static struct gadget {
    struct virtio virtio;
    struct gadget_state state;
    bool keep;
    unsigned kept, notified;
    struct virtio_chain chain, held[SIZE];
} gadget;

static struct bench bench;

static const struct state_field gadget_fields[] = {VIRTIO_STATE_FIELDS(struct gadget_state, virtio, 1)};
static const struct state_schema gadget_schema = {
    .name = "gadget",
    .version = 1,
    .fields = gadget_fields,
    .field_count = ARRAY_LENGTH(gadget_fields),
    .size = sizeof(struct gadget_state),
};

static void gadget_notify(struct virtio *virtio, unsigned queue)
{
    gadget.notified++;
    while (virtio_queue_pop(virtio, queue, &gadget.chain)) {
        uint8_t bytes[512];
        size_t size = virtio_chain_read(&gadget.chain, 0, bytes, sizeof(bytes));

        if (gadget.keep) {
            gadget.held[gadget.kept++] = gadget.chain;
            continue;
        }
        for (size_t i = 0; i < size; i++)
            bytes[i] ^= 0x20;
        size = virtio_chain_write(&gadget.chain, 0, bytes, size);
        virtio_queue_push(virtio, &gadget.chain, (uint32_t)size);
    }
    virtio_queue_flush(virtio, queue);
}

static const struct device_type gadget_type = {
    .name = "gadget",
    .schema = &gadget_schema,
    .state_offset = offsetof(struct gadget, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = virtio_quiesce,
    .resume = virtio_resume,
};
static const struct virtio_ops gadget_ops = {.notify = gadget_notify};
static const struct virtio_kind gadget_kind = {.type = 42, .class_code = 0xff0000, .ops = &gadget_ops};

static void make(uint64_t features)
{
    memset(&gadget, 0, sizeof(gadget));
    virtio_init(&gadget.virtio, &gadget_type, &gadget_kind, &gadget.state.virtio, 0, 2);
    bench_init(&bench, &gadget.virtio);
    bench_use_msix(&bench);
    bench_start(&bench, features, SIZE);
    (void)fake_log_count();
}

static bool broken(void)
{
    return bench_status(&bench) & VIRTIO_STATUS_NEEDS_RESET;
}

/* Two pieces to read, two to write, with a number in the text. */
static void round_trip(unsigned queue, unsigned number)
{
    const struct bench_buffer buffers[] = {
        {DATA, 3, false}, {DATA + 0x100, 5, false}, {DATA + 0x200, 6, true}, {DATA + 0x300, 100, true}};
    char text[9] = "abcdefgh";
    uint32_t length;
    uint16_t id, used;

    text[7] = (char)('a' + number % 26);
    memcpy(bench_at(&bench, DATA), text, 3);
    memcpy(bench_at(&bench, DATA + 0x100), text + 3, 5);
    id = bench_add(&bench, queue, buffers, 4);
    bench_kick(&bench, queue);
    assert_true(bench_used(&bench, queue, &used, &length));
    assert_int_equal(used, id);
    assert_int_equal(length, 8);
    assert_memory_equal(bench_at(&bench, DATA + 0x200), "ABCDEF", 6);
    assert_int_equal(*(char *)bench_at(&bench, DATA + 0x300), 'G');
    assert_int_equal(*(char *)bench_at(&bench, DATA + 0x301), text[7] ^ 0x20);
    assert_false(bench_used(&bench, queue, &used, &length));
}

/* Every combination of form, indirect tables and event index; often enough to wrap many times. */
static void test_round_trips(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 8; variant++) {
        make((variant & 1 ? VIRTIO_F_RING_PACKED : 0) | (variant & 2 ? VIRTIO_F_INDIRECT_DESC : 0) |
             (variant & 4 ? VIRTIO_F_EVENT_IDX : 0));
        for (unsigned queue = 0; queue < 2; queue++) {
            bench.queues[queue].indirect = variant & 2;
            for (unsigned i = 0; i < 50; i++)
                round_trip(queue, i);
        }
        assert_false(broken());
        assert_int_equal(fake_log_count(), 0);
    }
}

/* A split ring's indices are 16 bits and wrap at 65536, in the middle of a ring of any size. */
static void test_index_wraps(void **state)
{
    (void)state;
    make(VIRTIO_F_EVENT_IDX);
    for (unsigned i = 0; i < 65536 + 20; i++)
        round_trip(0, i);
}

/* Buffers that the device holds come back in another order. */
static void test_out_of_order(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        const struct bench_buffer buffer = {DATA, 4, true};
        uint16_t ids[4], id;
        uint32_t length;

        make(packed ? VIRTIO_F_RING_PACKED : 0);
        gadget.keep = true;
        for (unsigned i = 0; i < 4; i++)
            ids[i] = bench_add(&bench, 0, &buffer, 1);
        bench_kick(&bench, 0);
        assert_int_equal(gadget.kept, 4);
        assert_int_equal(gadget.virtio.held, 4);
        for (unsigned i = 4; i-- > 0;) {
            virtio_queue_push(&gadget.virtio, &gadget.held[i], i);
            virtio_queue_flush(&gadget.virtio, 0);
            assert_true(bench_used(&bench, 0, &id, &length));
            assert_int_equal(id, ids[i]);
            assert_int_equal(length, i);
        }
        assert_int_equal(gadget.virtio.held, 0);
        gadget.keep = false;
        for (unsigned i = 0; i < 20; i++)
            round_trip(0, i);
    }
}

static void test_unpop(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        const struct bench_buffer buffers[] = {{DATA, 4, false}, {DATA, 4, true}, {DATA, 8, true}};

        make(packed ? VIRTIO_F_RING_PACKED : 0);
        for (unsigned i = 0; i < 7; i++)
            round_trip(0, i);
        gadget.keep = true;
        (void)bench_add(&bench, 0, buffers, 3);
        (void)bench_add(&bench, 0, buffers, 2);
        bench_kick(&bench, 0);
        assert_int_equal(gadget.kept, 2);
        virtio_queue_unpop(&gadget.virtio, &gadget.held[1].ticket);
        virtio_queue_unpop(&gadget.virtio, &gadget.held[0].ticket);
        gadget.kept = 0;
        bench_kick(&bench, 0);
        assert_int_equal(gadget.kept, 2);
        assert_int_equal(gadget.held[0].writable, 2);
        assert_int_equal(gadget.held[1].writable, 1);
    }
}

/* Without the event index: a flag; with it: at the index that the driver names. */
static void test_interrupts(void **state)
{
    uint8_t *driver;
    unsigned before;

    (void)state;
    make(0);
    round_trip(0, 0);
    assert_int_equal(bench.messages[1], 1);
    driver = bench_at(&bench, bench_area(0, 1));
    store_le(driver, 2, VIRTIO_AVAIL_NO_INTERRUPT);
    round_trip(0, 1);
    assert_int_equal(bench.messages[1], 1);

    make(VIRTIO_F_EVENT_IDX);
    driver = bench_at(&bench, bench_area(0, 1));
    round_trip(0, 0);
    before = bench.messages[1];
    store_le(driver + 4 + 2 * SIZE, 2, 3); /* used_event: when the fourth is used */
    round_trip(0, 1);
    round_trip(0, 2);
    assert_int_equal(bench.messages[1], before);
    round_trip(0, 3);
    assert_int_equal(bench.messages[1], before + 1);
    round_trip(0, 4);
    assert_int_equal(bench.messages[1], before + 1);

    make(VIRTIO_F_RING_PACKED);
    driver = bench_at(&bench, bench_area(1, 1));
    store_le(driver + 2, 2, VIRTIO_EVENT_DISABLE);
    round_trip(1, 0);
    assert_int_equal(bench.messages[2], 0);
    store_le(driver + 2, 2, VIRTIO_EVENT_ENABLE);
    round_trip(1, 1);
    assert_int_equal(bench.messages[2], 1);
}

static void test_packed_event(void **state)
{
    const struct bench_buffer buffer = {DATA, 4, true};
    uint8_t *driver;
    unsigned before;

    (void)state;
    make(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX);
    driver = bench_at(&bench, bench_area(0, 1));
    (void)bench_add(&bench, 0, &buffer, 1);
    bench_kick(&bench, 0);
    before = bench.messages[1];
    store_le(driver, 2, VIRTIO_WRAP | 3); /* when descriptor 3 is used, in the first round */
    store_le(driver + 2, 2, VIRTIO_EVENT_DESC);
    for (unsigned i = 1; i < 3; i++) {
        (void)bench_add(&bench, 0, &buffer, 1);
        bench_kick(&bench, 0);
        assert_int_equal(bench.messages[1], before);
    }
    (void)bench_add(&bench, 0, &buffer, 1);
    bench_kick(&bench, 0);
    assert_int_equal(bench.messages[1], before + 1);
    (void)bench_add(&bench, 0, &buffer, 1);
    bench_kick(&bench, 0);
    assert_int_equal(bench.messages[1], before + 1);
}

/* The device says where it wants to be notified: behind what it has seen. */
static void test_avail_event(void **state)
{
    (void)state;
    make(VIRTIO_F_EVENT_IDX);
    round_trip(0, 0);
    round_trip(0, 1);
    assert_int_equal(load_le((uint8_t *)bench_at(&bench, bench_area(0, 2)) + 4 + 8 * SIZE, 2), 2);
    make(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED);
    round_trip(0, 0); /* 4 descriptors */
    assert_int_equal(load_le(bench_at(&bench, bench_area(0, 2)), 2), VIRTIO_WRAP | 4);
    assert_int_equal(load_le((uint8_t *)bench_at(&bench, bench_area(0, 2)) + 2, 2), VIRTIO_EVENT_DESC);
}

/* --- drivers that break the rules --- */

/* One chain made by hand in the split ring: the device must refuse it, say so once, and take nothing more. */
static void expect_refused(void)
{
    uint16_t id;
    uint32_t length;

    bench_kick(&bench, 0);
    assert_true(broken());
    assert_int_equal(fake_log_count(), 1);
    assert_int_equal(bench.messages[0], 1); /* the configuration's interrupt */
    assert_false(bench_used(&bench, 0, &id, &length));
    bench_kick(&bench, 0);
    assert_int_equal(fake_log_count(), 0);
    /* A reset heals it. */
    gadget.notified = 0;
    bench_start(&bench, VIRTIO_F_INDIRECT_DESC | (bench.packed ? VIRTIO_F_RING_PACKED : 0), SIZE);
    round_trip(0, 0);
}

static void available(unsigned head)
{
    uint8_t *driver = bench_at(&bench, bench_area(0, 1));

    store_le(driver + 4, 2, head);
    store_le(driver + 2, 2, 1);
}

static void hostile(struct bench_buffer first, unsigned flags, unsigned next)
{
    make(VIRTIO_F_INDIRECT_DESC);
    bench_descriptor(&bench, bench_area(0, 0), 0, &first, flags, next);
    available(0);
    expect_refused();
}

static void test_hostile_split(void **state)
{
    const struct bench_buffer good = {DATA, 16, false};

    (void)state;
    hostile((struct bench_buffer){BENCH_RAM - 4, 8, false}, 0, 0);
    hostile((struct bench_buffer){~0ull - 4, 8, true}, 0, 0);
    hostile((struct bench_buffer){DATA, 0, false}, 0, 0);
    hostile((struct bench_buffer){DATA, 0xffffffff, true}, 0, 0);
    hostile(good, VIRTIO_DESC_NEXT, 0);    /* a loop */
    hostile(good, VIRTIO_DESC_NEXT, SIZE); /* out of the table */
    hostile((struct bench_buffer){DATA, 15, false}, VIRTIO_DESC_INDIRECT, 0);
    hostile((struct bench_buffer){DATA, 0, false}, VIRTIO_DESC_INDIRECT, 0);
    hostile((struct bench_buffer){BENCH_RAM, 16, false}, VIRTIO_DESC_INDIRECT, 0);
    hostile(good, VIRTIO_DESC_INDIRECT | VIRTIO_DESC_NEXT, 1);

    make(VIRTIO_F_INDIRECT_DESC);
    available(SIZE);
    expect_refused();

    /* More than the ring has. */
    make(0);
    store_le((uint8_t *)bench_at(&bench, bench_area(0, 1)) + 2, 2, SIZE + 1);
    expect_refused();
}

/* To write, then to read. */
static void test_hostile_order(void **state)
{
    const struct bench_buffer buffers[] = {{DATA, 4, true}, {DATA, 4, false}};

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        make(VIRTIO_F_INDIRECT_DESC | (packed ? VIRTIO_F_RING_PACKED : 0));
        (void)bench_add(&bench, 0, buffers, 2);
        expect_refused();
    }
}

/* A table in a table; a table that was not negotiated; more pieces than a chain can have. */
static void test_hostile_indirect(void **state)
{
    const struct bench_buffer table = {DATA, 16, false}, piece = {DATA, 1, true};
    const struct bench_buffer large = {DATA + 0x1000, (VIRTIO_SEGMENTS + 1) * VIRTIO_DESC_SIZE, false};

    (void)state;
    make(VIRTIO_F_INDIRECT_DESC);
    bench_descriptor(&bench, DATA, 0, &table, VIRTIO_DESC_INDIRECT, 0);
    bench_descriptor(&bench, bench_area(0, 0), 0, &table, VIRTIO_DESC_INDIRECT, 0);
    available(0);
    expect_refused();

    make(0);
    bench_descriptor(&bench, bench_area(0, 0), 0, &table, VIRTIO_DESC_INDIRECT, 0);
    available(0);
    expect_refused();

    for (unsigned packed = 0; packed < 2; packed++) {
        make(VIRTIO_F_INDIRECT_DESC | (packed ? VIRTIO_F_RING_PACKED : 0));
        for (unsigned i = 0; i <= VIRTIO_SEGMENTS; i++)
            bench_descriptor(&bench, DATA + 0x1000, i, &piece, packed ? 0 : VIRTIO_DESC_NEXT, i + 1);
        bench_descriptor(&bench, bench_area(0, 0), 0, &large,
                         VIRTIO_DESC_INDIRECT | (packed ? (unsigned)VIRTIO_DESC_AVAIL : 0), 0);
        if (!packed)
            available(0);
        expect_refused();
    }
}

/* All descriptors of a packed ring linked to the next: a chain without end. */
static void test_hostile_packed(void **state)
{
    const struct bench_buffer good = {DATA, 4, true}, outside = {BENCH_RAM, 4, true};

    (void)state;
    make(VIRTIO_F_RING_PACKED);
    for (unsigned i = 0; i < SIZE; i++)
        bench_descriptor(&bench, bench_area(0, 0), i, &good, VIRTIO_DESC_AVAIL | VIRTIO_DESC_NEXT, i);
    expect_refused();

    make(VIRTIO_F_RING_PACKED);
    (void)bench_add(&bench, 0, &outside, 1);
    expect_refused();
}

/* A driver that makes a descriptor available again while the device holds it gets nothing twice. */
static void test_hostile_reuse(void **state)
{
    const struct bench_buffer good = {DATA, 4, true};

    (void)state;
    make(VIRTIO_F_RING_PACKED);
    gadget.keep = true;
    for (unsigned i = 0; i < SIZE; i++)
        (void)bench_add(&bench, 0, &good, 1);
    bench_kick(&bench, 0);
    assert_int_equal(gadget.kept, SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        (void)bench_add(&bench, 0, &good, 1);
    bench_kick(&bench, 0);
    assert_int_equal(gadget.kept, SIZE);
    assert_false(broken());

    make(0);
    gadget.keep = true;
    for (unsigned i = 0; i < SIZE; i++)
        (void)bench_add(&bench, 0, &good, 1);
    bench_kick(&bench, 0);
    (void)bench_add(&bench, 0, &good, 1);
    bench_kick(&bench, 0);
    assert_int_equal(gadget.kept, SIZE);
    assert_true(broken());
}

/* A ring that is refilled while it is emptied holds the machine no longer than its size; the timer goes on. */
static unsigned refills;

static void refill_notify(struct virtio *virtio, unsigned queue)
{
    const struct bench_buffer buffer = {DATA, 4, true};

    while (virtio_queue_pop(virtio, queue, &gadget.chain)) {
        refills++;
        (void)bench_add(&bench, queue, &buffer, 1);
        virtio_queue_push(virtio, &gadget.chain, 4);
        virtio_queue_flush(virtio, queue);
    }
}

static void test_budget(void **state)
{
    static const struct virtio_ops ops = {.notify = refill_notify};
    struct virtio_kind kind = gadget_kind;
    const struct bench_buffer buffer = {DATA, 4, true};

    (void)state;
    kind.ops = &ops;
    make(0);
    gadget.virtio.kind = &kind;
    refills = 0;
    (void)bench_add(&bench, 0, &buffer, 1);
    bench_kick(&bench, 0);
    assert_int_equal(refills, SIZE);
    lock_acquire(&bench.fake.machine.lock);
    timer_queue_run(&bench.fake.machine.timers);
    lock_release(&bench.fake.machine.lock);
    assert_int_equal(refills, 2 * SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),    cmocka_unit_test(test_index_wraps),
        cmocka_unit_test(test_out_of_order),   cmocka_unit_test(test_unpop),
        cmocka_unit_test(test_interrupts),     cmocka_unit_test(test_packed_event),
        cmocka_unit_test(test_avail_event),    cmocka_unit_test(test_hostile_split),
        cmocka_unit_test(test_hostile_order),  cmocka_unit_test(test_hostile_indirect),
        cmocka_unit_test(test_hostile_packed), cmocka_unit_test(test_hostile_reuse),
        cmocka_unit_test(test_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
