/* The virtio console: both directions, a reader that is slower than the writer, the terminal's size. */
#include "unit.h"

#include <string.h>

#include "base/bits.h"
#include "dev/virtio/console.h"
#include "virtio_bench.h"

enum { SIZE = 8, DATA = BENCH_DATA, RECEIVE = 0, TRANSMIT = 1 };

#define F_SIZE 1ull

static struct virtio_console console;
static struct bench bench;
static char written[256];
static size_t written_size;
static unsigned drained;

static void write_stream(struct stream *stream, const void *bytes, size_t size)
{
    (void)stream;
    assert_true(size <= sizeof(written) - written_size);
    memcpy(written + written_size, bytes, size);
    written_size += size;
}

static void note_drained(struct stream *stream)
{
    (void)stream;
    drained++;
}

static struct stream stream;

static void make(void)
{
    memset(&console, 0, sizeof(console));
    stream = (struct stream){.write = write_stream, .drained = note_drained};
    written_size = 0;
    virtio_console_init(&console, &stream);
    bench_init(&bench, &console.virtio);
    bench_use_msix(&bench);
    bench_start(&bench, F_SIZE, SIZE);
    drained = 0;
}

static void test_transmit(void **state)
{
    const struct bench_buffer buffers[] = {{DATA, 5, false}, {DATA + 5, 6, false}};
    uint16_t id;
    uint32_t length;

    (void)state;
    make();
    memcpy(bench_at(&bench, DATA), "hello world", 11);
    (void)bench_add(&bench, TRANSMIT, buffers, 2);
    bench_kick(&bench, TRANSMIT);
    assert_int_equal(written_size, 11);
    assert_memory_equal(written, "hello world", 11);
    assert_true(bench_used(&bench, TRANSMIT, &id, &length));
    assert_int_equal(length, 0);
    /* Without any queue. */
    bench_write(&bench, BENCH_CONFIG + 8, 4, '!');
    assert_int_equal(written[11], '!');
}

static void test_receive(void **state)
{
    const struct bench_buffer buffer = {DATA, 4, true}, wrong = {DATA, 4, false};
    uint16_t id;
    uint32_t length;

    (void)state;
    make();
    assert_int_equal(stream.receive(stream.device, "typed", 5), 0); /* nowhere to put it */
    (void)bench_add(&bench, RECEIVE, &buffer, 1);
    bench_kick(&bench, RECEIVE);
    assert_int_equal(drained, 1);
    assert_int_equal(stream.receive(stream.device, "typed", 5), 4);
    assert_memory_equal(bench_at(&bench, DATA), "type", 4);
    assert_true(bench_used(&bench, RECEIVE, &id, &length));
    assert_int_equal(length, 4);
    assert_int_equal(bench.messages[RECEIVE + 1], 1);
    (void)bench_add(&bench, RECEIVE, &wrong, 1);
    (void)bench_add(&bench, RECEIVE, &buffer, 1);
    bench_kick(&bench, RECEIVE);
    assert_int_equal(drained, 2);
    assert_int_equal(stream.receive(stream.device, "d", 1), 1);
    assert_true(bench_used(&bench, RECEIVE, &id, &length));
    assert_int_equal(length, 0);
    assert_true(bench_used(&bench, RECEIVE, &id, &length));
    assert_int_equal(length, 1);
    bench_kick(&bench, RECEIVE);
    assert_int_equal(drained, 2); /* nothing was refused since */
}

/* A driver that looks at the size only when it changes is told of the first one too, once it writes. */
static void test_first_size(void **state)
{
    const struct bench_buffer buffer = {DATA, 1, false};

    (void)state;
    make();
    virtio_console_resize(&console, 100, 40);
    bench_start(&bench, F_SIZE, SIZE);
    bench.messages[0] = 0;
    bench_kick(&bench, TRANSMIT);
    assert_int_equal(bench.messages[0], 0);
    for (unsigned i = 0; i < 3; i++) {
        (void)bench_add(&bench, TRANSMIT, &buffer, 1);
        bench_kick(&bench, TRANSMIT);
        assert_int_equal(bench.messages[0], 1);
    }
}

/* A driver that is not ready takes nothing; what was held back is offered when it is. */
static void test_not_ready(void **state)
{
    (void)state;
    make();
    bench_write(&bench, VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(stream.receive(stream.device, "x", 1), 0);
    drained = 0;
    bench_start(&bench, F_SIZE, SIZE);
    assert_int_equal(drained, 1);
}

static void test_size(void **state)
{
    (void)state;
    make();
    virtio_console_resize(&console, 132, 50);
    assert_int_equal(bench.messages[0], 1);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG, 2), 132);
    assert_int_equal(bench_read(&bench, BENCH_CONFIG + 2, 2), 50);
    virtio_console_resize(&console, 132, 50);
    assert_int_equal(bench.messages[0], 1);
    virtio_reset(&console.virtio.device);
    assert_int_equal(console.state.columns, 132);
    /* A state from another terminal gives way to this one. */
    console.state.columns = 80;
    console.virtio.device.type->resume(&console.virtio.device);
    assert_int_equal(console.state.columns, 132);
}

static void test_unplugged(void **state)
{
    const struct bench_buffer buffer = {DATA, 5, false};
    uint16_t id;
    uint32_t length;

    (void)state;
    make();
    virtio_console_init(&console, NULL);
    bench_init(&bench, &console.virtio);
    bench_start(&bench, 0, SIZE);
    (void)bench_add(&bench, TRANSMIT, &buffer, 1);
    bench_kick(&bench, TRANSMIT);
    assert_true(bench_used(&bench, TRANSMIT, &id, &length));
    bench_write(&bench, BENCH_CONFIG + 8, 4, '!');
    assert_int_equal(written_size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transmit),   cmocka_unit_test(test_receive), cmocka_unit_test(test_not_ready),
        cmocka_unit_test(test_first_size), cmocka_unit_test(test_size),    cmocka_unit_test(test_unplugged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
