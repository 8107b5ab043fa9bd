/* The I/O APIC: redirection, edges and levels, remote IRR, EOI. */
#include "unit.h"

#include "dev/chipset/ioapic.h"
#include "fake_machine.h"

enum { SELECT = 0x00, WINDOW = 0x10, EOI = 0x40, ID = 0x00, VERSION = 0x01, REDIRECTION = 0x10 };
enum { LEVEL = 0x8000, REMOTE_IRR = 0x4000, MASKED = 0x10000, LOGICAL = 0x800 };

static struct fake_machine fake;
static struct ioapic ioapic;
static unsigned sent;
static uint64_t last_address;
static uint32_t last_data;

static void collect(void *router, uint64_t address, uint32_t data)
{
    (void)router;
    sent++;
    last_address = address;
    last_data = data;
}

static int setup(void **state)
{
    const struct msi_sink sink = {.send = collect};

    (void)state;
    fake_machine_init(&fake, 1);
    sent = 0;
    return ioapic_init(&ioapic, &sink, &fake.machine.bus) == STATUS_OK ? 0 : -1;
}

static uint64_t access_page(uint64_t offset, unsigned size, bool write, uint64_t value)
{
    bus_access(&fake.machine.bus, BUS_MEMORY, IOAPIC_BASE + offset, size, write, &value);
    return value;
}

static uint32_t get(uint32_t number)
{
    access_page(SELECT, 4, true, number);
    return (uint32_t)access_page(WINDOW, 4, false, 0);
}

static void put(uint32_t number, uint32_t value)
{
    access_page(SELECT, 4, true, number);
    access_page(WINDOW, 4, true, value);
}

static void program(unsigned pin, uint32_t low, uint32_t high)
{
    put(REDIRECTION + 2 * pin + 1, high);
    put(REDIRECTION + 2 * pin, low);
}

static void test_registers(void **state)
{
    (void)state;
    assert_int_equal(get(VERSION), 0x00170020);
    put(VERSION, 0);
    assert_int_equal(get(VERSION), 0x00170020);
    put(ID, 0xffffffff);
    assert_int_equal(get(ID), 0x0f000000);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        assert_int_equal(get(REDIRECTION + 2 * pin), MASKED);
        program(pin, 0xffffffff, 0xffffffff);
        assert_int_equal(get(REDIRECTION + 2 * pin), 0x1afff);
        assert_int_equal(get(REDIRECTION + 2 * pin + 1), 0xff000000);
    }
    assert_int_equal(get(REDIRECTION + 2 * IOAPIC_PINS), 0xffffffff);
    put(REDIRECTION + 2 * IOAPIC_PINS, 0);
    access_page(SELECT, 1, true, VERSION); /* a byte selects too */
    assert_int_equal(access_page(WINDOW, 4, false, 0), 0x00170020);
    assert_int_equal(access_page(0x80, 4, false, 0), 0xffffffff);
    ioapic.device.type->reset(&ioapic.device);
    assert_int_equal(get(REDIRECTION), MASKED);
}

static void test_edge(void **state)
{
    (void)state;
    ioapic_set_irq(&ioapic, 4, true);
    program(4, 0x31, 2u << 24);
    assert_int_equal(sent, 0); /* masked edges are lost */
    ioapic_set_irq(&ioapic, 4, true);
    assert_int_equal(sent, 0);
    ioapic_set_irq(&ioapic, 4, false);
    ioapic_set_irq(&ioapic, 4, true);
    assert_int_equal(sent, 1);
    assert_int_equal(last_address, 0xfee02000);
    assert_int_equal(last_data, 0x4031);
    ioapic_set_irq(&ioapic, 4, false);
    program(4, LOGICAL | 0x100 | 0x32, 0xffu << 24);
    ioapic_set_irq(&ioapic, 4, true);
    assert_int_equal(last_address, 0xfeeff004);
    assert_int_equal(last_data, 0x4132);
    ioapic_set_irq(&ioapic, 24, true); /* no such pin */
    ioapic_set_irq(&ioapic, 99, true);
    assert_int_equal(sent, 2);
}

static void test_level(void **state)
{
    (void)state;
    program(16, LEVEL | 0x2000 | 0x41, 0);
    ioapic_set_irq(&ioapic, 16, true);
    assert_int_equal(sent, 1);
    assert_int_equal(last_data, 0xc041);
    assert_int_equal(get(REDIRECTION + 32) & REMOTE_IRR, REMOTE_IRR);
    ioapic_set_irq(&ioapic, 16, false);
    ioapic_set_irq(&ioapic, 16, true);
    assert_int_equal(sent, 1); /* not before the EOI */
    ioapic_end_of_interrupt(&ioapic, 0x42);
    assert_int_equal(sent, 1);
    ioapic_end_of_interrupt(&ioapic, 0x41);
    assert_int_equal(sent, 2); /* still asserted */
    ioapic_set_irq(&ioapic, 16, false);
    access_page(EOI, 4, true, 0x41);
    assert_int_equal(sent, 2);
    assert_int_equal(get(REDIRECTION + 32) & REMOTE_IRR, 0);
}

static void test_level_masking(void **state)
{
    (void)state;
    program(9, LEVEL | MASKED | 0x41, 0);
    ioapic_set_irq(&ioapic, 9, true);
    assert_int_equal(sent, 0);
    program(9, LEVEL | 0x41, 0);
    assert_int_equal(sent, 1);
    program(9, MASKED | 0x41, 0); /* edge, and back: how old software forgets the remote IRR */
    assert_int_equal(get(REDIRECTION + 18), MASKED | 0x41);
    program(9, LEVEL | 0x41, 0);
    assert_int_equal(sent, 2);
}

static void test_random(void **state)
{
    static uint8_t bytes[2048];
    uint64_t seed = 99;
    size_t size;

    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t random = fake_random(&seed);
        static const uint8_t offsets[] = {SELECT, WINDOW, WINDOW, EOI};

        if (random & 1)
            ioapic_set_irq(&ioapic, random >> 8 & 31, random >> 16 & 1);
        else if (random & 2)
            access_page(offsets[random >> 8 & 3], 1u << (random >> 16 & 3), random & 4, random >> 24 & 0x3f81ff);
        else
            access_page(random >> 8 & 0xfff, 1u << (random >> 20 & 3), random & 4, random >> 24);
        if (i % 256 == 0)
            assert_true(ioapic.device.type->schema->valid(&ioapic.state));
    }
    assert_int_equal(state_encode(ioapic.device.type->schema, &ioapic.state, bytes, sizeof(bytes), &size), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_registers, setup), cmocka_unit_test_setup(test_edge, setup),
        cmocka_unit_test_setup(test_level, setup),     cmocka_unit_test_setup(test_level_masking, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
