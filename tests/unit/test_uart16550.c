/* The 16550A: registers, FIFO, the five interrupts, loopback, and the far end's patience. */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/uart_isa.h"

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR, THR = RBR, FCR = IIR, DLL = RBR, DLM = IER };
enum { ERBFI = 1, ETBEI = 2, ELSI = 4, EDSSI = 8, OUT2 = 8, LOOP = 16 };
enum { NONE = 1, THRE = 2, RECEIVED = 4, LINE = 6, TIMEOUT = 0xc, MODEM = 0, FIFOS = 0xc0 };
enum { BASE = 0x3f8, LSR_IDLE = 0x60, DR = 1, OE = 2, FE = 8, BI = 16 };

static struct bench bench;
static struct bench_wire irq;
static struct uart_isa uart;

/* The far end: keeps what it gets, and sends again what was refused when it hears drained(). */
static struct far_end {
    struct stream stream;
    char got[256];
    unsigned got_count;
    const char *rest;
    size_t rest_size;
    unsigned drained;
} far_end;

static void far_write(struct stream *stream, const void *bytes, size_t size)
{
    assert_ptr_equal(stream, &far_end.stream);
    for (size_t i = 0; i < size && far_end.got_count < sizeof(far_end.got); i++)
        far_end.got[far_end.got_count++] = ((const char *)bytes)[i];
}

static void far_offer(void)
{
    size_t taken = far_end.stream.receive(far_end.stream.device, far_end.rest, far_end.rest_size);

    assert_true(taken <= far_end.rest_size);
    far_end.rest += taken;
    far_end.rest_size -= taken;
}

static void far_drained(struct stream *stream)
{
    assert_ptr_equal(stream, &far_end.stream);
    far_end.drained++;
    if (far_end.rest_size > 0)
        far_offer();
}

static void far_send(const char *text, size_t size)
{
    far_end.rest = text;
    far_end.rest_size = size;
    far_offer();
}

static void start(struct stream *stream)
{
    struct uart_isa_wiring wiring = {.path = "isa/uart0", .base = BASE, .irq = bench_line(&irq), .stream = stream};

    bench_init(&bench);
    irq = (struct bench_wire){0};
    wiring.timers = &bench.fake.machine.timers;
    assert_int_equal(uart_isa_init(&uart, &wiring, &bench.fake.machine.bus), STATUS_OK);
}

static int setup(void **state)
{
    (void)state;
    far_end = (struct far_end){.stream = {.write = far_write, .drained = far_drained}};
    start(&far_end.stream);
    return 0;
}

static uint8_t get(unsigned reg)
{
    return bench_inb(&bench, (uint16_t)(BASE + reg));
}

static void put(unsigned reg, unsigned value)
{
    bench_outb(&bench, (uint16_t)(BASE + reg), (uint8_t)value);
}

static void interrupts(unsigned id)
{
    assert_int_equal(irq.level, id != NONE);
    assert_int_equal(get(IIR) & ~FIFOS, id);
}

static void test_after_reset(void **state)
{
    (void)state;
    assert_int_equal(get(IER), 0);
    assert_int_equal(get(IIR), NONE);
    assert_int_equal(get(LCR), 0);
    assert_int_equal(get(MCR), 0);
    assert_int_equal(get(LSR), LSR_IDLE);
    assert_int_equal(get(MSR), 0xb0);
    assert_false(irq.level);
}

/* What drivers do to find out which chip it is. */
static void test_probing(void **state)
{
    (void)state;
    put(IER, 0xff);
    assert_int_equal(get(IER), 0x0f);
    put(IER, 0);
    for (unsigned i = 0; i < 256; i++) {
        put(SCR, i);
        assert_int_equal(get(SCR), i);
    }
    put(MCR, 0xff);
    assert_int_equal(get(MCR), 0x1f);
    put(MCR, LOOP | 0x0a);
    assert_int_equal(get(MSR) & 0xf0, 0x90);
    put(MCR, 0);
    put(FCR, 1);
    assert_int_equal(get(IIR), FIFOS | NONE);
    put(FCR, 0xc8); /* ignored without bit 0 */
    assert_int_equal(get(IIR), NONE);
    put(LCR, 0xbf); /* a 16650 would show another register now */
    put(DLL, 0x0c);
    put(DLM, 0x34);
    assert_int_equal(get(DLL), 0x0c);
    assert_int_equal(get(DLM), 0x34);
    put(LCR, 0x03);
    assert_int_equal(get(IER), 0);
    assert_int_equal(get(LCR), 0x03);
    put(LSR, 0);
    put(MSR, 0);
    assert_int_equal(get(LSR), LSR_IDLE);
}

static void test_transmit(void **state)
{
    (void)state;
    put(LCR, 3);
    for (const char *text = "Hello"; *text; text++) {
        assert_int_equal(get(LSR), LSR_IDLE);
        put(THR, (uint8_t)*text);
    }
    assert_int_equal(far_end.got_count, 5);
    assert_memory_equal(far_end.got, "Hello", 5);
    put(LCR, 2); /* seven bits */
    put(THR, 0xc1);
    assert_int_equal(far_end.got[5], 0x41);
}

static void test_transmit_interrupt(void **state)
{
    (void)state;
    put(MCR, OUT2);
    put(IER, ETBEI);
    interrupts(THRE);
    interrupts(NONE); /* reading IIR took it back */
    put(IER, 0);
    put(IER, ETBEI); /* the test for chips that forget */
    interrupts(THRE);
    irq.rises = 0;
    put(THR, 'a');
    assert_int_equal(irq.rises, 1);
    put(THR, 'b');
    assert_int_equal(irq.rises, 2); /* an edge each */
    interrupts(THRE);
    interrupts(NONE);
}

static void test_interrupt_needs_out2(void **state)
{
    (void)state;
    put(IER, ETBEI);
    assert_false(irq.level);
    put(MCR, OUT2);
    assert_true(irq.level);
    put(MCR, OUT2 | LOOP);
    assert_false(irq.level);
    put(MCR, OUT2);
    assert_true(irq.level);
}

static void test_receive_without_fifo(void **state)
{
    (void)state;
    put(MCR, OUT2);
    put(IER, ERBFI);
    far_send("abc", 3);
    assert_int_equal(far_end.rest_size, 2);
    interrupts(RECEIVED);
    assert_int_equal(get(LSR), LSR_IDLE | DR);
    assert_int_equal(get(RBR), 'a');
    assert_int_equal(get(RBR), 'b'); /* drained() brought it */
    assert_int_equal(get(RBR), 'c');
    assert_int_equal(get(LSR), LSR_IDLE);
    interrupts(NONE);
    assert_int_equal(bench.fake.machine.timers.first == NULL, 1); /* no timeout without FIFO */
    assert_int_equal(get(RBR), 'c');
}

static void test_receive_trigger_levels(void **state)
{
    static const unsigned levels[] = {1, 4, 8, 14};

    (void)state;
    put(MCR, OUT2);
    put(IER, ERBFI);
    for (unsigned i = 0; i < 4; i++) {
        put(FCR, i << 6 | 1);
        far_send("0123456789abcdef", levels[i] - 1);
        assert_false(irq.level);
        far_send("X", 1);
        interrupts(RECEIVED);
        (void)get(RBR);
        interrupts(NONE);
        for (unsigned n = 1; n < levels[i]; n++)
            (void)get(RBR);
        assert_int_equal(get(LSR) & DR, 0);
    }
}

static void test_receive_timeout(void **state)
{
    (void)state;
    put(LCR, 0x83);
    put(DLL, 12); /* 9600 baud: a character takes 1.04 ms */
    put(LCR, 0x03);
    put(MCR, OUT2);
    put(IER, ERBFI);
    put(FCR, 0x81);
    far_send("xy", 2);
    bench_advance(&bench, 4000 * 1000);
    interrupts(NONE);
    far_send("z", 1); /* starts the wait anew */
    bench_advance(&bench, 4000 * 1000);
    interrupts(NONE);
    bench_advance(&bench, 200 * 1000);
    interrupts(TIMEOUT);
    assert_int_equal(get(RBR), 'x');
    interrupts(NONE);
    bench_advance(&bench, 4200 * 1000);
    interrupts(TIMEOUT); /* and so on, while something is left */
    assert_int_equal(get(RBR), 'y');
    assert_int_equal(get(RBR), 'z');
    bench_advance(&bench, NS_PER_SECOND);
    interrupts(NONE);
}

static void test_back_pressure(void **state)
{
    char text[100], got[100];

    (void)state;
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (char)('!' + i);
    put(FCR, 1);
    far_send(text, sizeof(text));
    assert_int_equal(far_end.rest_size, sizeof(text) - 16);
    for (unsigned i = 0; i < sizeof(text); i++) {
        assert_int_equal(get(LSR), LSR_IDLE | DR);
        got[i] = (char)get(RBR);
    }
    assert_memory_equal(got, text, sizeof(text));
    assert_int_equal(get(LSR), LSR_IDLE);
    assert_int_equal(far_end.rest_size, 0);
}

/* Whatever throws characters away makes room as well. */
static void test_clearing_the_fifo_lets_the_far_end_go_on(void **state)
{
    (void)state;
    put(FCR, 1);
    far_send("0123456789abcdefREST", 20);
    put(FCR, 3);
    assert_int_equal(get(RBR), 'R');
    far_send("0123456789abcdefREST", 20);
    put(FCR, 0);
    put(FCR, 1);
    far_end.drained = 0;
    far_send("q", 1);
    assert_int_equal(far_end.drained, 0);
}

static void test_loopback(void **state)
{
    (void)state;
    put(FCR, 1);
    put(LCR, 3);
    put(MCR, LOOP);
    far_send("outside", 7);
    assert_int_equal(far_end.rest_size, 7); /* the receiver's input is disconnected */
    for (unsigned i = 0; i < 16; i++)
        put(THR, 0x80 + i);
    assert_int_equal(get(LSR), LSR_IDLE | DR);
    put(THR, 0x99);
    assert_int_equal(get(LSR), LSR_IDLE | DR | OE);
    assert_int_equal(get(LSR), LSR_IDLE | DR);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(get(RBR), 0x80 + i);
    assert_int_equal(far_end.got_count, 0);
    put(MCR, 0);
    assert_int_equal(get(RBR), 'o');

    put(FCR, 0);
    put(MCR, LOOP);
    put(THR, 1);
    put(THR, 2);
    assert_int_equal(get(LSR), LSR_IDLE | DR | OE);
    assert_int_equal(get(RBR), 2); /* the single buffer was overwritten */
}

static void test_modem_status(void **state)
{
    (void)state;
    put(IER, EDSSI);
    put(MCR, LOOP);
    assert_int_equal(get(MSR), 0x0b); /* CTS, DSR, DCD fell */
    assert_int_equal(get(MSR), 0x00);
    put(MCR, LOOP | 0x04);
    assert_int_equal(get(MSR), 0x40);
    put(MCR, LOOP);
    assert_int_equal(get(MSR), 0x04); /* the trailing edge of RI */
    put(MCR, LOOP | 0x01);
    put(MCR, LOOP | 0x03);
    assert_int_equal(get(MSR), 0x33); /* deltas add up until they are read */
    put(MCR, OUT2);
    interrupts(MODEM);
    assert_int_equal(get(MSR), 0xb8); /* DSR and CTS are as they were */
    interrupts(NONE);
}

static void test_break_and_line_status(void **state)
{
    (void)state;
    put(IER, ELSI | ERBFI);
    put(FCR, 1);
    put(LCR, 3);
    put(MCR, LOOP);
    put(THR, 'a');
    put(LCR, 0x43);
    put(THR, 'b');
    put(LCR, 0x03);
    assert_int_equal(get(LSR), LSR_IDLE | DR | 0x80); /* an error waits in the FIFO */
    assert_int_equal(get(IIR) & 15, RECEIVED);
    assert_int_equal(get(RBR), 'a');
    assert_int_equal(get(IIR) & 15, LINE); /* the character with the break is the oldest now */
    assert_int_equal(get(LSR), LSR_IDLE | DR | 0x80 | BI | FE);
    assert_int_equal(get(LSR), LSR_IDLE | DR);
    assert_int_equal(get(RBR), 0);
    assert_int_equal(get(RBR), 'b');
}

static void test_priorities(void **state)
{
    (void)state;
    put(LCR, 3);
    put(MCR, LOOP);
    put(THR, 1);
    put(THR, 2); /* overrun */
    put(MCR, OUT2);
    put(IER, 0x0f);
    interrupts(LINE);
    (void)get(LSR);
    interrupts(RECEIVED);
    (void)get(RBR);
    interrupts(THRE);
    interrupts(MODEM);
    (void)get(MSR);
    interrupts(NONE);
}

static void test_nothing_plugged_in(void **state)
{
    (void)state;
    start(NULL);
    put(THR, 'x');
    assert_int_equal(get(MSR), 0);
    assert_int_equal(get(LSR), LSR_IDLE);
    uart.device.type->reset(&uart.device);
    bench_random_io(&bench, &uart.device, 10000);
}

static void test_round_trip(void **state)
{
    (void)state;
    put(LCR, 3);
    put(MCR, OUT2);
    put(FCR, 0x81);
    put(IER, ERBFI);
    far_send("abc", 3);
    assert_int_equal(get(RBR), 'a');
    bench_round_trip(&bench, &uart.device, NS_PER_SECOND);
    assert_true(far_end.drained > 0); /* it may have been told to wait by the former machine */
    bench_advance(&bench, 400 * 1000);
    interrupts(TIMEOUT);
    bench_round_trip(&bench, &uart.device, NS_PER_SECOND);
    interrupts(TIMEOUT);
    assert_int_equal(get(RBR), 'b');
    assert_int_equal(get(RBR), 'c');
}

static void test_reset(void **state)
{
    (void)state;
    put(MCR, OUT2);
    put(FCR, 1);
    put(IER, 0x0f);
    far_send("abc", 3);
    assert_true(irq.level);
    uart.device.type->reset(&uart.device);
    assert_false(irq.level);
    test_after_reset(state);
}

static void test_robust(void **state)
{
    static const char noise[64] = "the far end talks all the time, too";

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        bench_random_io(&bench, &uart.device, 300);
        far_send(noise, i % sizeof(noise));
        far_end.got_count = 0;
    }
    bench_hostile_state(&bench, &uart.device, 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_after_reset, setup),
        cmocka_unit_test_setup(test_probing, setup),
        cmocka_unit_test_setup(test_transmit, setup),
        cmocka_unit_test_setup(test_transmit_interrupt, setup),
        cmocka_unit_test_setup(test_interrupt_needs_out2, setup),
        cmocka_unit_test_setup(test_receive_without_fifo, setup),
        cmocka_unit_test_setup(test_receive_trigger_levels, setup),
        cmocka_unit_test_setup(test_receive_timeout, setup),
        cmocka_unit_test_setup(test_back_pressure, setup),
        cmocka_unit_test_setup(test_clearing_the_fifo_lets_the_far_end_go_on, setup),
        cmocka_unit_test_setup(test_loopback, setup),
        cmocka_unit_test_setup(test_modem_status, setup),
        cmocka_unit_test_setup(test_break_and_line_status, setup),
        cmocka_unit_test_setup(test_priorities, setup),
        cmocka_unit_test_setup(test_nothing_plugged_in, setup),
        cmocka_unit_test_setup(test_round_trip, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_robust, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
