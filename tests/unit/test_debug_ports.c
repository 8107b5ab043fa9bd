/* Ports 0xE9, 0xF4 and 0x80. */
#include "chipset_bench.h"

#include "dev/chipset/debug_ports.h"

static struct bench bench;
static struct debug_console console;
static struct debug_exit debug_exit;
static struct post_port post;

static char written[64];
static size_t written_size;

static void stream_write(struct stream *stream, const void *bytes, size_t size)
{
    (void)stream;
    assert_true(written_size + size <= sizeof(written));
    memcpy(written + written_size, bytes, size);
    written_size += size;
}

static int setup(void **state)
{
    static struct stream stream = {.write = stream_write};
    struct platform platform = bench_platform(&bench);

    (void)state;
    bench_init(&bench);
    written_size = 0;
    assert_int_equal(debug_console_init(&console, &stream, &bench.fake.machine.bus), STATUS_OK);
    assert_int_equal(debug_exit_init(&debug_exit, &platform, &bench.fake.machine.bus), STATUS_OK);
    assert_int_equal(post_port_init(&post, &bench.fake.machine.bus), STATUS_OK);
    return 0;
}

static void test_console(void **state)
{
    (void)state;
    assert_int_equal(bench_inb(&bench, 0xe9), 0xe9);
    for (const char *text = "boot\n"; *text; text++)
        bench_outb(&bench, 0xe9, (uint8_t)*text);
    bench_outb(&bench, 0xe9, 0);
    assert_int_equal(written_size, 6);
    assert_memory_equal(written, "boot\n", 6);
}

static void test_console_without_stream(void **state)
{
    (void)state;
    bench_init(&bench);
    assert_int_equal(debug_console_init(&console, NULL, &bench.fake.machine.bus), STATUS_OK);
    bench_random_io(&bench, &console.device, 10000);
}

static void test_exit(void **state)
{
    (void)state;
    assert_int_equal(bench_in(&bench, 0xf4, 1), 0);
    assert_int_equal(bench.exits, 0);
    bench_out(&bench, 0xf4, 1, 0x10);
    assert_int_equal(bench.exits, 1);
    assert_int_equal(bench.exit_value, 0x10);
    bench_out(&bench, 0xf4, 2, 0x1234);
    assert_int_equal(bench.exit_value, 0x1234);
    bench_out(&bench, 0xf4, 4, 0xdeadbeef);
    assert_int_equal(bench.exit_value, 0xdeadbeef);
    assert_int_equal(bench.exits, 3);
    bench_random_io(&bench, &debug_exit.device, 10000);
}

static void test_post(void **state)
{
    (void)state;
    bench_outb(&bench, 0x80, 0x55);
    assert_int_equal(bench_inb(&bench, 0x80), 0xff);
    bench_random_io(&bench, &post.device, 10000);
}

static void test_reset_does_nothing(void **state)
{
    (void)state;
    console.device.type->reset(&console.device);
    debug_exit.device.type->reset(&debug_exit.device);
    post.device.type->reset(&post.device);
    test_console(state);
}

/* A board that puts two devices in one place hears of it. */
static void test_ports_are_exclusive(void **state)
{
    static struct post_port second;

    (void)state;
    assert_int_equal(post_port_init(&second, &bench.fake.machine.bus), STATUS_EXISTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_console, setup),
        cmocka_unit_test(test_console_without_stream),
        cmocka_unit_test_setup(test_exit, setup),
        cmocka_unit_test_setup(test_post, setup),
        cmocka_unit_test_setup(test_reset_does_nothing, setup),
        cmocka_unit_test_setup(test_ports_are_exclusive, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
