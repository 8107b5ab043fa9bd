/*
 * Interrupt delivery and return in long mode: SDM volume 3, 6.14, and IRET, INT n in volume 2.
 */
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "idt";

enum { VECTOR_TEST = 0x60 };

SNIPPET(user_nothing, 64, "nop");
SNIPPET(user_int60, 64, "int $0x60");
SNIPPET(user_int3, 64, "int3");
SNIPPET(user_divide, 64, "xorl %ecx, %ecx; divl %ecx");
SNIPPET(compat_nothing, 32, "nop");
SNIPPET(compat_int60, 32, "int $0x60");
SNIPPET(compat_flags, 32, "movl $0x12345678, %eax; cpuid; movl %cs, %ebx");
SNIPPET(compat_into, 32, "movb $0x7f, %al; addb $1, %al; into");
SNIPPET(user_iret_same, 64, "movq %rsp, %rax; pushq $0x23; pushq %rax; pushfq; pushq $0x2b; leaq 1f(%rip), %rcx; "
                            "pushq %rcx; iretq; 1: nop");
SNIPPET(user_iret_compat, 64, "movq %rsp, %rax; pushq $0x23; pushq %rax; pushfq; pushq $0x1b; leaq 1f(%rip), %rcx; "
                              "pushq %rcx; iretq; .code32; 1: nop");
SNIPPET(user_iret_kernel, 64, "movq %rsp, %rax; pushq $0x10; pushq %rax; pushfq; pushq $0x08; leaq 1f(%rip), %rcx; "
                              "pushq %rcx; 1: iretq");
SNIPPET(user_popf, 64, "pushq $0x3202; popfq; pushfq; popq %rax");
SNIPPET(compat_lret, 32, "pushl $0x1b; pushl $1f; lret; 1: nop");
SNIPPET(compat_to_64, 32, "ljmp $0x2b, $1f; .code64; 1: movabsq $0x1122334455667788, %rax");

static struct trap_frame seen;
static uint64_t seen_rflags, seen_stack;

static bool note(struct trap_frame *frame)
{
    seen = *frame;
    seen_stack = (uint64_t)frame;
    seen_rflags = read_rflags();
    return true;
}

/* The gate's kind decides about IF; TF, NT, RF are cleared by both. */
static void test_gate_kinds(void)
{
    test_group("interrupt and trap gates");
    trap_set_handler(VECTOR_TEST, note);
    for (unsigned enabled = 0; enabled < 2; enabled++) {
        for (unsigned kind = GATE_INTERRUPT; kind <= GATE_TRAP; kind++) {
            gate_set_type(VECTOR_TEST, (uint8_t)kind);
            __asm__ volatile("pushq %0; popfq; int $0x60; pushq $2; popfq"
                             :
                             : "r"(RFLAGS_NT | RFLAGS_CF | RFLAGS_ZF | (enabled ? RFLAGS_IF : 0))
                             : "memory", "cc");
            CHECK_EQ(seen.rflags, RFLAGS_FIXED | RFLAGS_NT | RFLAGS_CF | RFLAGS_ZF | (enabled ? RFLAGS_IF : 0));
            CHECK_EQ(seen_rflags & (RFLAGS_NT | RFLAGS_TF | RFLAGS_RF), 0);
            CHECK_EQ((seen_rflags & RFLAGS_IF) != 0, enabled && kind == GATE_TRAP);
            CHECK_EQ(seen.cs, KERNEL_CS);
            CHECK_EQ(seen.ss, KERNEL_DS);
        }
    }
    gate_set_type(VECTOR_TEST, GATE_INTERRUPT);
    trap_set_handler(VECTOR_TEST, 0);
}

/* Without a privilege change the stack stays, aligned; with one it is RSP0; with an IST always that. */
static void test_stacks(void)
{
    uint64_t rsp0 = cpu_tss[0].rsp[0], ist3 = cpu_tss[0].ist[3], end = sizeof(struct trap_frame);

    test_group("stacks");
    TRY("int $0x60", : : : "memory");
    CHECK_EQ(last_trap.stack + end, trap_recover_rsp & ~15ull);
    CHECK_EQ(last_trap.frame.rsp, trap_recover_rsp);

    gate_set_ist(VECTOR_TEST, 3);
    TRY("int $0x60", : : : "memory");
    CHECK_EQ(last_trap.stack + end, ist3);
    CHECK_EQ(last_trap.frame.rsp, trap_recover_rsp);
    cpu_tss[0].ist[3] = ist3 - 8 - 4096; /* aligned down by the processor */
    TRY("int $0x60", : : : "memory");
    CHECK_EQ(last_trap.stack + end, ist3 - 16 - 4096);
    cpu_tss[0].ist[3] = ist3;

    EXPECT_END(context_user(user_nothing), user_nothing);
    CHECK_EQ(last_trap.stack + end, rsp0);
    CHECK_EQ(last_trap.frame.ss, USER_DS);
    gate_set_type(VECTOR_TEST, GATE_INTERRUPT | GATE_DPL3);
    EXPECT_RUN(context_user(user_int60), VECTOR_TEST, 0, user_int60 + 2);
    CHECK_EQ(last_trap.stack + end, ist3);
    gate_set_ist(VECTOR_TEST, 0);
    EXPECT_RUN(context_user(user_int60), VECTOR_TEST, 0, user_int60 + 2);
    CHECK_EQ(last_trap.stack + end, rsp0);
    cpu_tss[0].rsp[0] = rsp0 - 0x108; /* read at each delivery */
    EXPECT_RUN(context_user(user_int60), VECTOR_TEST, 0, user_int60 + 2);
    CHECK_EQ(last_trap.stack + end, rsp0 - 0x110);
    cpu_tss[0].rsp[0] = rsp0;
    gate_set_type(VECTOR_TEST, GATE_INTERRUPT);
}

static uint64_t error_of(unsigned vector)
{
    return option("oracle=qemu") ? vector * 16 + 2 : vector * 8 + 2;
}

static void test_privilege(void)
{
    test_group("software interrupts and DPL");
    EXPECT_RUN(context_user(user_int60), VECTOR_GP, error_of(VECTOR_TEST), user_int60);
    EXPECT_RUN(context_compat(compat_int60, 3), VECTOR_GP, error_of(VECTOR_TEST), compat_int60);
    EXPECT_RUN(context_compat(compat_int60, 0), VECTOR_TEST, 0, compat_int60 + 2);
    EXPECT_RUN(context_user(user_int3), VECTOR_GP, error_of(VECTOR_BP), user_int3);
    EXPECT_RUN(context_compat(compat_into, 3), VECTOR_GP, error_of(VECTOR_OF), compat_into + 4);
    gate_set_type(VECTOR_BP, GATE_INTERRUPT | GATE_DPL3);
    gate_set_type(VECTOR_OF, GATE_INTERRUPT | GATE_DPL3);
    EXPECT_RUN(context_user(user_int3), VECTOR_BP, 0, user_int3 + 1);
    EXPECT_RUN(context_compat(compat_into, 3), VECTOR_OF, 0, compat_into + 5);
    gate_set_type(VECTOR_BP, GATE_INTERRUPT);
    gate_set_type(VECTOR_OF, GATE_INTERRUPT);
    /* An exception needs no DPL. */
    EXPECT_RUN(context_user(user_divide), VECTOR_DE, 0, user_divide + 2);
}

static void test_conforming_handler(void)
{
    test_group("handler in a conforming segment");
    gdt[FREE_SELECTOR / 8] = gdt[KERNEL_CS / 8] | DESCRIPTOR_E;
    gate_set(VECTOR_TEST, user_nothing, FREE_SELECTOR, GATE_INTERRUPT | GATE_DPL3, 0);
    /* Runs at CPL 3, on ring 3's own stack: the INT at its end comes from there. */
    struct trap_frame context = context_user(user_int60);
    EXPECT_END(context, user_nothing);
    CHECK_EQ(last_trap.frame.cs, FREE_SELECTOR | 3);
    CHECK_EQ(last_trap.frame.rsp, (context.rsp & ~15ull) - 40);
    gate_set(VECTOR_TEST, trap_stub(VECTOR_TEST), KERNEL_CS, GATE_INTERRUPT, 0);
    gdt[FREE_SELECTOR / 8] = 0;
}

/* Goes round through every mode and ring. */
static void test_round_trips(void)
{
    test_group("IRETQ to every mode");
    EXPECT_END(context_user(user_nothing), user_nothing);
    CHECK_EQ(last_trap.frame.cs, USER_CS);
    EXPECT_END(context_compat(compat_nothing, 3), compat_nothing);
    CHECK_EQ(last_trap.frame.cs, USER_CS32);
    CHECK_EQ(last_trap.frame.ss, USER_DS);
    EXPECT_END(context_compat(compat_nothing, 0), compat_nothing);
    CHECK_EQ(last_trap.frame.cs, KERNEL_CS32);
    EXPECT_END(context_compat(compat_flags, 3), compat_flags);
    CHECK_EQ(last_trap.frame.rbx, USER_CS32);
    EXPECT_END(context_user(user_iret_same), user_iret_same);
    EXPECT_END(context_user(user_iret_compat), user_iret_compat);
    CHECK_EQ(last_trap.frame.cs, USER_CS32);
    EXPECT_END(context_compat(compat_lret, 3), compat_lret);
    EXPECT_END(context_compat(compat_to_64, 3), compat_to_64);
    CHECK_EQ(last_trap.frame.cs, USER_CS);
    CHECK_EQ(last_trap.frame.rax, 0x1122334455667788);
    EXPECT_RUN(context_user(user_iret_kernel), VECTOR_GP, KERNEL_CS, (uint64_t)user_iret_kernel_end - 2);
}

/* Which flags IRETQ and POPF let through depends on CPL and IOPL. */
static void test_flags(void)
{
    const uint64_t all = RFLAGS_STATUS | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID | RFLAGS_FIXED;
    struct trap_frame context = context_user(user_nothing);

    test_group("flags");
    context.rflags = all | RFLAGS_IOPL;
    EXPECT_END(context, user_nothing);
    CHECK_EQ(last_trap.frame.rflags, context.rflags);
    context.rflags = RFLAGS_FIXED;
    EXPECT_END(context, user_nothing);
    CHECK_EQ(last_trap.frame.rflags, context.rflags);
    EXPECT_END(context_user(user_popf), user_popf);
    CHECK_EQ(last_trap.frame.rax, RFLAGS_FIXED); /* IOPL and IF stay */
    context = context_user(user_popf);
    context.rflags = RFLAGS_FIXED | RFLAGS_IOPL;
    EXPECT_END(context, user_popf);
    CHECK_EQ(last_trap.frame.rax, RFLAGS_FIXED | RFLAGS_IOPL | RFLAGS_IF);
    write_rflags(RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID | RFLAGS_STATUS | RFLAGS_DF);
    uint64_t flags = read_rflags();
    write_rflags(RFLAGS_FIXED);
    CHECK_EQ(flags, RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID | RFLAGS_STATUS | RFLAGS_DF | RFLAGS_FIXED);
}

/* Runs context_run()'s IRETQ itself into an exception. */
#define EXPECT_IRET_FAULT(context, vector, error) EXPECT_RUN(context, vector, error, context_iretq)

extern const char context_iretq[];

static struct trap_frame changed(uint16_t cs, uint16_t ss)
{
    struct trap_frame context = context_user(user_nothing);

    context.cs = cs;
    context.ss = ss;
    return context;
}

static void test_iret_faults(void)
{
    struct trap_frame context;

    test_group("IRETQ checks");
    EXPECT_IRET_FAULT(changed(0, USER_DS), VECTOR_GP, 0);
    EXPECT_IRET_FAULT(changed(USER_DS, USER_DS), VECTOR_GP, USER_DS & ~3);
    EXPECT_IRET_FAULT(changed(KERNEL_CS | 3, USER_DS), VECTOR_GP, KERNEL_CS);
    EXPECT_IRET_FAULT(changed(USER_CS & ~3, KERNEL_DS), VECTOR_GP, USER_CS & ~3);
    EXPECT_IRET_FAULT(changed(USER_CS, KERNEL_DS), VECTOR_GP, KERNEL_DS);
    EXPECT_IRET_FAULT(changed(USER_CS, USER_DS & ~3), VECTOR_GP, USER_DS & ~3);
    EXPECT_IRET_FAULT(changed(USER_CS, 0), VECTOR_GP, 0);
    EXPECT_IRET_FAULT(changed(0xfff8 | 3, USER_DS), VECTOR_GP, 0xfff8);
    gdt[FREE_SELECTOR / 8] = gdt[USER_DS / 8] & ~DESCRIPTOR_P;
    if (!skip_on("qemu", "an absent SS is #NP"))
        EXPECT_IRET_FAULT(changed(USER_CS, FREE_SELECTOR | 3), VECTOR_SS, FREE_SELECTOR);
    gdt[FREE_SELECTOR / 8] = gdt[USER_CS / 8] & ~DESCRIPTOR_P;
    EXPECT_IRET_FAULT(changed(FREE_SELECTOR | 3, USER_DS), VECTOR_NP, FREE_SELECTOR);
    gdt[FREE_SELECTOR / 8] = 0;

    context = changed(KERNEL_CS, 0); /* a null SS is good at CPL 0 in 64-bit mode */
    context.rip = (uint64_t)user_nothing;
    EXPECT_END(context, user_nothing);

    if (!skip_on("qemu", "a non-canonical RIP faults at the target")) {
        context = context_user((void *)0x0000800000000000);
        EXPECT_IRET_FAULT(context, VECTOR_GP, 0);
    }
    TRY_AFTER("pushfq; orl $0x4000, (%%rsp); popfq", "iretq", : : : "memory");
    trap_expect_at(__FILE__, __LINE__, "IRETQ with NT", VECTOR_GP, 0, trap_try_start);
}

/* Back to a stack above 4 GiB and an RSP with low bits set: nothing of it may be lost. */
static void test_iret_stack(void)
{
    uint64_t base = TEST_SLOT(1);

    test_group("IRETQ and RSP");
    page_map(base, (uint64_t)page_alloc(), PTE_P | PTE_W | PTE_U, LEVEL_4K);
    for (unsigned skew = 0; skew < 16; skew += 3) {
        struct trap_frame context = context_user(user_nothing);

        context.rsp = base + 0x800 + skew;
        EXPECT_END(context, user_nothing);
        CHECK_EQ(last_trap.frame.rsp, base + 0x800 + skew);
    }
}

void test_main(void)
{
    test_gate_kinds();
    test_stacks();
    test_privilege();
    test_conforming_handler();
    test_round_trips();
    test_flags();
    test_iret_faults();
    test_iret_stack();
}
