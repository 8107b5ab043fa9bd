#include <string.h>

#include "unit.h"

#include "fake_engine.h"
#include "fake_port.h"

static struct machine machine;
static struct fake_engine fake;
static unsigned told;
static char order[16];

static enum vcpu_exit no_guest(struct vcpu *vcpu)
{
    (void)vcpu;
    return VCPU_EXIT_ATTENTION;
}

static void ended(struct machine *which)
{
    assert_ptr_equal(which, &machine);
    told++;
}

static int setup(void **state)
{
    (void)state;
    told = 0;
    order[0] = 0;
    fake_engine_init(&fake, &machine, no_guest);
    machine.ended = ended;
    return 0;
}

static void the_first_end_wins(void **state)
{
    (void)state;
    machine_end(&machine, MACHINE_DEBUG_EXIT, 42);
    machine_end(&machine, MACHINE_POWER_OFF, 7);
    assert_int_equal(machine.end, MACHINE_DEBUG_EXIT);
    assert_int_equal(machine.exit_value, 42);
    assert_int_equal(told, 1);
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        assert_true(machine.vcpus[i]->attention & ATTENTION_STOP);
    assert_int_equal(fake.kicks, FAKE_CPUS);
}

static void reset_note(struct device *device)
{
    strcat(order, device->path);
}

static void devices_are_reset_in_the_order_of_their_coming(void **state)
{
    static const struct device_type type = {.name = "noted", .reset = reset_note};
    struct device x = {.type = &type, .path = "x"}, y = {.type = &type, .path = "y"};

    (void)state;
    machine_add_device(&machine, &y);
    machine_add_device(&machine, &x);
    assert_int_equal(machine_reset_devices(&machine), STATUS_OK);
    assert_string_equal(order, "yx");
}

static void init_leaves_the_memory_as_it_is(void **state)
{
    static uint8_t page[PAGE_SIZE];
    static struct fake_clock clock;
    static struct fake_alarm alarm_clock;

    (void)state;
    assert_int_equal(memory_init(&machine.memory, page, -1, sizeof(page)), STATUS_OK);
    machine_init(&machine, &clock.clock, &alarm_clock.alarm);
    assert_ptr_equal(machine.memory.host, page);
    assert_null(machine.devices);
    assert_int_equal(machine.end, MACHINE_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_first_end_wins, setup),
        cmocka_unit_test_setup(devices_are_reset_in_the_order_of_their_coming, setup),
        cmocka_unit_test_setup(init_leaves_the_memory_as_it_is, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
