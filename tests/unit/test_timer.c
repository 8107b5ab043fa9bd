#include <string.h>

#include "unit.h"

#include "core/timer.h"
#include "fake_port.h"

static struct fake_clock clock;
static struct fake_alarm alarm_clock;
static struct timer_queue queue;
static struct timer a, b, c;
static char fired[64];

static void fire(void *owner)
{
    strcat(fired, owner);
}

static int setup(void **state)
{
    (void)state;
    fake_clock_init(&clock);
    fake_alarm_init(&alarm_clock);
    timer_queue_init(&queue, &clock.clock, &alarm_clock.alarm);
    timer_init(&a, &queue, fire, "a");
    timer_init(&b, &queue, fire, "b");
    timer_init(&c, &queue, fire, "c");
    fired[0] = 0;
    return 0;
}

static void run_at(uint64_t now)
{
    clock.now_ns = now;
    timer_queue_run(&queue);
}

static void timers_fire_in_order_when_due(void **state)
{
    (void)state;
    timer_arm(&c, 30);
    timer_arm(&a, 10);
    timer_arm(&b, 20);
    assert_int_equal(alarm_clock.deadline_ns, 10);
    run_at(9);
    assert_string_equal(fired, "");
    run_at(20);
    assert_string_equal(fired, "ab");
    assert_int_equal(alarm_clock.deadline_ns, 30);
    assert_true(a.deadline_ns == TIMER_NEVER);
    run_at(1000);
    assert_string_equal(fired, "abc");
    assert_true(alarm_clock.deadline_ns == TIMER_NEVER);
}

static void the_earlier_armed_of_two_equals_is_first(void **state)
{
    (void)state;
    timer_arm(&b, 10);
    timer_arm(&a, 10);
    run_at(10);
    assert_string_equal(fired, "ba");
}

static void arming_again_moves(void **state)
{
    (void)state;
    timer_arm(&a, 10);
    timer_arm(&b, 20);
    timer_arm(&a, 30);
    run_at(40);
    assert_string_equal(fired, "ba");
    timer_arm(&a, 50);
    timer_arm(&a, TIMER_NEVER);
    run_at(60);
    assert_string_equal(fired, "ba");
}

static void the_alarm_is_only_set_when_it_must_be_earlier(void **state)
{
    (void)state;
    timer_arm(&a, 100);
    assert_int_equal(alarm_clock.sets, 1);
    for (unsigned i = 0; i < 10; i++)
        timer_arm(&a, 200 + i);
    timer_cancel(&a);
    timer_arm(&b, 150);
    assert_int_equal(alarm_clock.sets, 1);
    run_at(100); /* for nothing, but it finds out what comes next */
    assert_string_equal(fired, "");
    assert_int_equal(alarm_clock.deadline_ns, 150);
}

static void fire_and_cancel_b(void *owner)
{
    fire(owner);
    timer_cancel(&b);
}

static void one_timer_may_cancel_another_that_is_due(void **state)
{
    (void)state;
    timer_init(&a, &queue, fire_and_cancel_b, "a");
    timer_arm(&a, 10);
    timer_arm(&b, 10);
    timer_arm(&c, 10);
    run_at(10);
    assert_string_equal(fired, "ac");
}

static void fire_and_arm_again(void *owner)
{
    fire(owner);
    timer_arm(&a, clock.now_ns);
}

static void one_that_is_always_due_does_not_keep_the_others_out(void **state)
{
    (void)state;
    timer_init(&a, &queue, fire_and_arm_again, "a");
    timer_arm(&a, 10);
    timer_arm(&b, 15);
    run_at(20);
    assert_string_equal(fired, "ab");
    assert_int_equal(alarm_clock.deadline_ns, 20);
    run_at(20);
    assert_string_equal(fired, "aba");
}

static void cancelling_what_is_not_armed_is_harmless(void **state)
{
    (void)state;
    timer_cancel(&a);
    timer_arm(&b, 5);
    timer_cancel(&a);
    run_at(5);
    assert_string_equal(fired, "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timers_fire_in_order_when_due, setup),
        cmocka_unit_test_setup(the_earlier_armed_of_two_equals_is_first, setup),
        cmocka_unit_test_setup(arming_again_moves, setup),
        cmocka_unit_test_setup(the_alarm_is_only_set_when_it_must_be_earlier, setup),
        cmocka_unit_test_setup(one_timer_may_cancel_another_that_is_due, setup),
        cmocka_unit_test_setup(one_that_is_always_due_does_not_keep_the_others_out, setup),
        cmocka_unit_test_setup(cancelling_what_is_not_armed_is_harmless, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
