/*
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT: SDM and APM, where they agree, and the vendor's own where not.
 */
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "syscall";

enum { STAR_SYSCALL = KERNEL_CS, STAR_SYSRET = USER_CS32 };

#define NON_CANONICAL 0x0000800000000000ull

SNIPPET(user_syscall, 64, "syscall");
SNIPPET(user_syscall_twice, 64, "movl $10000, %ebx; 1: syscall; decl %ebx; jnz 1b");
SNIPPET(user_sysret, 64, "sysretq");
SNIPPET(user_sysenter, 64, "sysenter");
SNIPPET(user_sysexit, 64, "sysexitl");
SNIPPET(user_nothing, 64, "nop");
SNIPPET(compat_nothing, 32, "nop");
SNIPPET(compat_syscall, 32, "syscall");
SNIPPET(compat_sysenter, 32, "sysenter");

/* Ends the run at once: the INT shows every register as SYSCALL left it. */
SNIPPET(entry_stop, 64, "nop");
/* A kernel's usual round trip. */
SNIPPET(entry_return, 64, "incq syscall_count; sysretq");
extern uint64_t syscall_count;
uint64_t syscall_count;
/* From CPL 0: RCX and R11 are set up by the context. */
SNIPPET(kernel_sysretq, 64, "sysretq");
SNIPPET(kernel_sysretl, 64, "sysretl");
SNIPPET(kernel_sysexitq, 64, "sysexitq");
SNIPPET(kernel_sysexitl, 64, "sysexitl");

static struct trap_frame context_kernel(const void *rip)
{
    struct trap_frame context = context_user(rip);

    context.cs = KERNEL_CS;
    context.ss = KERNEL_DS;
    return context;
}

static void test_syscall(void)
{
    struct trap_frame context = context_user(user_syscall);

    uint64_t lost = option("oracle=qemu") ? RFLAGS_STATUS | RFLAGS_DF : 0; /* QEMU clears them in any case */

    test_group("SYSCALL");
    context.rflags |= RFLAGS_CF | RFLAGS_DF | RFLAGS_OF | RFLAGS_ID | RFLAGS_AC | RFLAGS_NT;
    write_msr(MSR_LSTAR, (uint64_t)entry_stop);
    write_msr(MSR_SFMASK, RFLAGS_DF | RFLAGS_CF | RFLAGS_IF | RFLAGS_NT);
    EXPECT_END(context, entry_stop);
    CHECK_EQ(last_trap.frame.rcx, (uint64_t)user_syscall_end);
    CHECK_EQ(last_trap.frame.r11, context.rflags);
    CHECK_EQ(last_trap.frame.rflags & ~lost, RFLAGS_FIXED | RFLAGS_ID | RFLAGS_AC | (RFLAGS_OF & ~lost));
    CHECK_EQ(last_trap.frame.cs, STAR_SYSCALL);
    CHECK_EQ(last_trap.frame.ss, STAR_SYSCALL + 8);
    CHECK_EQ(last_trap.frame.rsp, context.rsp); /* SYSCALL switches no stack */
    CHECK_EQ(last_trap.frame.rax, 0);
    write_msr(MSR_SFMASK, 0);
    EXPECT_END(context, entry_stop);
    CHECK_EQ(last_trap.frame.rflags & ~lost, context.rflags & ~lost);
    write_msr(MSR_SFMASK, 0xffffffff);
    EXPECT_END(context, entry_stop);
    CHECK_EQ(last_trap.frame.rflags, RFLAGS_FIXED);

    /* RPL bits of STAR are ignored for CS. */
    write_msr(MSR_STAR, (uint64_t)STAR_SYSRET << 48 | (uint64_t)(STAR_SYSCALL | 3) << 32);
    EXPECT_END(context, entry_stop);
    CHECK_EQ(last_trap.frame.cs, STAR_SYSCALL);
    write_msr(MSR_STAR, (uint64_t)STAR_SYSRET << 48 | (uint64_t)STAR_SYSCALL << 32);
}

static void test_round_trip(void)
{
    struct trap_frame context = context_user(user_syscall_twice);

    test_group("SYSCALL and SYSRET");
    write_msr(MSR_LSTAR, (uint64_t)entry_return);
    write_msr(MSR_SFMASK, RFLAGS_IF | RFLAGS_DF);
    EXPECT_END(context, user_syscall_twice);
    CHECK_EQ(syscall_count, 10000);
    CHECK_EQ(last_trap.frame.cs, USER_CS);
    CHECK_EQ(last_trap.frame.ss, USER_DS);
    CHECK_EQ(last_trap.frame.rbx, 0);
}

static void test_sysret(void)
{
    struct trap_frame context = context_kernel(kernel_sysretq);

    test_group("SYSRET");
    context.rcx = (uint64_t)user_nothing;
    context.r11 = RFLAGS_CF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID | RFLAGS_IOPL;
    EXPECT_END(context, user_nothing);
    CHECK_EQ(last_trap.frame.rflags, context.r11 | RFLAGS_FIXED);
    CHECK_EQ(last_trap.frame.cs, USER_CS);
    CHECK_EQ(last_trap.frame.ss, USER_DS);
    CHECK_EQ(last_trap.frame.rsp, context.rsp);
    if (!skip_on("qemu", "SYSRET takes RF and VM from R11")) {
        context.r11 = RFLAGS_RF | RFLAGS_VM;
        EXPECT_END(context, user_nothing);
        CHECK_EQ(last_trap.frame.rflags, RFLAGS_FIXED);
    }

    context = context_kernel(kernel_sysretl);
    context.rcx = (uint64_t)compat_nothing | 0xabcd00000000; /* only ECX counts */
    context.r11 = RFLAGS_FIXED;
    EXPECT_END(context, compat_nothing);
    CHECK_EQ(last_trap.frame.cs, USER_CS32);
    CHECK_EQ(last_trap.frame.ss, USER_DS);

    EXPECT_RUN(context_user(user_sysret), VECTOR_GP, 0, user_sysret);
}

/* Intel: #GP in the kernel. AMD: returns, then #GP in ring 3. */
static void test_sysret_non_canonical(void)
{
    struct trap_frame context = context_kernel(kernel_sysretq);

    test_group("SYSRET to a non-canonical address");
    if (skip_on("qemu", "neither vendor's behaviour"))
        return;
    gate_set_ist(VECTOR_GP, IST_FREE);
    context.rcx = NON_CANONICAL;
    context.r11 = RFLAGS_FIXED;
    context_run(&context);
    CHECK(last_trap.taken);
    CHECK_EQ(last_trap.frame.vector, VECTOR_GP);
    CHECK_EQ(last_trap.frame.error, 0);
    if (vendor_is_intel()) {
        CHECK_EQ(last_trap.frame.rip, kernel_sysretq);
        CHECK_EQ(last_trap.frame.cs, KERNEL_CS);
    } else {
        CHECK_EQ(last_trap.frame.rip, NON_CANONICAL);
        CHECK_EQ(last_trap.frame.cs, USER_CS);
    }
    gate_set_ist(VECTOR_GP, 0);
}

static void test_compat_syscall(void)
{
    struct trap_frame context = context_compat(compat_syscall, 3);

    test_group("SYSCALL from compatibility mode");
    write_msr(MSR_CSTAR, (uint64_t)entry_stop);
    write_msr(MSR_SFMASK, 0);
    if (vendor_is_intel()) {
        EXPECT_RUN(context, VECTOR_UD, 0, compat_syscall);
        return;
    }
    EXPECT_END(context, entry_stop);
    CHECK_EQ(last_trap.frame.cs, KERNEL_CS);
    CHECK_EQ(last_trap.frame.rcx, (uint64_t)compat_syscall_end);
    CHECK_EQ(last_trap.frame.r11, context.rflags);
}

/* The page at the very top of the lower half: RCX would be non-canonical. */
static void test_last_page(void)
{
    uint64_t page = (uint64_t)page_alloc(), last = NON_CANONICAL - 2;
    struct trap_frame context = context_user((void *)last);

    test_group("SYSCALL in the last canonical bytes");
    memcpy((void *)(page + 4094), "\x0f\x05", 2);
    page_map(NON_CANONICAL - PAGE_SIZE, page, PTE_P | PTE_W | PTE_U, LEVEL_4K);
    write_msr(MSR_LSTAR, (uint64_t)entry_stop);
    EXPECT_END(context, entry_stop);
    CHECK_EQ(last_trap.frame.rcx, NON_CANONICAL);
}

static void test_sysenter(void)
{
    struct trap_frame context;

    test_group("SYSENTER and SYSEXIT");
    if (vendor_is_amd()) {
        EXPECT_RUN(context_user(user_sysenter), VECTOR_UD, 0, user_sysenter);
        if (!skip_on("qemu", "SYSENTER works in compatibility mode"))
            EXPECT_RUN(context_compat(compat_sysenter, 3), VECTOR_UD, 0, compat_sysenter);
        if (!skip_on("nested", "SYSEXIT works in long mode"))
            EXPECT_RUN(context_kernel(kernel_sysexitq), VECTOR_UD, 0, kernel_sysexitq);
        return;
    }
    write_msr(MSR_IA32_SYSENTER_CS, 0);
    EXPECT_RUN(context_user(user_sysenter), VECTOR_GP, 0, user_sysenter);
    EXPECT_RUN(context_kernel(kernel_sysexitq), VECTOR_GP, 0, kernel_sysexitq);
    write_msr(MSR_IA32_SYSENTER_CS, KERNEL_CS);
    write_msr(MSR_IA32_SYSENTER_EIP, (uint64_t)entry_stop);
    write_msr(MSR_IA32_SYSENTER_ESP, cpu_tss[0].rsp[0]);
    context = context_user(user_sysenter);
    context.rflags |= RFLAGS_CF;
    EXPECT_END(context, entry_stop);
    CHECK_EQ(last_trap.frame.cs, KERNEL_CS);
    CHECK_EQ(last_trap.frame.ss, KERNEL_CS + 8);
    CHECK_EQ(last_trap.frame.rsp, cpu_tss[0].rsp[0]);
    CHECK_EQ(last_trap.frame.rflags, RFLAGS_FIXED | RFLAGS_CF);
    EXPECT_END(context_compat(compat_sysenter, 3), entry_stop);
    EXPECT_RUN(context_user(user_sysexit), VECTOR_GP, 0, user_sysexit);

    context = context_kernel(kernel_sysexitq);
    context.rcx = context.rsp;
    context.rdx = (uint64_t)user_nothing;
    EXPECT_END(context, user_nothing);
    CHECK_EQ(last_trap.frame.cs, KERNEL_CS + 32 + 3);
    context = context_kernel(kernel_sysexitl);
    context.rcx = context.rsp;
    context.rdx = (uint64_t)compat_nothing;
    EXPECT_END(context, compat_nothing);
    CHECK_EQ(last_trap.frame.cs, KERNEL_CS + 16 + 3);
}

/* SWAPGS exchanges the hidden base with the MSR. */
static void test_swapgs(void)
{
    uint64_t value;

    test_group("SWAPGS and the bases");
    write_msr(MSR_GS_BASE, 0x1111000);
    write_msr(MSR_KERNEL_GS_BASE, 0xffff800000002000);
    __asm__ volatile("swapgs");
    CHECK_EQ(read_msr(MSR_GS_BASE), 0xffff800000002000);
    CHECK_EQ(read_msr(MSR_KERNEL_GS_BASE), 0x1111000);
    __asm__ volatile("swapgs");
    CHECK_EQ(read_msr(MSR_GS_BASE), 0x1111000);

    uint64_t cell[4] = { 1, 2, 3, 4 };
    write_msr(MSR_GS_BASE, (uint64_t)cell);
    write_msr(MSR_FS_BASE, (uint64_t)cell + 8);
    __asm__ volatile("movq %%gs:8, %0; addq %%fs:16, %0" : "=r"(value) : : "cc");
    CHECK_EQ(value, 6);
    __asm__ volatile("movq %%gs:(%1), %0" : "=r"(value) : "r"(-8ll + 24));
    CHECK_EQ(value, 3);
    __asm__ volatile("movq %%gs:(%k1), %0" : "=r"(value) : "r"(0xffffffff00000018)); /* EA is 32 bits, then the base */
    CHECK_EQ(value, 4);
    write_msr(MSR_GS_BASE, 0x7fffffffff00);
    EXPECT_FAULT(VECTOR_GP, 0, "movq %%gs:0x1000, %0", : "=r"(value));
    if (!skip_on("qemu", "LOCK SWAPGS is not refused"))
        EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0, 0x0f, 0x01, 0xf8", : : : "memory"); /* LOCK SWAPGS */
}

static void test_fsgsbase(void)
{
    uint64_t value;

    test_group("RDFSBASE and its kin");
    if (!(cpuid(7, 0).ebx & 1)) {
        skip("no FSGSBASE");
        return;
    }
    EXPECT_FAULT(VECTOR_UD, 0, "rdgsbase %q0", : "=r"(value));
    write_cr4(read_cr4() | CR4_FSGSBASE);
    __asm__ volatile("wrgsbase %q0" : : "r"(0x123456789000));
    CHECK_EQ(read_msr(MSR_GS_BASE), 0x123456789000);
    __asm__ volatile("wrfsbase %k0" : : "r"(0xaaaaaaaa87654321));
    CHECK_EQ(read_msr(MSR_FS_BASE), 0x87654321);
    __asm__ volatile("rdgsbase %q0" : "=r"(value));
    CHECK_EQ(value, 0x123456789000);
    if (!skip_on("qemu", "WRGSBASE takes non-canonical values"))
        EXPECT_FAULT(VECTOR_GP, 0, "wrgsbase %q0", : : "r"(NON_CANONICAL));
    write_cr4(read_cr4() & ~CR4_FSGSBASE);
}

void test_main(void)
{
    write_msr(MSR_STAR, (uint64_t)STAR_SYSRET << 48 | (uint64_t)STAR_SYSCALL << 32);
    test_syscall();
    test_round_trip();
    test_sysret();
    test_sysret_non_canonical();
    test_compat_syscall();
    test_last_page();
    test_sysenter();
    test_swapgs();
    test_fsgsbase();
}
