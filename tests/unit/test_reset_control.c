/* Ports 0xCF9 and 0x92. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/reset_control.h"

static struct bench bench;
static struct reset_control control;

static int setup(void **state)
{
    struct platform platform = bench_platform(&bench);

    (void)state;
    bench_init(&bench);
    assert_int_equal(reset_control_init(&control, &platform, &bench.fake.machine.bus), STATUS_OK);
    return 0;
}

static void test_reset_control(void **state)
{
    (void)state;
    assert_int_equal(reset_control_read(&control), 0);
    reset_control_write(&control, 0xf3);
    assert_int_equal(reset_control_read(&control), 0x02);
    reset_control_write(&control, 0x0a);
    assert_int_equal(bench.resets, 0);
    reset_control_write(&control, 0x0e);
    assert_int_equal(bench.resets, 1);
    reset_control_write(&control, 0x06); /* RST_CPU was set already */
    assert_int_equal(bench.resets, 1);
    reset_control_write(&control, 0x00);
    reset_control_write(&control, 0x04); /* a soft reset */
    assert_int_equal(bench.resets, 2);
}

static void test_port_92(void **state)
{
    (void)state;
    assert_int_equal(bench_inb(&bench, 0x92), 0x02); /* A20 is on */
    bench_outb(&bench, 0x92, 0xfc);
    assert_int_equal(bench_inb(&bench, 0x92), 0x00);
    bench_outb(&bench, 0x92, 0x02);
    assert_int_equal(bench.resets, 0);
    bench_outb(&bench, 0x92, 0x03);
    bench_outb(&bench, 0x92, 0x03);
    assert_int_equal(bench.resets, 1);
}

static void test_nobody_listens(void **state)
{
    struct platform platform = {0};

    (void)state;
    bench_init(&bench);
    assert_int_equal(reset_control_init(&control, &platform, &bench.fake.machine.bus), STATUS_OK);
    reset_control_write(&control, 0x06);
    bench_outb(&bench, 0x92, 0x01);
    assert_int_equal(bench.resets, 0);
}

static void test_round_trip_and_reset(void **state)
{
    (void)state;
    reset_control_write(&control, 0x0a);
    bench_outb(&bench, 0x92, 0x00);
    bench_round_trip(&bench, &control.device, 0);
    assert_int_equal(reset_control_read(&control), 0x0a);
    control.device.type->reset(&control.device);
    assert_int_equal(reset_control_read(&control), 0);
    assert_int_equal(bench_inb(&bench, 0x92), 0x02);
}

static void test_robust(void **state)
{
    (void)state;
    bench_random_io(&bench, &control.device, 100000);
    bench_hostile_state(&bench, &control.device, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reset_control, setup),
        cmocka_unit_test_setup(test_port_92, setup),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test_setup(test_round_trip_and_reset, setup),
        cmocka_unit_test_setup(test_robust, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
