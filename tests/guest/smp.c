/*
 * Several processors: start-up, locked operations, memory order (SDM volume 3, 8.1 and 8.2),
 * interrupts between processors, TLB shoot-down, INIT of a running one.
 */
#include <stdatomic.h>

#include "lib/apic.h"
#include "lib/check.h"
#include "lib/console.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/smp.h"
#include "lib/trap.h"

const char test_name[] = "smp";

enum { LITMUS_ROUNDS = 2000, VECTOR_PING = 0x51, VECTOR_SHOOT = 0x52 };

/* The two sides meet often; where the host has fewer processors than we, each time takes long. */
#define LITMUS_TICKS 800000000ull

#define PATIENCE 5000000000ull

static unsigned cpus;
static unsigned rounds = 1600;

/* Counters on lines of their own; crossing ones straddle a cache line or a page. */
static struct {
    uint64_t added __attribute__((aligned(64)));
    uint64_t exchanged __attribute__((aligned(64)));
    uint64_t compared __attribute__((aligned(64)));
    uint64_t guarded __attribute__((aligned(64)));
    uint32_t lock __attribute__((aligned(64)));
    uint64_t pair[2] __attribute__((aligned(64)));
    uint8_t bytes[8192] __attribute__((aligned(4096)));
} shared;

static void *const line_crossing = shared.bytes + 64 - 3, *const page_crossing = shared.bytes + 4096 - 5;

static void add_all(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < rounds; i++) {
        __asm__ volatile("lock; addq $1, %0" : "+m"(shared.added) : : "cc");
        uint64_t one = 1;
        __asm__ volatile("lock; xaddq %1, %0" : "+m"(shared.exchanged), "+r"(one) : : "cc");
        uint64_t old = shared.compared, desired;
        do {
            desired = old + 1;
            __asm__ volatile("lock; cmpxchgq %2, %1" : "+a"(old), "+m"(shared.compared) : "r"(desired) : "cc");
        } while (old + 1 != desired);
    }
}

static void add_guarded(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < rounds; i++) {
        uint32_t taken = 1;

        for (;;) {
            __asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(shared.lock) : : "memory");
            if (taken == 0)
                break;
            cpu_pause();
        }
        shared.guarded++;
        *(volatile uint32_t *)&shared.lock = 0; /* a plain store releases */
        __asm__ volatile("" : : : "memory");
    }
}

/* Both halves change together or not at all. */
static void add_pair(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t low = 0, high = 0;
        bool done = false;

        while (!done) {
            __asm__ volatile("lock; cmpxchg16b %0"
                             : "+m"(shared.pair), "=@ccz"(done), "+a"(low), "+d"(high)
                             : "b"(low + 1), "c"(high + 3));
        }
    }
}

static void add_crossing(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < rounds / 16; i++) {
        __asm__ volatile("lock; addq $1, (%0)" : : "r"(line_crossing) : "memory", "cc");
        __asm__ volatile("lock; addq $1, (%0)" : : "r"(page_crossing) : "memory", "cc");
    }
}

static uint64_t unaligned(const void *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static void test_locked(void)
{
    test_group("locked operations");
    smp_all(add_all, 0);
    CHECK_EQ(shared.added, (uint64_t)cpus * rounds);
    CHECK_EQ(shared.exchanged, (uint64_t)cpus * rounds);
    CHECK_EQ(shared.compared, (uint64_t)cpus * rounds);
    smp_all(add_guarded, 0);
    CHECK_EQ(shared.guarded, (uint64_t)cpus * rounds);
    smp_all(add_pair, 0);
    CHECK_EQ(shared.pair[0], (uint64_t)cpus * rounds);
    CHECK_EQ(shared.pair[1], (uint64_t)cpus * rounds * 3);
    smp_all(add_crossing, 0);
    if (!skip_on("qemu", "misaligned locked operations are not atomic"))
        CHECK_EQ(unaligned(line_crossing), (uint64_t)cpus * (rounds / 16));
    if (!option("oracle=qemu"))
        CHECK_EQ(unaligned(page_crossing), (uint64_t)cpus * (rounds / 16));
}

static void test_identity(void)
{
    test_group("identity");
    CHECK_EQ(apic_id(), 0);
    CHECK_EQ(cpu_index(), 0);
    CHECK(read_msr(MSR_IA32_APIC_BASE) & APIC_BASE_BSP);
}

static atomic_uint seen_identifiers, identity_errors;

static void note_identity(void *argument)
{
    unsigned cpu = cpu_index();

    (void)argument;
    atomic_fetch_or(&seen_identifiers, 1u << cpu);
    if (apic_id() != cpu || (cpuid(1, 0).ebx >> 24) != cpu)
        atomic_fetch_add(&identity_errors, 1);
    if (((read_msr(MSR_IA32_APIC_BASE) & APIC_BASE_BSP) != 0) != (cpu == 0))
        atomic_fetch_add(&identity_errors, 1);
}

static void test_all_run(void)
{
    test_group("every processor");
    smp_all(note_identity, 0);
    CHECK_EQ(seen_identifiers, (1u << cpus) - 1);
    CHECK_EQ(identity_errors, 0);
}

/* Store buffering with MFENCE: x = 1; MFENCE; read y || y = 1; MFENCE; read x. Never both 0. */
static struct {
    volatile uint64_t x __attribute__((aligned(64))), y __attribute__((aligned(64)));
    volatile uint64_t seen[2] __attribute__((aligned(64)));
    atomic_uint arrived __attribute__((aligned(64)));
    atomic_bool stop;
} litmus;

/* Both sides meet; the count only grows. */
static void meet(unsigned round)
{
    atomic_fetch_add(&litmus.arrived, 1);
    while (atomic_load(&litmus.arrived) < 2 * round)
        cpu_pause();
}

static void dekker(unsigned side, bool locked)
{
    volatile uint64_t *mine = side == 0 ? &litmus.x : &litmus.y, *other = side == 0 ? &litmus.y : &litmus.x;
    uint64_t one = 1, value;

    if (locked)
        __asm__ volatile("xchgq %1, (%2); movq (%3), %0"
                         : "=&r"(value), "+r"(one) : "r"(mine), "r"(other) : "memory");
    else
        __asm__ volatile("movq $1, (%1); mfence; movq (%2), %0" : "=&r"(value) : "r"(mine), "r"(other) : "memory");
    litmus.seen[side] = value;
}

static void dekker_other(void *argument)
{
    (void)argument;
    for (unsigned round = 0; round < LITMUS_ROUNDS; round++) {
        meet(2 * round + 1);
        if (atomic_load(&litmus.stop))
            return;
        dekker(1, round & 1);
        meet(2 * round + 2);
    }
}

static void test_store_buffer(void)
{
    uint64_t start = read_tsc();
    unsigned violations = 0;

    test_group("store buffering and fences");
    smp_call(1, dekker_other, 0);
    for (unsigned round = 0; round < LITMUS_ROUNDS; round++) {
        litmus.x = 0;
        litmus.y = 0;
        atomic_store(&litmus.stop, read_tsc() - start > LITMUS_TICKS);
        meet(2 * round + 1);
        if (atomic_load(&litmus.stop))
            break;
        dekker(0, round & 1);
        meet(2 * round + 2);
        violations += litmus.seen[0] == 0 && litmus.seen[1] == 0;
    }
    smp_wait(1);
    CHECK_EQ(violations, 0);
}

/* Message passing: stores are seen in order, loads happen in order; no fence needed. */
static struct {
    volatile uint64_t data __attribute__((aligned(64))), flag __attribute__((aligned(64)));
} message;

static void message_writer(void *argument)
{
    (void)argument;
    for (uint64_t i = 1; i <= 5000; i++) {
        message.data = i;
        message.flag = i;
    }
}

static void test_message_passing(void)
{
    uint64_t flag = 0, violations = 0, last = 0;

    test_group("message passing");
    smp_call(1, message_writer, 0);
    while (flag < 5000) {
        flag = message.flag;
        uint64_t data = message.data;

        violations += data < flag || flag < last;
        last = flag;
    }
    smp_wait(1);
    CHECK_EQ(violations, 0);
}

/* Aligned accesses are single: never half old, half new. */
static volatile uint64_t whole __attribute__((aligned(64)));
static atomic_bool whole_stop;

static void whole_writer(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 8000; i++)
        whole = i & 1 ? ~0ull : 0;
    atomic_store(&whole_stop, true);
}

static void test_single_copy(void)
{
    uint64_t torn = 0;

    test_group("single-copy atomicity");
    smp_call(1, whole_writer, 0);
    while (!atomic_load(&whole_stop)) {
        uint64_t value = whole;
        torn += value != 0 && value != ~0ull;
    }
    smp_wait(1);
    CHECK_EQ(torn, 0);
}

static atomic_uint pings[CPU_MAX];

static bool on_ping(struct trap_frame *frame)
{
    (void)frame;
    atomic_fetch_add(&pings[cpu_index()], 1);
    apic_eoi();
    return true;
}

static bool wait_pings(unsigned cpu, unsigned wanted)
{
    uint64_t start = read_tsc();

    while (atomic_load(&pings[cpu]) < wanted) {
        if (read_tsc() - start > PATIENCE) {
            fail("CPU %u got %u interrupts, expected %u", cpu, atomic_load(&pings[cpu]), wanted);
            return false;
        }
        if (cpu == 0)
            __asm__ volatile("sti; nop; cli" : : : "memory");
        cpu_pause();
    }
    return true;
}

/* The others sleep in HLT: each interrupt wakes its target, and only that. */
static void test_interrupts(void)
{
    test_group("interrupts between processors");
    trap_set_handler(VECTOR_PING, on_ping);
    for (unsigned round = 1; round <= 200; round++) {
        unsigned cpu = 1 + round % (cpus - 1);
        unsigned before = atomic_load(&pings[cpu]);

        apic_send(ICR_FIXED | ICR_ASSERT | VECTOR_PING, cpu);
        if (!wait_pings(cpu, before + 1))
            return;
        CHECK_EQ(atomic_load(&pings[cpu]), before + 1);
    }
    CHECK_EQ(atomic_load(&pings[0]), 0);

    unsigned before[CPU_MAX];
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        before[cpu] = atomic_load(&pings[cpu]);
    apic_send(ICR_FIXED | ICR_ASSERT | ICR_OTHERS | VECTOR_PING, 0);
    for (unsigned cpu = 1; cpu < cpus; cpu++)
        wait_pings(cpu, before[cpu] + 1);
    __asm__ volatile("sti; nop; cli" : : : "memory");
    CHECK_EQ(atomic_load(&pings[0]), before[0]);
    apic_send(ICR_FIXED | ICR_ASSERT | ICR_ALL | VECTOR_PING, 0);
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        wait_pings(cpu, before[cpu] + (cpu == 0 ? 1 : 2));
}

/* An NMI reaches a processor that computes with interrupts off. */
static atomic_uint nmis;
static atomic_bool spin_stop;

static bool on_nmi(struct trap_frame *frame)
{
    (void)frame;
    atomic_fetch_add(&nmis, cpu_index() == 1 ? 1 : 100);
    return true;
}

static void spin(void *argument)
{
    (void)argument;
    while (!atomic_load(&spin_stop))
        __asm__ volatile("" : : : "memory");
}

static void test_nmi(void)
{
    uint64_t start = read_tsc();

    test_group("NMI to a busy processor");
    trap_set_handler(VECTOR_NMI, on_nmi);
    smp_call(1, spin, 0);
    pit_delay_us(1000);
    apic_send(ICR_NMI | ICR_ASSERT, 1);
    while (atomic_load(&nmis) == 0 && read_tsc() - start < PATIENCE)
        cpu_pause();
    atomic_store(&spin_stop, true);
    smp_wait(1);
    CHECK_EQ(atomic_load(&nmis), 1);
    trap_set_handler(VECTOR_NMI, 0);
}

/* CPU 1 reads through a translation all the time; CPU 0 changes it and asks for the invalidation. */
static struct {
    uint64_t window;
    atomic_uint acknowledged;
    atomic_bool stop;
    volatile uint64_t expected;
    unsigned errors;
} shoot;

static bool on_shoot(struct trap_frame *frame)
{
    (void)frame;
    invlpg((void *)shoot.window);
    atomic_fetch_add(&shoot.acknowledged, 1);
    apic_eoi();
    return true;
}

static void shoot_reader(void *argument)
{
    volatile uint64_t *window = argument;
    uint64_t seen = 0;

    interrupts_enable();
    while (!atomic_load(&shoot.stop)) {
        uint64_t value = *window;

        if (value < seen)
            shoot.errors++;
        seen = value;
    }
    interrupts_disable();
}

static void test_shoot_down(void)
{
    uint64_t pages[2] = { (uint64_t)page_alloc(), (uint64_t)page_alloc() };

    test_group("TLB shoot-down");
    shoot.window = TEST_SLOT(1);
    page_map(shoot.window, pages[0], PTE_P | PTE_W, LEVEL_4K);
    trap_set_handler(VECTOR_SHOOT, on_shoot);
    smp_call(1, shoot_reader, (void *)shoot.window);
    for (unsigned round = 1; round <= 100; round++) {
        uint64_t start = read_tsc();

        /* After the acknowledgement nobody may see the old page: its value would go backwards. */
        *(volatile uint64_t *)pages[round & 1] = 2 * round;
        page_map(shoot.window, pages[round & 1], PTE_P | PTE_W, LEVEL_4K);
        apic_send(ICR_FIXED | ICR_ASSERT | VECTOR_SHOOT, 1);
        while (atomic_load(&shoot.acknowledged) < round && read_tsc() - start < PATIENCE)
            cpu_pause();
        *(volatile uint64_t *)pages[~round & 1] = 0;
    }
    atomic_store(&shoot.stop, true);
    smp_wait(1);
    CHECK_EQ(atomic_load(&shoot.acknowledged), 100);
    CHECK_EQ(shoot.errors, 0);
}

/* Two processors set A and D, and a third party clears one: no update may be lost. */
static void touch_pages(void *argument)
{
    uint64_t base = (uint64_t)argument + (uint64_t)cpu_index() * 64 * PAGE_SIZE;

    for (unsigned i = 0; i < 64; i++)
        *(volatile uint64_t *)(base + i * (uint64_t)PAGE_SIZE) = i;
}

static void test_dirty_bits(void)
{
    uint64_t base = TEST_SLOT(2), page = (uint64_t)page_alloc();
    unsigned lost = 0;

    test_group("dirty bits");
    for (unsigned i = 0; i < 64 * cpus; i++)
        page_map(base + i * (uint64_t)PAGE_SIZE, page, PTE_P | PTE_W, LEVEL_4K);
    smp_all(touch_pages, (void *)base);
    for (unsigned i = 0; i < 64 * cpus; i++)
        lost += (*page_entry(base + i * (uint64_t)PAGE_SIZE, LEVEL_4K) & (PTE_A | PTE_D)) != (PTE_A | PTE_D);
    CHECK_EQ(lost, 0);
}

static void set_mark(void *argument)
{
    atomic_store((atomic_uint *)argument, 1);
}

/* INIT stops a running processor; SIPI starts it anew. The last test: the old work is lost. */
static void test_restart(void)
{
    extern atomic_uint smp_next_cpu;
    static atomic_uint mark;

    test_group("INIT and start again");
    atomic_store(&spin_stop, false);
    smp_call(1, spin, 0);
    pit_delay_us(1000);
    apic_send(ICR_INIT | ICR_ASSERT, 1);
    pit_delay_us(10000);
    smp_forget(1);
    atomic_store(&smp_next_cpu, 1);
    apic_send(ICR_STARTUP | ICR_ASSERT | 8, 1);
    smp_call(1, set_mark, &mark);
    smp_wait(1);
    CHECK_EQ(atomic_load(&mark), 1);
}

/* One after the other, each looks at its counter: nobody may read less than who was before. */
static struct {
    uint32_t lock;
    uint64_t last, reads, back;
} counter __attribute__((aligned(64)));

static void read_in_turn(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 4 * rounds; i++) {
        uint32_t taken = 1;
        uint64_t now;

        for (;;) {
            __asm__ volatile("xchgl %0, %1" : "+r"(taken), "+m"(counter.lock) : : "memory");
            if (taken == 0)
                break;
            cpu_pause();
        }
        __asm__ volatile("lfence" : : : "memory");
        now = read_tsc();
        if (now < counter.last)
            counter.back++;
        counter.last = now;
        counter.reads++;
        *(volatile uint32_t *)&counter.lock = 0;
        __asm__ volatile("" : : : "memory");
    }
}

/* Neither power-on nor INIT nor start-up sets a processor's counter apart from the others' (SDM volume 3, 18.17). */
static void test_time_stamps(void)
{
    test_group("time stamp counters");
    counter.back = counter.reads = counter.last = 0;
    smp_call(1, read_in_turn, 0);
    read_in_turn(0);
    smp_wait(1);
    CHECK_EQ(counter.reads, 8ull * rounds);
    CHECK_EQ(counter.back, 0);
}

void test_main(void)
{
    apic_enable();
    cpus = smp_start();
    if (cpus > 2)
        rounds = 400; /* the host may have fewer processors than we */
    test_identity();
    if (cpus < 2) {
        skip("needs two CPUs: run with -c 2 or -c 4");
        return;
    }
    test_all_run();
    test_locked();
    test_time_stamps();
    test_store_buffer();
    test_message_passing();
    test_single_copy();
    test_interrupts();
    test_nmi();
    test_shoot_down();
    test_dirty_bits();
    test_restart();
    test_time_stamps();
}
