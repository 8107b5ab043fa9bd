/* The 8259A pair against its data sheet. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/pic.h"

enum { MASTER = 0x20, SLAVE = 0xa0, ELCR = 0x4d0, MASTER_BASE = 0x30, SLAVE_BASE = 0x38 };
enum { EOI = 0x20, SPECIFIC_EOI = 0x60, READ_IRR = 0x0a, READ_ISR = 0x0b, POLL = 0x0c };

static struct bench bench;
static struct bench_wire intr;
static struct pic pic;

static void program(uint16_t port, uint8_t icw2, uint8_t icw3, uint8_t icw4)
{
    bench_outb(&bench, port, 0x11);
    bench_outb(&bench, port + 1, icw2);
    bench_outb(&bench, port + 1, icw3);
    bench_outb(&bench, port + 1, icw4);
    bench_outb(&bench, port + 1, 0);
}

static int setup(void **state)
{
    struct irq_line line = bench_line(&intr);

    (void)state;
    bench_init(&bench);
    intr = (struct bench_wire){0};
    assert_int_equal(pic_init(&pic, &line, &bench.fake.machine.bus), STATUS_OK);
    program(MASTER, MASTER_BASE, 4, 1);
    program(SLAVE, SLAVE_BASE, 2, 1);
    return 0;
}

static void pulse(unsigned pin)
{
    pic_set_irq(&pic, pin, false);
    pic_set_irq(&pic, pin, true);
}

static uint8_t read_register(uint16_t port, uint8_t which)
{
    bench_outb(&bench, port, which);
    return bench_inb(&bench, port);
}

static void nothing_pending(void)
{
    assert_false(pic_pending(&pic));
    assert_false(intr.level);
}

static void serves(int vector)
{
    assert_true(pic_pending(&pic));
    assert_true(intr.level);
    assert_int_equal(pic_acknowledge(&pic), vector);
}

static void test_power_on_is_quiet(void **state)
{
    struct irq_line line = bench_line(&intr);

    (void)state;
    bench_init(&bench);
    assert_int_equal(pic_init(&pic, &line, &bench.fake.machine.bus), STATUS_OK);
    for (unsigned pin = 0; pin < PIC_PINS; pin++)
        pic_set_irq(&pic, pin, true);
    nothing_pending();
    assert_int_equal(bench_inb(&bench, MASTER + 1), 0xff);
    bench_outb(&bench, MASTER + 1, 0xfb); /* Linux looks for a chip that keeps its mask */
    assert_int_equal(bench_inb(&bench, MASTER + 1), 0xfb);
}

static void test_request_service_end(void **state)
{
    (void)state;
    pulse(3);
    assert_int_equal(read_register(MASTER, READ_IRR), BIT(3));
    serves(MASTER_BASE + 3);
    nothing_pending();
    assert_int_equal(read_register(MASTER, READ_IRR), 0);
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(3));
    pulse(3);
    nothing_pending(); /* still in service */
    bench_outb(&bench, MASTER, EOI);
    serves(MASTER_BASE + 3);
    bench_outb(&bench, MASTER, SPECIFIC_EOI | 3);
    assert_int_equal(read_register(MASTER, READ_ISR), 0);
    nothing_pending();
}

static void test_mask(void **state)
{
    (void)state;
    bench_outb(&bench, MASTER + 1, BIT(4));
    pulse(4);
    nothing_pending();
    assert_int_equal(read_register(MASTER, READ_IRR), BIT(4)); /* the request waits */
    bench_outb(&bench, MASTER + 1, 0);
    serves(MASTER_BASE + 4);
}

static void test_fully_nested(void **state)
{
    (void)state;
    pulse(5);
    pulse(1);
    pulse(6);
    serves(MASTER_BASE + 1);
    nothing_pending();
    pulse(0);
    serves(MASTER_BASE + 0);
    nothing_pending();
    bench_outb(&bench, MASTER, EOI); /* ends 0, the highest in service */
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(1));
    nothing_pending();
    bench_outb(&bench, MASTER, EOI);
    serves(MASTER_BASE + 5);
    bench_outb(&bench, MASTER, EOI);
    serves(MASTER_BASE + 6);
}

static void test_cascade(void **state)
{
    (void)state;
    pulse(12);
    serves(SLAVE_BASE + 4);
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(2));
    assert_int_equal(read_register(SLAVE, READ_ISR), BIT(4));
    pulse(8); /* more important, but the master's IR2 is in service */
    nothing_pending();
    pulse(1);
    serves(MASTER_BASE + 1);
    bench_outb(&bench, MASTER, EOI);
    bench_outb(&bench, SLAVE, EOI);
    bench_outb(&bench, MASTER, EOI);
    serves(SLAVE_BASE + 0);
    pulse(7); /* less than IR2 */
    nothing_pending();
    bench_outb(&bench, SLAVE, EOI);
    bench_outb(&bench, MASTER, EOI);
    serves(MASTER_BASE + 7);
}

static void test_special_fully_nested(void **state)
{
    (void)state;
    program(MASTER, MASTER_BASE, 4, 0x11);
    pulse(12);
    serves(SLAVE_BASE + 4);
    pulse(3);
    nothing_pending();
    pulse(13);
    nothing_pending();
    pulse(9);
    serves(SLAVE_BASE + 1);
    bench_outb(&bench, SLAVE, EOI);
    assert_int_equal(read_register(SLAVE, READ_ISR), BIT(4));
}

static void test_edges(void **state)
{
    (void)state;
    pic_set_irq(&pic, 5, true);
    pic_set_irq(&pic, 5, true);
    serves(MASTER_BASE + 5);
    bench_outb(&bench, MASTER, EOI);
    nothing_pending(); /* still high, but no new edge */
    pic_set_irq(&pic, 5, false);
    pic_set_irq(&pic, 5, true);
    assert_true(pic_pending(&pic));
    pic_set_irq(&pic, 5, false);
    nothing_pending(); /* withdrawn */
}

static void test_levels(void **state)
{
    (void)state;
    bench_outb(&bench, ELCR + 1, BIT(2));
    pic_set_irq(&pic, 10, true);
    serves(SLAVE_BASE + 2);
    bench_outb(&bench, SLAVE, EOI);
    bench_outb(&bench, MASTER, EOI);
    serves(SLAVE_BASE + 2);
    pic_set_irq(&pic, 10, false);
    bench_outb(&bench, SLAVE, EOI);
    bench_outb(&bench, MASTER, EOI);
    nothing_pending();

    pic_set_irq(&pic, 11, true); /* an edge, served and ended... */
    serves(SLAVE_BASE + 3);
    bench_outb(&bench, SLAVE, EOI);
    bench_outb(&bench, MASTER, EOI);
    nothing_pending();
    bench_outb(&bench, ELCR + 1, BIT(3)); /* ...asks again as a level */
    serves(SLAVE_BASE + 3);
}

static void test_elcr_keeps_reserved_bits_clear(void **state)
{
    (void)state;
    bench_out(&bench, ELCR, 2, 0xffff);
    assert_int_equal(bench_in(&bench, ELCR, 2), 0xdef8);
}

static void test_spurious(void **state)
{
    (void)state;
    assert_int_equal(pic_acknowledge(&pic), MASTER_BASE + 7);
    assert_int_equal(read_register(MASTER, READ_ISR), 0);

    pulse(14);
    bench_outb(&bench, SLAVE + 1, 0xff); /* goes after the master has seen it: here, at once */
    assert_int_equal(pic_acknowledge(&pic), MASTER_BASE + 7);
    bench_outb(&bench, SLAVE + 1, 0);

    /* The race proper: the master still has the request, the slave no longer. */
    pic.state.chips[PIC_SLAVE].imr = 0xff;
    assert_int_equal(pic_acknowledge(&pic), SLAVE_BASE + 7);
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(2));
    assert_int_equal(read_register(SLAVE, READ_ISR), 0);
}

static void test_interrupt_output_has_an_edge_per_acknowledge(void **state)
{
    unsigned rises;

    (void)state;
    pulse(6);
    pulse(4);
    rises = intr.rises;
    assert_int_equal(pic_acknowledge(&pic), MASTER_BASE + 4);
    bench_outb(&bench, MASTER, EOI);
    assert_int_equal(intr.rises, rises + 1);
}

static void test_automatic_eoi(void **state)
{
    (void)state;
    program(MASTER, MASTER_BASE, 4, 3);
    pulse(3);
    pulse(4);
    serves(MASTER_BASE + 3);
    assert_int_equal(read_register(MASTER, READ_ISR), 0);
    serves(MASTER_BASE + 4);

    bench_outb(&bench, MASTER, 0x80); /* rotate in automatic EOI mode */
    pulse(3);
    serves(MASTER_BASE + 3); /* 3 is the lowest now */
    pulse(3);
    pulse(4);
    serves(MASTER_BASE + 4);
    pulse(3);
    pulse(4);
    serves(MASTER_BASE + 3);
    bench_outb(&bench, MASTER, 0x00);
    pulse(3);
    serves(MASTER_BASE + 4);
    serves(MASTER_BASE + 3);
}

static void test_rotations(void **state)
{
    (void)state;
    bench_outb(&bench, MASTER, 0xc0 | 4); /* set priority: 4 is the lowest */
    pulse(4);
    pulse(3);
    pulse(5);
    serves(MASTER_BASE + 5);
    bench_outb(&bench, MASTER, 0xa0); /* rotate on non-specific EOI: 5 is the lowest */
    pulse(5);
    serves(MASTER_BASE + 3);
    bench_outb(&bench, MASTER, 0xe0 | 3); /* rotate on specific EOI: 3 is the lowest */
    serves(MASTER_BASE + 4);
    bench_outb(&bench, MASTER, EOI);
    bench_outb(&bench, MASTER, 0x40); /* no operation */
    serves(MASTER_BASE + 5);
    bench_outb(&bench, MASTER, 0xa0);
    pulse(6);
    pulse(0);
    serves(MASTER_BASE + 6);
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(6));
    bench_outb(&bench, MASTER, EOI);
    bench_outb(&bench, MASTER, EOI); /* nothing in service: nothing happens */
    serves(MASTER_BASE + 0);
}

static void test_special_mask(void **state)
{
    (void)state;
    pulse(2 + 2);
    serves(MASTER_BASE + 4);
    bench_outb(&bench, MASTER + 1, BIT(4));
    pulse(6);
    nothing_pending();
    bench_outb(&bench, MASTER, 0x68); /* ESMM, SMM */
    serves(MASTER_BASE + 6);
    bench_outb(&bench, MASTER, EOI); /* not 4, which is masked */
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(4));
    pulse(6);
    serves(MASTER_BASE + 6);
    bench_outb(&bench, MASTER, EOI);
    bench_outb(&bench, MASTER, 0x08); /* without ESMM the mode stays */
    pulse(6);
    assert_true(pic_pending(&pic));
    bench_outb(&bench, MASTER, 0x48); /* ESMM without SMM ends it */
    nothing_pending();
    bench_outb(&bench, MASTER, EOI);
    serves(MASTER_BASE + 6);
}

static void test_poll(void **state)
{
    (void)state;
    bench_outb(&bench, MASTER, POLL);
    assert_int_equal(bench_inb(&bench, MASTER), 0);
    pulse(5);
    bench_outb(&bench, MASTER, POLL);
    assert_int_equal(bench_inb(&bench, MASTER), 0x80 | 5);
    nothing_pending();
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(5));
    bench_outb(&bench, MASTER, EOI);
    pulse(9);
    bench_outb(&bench, SLAVE, POLL);
    assert_int_equal(bench_inb(&bench, SLAVE + 1), 0x80 | 1); /* at either address */
    nothing_pending();
}

static void test_initialization_clears(void **state)
{
    (void)state;
    pulse(3);
    serves(MASTER_BASE + 3);
    pulse(6);
    bench_outb(&bench, MASTER + 1, 0xf0);
    bench_outb(&bench, MASTER, 0xc3);
    bench_outb(&bench, MASTER, 0x68);
    bench_outb(&bench, MASTER, READ_ISR);

    bench_outb(&bench, MASTER, 0x11);
    nothing_pending();
    bench_outb(&bench, MASTER + 1, 0x7f); /* only T7-T3 count */
    bench_outb(&bench, MASTER + 1, 4);
    pulse(1);
    nothing_pending(); /* not before the last word */
    bench_outb(&bench, MASTER + 1, 1);
    assert_int_equal(bench_inb(&bench, MASTER), BIT(1)); /* IRR; the old edges are forgotten */
    assert_int_equal(bench_inb(&bench, MASTER + 1), 0);
    serves(0x78 + 1);
    assert_int_equal(pic.state.chips[PIC_MASTER].lowest, 7);
    assert_int_equal(pic.state.chips[PIC_MASTER].special_mask, 0);
}

static void test_short_initializations(void **state)
{
    (void)state;
    bench_outb(&bench, MASTER, 0x13); /* single: no ICW3 */
    bench_outb(&bench, MASTER + 1, 0x40);
    bench_outb(&bench, MASTER + 1, 3);
    bench_outb(&bench, MASTER + 1, 0xfe);
    assert_int_equal(bench_inb(&bench, MASTER + 1), 0xfe);
    pulse(0);
    serves(0x40);
    assert_int_equal(read_register(MASTER, READ_ISR), 0); /* AEOI */

    bench_outb(&bench, MASTER, 0x12); /* nor ICW4, which is then zero */
    bench_outb(&bench, MASTER + 1, 0x48);
    pulse(0);
    serves(0x48);
    assert_int_equal(read_register(MASTER, READ_ISR), BIT(0));
}

static void test_pins_that_do_not_exist(void **state)
{
    (void)state;
    pic_set_irq(&pic, 2, true);
    pic_set_irq(&pic, 16, true);
    pic_set_irq(&pic, ~0u, true);
    nothing_pending();
}

static void test_round_trip(void **state)
{
    (void)state;
    bench_outb(&bench, ELCR, 0x80);
    bench_outb(&bench, MASTER, 0xc3);
    pulse(12);
    serves(SLAVE_BASE + 4);
    pulse(5);
    pulse(14);
    bench_outb(&bench, MASTER, 0x11); /* in the middle of an initialization */
    bench_outb(&bench, MASTER + 1, 0x50);
    bench_round_trip(&bench, &pic.device, 1000);
    bench_outb(&bench, MASTER + 1, 4);
    bench_outb(&bench, MASTER + 1, 1);
    pulse(6);
    bench_round_trip(&bench, &pic.device, 0);
    serves(0x56);
}

static void test_reset(void **state)
{
    (void)state;
    pulse(5);
    pic.device.type->reset(&pic.device);
    nothing_pending();
    assert_int_equal(bench_inb(&bench, MASTER + 1), 0xff);
}

static void test_robust(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        bench_random_io(&bench, &pic.device, 1000);
        pulse(i & 15);
        (void)pic_acknowledge(&pic);
    }
    bench_hostile_state(&bench, &pic.device, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_on_is_quiet),
        cmocka_unit_test_setup(test_request_service_end, setup),
        cmocka_unit_test_setup(test_mask, setup),
        cmocka_unit_test_setup(test_fully_nested, setup),
        cmocka_unit_test_setup(test_cascade, setup),
        cmocka_unit_test_setup(test_special_fully_nested, setup),
        cmocka_unit_test_setup(test_edges, setup),
        cmocka_unit_test_setup(test_levels, setup),
        cmocka_unit_test_setup(test_elcr_keeps_reserved_bits_clear, setup),
        cmocka_unit_test_setup(test_spurious, setup),
        cmocka_unit_test_setup(test_interrupt_output_has_an_edge_per_acknowledge, setup),
        cmocka_unit_test_setup(test_automatic_eoi, setup),
        cmocka_unit_test_setup(test_rotations, setup),
        cmocka_unit_test_setup(test_special_mask, setup),
        cmocka_unit_test_setup(test_poll, setup),
        cmocka_unit_test_setup(test_initialization_clears, setup),
        cmocka_unit_test_setup(test_short_initializations, setup),
        cmocka_unit_test_setup(test_pins_that_do_not_exist, setup),
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_robust, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
