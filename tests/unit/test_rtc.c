/* The real-time clock: calendar, setting, alarms, periodic and update interrupts. */
#define _POSIX_C_SOURCE 200809L /* gmtime_r() */
#include "chipset_bench.h"

#include <time.h>

#include "base/bits.h"
#include "dev/chipset/rtc.h"
#include "dev/chipset/rtc_time.h"

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DATE, MONTH, YEAR, A, B, C, D };
enum { SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 0x04, H24 = 0x02, PF = 0x40, AF = 0x20, UF = 0x10 };

#define MS (1000ull * 1000)

static struct bench bench;
static struct bench_wire irq;
static struct rtc rtc;

static int setup(void **state)
{
    struct irq_line line = bench_line(&irq);

    (void)state;
    bench_init(&bench);
    irq = (struct bench_wire){0};
    bench.fake.wall_ns = 1709210096 * NS_PER_SECOND; /* Thursday, 2024-02-29 12:34:56 */
    assert_int_equal(rtc_init(&rtc, &line, &bench.fake.machine.timers, &bench.fake.machine.bus), STATUS_OK);
    return 0;
}

static uint8_t get(uint8_t address)
{
    bench_outb(&bench, 0x70, address);
    return bench_inb(&bench, 0x71);
}

static void put(uint8_t address, uint8_t value)
{
    bench_outb(&bench, 0x70, address);
    bench_outb(&bench, 0x71, value);
}

static void shows(unsigned century, unsigned year, unsigned month, unsigned day, unsigned hour, unsigned minute,
                  unsigned second)
{
    assert_int_equal(get(RTC_CENTURY), century);
    assert_int_equal(get(YEAR), year);
    assert_int_equal(get(MONTH), month);
    assert_int_equal(get(DATE), day);
    assert_int_equal(get(HOURS), hour);
    assert_int_equal(get(MINUTES), minute);
    assert_int_equal(get(SECONDS), second);
}

/* The C library's calendar as the judge. */
static void test_calendar(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        int64_t seconds = RTC_SECONDS_MIN + (int64_t)(fake_random(&seed) % (RTC_SECONDS_MAX - RTC_SECONDS_MIN + 1));
        struct rtc_time ours = rtc_time_from_seconds(seconds);
        time_t theirs_seconds = seconds;
        struct tm theirs;

        assert_non_null(gmtime_r(&theirs_seconds, &theirs));
        assert_int_equal(ours.year, theirs.tm_year + 1900);
        assert_int_equal(ours.month, theirs.tm_mon + 1);
        assert_int_equal(ours.day, theirs.tm_mday);
        assert_int_equal(ours.weekday, theirs.tm_wday + 1);
        assert_int_equal(ours.hour, theirs.tm_hour);
        assert_int_equal(ours.minute, theirs.tm_min);
        assert_int_equal(ours.second, theirs.tm_sec);
        assert_int_equal(rtc_time_to_seconds(&ours), seconds);
    }
}

static void test_calendar_clamps(void **state)
{
    const struct rtc_time wild = {.year = 65535, .month = 255, .day = 255, .hour = 255, .minute = 255, .second = 255};
    const struct rtc_time april_31 = {.year = 2023, .month = 4, .day = 31};
    const struct rtc_time zero = {0};

    (void)state;
    assert_int_equal(rtc_time_to_seconds(&wild), RTC_SECONDS_MAX);
    assert_int_equal(rtc_time_to_seconds(&zero), RTC_SECONDS_MIN);
    assert_int_equal(rtc_time_from_seconds(rtc_time_to_seconds(&april_31)).month, 5);
    assert_int_equal(rtc_time_from_seconds(INT64_MAX).year, 9999);
    assert_int_equal(rtc_time_from_seconds(INT64_MIN).year, 0);
}

static void test_shows_the_hosts_time(void **state)
{
    (void)state;
    shows(0x20, 0x24, 0x02, 0x29, 0x12, 0x34, 0x56);
    assert_int_equal(get(WEEKDAY), 5);
    assert_int_equal(get(A), 0x26);
    assert_int_equal(get(B), H24);
    assert_int_equal(get(D), 0x80);
    bench_advance(&bench, 4 * NS_PER_SECOND);
    shows(0x20, 0x24, 0x02, 0x29, 0x12, 0x35, 0x00);
    bench_advance(&bench, 86400 * NS_PER_SECOND);
    shows(0x20, 0x24, 0x03, 0x01, 0x12, 0x35, 0x00);
}

static void test_formats(void **state)
{
    (void)state;
    put(B, H24 | DM);
    shows(20, 24, 2, 29, 12, 34, 56);
    put(B, DM);
    assert_int_equal(get(HOURS), 0x8c); /* 12 PM is noon */
    put(B, 0);
    assert_int_equal(get(HOURS), 0x92);
    bench_advance(&bench, 3600 * NS_PER_SECOND);
    assert_int_equal(get(HOURS), 0x81);
    bench_advance(&bench, 11 * 3600 * NS_PER_SECOND);
    assert_int_equal(get(HOURS), 0x12); /* midnight */
    bench_advance(&bench, 3600 * NS_PER_SECOND);
    assert_int_equal(get(HOURS), 0x01);
}

/* As kernels set it: stop, hold the divider, write, go on. */
static void test_setting(void **state)
{
    (void)state;
    put(B, H24 | SET);
    put(A, 0x76);
    put(RTC_CENTURY, 0x19);
    put(YEAR, 0x99);
    put(MONTH, 0x12);
    put(DATE, 0x31);
    put(HOURS, 0x23);
    put(MINUTES, 0x59);
    put(SECONDS, 0x58);
    bench_advance(&bench, 10 * NS_PER_SECOND);
    shows(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
    put(B, H24);
    shows(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
    bench_advance(&bench, 10 * NS_PER_SECOND);
    put(A, 0x26);
    bench_advance(&bench, 499 * MS);
    shows(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
    bench_advance(&bench, 2 * MS); /* half a second after the divider was let go */
    shows(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
    bench_advance(&bench, NS_PER_SECOND);
    shows(0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
    assert_int_equal(get(WEEKDAY), 7);
}

static void test_setting_while_it_runs(void **state)
{
    (void)state;
    bench_advance(&bench, 300 * MS);
    put(MINUTES, 0x01);
    shows(0x20, 0x24, 0x02, 0x29, 0x12, 0x01, 0x56);
    bench_advance(&bench, 699 * MS);
    assert_int_equal(get(SECONDS), 0x56); /* the phase is as before */
    bench_advance(&bench, 2 * MS);
    assert_int_equal(get(SECONDS), 0x57);
    put(B, 0);
    put(HOURS, 0x85);
    put(B, H24);
    shows(0x20, 0x24, 0x02, 0x29, 0x17, 0x01, 0x57);
}

static void test_setting_nonsense(void **state)
{
    (void)state;
    put(B, H24 | SET);
    for (uint8_t address = SECONDS; address <= YEAR; address++)
        put(address, 0xff);
    put(RTC_CENTURY, 0xff);
    put(B, H24);
    shows(0x99, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
    bench_advance(&bench, 10 * NS_PER_SECOND);
    shows(0x99, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59); /* the end of time */
    put(RTC_CENTURY, 0);
    put(YEAR, 0);
    put(MONTH, 0);
    put(DATE, 0);
    put(B, H24 | AIE | UIE | PIE);
    bench_advance(&bench, 3 * NS_PER_SECOND);
    assert_int_equal(get(RTC_CENTURY), 0);
}

static void test_update_in_progress(void **state)
{
    (void)state;
    bench_advance(&bench, 997 * MS);
    assert_int_equal(get(A), 0x26);
    bench_advance(&bench, MS);
    assert_int_equal(get(A), 0xa6);
    assert_int_equal(get(SECONDS), 0x56);
    put(B, H24 | SET);
    assert_int_equal(get(A), 0x26);
    put(B, H24);
    bench_advance(&bench, 2 * MS);
    assert_int_equal(get(A), 0x26);
    assert_int_equal(get(SECONDS), 0x57);
    put(A, 0xa6); /* the bit cannot be written */
    assert_int_equal(get(A), 0x26);
}

static void test_update_interrupt(void **state)
{
    (void)state;
    put(B, H24 | UIE);
    bench_advance(&bench, 900 * MS);
    assert_false(irq.level);
    bench_advance(&bench, 100 * MS);
    assert_true(irq.level);
    bench_advance(&bench, 5 * NS_PER_SECOND);
    assert_int_equal(irq.rises, 1); /* held until somebody reads register C */
    assert_int_equal(get(C), 0x80 | UF | PF);
    assert_false(irq.level);
    assert_int_equal(get(C), 0);
    for (unsigned i = 0; i < 10; i++) {
        bench_advance(&bench, NS_PER_SECOND);
        assert_int_equal(get(C) & (0x80 | UF), 0x80 | UF);
    }
    assert_int_equal(irq.rises, 11);
    put(B, H24 | UIE | SET);
    assert_int_equal(get(B), H24 | SET); /* SET clears UIE */
    bench_advance(&bench, 2 * NS_PER_SECOND);
    assert_int_equal(get(C) & UF, 0);
}

static void test_flags_without_interrupts(void **state)
{
    (void)state;
    assert_int_equal(get(C), 0);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(bench.fake.alarm_ns, TIMER_NEVER); /* nobody wakes the host for them */
    assert_int_equal(get(C), UF | PF);
    bench_advance(&bench, NS_PER_SECOND);
    put(B, H24 | UIE); /* a flag that is already set interrupts at once */
    assert_true(irq.level);
}

static void set_alarm(uint8_t hours, uint8_t minutes, uint8_t seconds)
{
    put(HOURS_ALARM, hours);
    put(MINUTES_ALARM, minutes);
    put(SECONDS_ALARM, seconds);
}

static void test_alarm(void **state)
{
    (void)state;
    set_alarm(0x13, 0x00, 0x05);
    put(B, H24 | AIE);
    bench_advance(&bench, (25 * 60 + 8) * NS_PER_SECOND);
    assert_int_equal(irq.rises, 0);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(irq.rises, 1);
    assert_int_equal(get(C) & (0x80 | AF), 0x80 | AF);
    bench_advance(&bench, 86399 * NS_PER_SECOND);
    assert_int_equal(irq.rises, 1);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(irq.rises, 2); /* daily */
}

static unsigned alarms_in(unsigned seconds)
{
    irq.rises = 0;
    (void)get(C);
    for (unsigned i = 0; i < seconds; i++) {
        bench_advance(&bench, NS_PER_SECOND);
        (void)get(C);
    }
    return irq.rises;
}

static void test_alarm_wildcards(void **state)
{
    (void)state;
    put(B, H24 | AIE);
    set_alarm(0xff, 0xff, 0xff);
    assert_int_equal(alarms_in(100), 100);
    set_alarm(0xc0, 0xff, 0x30);
    assert_int_equal(alarms_in(600), 10);
    set_alarm(0xff, 0x05, 0xff);
    assert_int_equal(alarms_in(3600), 60);
    set_alarm(0x99, 0x00, 0x00); /* never */
    assert_int_equal(alarms_in(86400), 0);
    put(B, AIE);
    set_alarm(0x83, 0x00, 0x00); /* 3 PM */
    assert_int_equal(alarms_in(86400), 1);
}

static void test_periodic(void **state)
{
    (void)state;
    put(B, H24 | PIE);
    for (uint8_t rate = 1; rate < 16; rate++) {
        unsigned hz = 32768u >> (rate < 3 ? rate + 6 : rate - 1), step = 0;

        put(A, 0x20 | rate);
        (void)get(C);
        irq.rises = 0;
        for (uint64_t ns = 0; ns < 2 * NS_PER_SECOND; step++, ns += 50 * 1000) {
            bench_advance(&bench, 50 * 1000);
            if (irq.level)
                (void)get(C);
        }
        assert_in_range(irq.rises, 2 * hz - 1, 2 * hz + 1);
    }
    put(A, 0x20);
    (void)get(C);
    bench_advance(&bench, NS_PER_SECOND);
    assert_int_equal(get(C) & PF, 0);
}

static void test_the_hosts_clock_is_set(void **state)
{
    (void)state;
    set_alarm(0x20, 0x00, 0x00);
    put(B, H24 | AIE);
    (void)get(C);
    bench.fake.wall_ns -= 3600 * NS_PER_SECOND;
    shows(0x20, 0x24, 0x02, 0x29, 0x11, 0x34, 0x56);
    assert_int_equal(get(C) & UF, 0);
    bench.fake.wall_ns += 9 * 3600 * NS_PER_SECOND; /* a laptop wakes up after the alarm's time */
    bench_advance(&bench, 61 * NS_PER_SECOND);
    assert_true(irq.level);
    assert_int_equal(get(C) & AF, AF);
}

static void test_cmos_and_nmi_mask(void **state)
{
    (void)state;
    for (unsigned i = 14; i < 128; i++) {
        if (i != RTC_CENTURY)
            put((uint8_t)(0x80 | i), (uint8_t)(i * 7));
    }
    for (unsigned i = 14; i < 128; i++) {
        if (i != RTC_CENTURY)
            assert_int_equal(get((uint8_t)i), (uint8_t)(i * 7));
    }
    bench_outb(&bench, 0x70, 0x8f);
    assert_int_equal(rtc.state.index, 0x8f);
    assert_int_equal(bench_inb(&bench, 0x70), 0xff);
    rtc_set_cmos(&rtc, 0x34, 0xab);
    assert_int_equal(get(0x34), 0xab);
    rtc_set_cmos(&rtc, C, 0xff);
    rtc_set_cmos(&rtc, RTC_CENTURY, 0xff);
    rtc_set_cmos(&rtc, 128, 0xff);
    assert_int_equal(get(RTC_CENTURY), 0x20);
    put(C, 0xff); /* read only */
    put(D, 0x00);
    assert_int_equal(get(C), 0);
    assert_int_equal(get(D), 0x80);
}

static void test_reset(void **state)
{
    (void)state;
    put(MINUTES, 0x11);
    put(0x40, 0x77);
    put(B, H24 | DM | PIE | AIE | UIE | 0x08);
    bench_advance(&bench, 2 * NS_PER_SECOND);
    assert_true(irq.level);
    rtc.device.type->reset(&rtc.device);
    assert_false(irq.level);
    assert_int_equal(get(B), H24 | DM);
    assert_int_equal(get(C), 0);
    assert_int_equal(get(0x40), 0x77);
    shows(20, 24, 2, 29, 12, 11, 58);
    assert_int_equal(bench.fake.alarm_ns == TIMER_NEVER || bench.fake.machine.timers.first == NULL, 1);
}

static void test_round_trip(void **state)
{
    (void)state;
    put(A, 0x2a);
    put(B, H24 | PIE);
    put(HOURS, 0x03);
    bench_advance(&bench, 123456789);
    bench_round_trip(&bench, &rtc.device, 3600 * NS_PER_SECOND);
    (void)get(C);
    irq.rises = 0;
    bench_advance(&bench, 20 * MS);
    assert_int_equal(irq.rises, 1);
    assert_int_equal(get(HOURS), 0x03);
    put(B, H24 | SET);
    put(RTC_CENTURY, 0);
    put(B, H24);
    bench_round_trip(&bench, &rtc.device, 1); /* long before 1970 */
    assert_int_equal(get(YEAR), 0x24);
    assert_int_equal(get(RTC_CENTURY), 0);
}

static void test_robust(void **state)
{
    (void)state;
    bench_random_io(&bench, &rtc.device, 100000);
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t random = i * 0x9e3779b97f4a7c15ull;

        put((uint8_t)(random >> 60), (uint8_t)(random >> 40));
        if (random >> 50 & 1)
            (void)get((uint8_t)(random >> 32));
        if ((random >> 20 & 0xff) == 0)
            bench_advance(&bench, random >> 30);
        if ((random >> 10 & 0xfff) == 0)
            bench.fake.wall_ns = random >> (random & 31);
    }
    bench_hostile_state(&bench, &rtc.device, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_calendar_clamps),
        cmocka_unit_test_setup(test_shows_the_hosts_time, setup),
        cmocka_unit_test_setup(test_formats, setup),
        cmocka_unit_test_setup(test_setting, setup),
        cmocka_unit_test_setup(test_setting_while_it_runs, setup),
        cmocka_unit_test_setup(test_setting_nonsense, setup),
        cmocka_unit_test_setup(test_update_in_progress, setup),
        cmocka_unit_test_setup(test_update_interrupt, setup),
        cmocka_unit_test_setup(test_flags_without_interrupts, setup),
        cmocka_unit_test_setup(test_alarm, setup),
        cmocka_unit_test_setup(test_alarm_wildcards, setup),
        cmocka_unit_test_setup(test_periodic, setup),
        cmocka_unit_test_setup(test_the_hosts_clock_is_set, setup),
        cmocka_unit_test_setup(test_cmos_and_nmi_mask, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_robust, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
