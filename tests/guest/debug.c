/*
 * Single steps and breakpoints: SDM volume 3, chapter 18. Faults (execution) come before the
 * instruction, traps (data, single step, INT1) behind it; MOV SS and POP SS put them off by one.
 */
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "debug";

enum { STEP_MAX = 64 };

#define DR7_EXECUTE(n) (1ull << (2 * (n)))
#define DR7_DATA(n, kind, length) \
    (1ull << (2 * (n)) | (uint64_t)(kind) << (16 + 4 * (n)) | (uint64_t)(length) << (18 + 4 * (n)))

enum { KIND_WRITE = 1, KIND_ACCESS = 3, LENGTH_1 = 0, LENGTH_4 = 3, LENGTH_8 = 2 };

SNIPPET(step_line, 64, "nop; incl %eax; movl %eax, %ebx; jmp 1f; nop; 1: nop");
SNIPPET(step_string, 64, "rep movsb; nop");
SNIPPET(step_movss, 64, "movl %eax, %ss; nop; nop");
SNIPPET(step_popss, 32, "pushl %ss; popl %ss; nop; nop");
SNIPPET(step_fault, 64, "nop; ud2");
SNIPPET(step_syscall, 64, "nop; syscall; nop");
SNIPPET(step_int, 64, "nop; int $0x80");
SNIPPET(step_popf, 64, "pushfq; andl $~0x100, (%rsp); popfq; nop; nop");
SNIPPET(step_pushf, 64, "pushfq; popq %rax; nop");
SNIPPET(step_on, 64, "pushfq; orl $0x100, (%rsp); popfq; nop; nop");
SNIPPET(step_loop, 64, "movl $3, %ecx; 1: loop 1b; nop");
SNIPPET(syscall_target, 64, "nop");

/* Addresses at which #DB was reported. */
static uint64_t stops[STEP_MAX], status[STEP_MAX];
static unsigned stop_count;

static bool on_debug(struct trap_frame *frame)
{
    if (stop_count == STEP_MAX)
        return false;
    stops[stop_count] = frame->rip;
    status[stop_count] = read_dr6();
    stop_count++;
    write_dr6(DR6_FIXED);
    if (stop_count == STEP_MAX)
        frame->rflags &= ~RFLAGS_TF;
    return true;
}

static void forget(void)
{
    stop_count = 0;
    write_dr6(DR6_FIXED);
}

/* Runs a snippet with TF set from its first instruction on. */
static void step(struct trap_frame context)
{
    forget();
    context.rflags |= RFLAGS_TF;
    trap_set_handler(VECTOR_DB, on_debug);
    context_run(&context);
    trap_set_handler(VECTOR_DB, 0);
}

static void check_stops(const char *what, const char *from, const uint8_t *offsets, unsigned count)
{
    check_equal_at(what, 0, "number of stops", stop_count, count);
    for (unsigned i = 0; i < count && i < stop_count; i++) {
        check_equal_at(what, (int)i, "stop", stops[i] - (uint64_t)from, offsets[i]);
        check_equal_at(what, (int)i, "DR6", status[i], DR6_FIXED | DR6_BS);
    }
}

#define CHECK_STOPS(from, ...)                                                                                         \
    do {                                                                                                               \
        static const uint8_t check_offsets[] = { __VA_ARGS__ };                                                        \
        check_stops(#from, from, check_offsets, sizeof(check_offsets));                                                \
    } while (0)

static void test_single_step(void)
{
    test_group("single step");
    step(context_user(step_line));
    CHECK_STOPS(step_line, 1, 3, 5, 8, 9);
    CHECK_EQ(last_trap.frame.rflags & RFLAGS_TF, RFLAGS_TF); /* what INT pushed */
    CHECK_EQ(last_trap.frame.rip, (uint64_t)step_line_end + 2);
    step(context_user(step_loop));
    CHECK_STOPS(step_loop, 5, 5, 5, 7, 8);
    step(context_user(step_fault)); /* the fault itself gives no stop */
    CHECK_STOPS(step_fault, 1);
    CHECK_EQ(last_trap.frame.vector, VECTOR_UD);
    step(context_user(step_popf));
    CHECK_STOPS(step_popf, 1, 8, 9);
    step(context_user(step_pushf));
    CHECK(last_trap.frame.rax & RFLAGS_TF);
    /* TF set by POPF: the first stop is behind the next instruction. */
    struct trap_frame context = context_user(step_on);
    forget();
    trap_set_handler(VECTOR_DB, on_debug);
    context_run(&context);
    trap_set_handler(VECTOR_DB, 0);
    CHECK_STOPS(step_on, 10, 11);
}

/* Each element of a repeated string instruction is a step. */
static void test_step_string(void)
{
    static uint8_t from[8] USER_DATA = { 1, 2, 3, 4 }, to[8] USER_DATA;
    struct trap_frame context = context_user(step_string);

    test_group("single step in a string instruction");
    if (skip_on("nested", "there is a stop too many"))
        return;
    context.rcx = 4;
    context.rsi = (uint64_t)from;
    context.rdi = (uint64_t)to;
    step(context);
    CHECK_STOPS(step_string, 0, 0, 0, 2, 3);
    CHECK_EQ(last_trap.frame.rcx, 0);
    CHECK_EQ(to[3], 4);
    context.rcx = 0;
    step(context);
    CHECK_STOPS(step_string, 2, 3);
}

/* MOV SS and POP SS hold the trap back until behind the next instruction. */
static void test_step_shadow(void)
{
    struct trap_frame context = context_user(step_movss);

    test_group("single step behind MOV SS");
    context.rax = USER_DS;
    step(context);
    CHECK_STOPS(step_movss, 3, 4);
    context = context_compat(step_popss, 3);
    step(context);
    CHECK_STOPS(step_popss, 1, 3, 4);
}

static void test_step_system(void)
{
    struct trap_frame context = context_user(step_syscall);

    test_group("single step and SYSCALL");
    write_msr(MSR_STAR, (uint64_t)USER_CS32 << 48 | (uint64_t)KERNEL_CS << 32);
    write_msr(MSR_LSTAR, (uint64_t)syscall_target);
    write_msr(MSR_SFMASK, RFLAGS_TF);
    step(context);
    CHECK_STOPS(step_syscall, 1); /* SFMASK took TF away before the step was over */
    CHECK_EQ(last_trap.frame.r11 & RFLAGS_TF, RFLAGS_TF);
    step(context_user(step_int));
    CHECK_STOPS(step_int, 1);
}

/* An execution breakpoint is a fault; RF lets the instruction run. */
static bool on_execute(struct trap_frame *frame)
{
    frame->rflags |= RFLAGS_RF;
    return on_debug(frame);
}

static void test_execute(void)
{
    test_group("execution breakpoints");
    forget();
    trap_set_handler(VECTOR_DB, on_execute);
    write_dr0((uint64_t)step_line + 1);
    write_dr1((uint64_t)step_line + 8);
    write_dr7(DR7_FIXED | DR7_EXECUTE(0) | DR7_EXECUTE(1));
    EXPECT_END(context_user(step_line), step_line);
    CHECK_EQ(stop_count, 2);
    CHECK_EQ(stops[0], (uint64_t)step_line + 1);
    CHECK_EQ(status[0] & (DR6_B0 | DR6_B1 | DR6_BS), DR6_B0);
    CHECK_EQ(stops[1], (uint64_t)step_line + 8);
    CHECK_EQ(status[1] & (DR6_B0 | DR6_B1 | DR6_BS), DR6_B1);

    forget(); /* off again */
    write_dr7(DR7_FIXED);
    EXPECT_END(context_user(step_line), step_line);
    CHECK_EQ(stop_count, 0);

    forget(); /* code that has run already, and is hit each time round */
    write_dr0((uint64_t)step_loop + 5);
    write_dr7(DR7_FIXED | DR7_EXECUTE(0));
    EXPECT_END(context_user(step_loop), step_loop);
    CHECK_EQ(stop_count, 3);

    forget(); /* RF in the context that IRETQ loads skips it once */
    struct trap_frame context = context_user(step_line);
    context.rflags |= RFLAGS_RF;
    write_dr0((uint64_t)step_line);
    EXPECT_END(context, step_line);
    CHECK_EQ(stop_count, 0);
    write_dr7(DR7_FIXED);
    trap_set_handler(VECTOR_DB, 0);
}

static uint8_t area[64] __attribute__((aligned(64)));

/* Data breakpoints report behind the access. */
static void test_data(void)
{
    uint8_t *bytes = area + 16;
    uint64_t *watched = (uint64_t *)bytes;
    uint64_t value;

    test_group("data breakpoints");
    write_dr2((uint64_t)watched);
    write_dr7(DR7_FIXED | DR7_DATA(2, KIND_WRITE, LENGTH_8));
    write_dr6(DR6_FIXED);
    EXPECT_TRAP(VECTOR_DB, "movq $5, (%0)", : : "r"(watched) : "memory");
    CHECK_EQ(read_dr6() & 0xf00f, DR6_B2);
    CHECK_EQ(*(volatile uint64_t *)watched, 5);
    EXPECT_TRAP(VECTOR_DB, "movb $6, (%0)", : : "r"(bytes + 7) : "memory");
    EXPECT_NO_TRAP("movb $6, (%0)", : : "r"(bytes + 8) : "memory");
    EXPECT_TRAP(VECTOR_DB, "movw $6, (%0)", : : "r"(bytes - 1) : "memory");
    EXPECT_NO_TRAP("movq (%1), %0", : "=r"(value) : "r"(watched) : "memory");
    EXPECT_TRAP(VECTOR_DB, "lock; incq (%0)", : : "r"(watched) : "memory", "cc");
    EXPECT_TRAP(VECTOR_DB, "xchgq %%rcx, (%0)", : : "r"(watched) : "memory", "rcx");
    EXPECT_TRAP(VECTOR_DB, "movups %%xmm0, (%0)", : : "r"(bytes - 8) : "memory");
    uint64_t rdi = (uint64_t)bytes;
    EXPECT_TRAP(VECTOR_DB, "stosb", : "+D"(rdi) : "a"(1) : "memory");

    write_dr7(DR7_FIXED | DR7_DATA(2, KIND_ACCESS, LENGTH_4));
    write_dr6(DR6_FIXED);
    EXPECT_TRAP(VECTOR_DB, "movq (%1), %0", : "=r"(value) : "r"(watched) : "memory");
    EXPECT_TRAP(VECTOR_DB, "movl $6, (%0)", : : "r"(watched) : "memory");
    EXPECT_NO_TRAP("movl (%1), %k0", : "=r"(value) : "r"(bytes + 4) : "memory");
    EXPECT_TRAP(VECTOR_DB, "pushq (%0)", : : "r"(bytes + 3) : "memory");
    write_dr7(DR7_FIXED);
    EXPECT_NO_TRAP("movq $5, (%0)", : : "r"(watched) : "memory");
}

/* A store that faults accesses nothing. A string stops behind the element. */
static void test_data_order(void)
{
    test_group("data breakpoints, order");
    memset(area, 0, sizeof(area));
    write_dr3((uint64_t)area + 4);
    write_dr7(DR7_FIXED | DR7_DATA(3, KIND_WRITE, LENGTH_1));
    uint64_t rcx = 10, rdi = (uint64_t)area;
    TRY("rep stosb", : "+c"(rcx), "+D"(rdi) : "a"(3) : "memory");
    trap_expect_at(__FILE__, __LINE__, "rep stosb over a watched byte", VECTOR_DB, 0, trap_try_start);
    CHECK_EQ(last_trap.frame.rcx, 5);
    CHECK_EQ(area[4], 3);
    CHECK_EQ(area[5], 0);
    write_dr7(DR7_FIXED);
}

/* GD: any access to a debug register is a fault, and is switched off for the handler. */
static void test_general_detect(void)
{
    test_group("general detect");
    if (skip_on("qemu", "DR7.GD does nothing"))
        return;
    write_dr6(DR6_FIXED);
    write_dr7(DR7_FIXED | DR7_GD);
    EXPECT_FAULT(VECTOR_DB, 0, "movq %%dr0, %%rax", : : : "rax");
    CHECK_EQ(read_dr6() & (DR6_BD | DR6_BS), DR6_BD);
    CHECK_EQ(read_dr7(), DR7_FIXED);
    EXPECT_NO_TRAP("movq %%dr0, %%rax", : : : "rax");
}

static void test_registers(void)
{
    test_group("debug registers");
    write_dr7(0);
    CHECK_EQ(read_dr7(), DR7_FIXED);
    write_dr6(0);
    CHECK_EQ(read_dr6() & ~DR6_RTM, DR6_FIXED & ~DR6_RTM);
    write_dr0(0xffff800012345678);
    CHECK_EQ(read_dr0(), 0xffff800012345678);
    write_cr4(read_cr4() & ~CR4_DE);
    write_dr6(DR6_FIXED | DR6_B1);
    uint64_t value;
    __asm__ volatile(".byte 0x0f, 0x21, 0xe0" : "=a"(value)); /* DR4 is DR6 without CR4.DE */
    CHECK_EQ(value, DR6_FIXED | DR6_B1);
    write_dr6(DR6_FIXED);
    write_dr7(DR7_FIXED);
}

static void test_int1(void)
{
    test_group("INT1");
    if (skip_on("qemu", "INT1 is undefined"))
        return;
    write_dr6(DR6_FIXED);
    EXPECT_TRAP(VECTOR_DB, ".byte 0xf1", : : : "memory");
    CHECK_EQ(read_dr6(), DR6_FIXED); /* DR6 does not tell */
}

void test_main(void)
{
    test_registers();
    test_single_step();
    test_step_string();
    test_step_shadow();
    test_step_system();
    test_execute();
    test_data();
    test_data_order();
    test_general_detect();
    test_int1();
}
