/*
 * What a malicious or broken guest does to its own machine. The machine must come through: what is
 * asserted is mostly that this program is still there, and that its own memory is whole.
 */
#include <stdatomic.h>

#include "lib/apic.h"
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/smp.h"
#include "lib/trap.h"

const char test_name[] = "hostile";

/* No memory and no device there: reads give all ones, writes go nowhere. */
#define NOWHERE 0xd0000000ull
#define HIGH_NOWHERE 0x7f00000000ull /* above all memory, below the width of physical addresses */

enum { FUZZ_ROUNDS = 1500, FUZZ_BYTES = 64, VECTOR_TIMER = 0x70 };

SNIPPET(undefined_instruction, 64, "ud2");

static uint64_t random_state = 0x9e3779b97f4a7c15;

/* The same sequence every time. */
static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static bool drop(struct trap_frame *frame)
{
    (void)frame;
    apic_eoi();
    return false; /* ends whatever was tried */
}

static void arm_timeout(void)
{
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(APIC_TIMER_INITIAL, 2000000);
}

static void disarm_timeout(void)
{
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 0);
}

/* All handlers on a stack of their own: the tests leave RSP anywhere. */
static void safe_stacks(bool on)
{
    for (unsigned vector = 0; vector < 32; vector++) {
        if (vector != VECTOR_DF && vector != VECTOR_NMI && vector != VECTOR_MC)
            gate_set_ist(vector, on ? IST_FREE : 0);
    }
    gate_set_ist(VECTOR_TIMER, on ? IST_FREE : 0);
}

/* Runs whatever lies there at CPL 0 until an exception or the timer ends it; all registers are its own. */
static void run_at(uint64_t address)
{
    struct trap_frame context = context_user((void *)address);

    context.cs = KERNEL_CS;
    context.ss = KERNEL_DS;
    context.rflags |= RFLAGS_IF;
    context.rax = cpu_tss[0].ist[4] - 64; /* zeros as code are ADD [RAX], AL */
    context.rsp = cpu_tss[0].ist[4] - 1024;
    arm_timeout();
    context_run(&context);
    disarm_timeout();
}

/* Code where no code can be. Any exception is a good end. */
static void test_execute_devices(void)
{
    static const uint64_t places[] = { NOWHERE, HIGH_NOWHERE, APIC_MMIO + 0x20, 0xfec00000, 0xb0000000, 0xa0000,
                                       NOWHERE + 0xffe };

    test_group("jumps into device memory");
    if (skip_on("kvm", "KVM ends a machine whose code or tables are in device memory"))
        return;
    page_map(TEST_SLOT(1), HIGH_NOWHERE, PTE_P | PTE_W, LEVEL_4K);
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint64_t at = places[i] == HIGH_NOWHERE ? TEST_SLOT(1) : places[i];

        run_at(at);
        CHECK(last_trap.taken);
    }
}

/* Tables in device memory: entries read as all ones, which has reserved bits set. */
static void test_tables_in_devices(void)
{
    static const uint64_t places[] = { NOWHERE, HIGH_NOWHERE, 0xfec00000, 0xb0000000 };
    uint64_t base = TEST_SLOT(2);
    uint64_t value;

    test_group("page tables in device memory");
    if (skip_on("kvm", "KVM ends a machine whose code or tables are in device memory"))
        return;
    for (unsigned level = LEVEL_2M; level <= LEVEL_PML4; level++) {
        for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            volatile uint64_t *entry = page_entry(base, level);

            *entry = places[i] | PTE_P | PTE_W | PTE_U;
            invlpg((void *)base);
            TRY("movq (%1), %0", : "=r"(value) : "r"(base) : "memory");
            TRY("movq %1, (%0)", : : "r"(base), "r"(0ull) : "memory");
            TRY("lock; incq (%0)", : : "r"(base + 0x1ffc) : "memory", "cc");
            run_at(base);
            *entry = 0;
            invlpg((void *)base);
        }
    }
    CHECK(true);
}

/* A table that maps itself, at every level, and is written through that mapping. */
static void test_recursive_tables(void)
{
    uint64_t *table = page_alloc();
    uint64_t base = TEST_SLOT(3);
    volatile uint64_t *top = page_entry(base, LEVEL_PML4);

    test_group("recursive page tables");
    for (unsigned i = 0; i < 512; i++)
        table[i] = (uint64_t)table | PTE_P | PTE_W;
    *top = (uint64_t)table | PTE_P | PTE_W;
    invlpg((void *)base);
    CHECK_EQ(*(volatile uint64_t *)(base + 0x123456788) & PTE_ADDRESS, (uint64_t)table);
    /* The store takes away the translation that it goes through. */
    EXPECT_NO_TRAP("movq %1, (%0)", : : "r"(base), "r"(0ull) : "memory");
    CHECK_EQ(table[0] & ~(PTE_A | PTE_D), 0);
    invlpg((void *)base);
    EXPECT_FAULT(VECTOR_PF, 0, "movq (%0), %%rax", : : "r"(base) : "rax", "memory");
    *top = 0;
    invlpg((void *)base);
    /* Accessed and dirty bits are set in the very page that is being written. */
    uint64_t *leaf = page_alloc();
    leaf[0] = (uint64_t)leaf | PTE_P | PTE_W;
    *page_entry(base, LEVEL_2M) = (uint64_t)leaf | PTE_P | PTE_W;
    invlpg((void *)base);
    EXPECT_NO_TRAP("lock; orq $0, (%0)", : : "r"(base) : "memory", "cc");
    if (!skip_on("nested", "D is lost"))
        CHECK_EQ(leaf[0] & (PTE_A | PTE_D), PTE_A | PTE_D);
}

/* Code that runs in its own page table: the walk sets bits in the instructions. */
static void test_code_in_tables(void)
{
    uint64_t *table = page_alloc();
    uint64_t base = TEST_SLOT(4);

    test_group("code in a page table");
    table[0] = (uint64_t)table | PTE_P | PTE_W;
    memcpy((uint8_t *)table + 64, "\xb8\x07\0\0\0\xc3", 6); /* MOV EAX, 7; RET: also entry 8 */
    *page_entry(base, LEVEL_2M) = (uint64_t)table | PTE_P | PTE_W;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t rax = 0;

        table[0] &= ~(PTE_A | PTE_D);
        invlpg((void *)base);
        EXPECT_NO_TRAP("call *%1", : "=a"(rax) : "r"(base + 64) : "memory");
        CHECK_EQ(rax, 7);
        CHECK(table[0] & PTE_A);
    }
}

/* Every way to touch memory, at devices and at nothing. */
static void test_odd_accesses(void)
{
    static const uint64_t places[] = { NOWHERE, APIC_MMIO + 0x80, 0xfec00010, 0xb0000000, NOWHERE + 0xffc };
    static uint8_t buffer[4096] __attribute__((aligned(64)));

    test_group("odd accesses to device memory");
    if (skip_on("kvm", "KVM ends a machine that accesses devices with instructions it cannot emulate"))
        return;
    safe_stacks(true);
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint64_t at = places[i];

        TRY("movb (%0), %%cl; movw (%0), %%cx; movl (%0), %%ecx; movq (%0), %%rcx", : : "r"(at) : "rcx");
        TRY("movq 3(%0), %%rcx; movw 1(%0), %%cx", : : "r"(at) : "rcx");
        TRY("movups (%0), %%xmm0; movups %%xmm0, (%0)", : : "r"(at) : "memory");
        TRY("xorl %%ecx, %%ecx; lock; xaddl %%ecx, (%0)", : : "r"(at) : "rcx", "memory", "cc");
        if (!option("oracle=kvm")) { /* ends the machine: KVM cannot emulate them */
            TRY("lock; cmpxchg16b (%0)", : : "r"(at & ~15ull) : "rax", "rdx", "memory", "cc");
            TRY("fxsave (%0)", : : "r"(at & ~15ull) : "memory");
            TRY("fldt (%0); fstpt (%0); fninit", : : "r"(at) : "memory");
        }
        TRY("movq %0, %%rsp; pushq %%rax; popq %%rcx; pushfq; call 1f; 1: popq %%rcx",
            : : "r"(at + 64) : "rcx", "memory", "cc");
        TRY("movq %0, %%rsp; iretq", : : "r"(at) : "memory");
        TRY("movq %0, %%rsi; movq %1, %%rdi; movl $64, %%ecx; rep movsb",
            : : "r"(at), "r"(buffer) : "rsi", "rdi", "rcx", "memory");
        TRY("movq %1, %%rsi; movq %0, %%rdi; movl $64, %%ecx; rep movsq",
            : : "r"(at), "r"(buffer) : "rsi", "rdi", "rcx", "memory");
        TRY("movq %0, %%rsi; movq %1, %%rdi; movl $16, %%ecx; rep movsw",
            : : "r"(at), "r"(NOWHERE + 0x2000) : "rsi", "rdi", "rcx", "memory");
        TRY("clflush (%0); prefetcht0 (%0); invlpg (%0)", : : "r"(at) : "memory");
        TRY("btsq %1, (%0)", : : "r"(at), "r"(0x7fffffffffull) : "memory", "cc");
    }
    apic_enable();
    safe_stacks(false);
    CHECK_EQ(read_cr0() & CR0_PG, CR0_PG);
}

/* Handlers that fault: down the stack until its end, then a double fault on its own stack. */
static bool fault_again(struct trap_frame *frame)
{
    (void)frame;
    __asm__ volatile("ud2");
    return true;
}

static void test_endless_nesting(void)
{
    uint64_t run = (uint64_t)page_alloc_run(4, PAGE_SIZE), base = TEST_SLOT(5);

    test_group("endless nesting");
    for (unsigned i = 1; i < 4; i++)
        page_map(base + i * (uint64_t)PAGE_SIZE, run + i * (uint64_t)PAGE_SIZE, PTE_P | PTE_W, LEVEL_4K);
    trap_set_handler(VECTOR_UD, fault_again);
    struct trap_frame context = context_user((void *)undefined_instruction);
    context.cs = KERNEL_CS;
    context.ss = KERNEL_DS;
    context.rsp = base + 4 * (uint64_t)PAGE_SIZE;
    context_run(&context);
    trap_set_handler(VECTOR_UD, 0);
    CHECK_EQ(last_trap.frame.vector, VECTOR_DF);
    CHECK(last_trap.frame.rsp < base + 2 * PAGE_SIZE);
}

/* Random bytes as ring-3 code, nothing of ours within its reach; a timer ends what does not end. */
static void test_random_code(void)
{
    uint64_t base = TEST_SLOT(6);
    uint8_t *code = page_alloc();
    volatile uint64_t *user_sections = page_entry(4ull << 20, LEVEL_2M);
    unsigned ends[33] = { 0 };

    test_group("random code");
    page_map(base, (uint64_t)code, PTE_P | PTE_W | PTE_U, LEVEL_4K);
    page_map(base + 0x2000, (uint64_t)page_alloc(), PTE_P | PTE_W | PTE_U, LEVEL_4K);
    *user_sections &= ~PTE_U;
    invlpg((void *)(4ull << 20));
    write_msr(MSR_IA32_EFER, read_msr(MSR_IA32_EFER) & ~EFER_SCE);
    for (unsigned round = 0; round < FUZZ_ROUNDS; round++) {
        struct trap_frame context = context_user((void *)base);

        for (unsigned i = 0; i < FUZZ_BYTES; i += 8)
            *(uint64_t *)(code + i) = random64();
        code[FUZZ_BYTES] = 0xcd;
        code[FUZZ_BYTES + 1] = 0x80;
        context.rsp = base + 0x2800;
        context.rax = base + 0x2100;
        context.rbx = random64();
        context.rcx = random64() & 0xff;
        context.rdx = base + 0x2200;
        context.rsi = base + 0x2300;
        context.rdi = base + 0x2400;
        context.rbp = base + 0x2500;
        context.rflags = RFLAGS_FIXED | RFLAGS_IF | (random64() & RFLAGS_STATUS);
        arm_timeout();
        context_run(&context);
        disarm_timeout();
        ends[last_trap.frame.vector < 32 ? last_trap.frame.vector : 32]++;
    }
    write_msr(MSR_IA32_EFER, read_msr(MSR_IA32_EFER) | EFER_SCE);
    *user_sections |= PTE_U;
    invlpg((void *)(4ull << 20));
    __asm__ volatile("fninit");
    CHECK(ends[VECTOR_UD] > 0 && ends[VECTOR_PF] > 0 && ends[VECTOR_GP] > 0);
    CHECK_EQ(ends[VECTOR_DF], 0);
}

/* Reads of every port and of many MSRs: none may bring the machine down. */
static void test_read_everything(void)
{
    test_group("all ports and MSRs");
    for (unsigned port = 0; port < 0x10000; port++)
        (void)in8((uint16_t)port);
    static const uint32_t ranges[] = { 0, 0x40000000, 0x4b564d00, 0xc0000000, 0xc0010000, 0xc0011000 };
    for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        for (uint32_t msr = ranges[i]; msr < ranges[i] + 0x200; msr++)
            TRY("rdmsr", : : "c"(msr) : "rax", "rdx");
    }
    for (uint32_t leaf = 0; leaf < 0x100; leaf++) {
        (void)cpuid(leaf, random64() & 0xff);
        (void)cpuid(0x80000000 + leaf, 0);
        (void)cpuid(0x40000000 + leaf, 0);
    }
    CHECK(true);
}

/* Nonsense in the control registers: refused, or harmless. CR3 keeps the tables. */
static void test_random_registers(void)
{
    uint64_t cr0 = read_cr0(), cr4 = read_cr4();

    test_group("random control registers");
    if (skip_on("qemu", "control registers are not checked"))
        return;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t value = random64() & random64();

        TRY("movq %0, %%cr4", : : "r"(value | CR4_PAE) : "memory");
        write_cr4(cr4);
        TRY("movq %0, %%cr0", : : "r"(value | CR0_PE | CR0_PG) : "memory");
        write_cr0(cr0);
        TRY("movq %0, %%dr7", : : "r"(value & ~0xffull & ~DR7_GD) : "memory");
        write_dr7(DR7_FIXED);
        TRY("movq %0, %%cr8", : : "r"(value) : "memory");
        write_cr8(0);
        TRY("wrmsr", : : "c"(MSR_STAR + i % 4), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
        TRY("xsetbv", : : "c"(i & 1), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
    }
    CHECK_EQ(read_cr4(), cr4);
    CHECK_EQ(read_cr0(), cr0);
}

/* Two processors write code into one page, and both run it. */
static struct {
    uint8_t *page;
    atomic_bool stop;
} storm;

static void storm_other(void *argument)
{
    volatile uint32_t *immediate = (volatile uint32_t *)(storm.page + 1 + 3);

    (void)argument;
    for (unsigned i = 0; i < 3000; i++) {
        *immediate = i;
        ((void (*)(void))(storm.page + 3))();
    }
    atomic_store(&storm.stop, true);
}

static void test_code_storm(void)
{
    volatile uint32_t *immediate;

    test_group("self-modifying storm");
    if (smp_start() < 2) {
        skip("needs two CPUs");
        return;
    }
    storm.page = page_alloc();
    memcpy(storm.page + 3, "\xb8\0\0\0\0\xc3", 6);
    immediate = (volatile uint32_t *)(storm.page + 4);
    smp_call(1, storm_other, 0);
    while (!atomic_load(&storm.stop)) {
        *immediate = 0x90909090;
        ((void (*)(void))(storm.page + 3))();
        *(volatile uint64_t *)(storm.page + 0x800) += 1;
    }
    CHECK(smp_wait(1));
}

void test_main(void)
{
    apic_enable();
    trap_set_handler(VECTOR_TIMER, drop);
    test_execute_devices();
    test_tables_in_devices();
    test_recursive_tables();
    test_code_in_tables();
    test_odd_accesses();
    test_endless_nesting();
    test_random_code();
    test_read_everything();
    test_random_registers();
    test_code_storm();
}
