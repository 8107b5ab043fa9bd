/* ACPI registers of the ICH9: events and SCI, the PM timer, sleeping, switching ACPI on. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/pm.h"
#include "dev/chipset/ticks.h"

enum { STS = 0x600, EN = 0x602, CNT = 0x604, TMR = 0x608, GPE_STS = 0x620, GPE_EN = 0x628, SMI_EN = 0x630 };
enum { APM_CNT = 0xb2, APM_STS = 0xb3, SCI_EN = 1, TMROF = 1, PWRBTN = 0x100, WAK = 0x8000, SLP_EN = 0x2000 };

static struct bench bench;
static struct bench_wire sci;
static struct pm pm;

static int setup(void **state)
{
    struct irq_line line = bench_line(&sci);
    struct platform platform = bench_platform(&bench);

    (void)state;
    bench_init(&bench);
    sci = (struct bench_wire){0};
    assert_int_equal(pm_init(&pm, &line, &platform, &bench.fake.machine.timers, &bench.fake.machine.bus), STATUS_OK);
    return 0;
}

static unsigned in16(uint16_t port)
{
    return (unsigned)bench_in(&bench, port, 2);
}

static void out16(uint16_t port, unsigned value)
{
    bench_out(&bench, port, 2, value);
}

static void test_enabling(void **state)
{
    (void)state;
    assert_int_equal(in16(CNT), 0);
    bench_outb(&bench, APM_CNT, 0x55);
    assert_int_equal(in16(CNT), 0);
    bench_outb(&bench, APM_CNT, PM_ACPI_ENABLE);
    assert_int_equal(in16(CNT), SCI_EN);
    assert_int_equal(bench_inb(&bench, APM_CNT), PM_ACPI_ENABLE);
    bench_outb(&bench, APM_STS, 0x99);
    assert_int_equal(bench_inb(&bench, APM_STS), 0x99);
    bench_outb(&bench, APM_CNT, PM_ACPI_DISABLE);
    assert_int_equal(in16(CNT), 0);
}

static void test_power_button(void **state)
{
    (void)state;
    assert_false(pm_power_button(&pm));
    assert_int_equal(in16(STS), PWRBTN);
    out16(STS, PWRBTN);
    out16(EN, PWRBTN);
    assert_false(pm_power_button(&pm)); /* without SCI_EN it would be an SMI */
    assert_false(sci.level);
    out16(CNT, SCI_EN);
    assert_true(sci.level);
    out16(STS, 0xfeff); /* clears others */
    assert_true(sci.level);
    out16(STS, PWRBTN);
    assert_false(sci.level);
    assert_int_equal(in16(STS), 0);
    assert_true(pm_power_button(&pm));
    assert_true(sci.level);
    out16(EN, 0);
    assert_false(sci.level);
}

static void test_registers_keep_their_bits(void **state)
{
    (void)state;
    out16(EN, 0xffff);
    assert_int_equal(in16(EN), 0x4521);
    out16(CNT, 0x1c03);
    assert_int_equal(in16(CNT), 0x1c03);
    bench_out(&bench, STS, 4, 0x01000000);
    assert_int_equal(bench_in(&bench, STS, 4), 0x01000000);
    bench_outb(&bench, EN + 1, 0x05);
    assert_int_equal(in16(EN), 0x0500);
    bench_out(&bench, SMI_EN, 4, 0x12345678);
    bench_outb(&bench, SMI_EN + 1, 0xff);
    assert_int_equal(bench_in(&bench, SMI_EN, 4), 0x1234ff78);
    bench_out(&bench, 0x660, 4, 0xffffffff); /* not there: zero */
    assert_int_equal(bench_in(&bench, 0x660, 4), 0);
    assert_int_equal(bench_in(&bench, CNT + 2, 2), 0);
}

static void test_timer(void **state)
{
    uint64_t start = bench.fake.now_ns;

    (void)state;
    assert_int_equal(bench_in(&bench, TMR, 4), 0);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(bench_in(&bench, TMR, 4), PM_TIMER_HZ);
    for (unsigned i = 0; i < 1000; i++) {
        bench_advance(&bench, 987654321);
        assert_int_equal(bench_in(&bench, TMR, 4),
                         ticks_from_ns(bench.fake.now_ns - start, PM_TIMER_HZ) & 0xffffff);
    }
    bench_out(&bench, TMR, 4, 0); /* read only */
    assert_int_equal(bench_in(&bench, TMR, 2), ticks_from_ns(bench.fake.now_ns - start, PM_TIMER_HZ) & 0xffff);
}

static void test_timer_overflow(void **state)
{
    (void)state;
    bench_advance(&bench, 2343 * 1000 * 1000ull);
    assert_int_equal(in16(STS), 0);
    bench_advance(&bench, 1000 * 1000); /* 2^23 ticks take 2.3435 s */
    assert_int_equal(in16(STS), TMROF);
    assert_int_equal(bench.fake.alarm_ns, TIMER_NEVER); /* nobody is woken for it */
    out16(STS, TMROF);
    out16(EN, TMROF);
    out16(CNT, SCI_EN);
    assert_false(sci.level);
    for (unsigned i = 1; i <= 100; i++) {
        bench_advance(&bench, 2343484 * 1000ull);
        assert_true(sci.level);
        assert_int_equal(sci.rises, i);
        out16(STS, TMROF);
        assert_false(sci.level);
    }
}

static void test_general_purpose_events(void **state)
{
    (void)state;
    out16(CNT, SCI_EN);
    pm_raise_gpe(&pm, 2);
    pm_raise_gpe(&pm, 63);
    pm_raise_gpe(&pm, 64);
    assert_int_equal(bench_in(&bench, GPE_STS, 4), 4);
    assert_int_equal(bench_in(&bench, GPE_STS + 4, 4), 0x80000000);
    assert_false(sci.level);
    bench_outb(&bench, GPE_EN + 7, 0x80);
    assert_true(sci.level);
    bench_outb(&bench, GPE_STS + 7, 0x80);
    assert_false(sci.level);
    bench_out(&bench, GPE_EN, 4, 4);
    assert_true(sci.level);
    bench_out(&bench, GPE_STS, 4, 0xffffffff);
    assert_false(sci.level);
}

static void test_sleeping(void **state)
{
    (void)state;
    out16(CNT, PM_SLP_TYP_S5 << 10 | SCI_EN); /* not without SLP_EN */
    assert_int_equal(bench.power_offs, 0);
    out16(CNT, PM_SLP_TYP_S5 << 10 | SLP_EN | SCI_EN);
    assert_int_equal(bench.power_offs, 1);
    assert_int_equal(in16(CNT), PM_SLP_TYP_S5 << 10 | SCI_EN); /* SLP_EN reads as zero */
    out16(CNT, 6 << 10 | SLP_EN);
    assert_int_equal(bench.power_offs, 2);
    out16(CNT, SLP_EN); /* as firmware and small kernels do it */
    assert_int_equal(bench.power_offs, 3);
    bench_out(&bench, CNT, 4, PM_SLP_TYP_S5 << 10 | SLP_EN);
    assert_int_equal(bench.power_offs, 4);
    bench_outb(&bench, CNT + 1, (PM_SLP_TYP_S5 << 10 | SLP_EN) >> 8);
    assert_int_equal(bench.power_offs, 5);
    assert_int_equal(in16(STS), 0);
    out16(CNT, 5 << 10 | SLP_EN); /* S3 */
    assert_int_equal(bench.power_offs, 5);
    assert_int_equal(in16(STS), WAK);
    out16(STS, WAK);
    assert_int_equal(in16(STS), 0);
}

static void test_moving(void **state)
{
    (void)state;
    pm_place(&pm, 0xb000, true);
    out16(0xb004, SCI_EN);
    assert_int_equal(in16(0xb004), SCI_EN);
    assert_int_equal(in16(CNT), 0xffff);
    pm_place(&pm, 0xb000, false);
    assert_int_equal(in16(0xb004), 0xffff);
    pm_place(&pm, 0x80, true); /* in the way of 0xB2 */
    assert_int_equal(in16(0x84), 0xffff);
    pm_place(&pm, 0xfff0, true); /* beyond the last port */
    assert_int_equal(in16(0xfff4), 0xffff);
    pm_place(&pm, PM_BASE, true);
    assert_int_equal(in16(CNT), SCI_EN);
}

static void test_round_trip(void **state)
{
    uint64_t before;

    (void)state;
    out16(CNT, SCI_EN | 0x1400);
    out16(EN, PWRBTN | TMROF);
    bench_out(&bench, GPE_EN, 4, 0x12345678);
    pm_raise_gpe(&pm, 40);
    assert_true(pm_power_button(&pm));
    bench_advance(&bench, 1500 * 1000 * 1000);
    before = bench_in(&bench, TMR, 4);
    bench_round_trip(&bench, &pm.device, 12345 * NS_PER_SECOND);
    assert_true(sci.level);
    assert_int_equal(bench_in(&bench, TMR, 4), before);
    out16(STS, PWRBTN);
    assert_false(sci.level);
    bench_advance(&bench, 844 * 1000 * 1000);
    assert_true(sci.level);
    assert_int_equal(in16(STS), TMROF);
}

static void test_reset(void **state)
{
    (void)state;
    out16(CNT, SCI_EN);
    out16(EN, PWRBTN);
    assert_true(pm_power_button(&pm));
    pm.device.type->reset(&pm.device);
    assert_false(sci.level);
    assert_int_equal(in16(CNT), 0);
    assert_int_equal(bench_in(&bench, STS, 4), 0);
    assert_int_equal(bench_in(&bench, TMR, 4), 0);
}

static void test_robust(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        bench_random_io(&bench, &pm.device, 1000);
        (void)pm_power_button(&pm);
        pm_raise_gpe(&pm, i);
    }
    bench_hostile_state(&bench, &pm.device, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_enabling, setup),
        cmocka_unit_test_setup(test_power_button, setup),
        cmocka_unit_test_setup(test_registers_keep_their_bits, setup),
        cmocka_unit_test_setup(test_timer, setup),
        cmocka_unit_test_setup(test_timer_overflow, setup),
        cmocka_unit_test_setup(test_general_purpose_events, setup),
        cmocka_unit_test_setup(test_sleeping, setup),
        cmocka_unit_test_setup(test_moving, setup),
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_robust, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
