/*
 * The local APIC as software sees it, the IOAPIC, and the PIC behind LINT0: SDM volume 3, chapter 11;
 * 82093AA; 8259A. And the instructions around interrupts: STI, HLT, MOV CR8.
 */
#include "lib/apic.h"

#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "apic";

enum { VECTOR_LOW = 0x41, VECTOR_SAME = 0x4c, VECTOR_HIGH = 0x91, VECTOR_TIMER = 0x70, VECTOR_PIT = 0x55 };

/* A second or so at any clock: long for an interrupt, short for a test. */
#define PATIENCE 3000000000ull

static volatile unsigned count[256];
static volatile uint64_t last_rip;
static volatile unsigned order[8], order_length;
static volatile bool in_service[256];

static bool on_interrupt(struct trap_frame *frame)
{
    count[frame->vector]++;
    last_rip = frame->rip;
    if (order_length < 8)
        order[order_length++] = (unsigned)frame->vector;
    in_service[frame->vector] = apic_bit(APIC_ISR, (unsigned)frame->vector);
    apic_eoi();
    return true;
}

static void forget(void)
{
    for (unsigned i = 0; i < 256; i++)
        count[i] = 0;
    order_length = 0;
}

static void listen(unsigned vector)
{
    trap_set_handler(vector, on_interrupt);
}

/* One instruction with interrupts on is enough: whatever is pending comes now. */
static void window(void)
{
    __asm__ volatile("sti; nop; nop; cli" : : : "memory");
}

/* Waits with interrupts on until the vector has come so many times. */
static bool wait_count(unsigned vector, unsigned wanted)
{
    uint64_t start = read_tsc();

    while (count[vector] < wanted) {
        if (read_tsc() - start > PATIENCE) {
            fail("vector 0x%x came %u times, expected %u", vector, count[vector], wanted);
            return false;
        }
        window();
    }
    return true;
}

static void send_self(unsigned vector)
{
    apic_send(ICR_FIXED | ICR_ASSERT | ICR_SELF | vector, 0);
}

static void test_registers(void)
{
    test_group("registers");
    CHECK_EQ(apic_id(), 0);
    CHECK(read_msr(MSR_IA32_APIC_BASE) & APIC_BASE_BSP);
    CHECK_EQ(read_msr(MSR_IA32_APIC_BASE) & APIC_BASE_ADDRESS, APIC_MMIO);
    CHECK_EQ(apic_read(APIC_VERSION) & 0xf0, 0x10);
    CHECK((apic_read(APIC_VERSION) >> 16 & 0xff) >= 5);
    CHECK_EQ(apic_read(APIC_SVR), APIC_SVR_ENABLE | VECTOR_SPURIOUS);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(apic_read(APIC_ISR + 16 * i), 0);
        CHECK_EQ(apic_read(APIC_IRR + 16 * i), 0);
    }
    apic_write(APIC_LDR, 0x02000000);
    CHECK_EQ(apic_read(APIC_LDR), 0x02000000);
    apic_write(APIC_DFR, 0xffffffff);
    CHECK_EQ(apic_read(APIC_DFR), 0xffffffff);
}

static void test_self_ipi(void)
{
    test_group("self IPI");
    forget();
    send_self(VECTOR_LOW);
    CHECK(apic_bit(APIC_IRR, VECTOR_LOW));
    CHECK(!apic_bit(APIC_ISR, VECTOR_LOW));
    CHECK_EQ(count[VECTOR_LOW], 0);
    window();
    CHECK_EQ(count[VECTOR_LOW], 1);
    CHECK(in_service[VECTOR_LOW]);
    CHECK(!apic_bit(APIC_IRR, VECTOR_LOW));
    CHECK(!apic_bit(APIC_ISR, VECTOR_LOW));
    send_self(VECTOR_LOW); /* twice before delivery is once */
    send_self(VECTOR_LOW);
    window();
    CHECK_EQ(count[VECTOR_LOW], 2);

    apic_send(ICR_FIXED | ICR_ASSERT | VECTOR_LOW, 0);
    window();
    CHECK_EQ(count[VECTOR_LOW], 3);
    apic_send(ICR_FIXED | ICR_ASSERT | ICR_ALL | VECTOR_LOW, 0);
    window();
    CHECK_EQ(count[VECTOR_LOW], 4);
    apic_send(ICR_FIXED | ICR_ASSERT | ICR_OTHERS | VECTOR_LOW, 0);
    window();
    CHECK_EQ(count[VECTOR_LOW], 4);
    apic_send(ICR_FIXED | ICR_ASSERT | VECTOR_LOW, 77); /* nobody */
    window();
    CHECK_EQ(count[VECTOR_LOW], 4);
    apic_send(ICR_FIXED | ICR_ASSERT | ICR_LOGICAL | VECTOR_LOW, 0x02); /* LDR says 2 */
    window();
    CHECK_EQ(count[VECTOR_LOW], 5);
    apic_send(ICR_FIXED | ICR_ASSERT | ICR_LOGICAL | VECTOR_LOW, 0x04);
    window();
    CHECK_EQ(count[VECTOR_LOW], 5);
}

static void test_priorities(void)
{
    test_group("priorities");
    forget();
    send_self(VECTOR_LOW);
    send_self(VECTOR_HIGH);
    send_self(VECTOR_SAME);
    __asm__ volatile("sti; nop; nop; nop; nop; cli" : : : "memory");
    CHECK_EQ(order_length, 3);
    CHECK_EQ(order[0], VECTOR_HIGH);
    CHECK_EQ(order[1], VECTOR_SAME);
    CHECK_EQ(order[2], VECTOR_LOW);

    /* CR8 and TPR are two views of one register. */
    forget();
    write_cr8(9);
    CHECK_EQ(apic_read(APIC_TPR), 0x90);
    CHECK_EQ(apic_read(APIC_PPR) & 0xf0, 0x90);
    apic_write(APIC_TPR, 0x45);
    CHECK_EQ(read_cr8(), 4);
    send_self(VECTOR_LOW); /* class 4: held back */
    send_self(VECTOR_HIGH);
    window();
    CHECK_EQ(count[VECTOR_LOW], 0);
    CHECK_EQ(count[VECTOR_HIGH], 1);
    CHECK(apic_bit(APIC_IRR, VECTOR_LOW));
    write_cr8(3);
    window();
    CHECK_EQ(count[VECTOR_LOW], 1);
    /* Lowered with interrupts on: taken right there. */
    forget();
    write_cr8(15);
    send_self(VECTOR_HIGH);
    window();
    CHECK_EQ(count[VECTOR_HIGH], 0);
    __asm__ volatile("sti; nop; movq %0, %%cr8; nop; cli" : : "r"(0ull) : "memory");
    CHECK_EQ(count[VECTOR_HIGH], 1);
}

static volatile unsigned ppr_inside, during_low[2];

/* Allows nesting: a higher class comes in, the same class does not. */
static bool on_nesting(struct trap_frame *frame)
{
    count[frame->vector]++;
    ppr_inside = apic_read(APIC_PPR);
    send_self(VECTOR_SAME);
    send_self(VECTOR_HIGH);
    window();
    during_low[0] = count[VECTOR_SAME];
    during_low[1] = count[VECTOR_HIGH];
    CHECK(apic_bit(APIC_ISR, VECTOR_LOW));
    apic_eoi();
    return true;
}

static void test_nesting(void)
{
    test_group("nesting");
    forget();
    trap_set_handler(VECTOR_LOW, on_nesting);
    send_self(VECTOR_LOW);
    window();
    listen(VECTOR_LOW);
    CHECK_EQ(ppr_inside & 0xf0, VECTOR_LOW & 0xf0);
    CHECK_EQ(during_low[0], 0);
    CHECK_EQ(during_low[1], 1);
    window();
    CHECK_EQ(count[VECTOR_SAME], 1);
    CHECK_EQ(apic_read(APIC_PPR), 0);
}

/* The instruction behind STI runs first; STI with interrupts already on shadows nothing. */
static void test_sti_shadow(void)
{
    uint64_t first, second;

    test_group("STI");
    forget();
    send_self(VECTOR_LOW);
    __asm__ volatile("leaq 1f(%%rip), %0; leaq 2f(%%rip), %1; sti; 1: nop; 2: nop; nop; cli"
                     : "=&r"(first), "=&r"(second) : : "memory");
    CHECK_EQ(count[VECTOR_LOW], 1);
    CHECK_EQ(last_rip, second);

    forget();
    send_self(VECTOR_LOW);
    __asm__ volatile("sti; cli; nop" : : : "memory"); /* no window at all */
    CHECK_EQ(count[VECTOR_LOW], 0);
    __asm__ volatile("sti; movl %%ss, %%eax; movl %%eax, %%ss; cli" : : : "rax", "memory");
    CHECK(count[VECTOR_LOW] <= 1);
    window();
    CHECK_EQ(count[VECTOR_LOW], 1);

    forget(); /* POPF has no shadow */
    send_self(VECTOR_LOW);
    __asm__ volatile("leaq 1f(%%rip), %0; pushq $0x202; popfq; 1: nop; nop; cli" : "=&r"(first) : : "memory", "cc");
    CHECK_EQ(count[VECTOR_LOW], 1);
    CHECK_EQ(last_rip, first);
}

static void test_hlt(void)
{
    uint64_t behind;

    test_group("HLT");
    forget();
    send_self(VECTOR_LOW);
    __asm__ volatile("leaq 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(behind) : : "memory");
    CHECK_EQ(count[VECTOR_LOW], 1);
    CHECK_EQ(last_rip, behind);

    forget(); /* really asleep: the timer wakes it */
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(APIC_TIMER_INITIAL, 1000000);
    __asm__ volatile("leaq 1f(%%rip), %0; sti; hlt; 1: cli" : "=r"(behind) : : "memory");
    CHECK_EQ(count[VECTOR_TIMER], 1);
    CHECK_EQ(last_rip, behind);
}

static void test_timer(void)
{
    test_group("timer");
    forget();
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
    CHECK_EQ(apic_read(APIC_TIMER_CURRENT), 0);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(APIC_TIMER_INITIAL, 200000);
    wait_count(VECTOR_TIMER, 1);
    CHECK_EQ(apic_read(APIC_TIMER_CURRENT), 0);
    pit_delay_us(2000);
    window();
    CHECK_EQ(count[VECTOR_TIMER], 1); /* one shot is one shot */

    apic_write(APIC_TIMER_INITIAL, 0xffffffff);
    uint32_t before = apic_read(APIC_TIMER_CURRENT);
    pit_delay_us(500);
    uint32_t after = apic_read(APIC_TIMER_CURRENT);
    CHECK(after < before);
    apic_write(APIC_TIMER_INITIAL, 0); /* stops it */
    CHECK_EQ(apic_read(APIC_TIMER_CURRENT), 0);

    forget();
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, 300000);
    wait_count(VECTOR_TIMER, 5);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_PERIODIC | LVT_MASKED);
    window();
    unsigned ticks = count[VECTOR_TIMER];
    pit_delay_us(3000);
    window();
    CHECK_EQ(count[VECTOR_TIMER], ticks);
    apic_write(APIC_TIMER_INITIAL, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

/* The slower, the fewer: the least of some tries, for the host may take the processor away meanwhile. */
static void test_divider(void)
{
    uint32_t spent[2] = { ~0u, ~0u };

    test_group("timer divider");
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_MASKED);
    for (unsigned i = 0; i < 10; i++) {
        apic_write(APIC_TIMER_DIVIDE, i & 1 ? 0xa : 0x0); /* by 128, by 2 */
        apic_write(APIC_TIMER_INITIAL, 0xffffffff);
        pit_delay_us(1000);
        uint32_t ticks = 0xffffffff - apic_read(APIC_TIMER_CURRENT);
        spent[i & 1] = ticks < spent[i & 1] ? ticks : spent[i & 1];
    }
    apic_write(APIC_TIMER_INITIAL, 0);
    CHECK(spent[0] > spent[1] * 8ull);
}

static void test_tsc_deadline(void)
{
    test_group("TSC-deadline timer");
    if (!(cpuid(1, 0).ecx & 1 << 24)) {
        skip("no TSC-deadline timer");
        return;
    }
    forget();
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_TSC_DEADLINE);
    __asm__ volatile("mfence" : : : "memory");
    CHECK_EQ(read_msr(MSR_IA32_TSC_DEADLINE), 0);
    uint64_t deadline = read_tsc() + 3000000;
    write_msr(MSR_IA32_TSC_DEADLINE, deadline);
    wait_count(VECTOR_TIMER, 1);
    CHECK(read_tsc() >= deadline);
    CHECK_EQ(read_msr(MSR_IA32_TSC_DEADLINE), 0);
    write_msr(MSR_IA32_TSC_DEADLINE, 1); /* long past: at once */
    wait_count(VECTOR_TIMER, 2);
    deadline = read_tsc() + 1000000000000;
    write_msr(MSR_IA32_TSC_DEADLINE, deadline);
    CHECK_EQ(read_msr(MSR_IA32_TSC_DEADLINE), deadline);
    write_msr(MSR_IA32_TSC_DEADLINE, 0); /* disarmed */
    CHECK_EQ(read_msr(MSR_IA32_TSC_DEADLINE), 0);
    apic_write(APIC_TIMER_INITIAL, 1000); /* without effect in this mode */
    CHECK_EQ(apic_read(APIC_TIMER_INITIAL), 0);
    write_msr(MSR_IA32_TSC_DEADLINE, read_tsc() + 3000000);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER); /* leaving the mode disarms */
    pit_delay_us(5000);
    window();
    CHECK_EQ(count[VECTOR_TIMER], 2);
    CHECK_EQ(read_msr(MSR_IA32_TSC_DEADLINE), 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

static volatile unsigned nmis, nmis_inside;

static bool on_nmi(struct trap_frame *frame)
{
    (void)frame;
    nmis++;
    if (nmis == 1) { /* a second one stays pending until IRET */
        apic_send(ICR_NMI | ICR_ASSERT, 0);
        __asm__ volatile("nop; nop; nop; nop" : : : "memory");
        nmis_inside = nmis;
    }
    return true;
}

static void test_nmi(void)
{
    test_group("NMI");
    trap_set_handler(VECTOR_NMI, on_nmi);
    apic_send(ICR_NMI | ICR_ASSERT, 0); /* not held back by IF = 0 */
    pit_delay_us(100);
    CHECK_EQ(nmis_inside, 1);
    CHECK_EQ(nmis, 2);
    __asm__ volatile("nop" : : : "memory");
    trap_set_handler(VECTOR_NMI, 0);
}

static void test_disabled(void)
{
    test_group("software-disabled APIC");
    forget();
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(APIC_SVR, VECTOR_SPURIOUS);
    if (!skip_on("qemu", "the local vectors keep their mask bits")) {
        CHECK(apic_read(APIC_LVT_TIMER) & LVT_MASKED);
        apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
        CHECK(apic_read(APIC_LVT_TIMER) & LVT_MASKED);
    }
    apic_enable();
    window();
    CHECK_EQ(count[VECTOR_TIMER], 0);
}

static void test_errors(void)
{
    test_group("error register");
    apic_write(APIC_ESR, 0);
    apic_write(APIC_ESR, 0);
    CHECK_EQ(apic_read(APIC_ESR), 0);
    if (skip_on("qemu", "illegal vectors are not reported"))
        return;
    send_self(5);
    apic_write(APIC_ESR, 0);
    CHECK(apic_read(APIC_ESR) & 0x60); /* send or receive illegal vector */
    apic_write(APIC_ESR, 0);
    CHECK_EQ(apic_read(APIC_ESR), 0);
}

/* The PIT on pin 2 of the IOAPIC: edge-triggered. */
static void test_ioapic(void)
{
    test_group("IOAPIC");
    CHECK_EQ(ioapic_read(1) >> 16 & 0xff, 23);
    forget();
    pit_start(1000);
    ioapic_route(2, VECTOR_PIT, 0);
    CHECK_EQ(ioapic_read(0x14) & ~0x5000u, VECTOR_PIT);
    wait_count(VECTOR_PIT, 5);
    ioapic_write(0x14, VECTOR_PIT | LVT_MASKED);
    window();
    unsigned ticks = count[VECTOR_PIT];
    pit_delay_us(4000);
    window();
    CHECK_EQ(count[VECTOR_PIT], ticks);
    ioapic_write(0x14, VECTOR_PIT);
    wait_count(VECTOR_PIT, ticks + 2);
    pit_stop();
    ioapic_write(0x14, LVT_MASKED);
    window();
}

static volatile unsigned pic_count;

static bool on_pic(struct trap_frame *frame)
{
    pic_count++;
    pic_eoi((unsigned)frame->vector - 0x20);
    return true;
}

/* The 8259A through LINT0, with the APIC otherwise at work. */
static void test_pic(void)
{
    test_group("PIC");
    trap_set_handler(0x20, on_pic);
    /* LINT0 first: KVM looks for what is pending at the 8259A when it comes, not when LINT0 opens. */
    apic_write(APIC_LVT_LINT0, LVT_EXTINT);
    pic_init(0xfe, 0xff);
    pit_start(1000);
    uint64_t start = read_tsc();
    while (pic_count < 5 && read_tsc() - start < PATIENCE)
        window();
    CHECK(pic_count >= 5);
    out8(0x21, 0xff);
    window();
    unsigned ticks = pic_count;
    pit_delay_us(3000);
    window();
    CHECK_EQ(pic_count, ticks);
    /* Level of IRR and ISR behind OCW3. */
    out8(0x20, 0x0b);
    CHECK_EQ(in8(0x20), 0);
    pit_stop();
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    trap_set_handler(0x20, 0);
}

static void test_x2apic(void)
{
    uint64_t base = read_msr(MSR_IA32_APIC_BASE);

    test_group("x2APIC");
    if (!(cpuid(1, 0).ecx & 1 << 21)) {
        skip("no x2APIC");
        return;
    }
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0x802) : "rax", "rdx"); /* not in this mode yet */
    apic_write(APIC_TPR, 0x20);
    write_msr(MSR_IA32_APIC_BASE, base | APIC_BASE_EXTD);
    CHECK_EQ(read_msr(0x802), 0);
    CHECK_EQ(read_msr(0x808), 0x20); /* kept */
    write_msr(0x808, 0);
    forget();
    write_msr(0x83f, VECTOR_LOW); /* SELF IPI */
    CHECK(apic_bit(APIC_IRR, VECTOR_LOW));
    window();
    CHECK_EQ(count[VECTOR_LOW], 1);
    write_msr(0x830, ICR_SELF | ICR_ASSERT | VECTOR_LOW);
    window();
    CHECK_EQ(count[VECTOR_LOW], 2);
    write_msr(0x830, 0ull << 32 | ICR_ASSERT | VECTOR_LOW);
    window();
    CHECK_EQ(count[VECTOR_LOW], 3);
    CHECK_EQ(read_msr(0x80d), 1); /* logical: cluster 0, bit of identifier 0 */

    EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(0x80d), "a"(1), "d"(0) : "memory"); /* LDR is read-only */
    EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(0x802), "a"(1), "d"(0) : "memory"); /* so is the ID */
    if (!skip_on("kvm", "reserved bits are not checked")) {
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(0x80b), "a"(1), "d"(0) : "memory"); /* EOI takes 0 */
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(0x808), "a"(0x100), "d"(0) : "memory");
    }
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0x80e) : "rax", "rdx"); /* no DFR */
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0x831) : "rax", "rdx"); /* no ICR2 */
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0x83f) : "rax", "rdx"); /* write-only */
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0x8ff) : "rax", "rdx");
    /* Not directly back; only through disabled. */
    EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(MSR_IA32_APIC_BASE), "a"((uint32_t)base), "d"(0) : "memory");
    write_msr(MSR_IA32_APIC_BASE, base & ~APIC_BASE_EN);
    EXPECT_FAULT(VECTOR_GP, 0, "wrmsr",
                 : : "c"(MSR_IA32_APIC_BASE), "a"((uint32_t)(base & ~APIC_BASE_EN) | 0x400), "d"(0) : "memory");
    CHECK(!(cpuid(1, 0).edx & 1 << 9)); /* CPUID follows */
    write_msr(MSR_IA32_APIC_BASE, base);
    CHECK(cpuid(1, 0).edx & 1 << 9);
    apic_enable();
    forget();
    send_self(VECTOR_LOW);
    window();
    CHECK_EQ(count[VECTOR_LOW], 1);
}

/* Interrupts must not disturb a computation, wherever they hit. */
static void test_transparent(void)
{
    test_group("transparency");
    forget();
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, 60000);
    for (unsigned round = 0; round < 200 && count[VECTOR_TIMER] <= 5; round++) {
        uint64_t sum = 0, model = 0;

        interrupts_enable();
        for (uint64_t i = 0; i < 1000000; i++) {
            sum = (sum << 5 | sum >> 59) + i;
            __asm__("" : "+r"(sum));
        }
        interrupts_disable();
        for (uint64_t i = 0; i < 1000000; i++)
            model = (model << 5 | model >> 59) + i;
        CHECK_EQ(sum, model);
    }
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 0);
    CHECK(count[VECTOR_TIMER] > 2);
}

void test_main(void)
{
    static const uint8_t vectors[] = { VECTOR_LOW, VECTOR_SAME, VECTOR_HIGH, VECTOR_TIMER, VECTOR_PIT };

    for (unsigned i = 0; i < sizeof(vectors); i++)
        listen(vectors[i]);
    apic_enable();
    test_registers();
    test_self_ipi();
    test_priorities();
    test_nesting();
    test_sti_shadow();
    test_hlt();
    test_timer();
    test_divider();
    test_tsc_deadline();
    test_nmi();
    test_disabled();
    test_errors();
    test_ioapic();
    test_pic();
    test_x2apic();
    test_transparent();
}
