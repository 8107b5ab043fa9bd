/* The timer of the PC: IRQ 0, port 0x61, and the ways in which kernels measure their clocks with it. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/pit.h"
#include "dev/chipset/ticks.h"

enum { COUNTER_0 = 0x40, COUNTER_2 = 0x42, CONTROL = 0x43, NMI_SC = 0x61 };

static struct bench bench;
static struct bench_wire irq;
static struct pit pit;

static int setup(void **state)
{
    struct irq_line line = bench_line(&irq);

    (void)state;
    bench_init(&bench);
    irq = (struct bench_wire){0};
    assert_int_equal(pit_init(&pit, &line, &bench.fake.machine.timers, &bench.fake.machine.bus), STATUS_OK);
    return 0;
}

static void program(unsigned counter, uint8_t mode, unsigned count)
{
    bench_outb(&bench, CONTROL, (uint8_t)(counter << 6 | 0x30 | (unsigned)mode << 1));
    bench_outb(&bench, (uint16_t)(COUNTER_0 + counter), (uint8_t)count);
    bench_outb(&bench, (uint16_t)(COUNTER_0 + counter), (uint8_t)(count >> 8));
}

/* Whole periods that the clock has seen since pit_init(). */
static uint64_t ticks_now(void)
{
    return ticks_from_ns(bench.fake.now_ns - pit.epoch_ns, PIT_HZ);
}

static void test_ticks(void **state)
{
    uint64_t seed = 7;

    (void)state;
    assert_int_equal(ticks_from_ns(NS_PER_SECOND, PIT_HZ), PIT_HZ);
    assert_int_equal(ticks_to_ns(PIT_HZ, PIT_HZ), NS_PER_SECOND);
    assert_int_equal(ticks_to_ns(1, PIT_HZ), 839);
    assert_int_equal(ticks_to_ns(UINT64_MAX, PIT_HZ), 0xffffffffffffffff);
    assert_int_equal(ticks_add(UINT64_MAX, 1), UINT64_MAX);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t ticks = fake_random(&seed) >> (i % 40 + 20), ns = ticks_to_ns(ticks, PIT_HZ);

        assert_true(ticks_from_ns(ns, PIT_HZ) >= ticks);
        assert_true(ns == 0 || ticks_from_ns(ns - 1, PIT_HZ) < ticks);
    }
}

static void test_quiet_after_reset(void **state)
{
    (void)state;
    assert_false(irq.level);
    assert_int_equal(bench.fake.alarm_ns, TIMER_NEVER);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(irq.rises, 0);
}

static void test_one_shot(void **state)
{
    (void)state;
    program(0, 0, 11932);
    assert_false(irq.level);
    bench_advance(&bench, 9999 * 1000);
    assert_int_equal(irq.rises, 0);
    bench_advance(&bench, 3000);
    assert_int_equal(irq.rises, 1);
    assert_true(irq.level);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(irq.rises, 1);
    program(0, 0, 100);
    assert_false(irq.level);
    bench_advance(&bench, 100 * 1000);
    assert_int_equal(irq.rises, 2);
}

static void test_strobe(void **state)
{
    (void)state;
    program(0, 4, 1000);
    assert_true(irq.level);
    irq.rises = 0;
    bench_advance(&bench, 800 * 1000);
    assert_int_equal(irq.rises, 0);
    bench_advance(&bench, 50 * 1000);
    assert_int_equal(irq.rises, 1);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(irq.rises, 1);
}

/* Ten minutes at 250 Hz: no rise too many, none too few. */
static void periodic_without_drift(uint8_t mode)
{
    uint64_t start = ticks_now() + 1;

    irq.rises = 0;
    program(0, mode, 4773);
    irq.rises = 0;
    for (unsigned i = 0; i < 6000; i++)
        bench_advance(&bench, 100 * 1000 * 1000);
    assert_int_equal(irq.rises, (ticks_now() - start) / 4773);
}

static void test_periodic_without_drift(void **state)
{
    (void)state;
    periodic_without_drift(2);
    periodic_without_drift(3);
}

static void test_late_host_merges(void **state)
{
    (void)state;
    program(0, 2, 1193);
    irq.rises = 0;
    bench.fake.now_ns += 50 * 1000 * 1000; /* the alarm does not come */
    timer_queue_run(&bench.fake.machine.timers);
    assert_int_equal(irq.rises, 1);
    bench_advance(&bench, 10 * 1000 * 1000);
    assert_in_range(irq.rises, 10, 12);
}

/* The guest looks at the counter before the host's alarm came: the interrupt is not lost by that. */
static void test_reprogramming_keeps_a_due_interrupt(void **state)
{
    (void)state;
    program(0, 2, 1193);
    irq.rises = 0;
    bench.fake.now_ns += 1500 * 1000;
    program(0, 2, 60000);
    assert_int_equal(irq.rises, 1);
}

static void test_shortest_period_does_not_hold_the_host(void **state)
{
    unsigned fired = 0;

    (void)state;
    program(0, 2, 2);
    irq.rises = 0;
    while (bench.fake.now_ns < 100 * 1000 * 1000) {
        assert_true(bench.fake.alarm_ns > bench.fake.now_ns);
        bench.fake.now_ns = bench.fake.alarm_ns;
        timer_queue_run(&bench.fake.machine.timers);
        fired++;
    }
    assert_true(fired <= 5001);
    assert_int_equal(irq.rises, fired);
}

static void test_read_back(void **state)
{
    (void)state;
    program(0, 2, 0x1234);
    program(2, 0, 0x4321);
    bench_outb(&bench, NMI_SC, 0);
    bench_advance(&bench, 1000);
    bench_outb(&bench, CONTROL, 0xca); /* status and count of counters 0 and 2 */
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0xb4);
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0x34);
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0x12);
    assert_int_equal(bench_inb(&bench, COUNTER_2), 0x30);
    assert_int_equal(bench_inb(&bench, COUNTER_2), 0x21); /* GATE is low */
    assert_int_equal(bench_inb(&bench, COUNTER_2), 0x43);
    bench_outb(&bench, CONTROL, 0xe2); /* only the status of counter 0 */
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0xb4);
    bench_outb(&bench, CONTROL, 0xd2); /* only its count */
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0x34);
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0x12);
    bench_outb(&bench, CONTROL, 0x00); /* the 8253's latch command */
    bench_advance(&bench, 1000 * 1000);
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0x34);
    assert_int_equal(bench_inb(&bench, COUNTER_0), 0x12);
    assert_int_equal(bench_inb(&bench, CONTROL), 0xff);
}

/* A 50 ms wait for OUT of counter 2, as kernels calibrate their time stamp counter. */
static void test_calibration_by_port_61(void **state)
{
    uint64_t start, waited;

    (void)state;
    bench_outb(&bench, NMI_SC, (uint8_t)((bench_inb(&bench, NMI_SC) & ~2) | 1));
    program(2, 0, PIT_HZ / 20);
    start = bench.fake.now_ns;
    while (!(bench_inb(&bench, NMI_SC) & 0x20))
        bench_advance(&bench, 1000);
    waited = bench.fake.now_ns - start;
    assert_in_range(waited, 49999 * 1000, 50003 * 1000);
}

/* Watching the high byte of a free-running counter go down. */
static void test_calibration_by_count(void **state)
{
    uint64_t start;
    unsigned high = 0xff;

    (void)state;
    bench_outb(&bench, NMI_SC, 1);
    program(2, 0, 0xffff);
    (void)bench_inb(&bench, COUNTER_2);
    (void)bench_inb(&bench, COUNTER_2);
    start = bench.fake.now_ns;
    while (high > 0xf0) {
        (void)bench_inb(&bench, COUNTER_2);
        high = bench_inb(&bench, COUNTER_2);
        bench_advance(&bench, 500);
    }
    assert_in_range(bench.fake.now_ns - start, 15 * 214000, 15 * 216000);
}

static void test_gate_2_pauses(void **state)
{
    (void)state;
    bench_outb(&bench, NMI_SC, 1);
    program(2, 0, 11932);
    bench_advance(&bench, 5 * 1000 * 1000);
    bench_outb(&bench, NMI_SC, 0);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(bench_inb(&bench, NMI_SC) & 0x20, 0);
    bench_outb(&bench, NMI_SC, 1);
    bench_advance(&bench, 4 * 1000 * 1000);
    assert_int_equal(bench_inb(&bench, NMI_SC) & 0x20, 0);
    bench_advance(&bench, 1100 * 1000);
    assert_int_equal(bench_inb(&bench, NMI_SC) & 0x20, 0x20);
}

static void test_port_61(void **state)
{
    unsigned toggles = 0;
    uint8_t last;

    (void)state;
    bench_outb(&bench, NMI_SC, 0xff);
    assert_int_equal(bench_inb(&bench, NMI_SC) & 0xcf, 0x0f);
    bench_outb(&bench, NMI_SC, 0x02);
    assert_int_equal(bench_inb(&bench, NMI_SC) & 0xcf, 0x02);
    last = bench_inb(&bench, NMI_SC);
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t now;

        bench_advance(&bench, 1000);
        now = bench_inb(&bench, NMI_SC);
        toggles += (now ^ last) >> 4 & 1;
        last = now;
    }
    assert_in_range(toggles, 66, 67); /* every 15.09 us */
}

static void test_round_trip(void **state)
{
    unsigned rises;

    (void)state;
    program(0, 3, 11932);
    bench_outb(&bench, NMI_SC, 1);
    program(2, 2, 500);
    bench_outb(&bench, CONTROL, 0xc8);
    bench_outb(&bench, COUNTER_2, 0x77);
    bench_advance(&bench, 7 * 1000 * 1000); /* in the low half of counter 0 */
    bench_round_trip(&bench, &pit.device, 3600 * NS_PER_SECOND);
    rises = irq.rises;
    bench_advance(&bench, 2900 * 1000); /* 9.9 ms since the start; the hour in between does not count */
    assert_int_equal(irq.rises, rises);
    bench_advance(&bench, 200 * 1000);
    assert_int_equal(irq.rises, rises + 1);
    assert_int_equal(bench_inb(&bench, COUNTER_2), 0xf4); /* the status latched before */
}

/* The clock of the other host may show less than this one did. */
static void test_resume_on_a_younger_clock(void **state)
{
    struct pit_state saved;
    unsigned rises;

    (void)state;
    bench_advance(&bench, 1000 * NS_PER_SECOND);
    program(0, 2, 11932);
    bench_advance(&bench, 5 * 1000 * 1000);
    pit.device.type->quiesce(&pit.device);
    saved = pit.state;
    assert_int_equal(setup(state), 0);
    pit.state = saved;
    pit.device.type->resume(&pit.device);
    rises = irq.rises;
    bench_advance(&bench, 4900 * 1000);
    assert_int_equal(irq.rises, rises);
    bench_advance(&bench, 200 * 1000);
    assert_int_equal(irq.rises, rises + 1);
    bench_round_trip(&bench, &pit.device, 5);
}

static void test_reset(void **state)
{
    (void)state;
    program(0, 2, 100);
    bench_outb(&bench, NMI_SC, 3);
    pit.device.type->reset(&pit.device);
    assert_false(irq.level);
    irq.rises = 0;
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(irq.rises, 0);
    assert_int_equal(bench_inb(&bench, NMI_SC) & 0x0f, 0);
}

static void test_robust(void **state)
{
    (void)state;
    bench_random_io(&bench, &pit.device, 200000);
    bench_hostile_state(&bench, &pit.device, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),
        cmocka_unit_test_setup(test_quiet_after_reset, setup),
        cmocka_unit_test_setup(test_one_shot, setup),
        cmocka_unit_test_setup(test_strobe, setup),
        cmocka_unit_test_setup(test_periodic_without_drift, setup),
        cmocka_unit_test_setup(test_late_host_merges, setup),
        cmocka_unit_test_setup(test_reprogramming_keeps_a_due_interrupt, setup),
        cmocka_unit_test_setup(test_shortest_period_does_not_hold_the_host, setup),
        cmocka_unit_test_setup(test_read_back, setup),
        cmocka_unit_test_setup(test_calibration_by_port_61, setup),
        cmocka_unit_test_setup(test_calibration_by_count, setup),
        cmocka_unit_test_setup(test_gate_2_pauses, setup),
        cmocka_unit_test_setup(test_port_61, setup),
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_resume_on_a_younger_clock, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_robust, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
