/* The keyboard controller with nothing plugged in: what drivers ask it, and how fast it answers. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/i8042.h"

enum { DATA = 0x60, COMMAND = 0x64, OBF = 0x01, SYS = 0x04, CMD = 0x08, UNLOCKED = 0x10, AUX = 0x20, TIMEOUT = 0x40 };

static struct bench bench;
static struct bench_wire keyboard, aux;
static struct i8042 i8042;

static int setup(void **state)
{
    struct irq_line keyboard_line = bench_line(&keyboard), aux_line = bench_line(&aux);
    struct platform platform = bench_platform(&bench);

    (void)state;
    bench_init(&bench);
    keyboard = aux = (struct bench_wire){0};
    assert_int_equal(i8042_init(&i8042, &keyboard_line, &aux_line, &platform, &bench.fake.machine.bus), STATUS_OK);
    return 0;
}

static void command(uint8_t value)
{
    bench_outb(&bench, COMMAND, value);
}

static void data(uint8_t value)
{
    bench_outb(&bench, DATA, value);
}

static uint8_t status(void)
{
    return bench_inb(&bench, COMMAND);
}

/* There is an answer, of this kind, and it is this. */
static void answers(uint8_t flags, uint8_t value)
{
    assert_int_equal(status() & (OBF | AUX | TIMEOUT), OBF | flags);
    assert_int_equal(bench_inb(&bench, DATA), value);
    assert_int_equal(status() & (OBF | AUX | TIMEOUT), 0);
}

static void test_after_reset(void **state)
{
    (void)state;
    assert_int_equal(status(), UNLOCKED);
    assert_false(keyboard.level || aux.level);
}

static void test_self_test(void **state)
{
    (void)state;
    command(0xaa);
    assert_int_equal(status() & (CMD | SYS | UNLOCKED), CMD | SYS | UNLOCKED);
    answers(0, 0x55);
    command(0xab);
    answers(0, 0x00);
    command(0xa9);
    answers(0, 0x00);
    command(0x20);
    answers(0, 0x74);
}

static void test_command_byte(void **state)
{
    (void)state;
    command(0x60);
    assert_int_equal(status() & CMD, CMD);
    data(0x65);
    assert_int_equal(status() & CMD, 0);
    command(0x20);
    answers(0, 0x65);
    assert_int_equal(status() & SYS, SYS);
    command(0xad);
    command(0xa7);
    command(0x20);
    answers(0, 0x75);
    command(0xae);
    command(0x20);
    answers(0, 0x65);
    command(0xa8);
    command(0x20);
    answers(0, 0x45);
    command(0x60);
    data(0x00);
    assert_int_equal(status() & SYS, 0);
    for (uint8_t i = 1; i < 32; i++) {
        command(0x60 + i);
        data(i * 3);
    }
    for (uint8_t i = 1; i < 32; i++) {
        command(0x20 + i);
        answers(0, i * 3);
    }
}

/* As a Linux kernel looks for the auxiliary port and its interrupt. */
static void test_aux_probe(void **state)
{
    (void)state;
    command(0xd3);
    data(0x5a);
    answers(AUX, 0x5a);
    command(0xd3); /* no multiplexer: it would answer something else to the third */
    data(0xf0);
    answers(AUX, 0xf0);
    command(0xd3);
    data(0x56);
    answers(AUX, 0x56);
    command(0xd3);
    data(0xa4);
    answers(AUX, 0xa4);
    command(0x60);
    data(0x47);
    assert_false(aux.level);
    command(0xd3);
    data(0xa5);
    assert_true(aux.level);
    assert_false(keyboard.level);
    answers(AUX, 0xa5);
    assert_false(aux.level);
}

static void test_nobody_there(void **state)
{
    (void)state;
    command(0x60);
    data(0x47);
    data(0xf2); /* to the keyboard: identify */
    assert_true(keyboard.level);
    answers(TIMEOUT, 0xfe);
    assert_false(keyboard.level);
    command(0xd4);
    data(0xf2);
    assert_true(aux.level);
    assert_false(keyboard.level);
    answers(AUX | TIMEOUT, 0xfe);
    command(0xd2);
    data(0x1c);
    assert_true(keyboard.level);
    answers(0, 0x1c);
}

static void test_answers_replace_each_other(void **state)
{
    (void)state;
    command(0x60);
    data(0x47);
    data(0xff);
    data(0xff);
    assert_int_equal(keyboard.rises, 2);
    command(0xd4);
    data(0xff);
    assert_false(keyboard.level);
    assert_true(aux.level);
    command(0x60);
    data(0x45); /* the interrupt is switched off under way */
    assert_false(aux.level);
    answers(AUX | TIMEOUT, 0xfe);
    assert_int_equal(bench_inb(&bench, DATA), 0xfe); /* an empty buffer shows what was there */
}

static void test_ports(void **state)
{
    (void)state;
    command(0xc0);
    answers(0, 0xa0);
    command(0xe0);
    answers(0, 0x03);
    command(0xa4);
    answers(0, 0xf1);
    command(0xd0);
    answers(0, 0xcf);
    command(0xd1);
    data(0xdd); /* A20 off: remembered */
    command(0xd0);
    answers(0, 0xcd);
    command(0xd3);
    data(0);
    command(0xd0);
    assert_int_equal(status() & OBF, OBF);
    assert_int_equal(bench_inb(&bench, DATA), 0xed);
    command(0x99); /* unknown */
    assert_int_equal(status() & OBF, 0);
    assert_int_equal(bench.resets, 0);
}

static void test_reset_lines(void **state)
{
    (void)state;
    command(0xff);
    command(0xfd);
    assert_int_equal(bench.resets, 0);
    command(0xfe);
    assert_int_equal(bench.resets, 1);
    command(0xf0);
    assert_int_equal(bench.resets, 2);
    command(0xd1);
    data(0xfe);
    assert_int_equal(bench.resets, 3);
}

static void test_a_command_forgets_the_one_before(void **state)
{
    (void)state;
    command(0x60);
    command(0xd3);
    data(0x12);
    answers(AUX, 0x12);
    command(0xd3);
    command(0xae);
    data(0x34); /* for the keyboard then */
    answers(TIMEOUT, 0xfe);
}

/* One of several bytes. */
static void says(uint8_t byte)
{
    assert_int_equal(status() & (OBF | AUX | TIMEOUT), OBF);
    assert_int_equal(bench_inb(&bench, DATA), byte);
}

static void test_keyboard(void **state)
{
    (void)state;
    i8042_plug_keyboard(&i8042);
    command(0x60);
    data(0x47 | 0x10); /* its port is off, but for bytes to it */
    data(0xff);
    assert_true(keyboard.level);
    says(0xfa);
    assert_true(keyboard.level);
    says(0xaa);
    assert_false(keyboard.level);
    assert_int_equal(status() & OBF, 0);
    data(0xf2);
    says(0xfa);
    says(0xab);
    says(0x41); /* translated */
    command(0x60);
    data(0x07);
    data(0xf2);
    says(0xfa);
    says(0xab);
    says(0x83);
    data(0xed);
    says(0xfa);
    data(0x02);
    says(0xfa);
    data(0x02); /* no command */
    says(0xfe);
    data(0xee);
    says(0xee);
    data(0xf3);
    says(0xfa);
    data(0xf4); /* a command where a parameter was due */
    says(0xfa);
    assert_int_equal(status() & OBF, 0);

    for (unsigned i = 0; i < 10; i++) /* nobody reads */
        data(0xf2);
    bench_round_trip(&bench, &i8042.device, 0);
    command(0xad); /* off: what it has still to say waits */
    says(0xfa);
    assert_int_equal(status() & OBF, 0);
    command(0xae);
    says(0xab);
    command(0xd4); /* the mouse is not there */
    data(0xf2);
    assert_int_equal(status() & (OBF | AUX | TIMEOUT), OBF | AUX | TIMEOUT);
    assert_int_equal(bench_inb(&bench, DATA), 0xfe);
    bench_random_io(&bench, &i8042.device, 300000);
    bench_hostile_state(&bench, &i8042.device, 2000);
}

static void test_round_trip(void **state)
{
    (void)state;
    command(0x60);
    data(0x47);
    data(0xed);
    command(0xd3);
    bench_round_trip(&bench, &i8042.device, 1000);
    assert_true(keyboard.level);
    assert_int_equal(status() & (OBF | CMD), OBF | CMD);
    data(0x77);
    answers(AUX, 0x77);
    i8042.state.expects = 0x20;
    assert_false(i8042.device.type->schema->valid(&i8042.state));
}

static void test_reset(void **state)
{
    (void)state;
    command(0x60);
    data(0x47);
    data(0);
    assert_true(keyboard.level);
    i8042.device.type->reset(&i8042.device);
    test_after_reset(state);
}

static void test_robust(void **state)
{
    (void)state;
    bench_random_io(&bench, &i8042.device, 300000);
    bench_hostile_state(&bench, &i8042.device, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_after_reset, setup),
        cmocka_unit_test_setup(test_self_test, setup),
        cmocka_unit_test_setup(test_command_byte, setup),
        cmocka_unit_test_setup(test_aux_probe, setup),
        cmocka_unit_test_setup(test_nobody_there, setup),
        cmocka_unit_test_setup(test_answers_replace_each_other, setup),
        cmocka_unit_test_setup(test_ports, setup),
        cmocka_unit_test_setup(test_reset_lines, setup),
        cmocka_unit_test_setup(test_a_command_forgets_the_one_before, setup),
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_keyboard, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_robust, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
