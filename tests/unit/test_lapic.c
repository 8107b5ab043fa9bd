/* The local APICs and what lies between them: registers, priorities, IPIs, MSIs, the timer, ExtINT. */
#include "unit.h"

#include "dev/chipset/lapic.h"
#include "fake_machine.h"
#include "x86/msr.h"

enum {
    ID = 0x20,
    VERSION = 0x30,
    TPR = 0x80,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR_HIGH = 0x310,
    LVT_TIMER = 0x320,
    LVT_LINT0 = 0x350,
    LVT_LINT1 = 0x360,
    LVT_ERROR = 0x370,
    INITIAL = 0x380,
    CURRENT = 0x390,
    DIVIDE = 0x3e0,
};

enum { MASKED = 0x10000, PERIODIC = 0x20000, DEADLINE = 0x40000, DIVIDE_BY_1 = 0xb, DIVIDE_BY_16 = 3 };

enum { CPUS = 4 };

#define X2APIC_BASE(n) (MSR_IA32_X2APIC_FIRST + ((n) >> 4))

static struct fake_machine fake;
static struct lapic_bus bus;
static struct lapic lapics[MACHINE_CPUS];
static int pic_vector;
static int last_eoi;

static int fake_pic_acknowledge(void *pic)
{
    (void)pic;
    lapic_bus_set_intr(&bus, 0, false);
    return pic_vector;
}

static void fake_eoi(void *ioapic, uint8_t vector)
{
    (void)ioapic;
    last_eoi = vector;
}

static void start(unsigned cpus)
{
    const struct guest_tsc tsc = {.now = fake_machine_tsc, .source = &fake, .khz = FAKE_TSC_KHZ};

    fake_machine_init(&fake, cpus);
    lapic_bus_init(&bus, &fake.machine, &tsc);
    bus.pic = (struct lapic_pic){.acknowledge = fake_pic_acknowledge};
    bus.eoi_listener = (struct lapic_eoi_listener){.eoi = fake_eoi};
    lapic_bus_populate(&bus, &fake.machine, lapics);
    last_eoi = -1;
    for (unsigned i = 0; i < cpus; i++)
        fake_machine_attention(&fake, i);
}

static int setup(void **state)
{
    (void)state;
    start(CPUS);
    return 0;
}

static uint32_t get(unsigned cpu, uint32_t offset)
{
    uint32_t value = 0xdeadbeef;

    assert_true(lapic_apic_ops.read(&lapics[cpu], offset, 4, &value));
    return value;
}

static void put(unsigned cpu, uint32_t offset, uint32_t value)
{
    assert_true(lapic_apic_ops.write(&lapics[cpu], offset, 4, value));
}

static uint64_t rdmsr(unsigned cpu, uint32_t msr)
{
    uint64_t value = 0;

    assert_true(lapic_apic_ops.read_msr(&lapics[cpu], msr, &value));
    return value;
}

static bool wrmsr(unsigned cpu, uint32_t msr, uint64_t value)
{
    return lapic_apic_ops.write_msr(&lapics[cpu], msr, value);
}

static int acknowledge(unsigned cpu)
{
    return lapic_apic_ops.acknowledge(&lapics[cpu]);
}

static bool pending(unsigned cpu)
{
    return lapic_apic_ops.pending(&lapics[cpu]);
}

static void enable_all(void)
{
    for (unsigned i = 0; i < bus.count; i++)
        put(i, SVR, 0x1ff);
}

static void x2apic_all(void)
{
    for (unsigned i = 0; i < bus.count; i++) {
        assert_true(wrmsr(i, MSR_IA32_APIC_BASE, rdmsr(i, MSR_IA32_APIC_BASE) | APIC_BASE_EXTD));
        assert_true(wrmsr(i, X2APIC_BASE(SVR), 0x1ff));
    }
}

/* Which vCPUs have this vector pending; they are served and end it. */
static unsigned take(int vector)
{
    unsigned set = 0;

    for (unsigned i = 0; i < bus.count; i++) {
        if (acknowledge(i) != vector)
            continue;
        set |= 1u << i;
        if (rdmsr(i, MSR_IA32_APIC_BASE) & APIC_BASE_EXTD)
            assert_true(wrmsr(i, X2APIC_BASE(EOI), 0));
        else
            put(i, EOI, 0);
    }
    return set;
}

static void test_power_on(void **state)
{
    (void)state;
    assert_int_equal(rdmsr(0, MSR_IA32_APIC_BASE), 0xfee00900);
    assert_int_equal(rdmsr(1, MSR_IA32_APIC_BASE), 0xfee00800);
    assert_int_equal(lapic_apic_ops.base(&lapics[1]), 0xfee00800);
    assert_int_equal(get(3, ID), 3u << 24);
    assert_int_equal(get(0, VERSION), 0x01050014);
    assert_int_equal(get(0, SVR), 0xff);
    assert_int_equal(get(0, DFR), 0xffffffff);
    for (uint32_t lvt = LVT_TIMER; lvt <= LVT_ERROR; lvt += 0x10)
        assert_int_equal(get(0, lvt), MASKED);
    assert_string_equal(lapics[3].device.path, "cpu/3/lapic");
    assert_false(pending(0));
}

static void test_narrow_access(void **state)
{
    uint32_t value = 0;

    (void)state;
    put(0, SVR, 0x1ab);
    assert_true(lapic_apic_ops.read(&lapics[0], SVR + 1, 1, &value));
    assert_int_equal(value, 1);
    assert_true(lapic_apic_ops.read(&lapics[0], SVR, 2, &value));
    assert_int_equal(value, 0x1ab);
    assert_true(lapic_apic_ops.read(&lapics[0], SVR + 4, 4, &value));
    assert_int_equal(value, 0);
    assert_true(lapic_apic_ops.write(&lapics[0], SVR, 1, 0));
    assert_true(lapic_apic_ops.write(&lapics[0], SVR + 8, 4, 0));
    assert_int_equal(get(0, SVR), 0x1ab);
}

static void test_priorities(void **state)
{
    (void)state;
    enable_all();
    put(0, ICR, 0x40000 | 0x51);
    assert_true(pending(0));
    assert_int_equal(fake_machine_attention(&fake, 0), ATTENTION_INTERRUPT);
    assert_int_equal(get(0, IRR + 0x20), 1u << 17);
    put(0, ICR, 0x40000 | 0x62);
    assert_int_equal(acknowledge(0), 0x62);
    assert_int_equal(get(0, ISR + 0x30), 1u << 2);
    assert_int_equal(get(0, PPR), 0x60);
    assert_false(pending(0)); /* 0x51 is of a lower class */
    assert_int_equal(acknowledge(0), -1);
    put(0, ICR, 0x40000 | 0x70);
    assert_int_equal(acknowledge(0), 0x70);
    put(0, EOI, 0);
    assert_false(pending(0));
    fake_machine_attention(&fake, 0);
    put(0, EOI, 0);
    assert_true(fake_machine_attention(&fake, 0) & ATTENTION_INTERRUPT);
    assert_int_equal(acknowledge(0), 0x51);
    put(0, EOI, 0);
    put(0, EOI, 0); /* one too many does no harm */
    assert_int_equal(last_eoi, -1);
}

static void test_task_priority(void **state)
{
    (void)state;
    enable_all();
    lapic_apic_ops.set_tpr(&lapics[0], 5);
    assert_int_equal(get(0, TPR), 0x50);
    put(0, ICR, 0x40000 | 0x5f);
    assert_false(pending(0));
    put(0, TPR, 0x4f);
    assert_int_equal(lapic_apic_ops.get_tpr(&lapics[0]), 4);
    assert_int_equal(get(0, PPR), 0x4f);
    assert_true(pending(0));
    assert_int_equal(acknowledge(0), 0x5f);
}

static void test_software_disable(void **state)
{
    (void)state;
    enable_all();
    put(1, LVT_LINT0, 0x700);
    put(0, ICR_HIGH, 1u << 24);
    put(0, ICR, 0x80);
    put(1, SVR, 0xff);
    assert_int_equal(get(1, LVT_LINT0), 0x700 | MASKED);
    put(1, LVT_LINT0, 0x700);
    assert_int_equal(get(1, LVT_LINT0), 0x700 | MASKED);
    put(0, ICR, 0x81); /* not accepted */
    assert_int_equal(take(0x80), 2);
    assert_int_equal(take(0x81), 0);
    put(0, ICR, 0x400); /* NMI is */
    assert_true(fake_machine_attention(&fake, 1) & ATTENTION_NMI);
}

static void test_errors(void **state)
{
    (void)state;
    enable_all();
    put(0, LVT_ERROR, 0xee);
    put(0, ICR, 0x40000 | 5);
    assert_int_equal(get(0, ESR), 0);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x20);
    assert_int_equal(acknowledge(0), 0xee);
    put(0, EOI, 0);
    put(0, 0x40, 0); /* no such register */
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x80);
    put(0, LVT_ERROR, 3); /* an error that cannot be told must not loop */
    lapic_bus_send_msi(&bus, 0xfee00000, 7);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR) & 0x40, 0x40);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0);
}

static void test_ipi_destinations(void **state)
{
    (void)state;
    enable_all();
    put(0, ICR_HIGH, 2u << 24);
    put(0, ICR, 0x91);
    assert_int_equal(get(0, ICR_HIGH), 2u << 24);
    assert_int_equal(get(0, ICR), 0x91);
    assert_int_equal(take(0x91), 4);
    put(0, ICR_HIGH, 0xffu << 24);
    put(0, ICR, 0x92);
    assert_int_equal(take(0x92), 0xf);
    put(1, ICR, 0x40000 | 0x93);
    assert_int_equal(take(0x93), 2);
    put(1, ICR, 0x80000 | 0x94);
    assert_int_equal(take(0x94), 0xf);
    put(1, ICR, 0xc0000 | 0x95);
    assert_int_equal(take(0x95), 0xd);
    put(0, ICR_HIGH, 9u << 24);
    put(0, ICR, 0x96);
    assert_int_equal(take(0x96), 0);
}

static void test_paravirtual_ipi(void **state)
{
    (void)state;
    enable_all();
    assert_true(lapic_apic_ops.send_ipi(&lapics[0], 0x99, 3));
    assert_int_equal(take(0x99), 8);
    assert_true(lapic_apic_ops.send_ipi(&lapics[0], 0x99, 0x100));
    assert_true(lapic_apic_ops.send_ipi(&lapics[0], 0x400, 2));
    assert_int_equal(fake_machine_attention(&fake, 2), ATTENTION_NMI);
    assert_int_equal(get(0, ICR), 0); /* the register is not touched */
    assert_false(lapic_apic_ops.send_ipi(&lapics[0], 0x40000 | 0x99, 3));
    assert_false(lapic_apic_ops.send_ipi(&lapics[0], 0x800 | 0x99, 3));
    assert_int_equal(take(0x99), 0);
}

static void test_logical_destinations(void **state)
{
    (void)state;
    enable_all();
    for (unsigned i = 0; i < CPUS; i++)
        put(i, LDR, 1u << (24 + i));
    put(0, ICR_HIGH, 0x0au << 24);
    put(0, ICR, 0x800 | 0xa1);
    assert_int_equal(take(0xa1), 0xa);
    for (unsigned i = 0; i < CPUS; i++) {
        put(i, DFR, 0x0fffffff);
        put(i, LDR, (i / 2) << 28 | 1u << (24 + i % 2));
    }
    put(0, ICR_HIGH, 0x13u << 24);
    put(0, ICR, 0x800 | 0xa2);
    assert_int_equal(take(0xa2), 0xc);
    put(0, ICR_HIGH, 0x01u << 24);
    put(0, ICR, 0x800 | 0xa3);
    assert_int_equal(take(0xa3), 1);
}

static void test_lowest_priority(void **state)
{
    (void)state;
    enable_all();
    for (unsigned i = 0; i < CPUS; i++) {
        put(i, LDR, 1u << (24 + i));
        put(i, TPR, i == 2 ? 0x10 : 0x20);
    }
    put(0, ICR_HIGH, 0x0fu << 24);
    put(0, ICR, 0x800 | 0x100 | 0xb1);
    assert_int_equal(take(0xb1), 4);
    put(2, SVR, 0xff); /* one that is off cannot be chosen */
    put(0, ICR, 0x800 | 0x100 | 0xb1);
    assert_int_equal(__builtin_popcount(take(0xb1)), 1);
    lapic_bus_send_msi(&bus, 0xfee0f00c, 0xb2); /* redirection hint, logical */
    assert_int_equal(__builtin_popcount(take(0xb2)), 1);
}

static void test_init_and_startup(void **state)
{
    (void)state;
    enable_all();
    put(1, TPR, 0x30);
    put(0, ICR_HIGH, 1u << 24);
    put(0, ICR, 0xc500);
    assert_int_equal(fake_machine_attention(&fake, 1), ATTENTION_INIT);
    assert_int_equal(get(1, SVR), 0xff);
    assert_int_equal(get(1, TPR), 0);
    put(0, ICR, 0x8500); /* de-assert */
    assert_int_equal(fake_machine_attention(&fake, 1), 0);
    put(0, ICR, 0x69f);
    assert_int_equal(fake_machine_attention(&fake, 1), ATTENTION_SIPI);
    assert_int_equal(fake.vcpus[1].sipi_vector, 0x9f);
    put(0, ICR, 0xc4500); /* all others */
    assert_int_equal(fake_machine_attention(&fake, 0), 0);
    assert_int_equal(fake_machine_attention(&fake, 2), ATTENTION_INIT);
    assert_int_equal(fake_machine_attention(&fake, 3), ATTENTION_INIT);
}

static void test_base_transitions(void **state)
{
    const uint64_t xapic = 0xfee00000 | APIC_BASE_EN, x2apic = xapic | APIC_BASE_EXTD;
    uint32_t value;

    (void)state;
    enable_all();
    assert_false(wrmsr(1, MSR_IA32_APIC_BASE, 0xfee00000 | APIC_BASE_EXTD));
    assert_false(wrmsr(1, MSR_IA32_APIC_BASE, xapic | 1));
    assert_false(wrmsr(1, MSR_IA32_APIC_BASE, xapic | 1ull << 60));
    assert_true(wrmsr(1, MSR_IA32_APIC_BASE, x2apic));
    assert_int_equal(rdmsr(1, MSR_IA32_APIC_BASE), x2apic);
    assert_false(lapic_apic_ops.read(&lapics[1], ID, 4, &value));
    assert_false(lapic_apic_ops.write(&lapics[1], TPR, 4, 0));
    assert_int_equal(rdmsr(1, X2APIC_BASE(SVR)), 0x1ff); /* kept */
    assert_false(wrmsr(1, MSR_IA32_APIC_BASE, xapic));
    assert_true(wrmsr(1, MSR_IA32_APIC_BASE, 0xfee00000));
    assert_false(lapic_apic_ops.read(&lapics[1], ID, 4, &value));
    assert_false(wrmsr(1, MSR_IA32_APIC_BASE, x2apic));
    assert_true(wrmsr(1, MSR_IA32_APIC_BASE, 0xd0000000 | APIC_BASE_EN | APIC_BASE_BSP));
    assert_int_equal(rdmsr(1, MSR_IA32_APIC_BASE), 0xd0000000 | APIC_BASE_EN); /* BSP is not for software */
    assert_int_equal(get(1, SVR), 0xff);                                       /* lost */
}

static void test_x2apic_registers(void **state)
{
    uint64_t value;

    (void)state;
    assert_false(lapic_apic_ops.read_msr(&lapics[0], X2APIC_BASE(ID), &value)); /* not in this mode */
    x2apic_all();
    assert_int_equal(rdmsr(3, X2APIC_BASE(ID)), 3);
    assert_int_equal(rdmsr(3, X2APIC_BASE(LDR)), 8);
    assert_false(wrmsr(0, X2APIC_BASE(ID), 0));
    assert_false(wrmsr(0, X2APIC_BASE(LDR), 0));
    assert_false(wrmsr(0, X2APIC_BASE(DFR), 0));
    assert_false(wrmsr(0, X2APIC_BASE(ICR_HIGH), 0));
    assert_false(wrmsr(0, X2APIC_BASE(EOI), 1));
    assert_false(wrmsr(0, X2APIC_BASE(ESR), 1));
    assert_false(wrmsr(0, X2APIC_BASE(TPR), 0x100));
    assert_false(wrmsr(0, X2APIC_BASE(SVR), 1ull << 32));
    assert_false(wrmsr(0, X2APIC_BASE(ICR), 1 << 12));
    assert_false(lapic_apic_ops.read_msr(&lapics[0], X2APIC_BASE(EOI), &value));
    assert_false(lapic_apic_ops.read_msr(&lapics[0], 0x83f, &value));
    assert_false(lapic_apic_ops.read_msr(&lapics[0], 0x8ff, &value));
    assert_false(lapic_apic_ops.read_msr(&lapics[0], 0x900, &value));
    assert_true(wrmsr(0, X2APIC_BASE(ICR), 2ull << 32 | 0xc1));
    assert_int_equal(rdmsr(0, X2APIC_BASE(ICR)), 2ull << 32 | 0xc1);
    assert_int_equal(take(0xc1), 4);
    assert_true(wrmsr(0, X2APIC_BASE(ICR), 0xffffffffull << 32 | 0xc2));
    assert_int_equal(take(0xc2), 0xf);
    assert_true(wrmsr(0, X2APIC_BASE(ICR), 0xffull << 32 | 0xc3)); /* here 0xff is just nobody */
    assert_int_equal(take(0xc3), 0);
    assert_true(wrmsr(0, 0x83f, 0xc4));
    assert_int_equal(take(0xc4), 1);

    /* Delivery status and remote IRR are read-only, not reserved: Linux writes them back on its way out. */
    assert_true(wrmsr(0, 0x835, 0x15700));
    assert_int_equal(rdmsr(0, 0x835), 0x10700);
    assert_false(wrmsr(0, 0x835, 0x15700 | 1 << 11));
}

static void test_x2apic_clusters(void **state)
{
    (void)state;
    start(40);
    x2apic_all();
    assert_int_equal(rdmsr(35, X2APIC_BASE(LDR)), 2u << 16 | 8);
    assert_true(wrmsr(0, X2APIC_BASE(ICR), (1ull << 16 | 0x8001) << 32 | 0x800 | 0xd1));
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(pending(i), i == 16 || i == 31);
    lapic_bus_send_msi(&bus, 0xfee00000 | 35 << 12, 0xd2);
    assert_int_equal(acknowledge(35), 0xd2);
    assert_string_equal(lapics[35].device.path, "cpu/35/lapic");
}

static void test_msi(void **state)
{
    (void)state;
    enable_all();
    lapic_bus_send_msi(&bus, 0xfee03000, 0x4041);
    assert_int_equal(take(0x41), 8);
    lapic_bus_send_msi(&bus, 0xfed03000, 0x4042);
    lapic_bus_send_msi(&bus, 0x1fee03000, 0x4042);
    lapic_bus_send_msi(&bus, 0xfee03000, 0x8043); /* level, de-asserted */
    lapic_bus_send_msi(&bus, 0xfee03000, 0x0644); /* start-up is not for messages */
    assert_int_equal(fake_machine_attention(&fake, 3) & (uint32_t)~ATTENTION_INTERRUPT, 0);
    assert_false(pending(3));
    lapic_bus_send_msi(&bus, 0xfee03000, 0xc045);
    assert_int_equal(get(3, TMR + 0x20), 1u << 5);
    assert_int_equal(acknowledge(3), 0x45);
    assert_int_equal(last_eoi, -1);
    put(3, EOI, 0);
    assert_int_equal(last_eoi, 0x45);
    last_eoi = -1;
    put(3, SVR, 0x11ff); /* directed EOI: software tells the IOAPIC itself */
    lapic_bus_send_msi(&bus, 0xfee03000, 0xc045);
    assert_int_equal(acknowledge(3), 0x45);
    put(3, EOI, 0);
    assert_int_equal(last_eoi, -1);
}

static void test_extint(void **state)
{
    (void)state;
    pic_vector = 0x21;
    lapic_bus_set_intr(&bus, 0, true); /* off in software, as a kernel without APIC support leaves it */
    assert_true(pending(0));
    assert_false(pending(1));
    assert_int_equal(fake_machine_attention(&fake, 0), ATTENTION_INTERRUPT);
    assert_int_equal(acknowledge(0), 0x21);
    assert_false(pending(0));
    enable_all(); /* LINT0 masked */
    lapic_bus_set_intr(&bus, 0, true);
    assert_false(pending(0));
    put(0, LVT_LINT0, 0x700);
    assert_true(pending(0));
    lapic_apic_ops.set_tpr(&lapics[0], 15);
    assert_int_equal(acknowledge(0), 0x21);
    lapic_bus_set_intr(&bus, 0, true);
    lapic_bus_set_intr(&bus, 0, false);
    assert_false(pending(0));
    assert_int_equal(acknowledge(0), -1);
    lapic_bus_set_intr(&bus, 0, true);
    put(0, LVT_LINT0, 0x700 | MASKED);
    assert_false(pending(0));
    assert_true(wrmsr(0, MSR_IA32_APIC_BASE, 0xfee00000)); /* off in hardware */
    assert_true(pending(0));
    assert_int_equal(acknowledge(0), 0x21);
}

static void test_lint_events(void **state)
{
    (void)state;
    enable_all();
    put(2, LVT_LINT1, 0x400);
    lapic_bus_pulse_lint1(&bus);
    assert_int_equal(fake_machine_attention(&fake, 1), 0);
    assert_int_equal(fake_machine_attention(&fake, 2), ATTENTION_NMI);
    put(0, LVT_LINT0, 0x31);
    lapic_bus_set_intr(&bus, 0, true);
    assert_int_equal(acknowledge(0), 0x31);
    put(0, EOI, 0);
    assert_false(pending(0));
    lapic_bus_set_intr(&bus, 0, false);
    lapic_bus_send_msi(&bus, 0xfee01000, 0x700); /* ExtINT by message */
    pic_vector = 0x28;
    assert_int_equal(acknowledge(1), 0x28);
    assert_false(pending(1));
}

static void test_timer_one_shot(void **state)
{
    (void)state;
    enable_all();
    put(0, DIVIDE, DIVIDE_BY_16);
    put(0, LVT_TIMER, 0x40);
    put(0, INITIAL, 1000);
    assert_int_equal(get(0, CURRENT), 1000);
    fake_machine_advance(&fake, 8000);
    assert_int_equal(get(0, CURRENT), 500);
    put(0, DIVIDE, DIVIDE_BY_1);
    assert_int_equal(get(0, CURRENT), 500);
    fake_machine_advance(&fake, 499);
    assert_int_equal(get(0, CURRENT), 1);
    assert_false(pending(0));
    fake_machine_advance(&fake, 1);
    assert_int_equal(get(0, CURRENT), 0);
    assert_int_equal(acknowledge(0), 0x40);
    put(0, EOI, 0);
    fake_machine_advance(&fake, NS_PER_SECOND);
    assert_false(pending(0));
    put(0, INITIAL, 100);
    put(0, INITIAL, 0); /* stops */
    fake_machine_advance(&fake, NS_PER_SECOND);
    assert_false(pending(0));
}

static void test_timer_periodic(void **state)
{
    unsigned ticks = 0;

    (void)state;
    enable_all();
    put(0, DIVIDE, DIVIDE_BY_1);
    put(0, LVT_TIMER, PERIODIC | 0x40);
    put(0, INITIAL, 1000000);
    for (unsigned i = 0; i < 1000; i++) {
        fake_machine_advance(&fake, 100000);
        if (acknowledge(0) == 0x40) {
            ticks++;
            put(0, EOI, 0);
        }
    }
    assert_int_equal(ticks, 100);
    fake_machine_advance(&fake, 250000);
    assert_int_equal(get(0, CURRENT), 750000);
    put(0, LVT_TIMER, PERIODIC | MASKED | 0x40);
    fake_machine_advance(&fake, 5000000);
    assert_false(pending(0));
    assert_int_equal(get(0, CURRENT), 750000); /* counts on */
}

static void test_timer_shortest_period(void **state)
{
    uint64_t before;

    (void)state;
    enable_all();
    put(0, DIVIDE, DIVIDE_BY_1);
    put(0, LVT_TIMER, PERIODIC | 0x40);
    put(0, INITIAL, 1);
    before = fake.now_ns;
    fake_machine_advance(&fake, 1); /* the first is exact */
    assert_int_equal(acknowledge(0), 0x40);
    put(0, EOI, 0);
    assert_true(fake.alarm_ns >= before + 20000);
}

static void test_timer_deadline(void **state)
{
    uint64_t now;

    (void)state;
    enable_all();
    assert_true(wrmsr(0, MSR_IA32_TSC_DEADLINE, 12345)); /* not in this mode: ignored */
    assert_int_equal(rdmsr(0, MSR_IA32_TSC_DEADLINE), 0);
    put(0, LVT_TIMER, DEADLINE | 0x40);
    put(0, INITIAL, 50);
    assert_int_equal(get(0, INITIAL), 0);
    now = fake_machine_tsc(&fake, 0);
    assert_true(wrmsr(0, MSR_IA32_TSC_DEADLINE, now + 2001));
    assert_int_equal(rdmsr(0, MSR_IA32_TSC_DEADLINE), now + 2001);
    assert_int_equal(get(0, CURRENT), 0);
    fake_machine_advance(&fake, 1000);
    assert_false(pending(0));
    fake_machine_advance(&fake, 1);
    assert_int_equal(rdmsr(0, MSR_IA32_TSC_DEADLINE), 0);
    assert_int_equal(acknowledge(0), 0x40);
    put(0, EOI, 0);
    assert_true(wrmsr(0, MSR_IA32_TSC_DEADLINE, 1)); /* the past */
    assert_int_equal(acknowledge(0), 0x40);
    put(0, EOI, 0);
    assert_true(wrmsr(0, MSR_IA32_TSC_DEADLINE, UINT64_MAX));
    fake_machine_advance(&fake, 3600 * NS_PER_SECOND);
    assert_false(pending(0));
    fake.tsc_offset = -(int64_t)fake_machine_tsc(&fake, 0) - 11; /* the last tick but ten */
    lapic_apic_ops.tsc_changed(&lapics[0]);
    fake_machine_advance(&fake, 10);
    assert_int_equal(acknowledge(0), 0x40);
    put(0, EOI, 0);
    assert_true(wrmsr(0, MSR_IA32_TSC_DEADLINE, fake_machine_tsc(&fake, 0) + 1000));
    put(0, LVT_TIMER, 0x40); /* leaving the mode disarms */
    assert_int_equal(rdmsr(0, MSR_IA32_TSC_DEADLINE), 0);
    fake_machine_advance(&fake, NS_PER_SECOND);
    assert_false(pending(0));
}

static void save(unsigned cpu, uint8_t *bytes, size_t room, size_t *size)
{
    lapics[cpu].device.type->quiesce(&lapics[cpu].device);
    assert_int_equal(state_encode(lapic_device_type.schema, &lapics[cpu].state, bytes, room, size), STATUS_OK);
}

static void test_state(void **state)
{
    static uint8_t bytes[4096];
    struct lapic_state scratch;
    size_t size;

    (void)state;
    enable_all();
    put(1, DIVIDE, DIVIDE_BY_1);
    put(1, LVT_TIMER, 0x40);
    put(1, INITIAL, 5000);
    put(1, ICR, 0x40000 | 0x77);
    fake_machine_advance(&fake, 2000);
    save(1, bytes, sizeof(bytes), &size);
    start(CPUS);
    fake.now_ns = 7 * NS_PER_SECOND;
    assert_int_equal(state_decode(lapic_device_type.schema, &scratch, bytes, size), STATUS_OK);
    lapics[1].state = scratch;
    lapics[1].device.type->resume(&lapics[1].device);
    assert_int_equal(get(1, CURRENT), 3000);
    assert_int_equal(fake_machine_attention(&fake, 1), ATTENTION_INTERRUPT);
    assert_int_equal(acknowledge(1), 0x77);
    put(1, EOI, 0);
    fake_machine_advance(&fake, 3000);
    assert_int_equal(acknowledge(1), 0x40);
    scratch.irr[0] = 1;
    assert_false(lapic_device_type.schema->valid(&scratch));
    scratch.irr[0] = 0;
    assert_true(lapic_device_type.schema->valid(&scratch));
    scratch.apic_base = APIC_BASE_EXTD;
    assert_false(lapic_device_type.schema->valid(&scratch));
}

/* Any sequence of accesses leaves a state that a load would accept, and costs bounded time. */
static void test_random(void **state)
{
    uint64_t seed = 0x1234567;

    (void)state;
    for (unsigned i = 0; i < 300000; i++) {
        uint64_t random = fake_random(&seed), value = fake_random(&seed);
        unsigned cpu = random % CPUS, kind = random >> 8 & 15;
        uint32_t offset = random >> 16 & 0xfff, narrow = (uint32_t)value;
        struct lapic *lapic = &lapics[cpu];
        static const uint64_t bases[] = {0xfee00800, 0xfee00c00, 0xfee00000};

        if (random >> 32 & 1)
            offset &= 0x3f0;
        if (random >> 33 & 1)
            value &= 0xc0fff;
        if (kind < 5)
            lapic_apic_ops.write(lapic, offset, 4, (uint32_t)value);
        else if (kind < 7)
            lapic_apic_ops.read(lapic, offset, 1u << (random >> 40 & 1), &narrow);
        else if (kind < 10)
            wrmsr(cpu, MSR_IA32_X2APIC_FIRST + (offset >> 4), value);
        else if (kind == 10)
            lapic_apic_ops.read_msr(lapic, MSR_IA32_X2APIC_FIRST + (offset >> 4), &value);
        else if (kind == 11)
            wrmsr(cpu, MSR_IA32_APIC_BASE, bases[value % 3]);
        else if (kind == 12)
            wrmsr(cpu, MSR_IA32_TSC_DEADLINE, value >> (random >> 48 & 63));
        else if (kind == 13)
            lapic_bus_send_msi(&bus, 0xfee00000 | (value & 0xfffff), (uint32_t)(value >> 32));
        else if (kind == 14)
            acknowledge(cpu);
        else
            fake_machine_advance(&fake, value % 100000);
        lapic->device.type->quiesce(&lapic->device);
        if (i % 64 == 0)
            assert_true(lapic_device_type.schema->valid(&lapic->state));
        if (i % 4096 == 0)
            lapic->device.type->resume(&lapic->device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_power_on, setup),
        cmocka_unit_test_setup(test_narrow_access, setup),
        cmocka_unit_test_setup(test_priorities, setup),
        cmocka_unit_test_setup(test_task_priority, setup),
        cmocka_unit_test_setup(test_software_disable, setup),
        cmocka_unit_test_setup(test_errors, setup),
        cmocka_unit_test_setup(test_ipi_destinations, setup),
        cmocka_unit_test_setup(test_paravirtual_ipi, setup),
        cmocka_unit_test_setup(test_logical_destinations, setup),
        cmocka_unit_test_setup(test_lowest_priority, setup),
        cmocka_unit_test_setup(test_init_and_startup, setup),
        cmocka_unit_test_setup(test_base_transitions, setup),
        cmocka_unit_test_setup(test_x2apic_registers, setup),
        cmocka_unit_test_setup(test_x2apic_clusters, setup),
        cmocka_unit_test_setup(test_msi, setup),
        cmocka_unit_test_setup(test_extint, setup),
        cmocka_unit_test_setup(test_lint_events, setup),
        cmocka_unit_test_setup(test_timer_one_shot, setup),
        cmocka_unit_test_setup(test_timer_periodic, setup),
        cmocka_unit_test_setup(test_timer_shortest_period, setup),
        cmocka_unit_test_setup(test_timer_deadline, setup),
        cmocka_unit_test_setup(test_state, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
