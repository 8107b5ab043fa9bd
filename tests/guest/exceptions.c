/*
 * Each exception: vector, error code and saved RIP, from 64-bit code at CPL 0 unless said otherwise.
 * SDM volume 3, chapter 6 ("Interrupt and exception handling"); volume 2 for each instruction.
 */
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "exceptions";

#define NON_CANONICAL 0x0000800000000000ull

enum { ERROR_EXT = 1, ERROR_IDT = 2, VECTOR_TEST = 0x60 };

SNIPPET(into_overflows, 32, "into");
SNIPPET(into_quiet, 32, "into");
SNIPPET(bound_outside, 32, "bound %eax, (%ebx)");
SNIPPET(bound_inside, 32, "bound %eax, (%ebx)");
SNIPPET(aam_zero, 32, ".byte 0xd4, 0x00");
SNIPPET(user_cli, 64, "cli");
SNIPPET(user_hlt, 64, "hlt");
SNIPPET(user_in, 64, "inb $0x80, %al");
SNIPPET(user_cr0, 64, "movq %cr0, %rax");
SNIPPET(user_dr0, 64, "movq %dr0, %rax");
SNIPPET(user_lgdt, 64, "lgdt (%rsp)");
SNIPPET(user_wrmsr, 64, "wrmsr");
SNIPPET(user_invlpg, 64, "invlpg (%rsp)");
SNIPPET(user_swapgs, 64, "swapgs");
SNIPPET(user_wbinvd, 64, "wbinvd");
SNIPPET(user_misaligned, 64, "movl 1(%rsp), %eax");
SNIPPET(user_aligned, 64, "movl 4(%rsp), %eax");
SNIPPET(user_read_kernel, 64, "movl 0x100000, %eax");
SNIPPET(user_ud2, 64, "ud2");
SNIPPET(user_int3, 64, "int3");

/* The error code that names a gate. QEMU scales the vector by the gate's size and has no EXT. */
static uint64_t idt_error(unsigned vector, unsigned ext)
{
    return option("oracle=qemu") ? vector * 16 + ERROR_IDT : vector * 8 + ERROR_IDT + ext;
}

static void test_divide(void)
{
    uint64_t low, high;

    test_group("#DE");
    EXPECT_FAULT(VECTOR_DE, 0, "divl %2", : "=a"(low), "=d"(high) : "r"(0), "0"(7ull), "1"(0ull));
    CHECK_EQ(last_trap.frame.rax, 7);
    CHECK_EQ(last_trap.frame.rdx, 0);
    EXPECT_FAULT(VECTOR_DE, 0, "divq %2", : "=a"(low), "=d"(high) : "r"(5ull), "0"(7ull), "1"(5ull));
    CHECK_EQ(last_trap.frame.rdx, 5);
    EXPECT_FAULT(VECTOR_DE, 0, "idivq %2", : "=a"(low), "=d"(high) : "r"(-1ll), "0"(1ull << 63), "1"(-1ll));
    EXPECT_FAULT(VECTOR_DE, 0, "idivl %2", : "=a"(low), "=d"(high) : "r"(-1), "0"(0x80000000), "1"(0xffffffff));
    EXPECT_FAULT(VECTOR_DE, 0, "divb %b1", : "=a"(low) : "c"(1), "0"(0x100ull));
    EXPECT_NO_TRAP("divb %b1", : "=a"(low) : "c"(2), "0"(0x100ull));
    CHECK_EQ(low, 0x80);
    EXPECT_FAULT(VECTOR_DE, 0, "idivb %b1", : "=a"(low) : "c"(2), "0"(0x100ull));
    EXPECT_RUN(context_compat(aam_zero, 3), VECTOR_DE, 0, aam_zero);
}

static void test_traps(void)
{
    struct trap_frame context;
    static uint32_t user_bounds[2] USER_DATA = { 10, 20 };

    test_group("#BP, #DB, #OF, #BR");
    EXPECT_TRAP(VECTOR_BP, "int3", : : : "memory");
    EXPECT_TRAP(VECTOR_BP, ".byte 0xcd, 3", : : : "memory");
    if (!skip_on("qemu", "INT1 is undefined"))
        EXPECT_TRAP(VECTOR_DB, ".byte 0xf1", : : : "memory");
    EXPECT_TRAP(VECTOR_OF, "int $4", : : : "memory");

    context = context_compat(into_overflows, 0);
    context.rflags |= RFLAGS_OF;
    EXPECT_RUN(context, VECTOR_OF, 0, into_overflows + 1);
    EXPECT_END(context_compat(into_quiet, 0), into_quiet);

    context = context_compat(bound_outside, 0);
    context.rbx = (uint64_t)user_bounds;
    context.rax = 21;
    EXPECT_RUN(context, VECTOR_BR, 0, bound_outside);
    context.rax = 9;
    EXPECT_RUN(context, VECTOR_BR, 0, bound_outside);
    context = context_compat(bound_inside, 0);
    context.rbx = (uint64_t)user_bounds;
    context.rax = 20;
    EXPECT_END(context, bound_inside);
}

static void test_undefined(void)
{
    static uint64_t cell;

    test_group("#UD");
    EXPECT_FAULT(VECTOR_UD, 0, "ud2", : : : "memory");
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x0f, 0xb9, 0xc0", : : : "memory");                 /* UD1 */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x0f, 0xff, 0xc0", : : : "memory");                 /* UD0 */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xce", : : : "memory");                             /* INTO */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x06", : : : "memory");                             /* PUSH ES */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x27", : : : "memory");                             /* DAA */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x60", : : : "memory");                             /* PUSHA */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x9a,0,0,0,0,0,0", : : : "memory");                 /* CALL ptr16:32 */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xea,0,0,0,0,0,0", : : : "memory");                 /* JMP ptr16:32 */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xd4, 0x0a", : : : "memory");                       /* AAM */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x8e, 0xc8", : : : "memory");                       /* MOV CS, AX */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x8e, 0xf0", : : : "memory");                       /* MOV Sreg 6 */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x0f, 0x20, 0xc8", : : : "memory");                 /* MOV RAX, CR1 */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x0f, 0x22, 0xf8", : : : "memory");                 /* MOV CR7, RAX */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0, 0x90", : : : "memory");                       /* LOCK NOP */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0, 0x01, 0xc0", : : : "memory");                 /* LOCK ADD EAX, EAX */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0, 0x03, 0x00", : : "a"(&cell) : "memory");      /* LOCK ADD EAX, [RAX] */
    if (!skip_on("qemu", "LOCK is not refused before every instruction that cannot have it")) {
        EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0; movq %%rax, (%0)", : : "r"(&cell) : "memory");
        EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0; cmpq %%rax, (%0)", : : "r"(&cell) : "memory");
    }
    EXPECT_NO_TRAP("lock; addl $1, (%0)", : : "r"(&cell) : "memory");
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x8d, 0xc0", : : : "memory");                       /* LEA EAX, EAX */
    if (!skip_on("kvm", "VMCALL is a hypercall"))
        EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x0f, 0x01, 0xc1", : : : "memory");             /* VMCALL without VMX */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x0f, 0xc7, 0xc8", : : : "memory");                 /* CMPXCHG8B EAX */
    EXPECT_RUN(context_user(user_ud2), VECTOR_UD, 0, user_ud2);
}

static void test_lapsed_opcodes(void)
{
    test_group("#UD by prefix or mode");
    if (!(read_cr4() & CR4_OSXSAVE)) {
        EXPECT_FAULT(VECTOR_UD, 0, "xgetbv", : : "c"(0) : "rax", "rdx");
        EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xc5, 0xf8, 0x77", : : : "memory"); /* VZEROUPPER */
    }
    write_msr(MSR_IA32_EFER, read_msr(MSR_IA32_EFER) & ~EFER_SCE);
    EXPECT_FAULT(VECTOR_UD, 0, "syscall", : : : "rcx", "r11", "memory");
    EXPECT_FAULT(VECTOR_UD, 0, "sysretq", : : "c"(0), "r"(0) : "memory");
    write_msr(MSR_IA32_EFER, read_msr(MSR_IA32_EFER) | EFER_SCE);

    write_cr4(read_cr4() | CR4_DE);
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x0f, 0x21, 0xe0", : : : "rax"); /* MOV RAX, DR4 */
    write_cr4(read_cr4() & ~CR4_DE);
    EXPECT_NO_TRAP(".byte 0x0f, 0x21, 0xf0", : : : "rax");             /* MOV RAX, DR6 */
}

static void test_no_math(void)
{
    test_group("#NM");
    write_cr0(read_cr0() | CR0_TS);
    EXPECT_FAULT(VECTOR_NM, 0, "fninit", : : : "memory");
    EXPECT_FAULT(VECTOR_NM, 0, "xorps %%xmm0, %%xmm0", : : : "memory");
    EXPECT_FAULT(VECTOR_NM, 0, "fwait", : : : "memory");
    __asm__ volatile("clts");
    EXPECT_NO_TRAP("fninit", : : : "memory");
}

static void test_invalid_tss(void)
{
    uint64_t *descriptor = &gdt[TSS_SELECTOR / 8];
    uint64_t saved = descriptor[0];

    test_group("#TS");
    /* The TSS ends before IST 7. */
    descriptor[0] = (saved & ~0xffffull & ~DESCRIPTOR_TYPE(2)) | 0x53;
    __asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
    gate_set_ist(VECTOR_TEST, 7);
    TRY("int $0x60", : : : "memory");
    trap_expect_at(__FILE__, __LINE__, "int with IST outside the TSS", VECTOR_TS, TSS_SELECTOR, trap_try_start);
    gate_set_ist(VECTOR_TEST, 0);
    descriptor[0] = saved & ~DESCRIPTOR_TYPE(2);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
    EXPECT_TRAP(VECTOR_TEST, "int $0x60", : : : "memory");
}

static void test_not_present(void)
{
    test_group("#NP");
    gdt[FREE_SELECTOR / 8] = gdt[KERNEL_DS / 8] & ~DESCRIPTOR_P;
    EXPECT_FAULT(VECTOR_NP, FREE_SELECTOR, "movl %0, %%es", : : "r"(FREE_SELECTOR) : "memory");
    EXPECT_FAULT(VECTOR_NP, FREE_SELECTOR, "movl %0, %%fs", : : "r"(FREE_SELECTOR) : "memory");
    EXPECT_FAULT(VECTOR_GP, FREE_SELECTOR, "movl %0, %%fs", : : "r"(FREE_SELECTOR | 3) : "memory");
    EXPECT_FAULT(VECTOR_SS, FREE_SELECTOR, "movl %0, %%ss", : : "r"(FREE_SELECTOR) : "memory");
    gdt[FREE_SELECTOR / 8] = 0;

    gate_set_type(VECTOR_TEST, GATE_INTERRUPT & 0x7f);
    EXPECT_FAULT(VECTOR_NP, idt_error(VECTOR_TEST, 0), "int $0x60", : : : "memory");
    gate_set_type(VECTOR_TEST, GATE_INTERRUPT);
    gate_set_type(VECTOR_UD, GATE_INTERRUPT & 0x7f);
    EXPECT_FAULT(VECTOR_NP, idt_error(VECTOR_UD, ERROR_EXT), "ud2", : : : "memory");
    gate_set_type(VECTOR_UD, GATE_INTERRUPT);
}

/* A non-canonical address is #SS through RSP or RBP, else #GP; never #PF. */
static void test_non_canonical(void)
{
    static uint64_t cell;
    unsigned stack = option("oracle=qemu") ? VECTOR_GP : VECTOR_SS; /* QEMU does not tell them apart */
    uint64_t edge = NON_CANONICAL - PAGE_SIZE;

    test_group("#SS and #GP, non-canonical");
    EXPECT_FAULT(VECTOR_GP, 0, "movq (%0), %%rcx", : : "a"(NON_CANONICAL) : "rcx");
    EXPECT_FAULT(VECTOR_GP, 0, "movb %%cl, (%0)", : : "a"(~NON_CANONICAL) : "rcx", "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "lock; addq $1, (%0)", : : "a"(0xdeadbeefdeadbeef) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq 8(%0), %%rcx", : : "a"(NON_CANONICAL - 8) : "rcx");
    EXPECT_FAULT(VECTOR_GP, 0, "jmp *(%0)", : : "a"(NON_CANONICAL));
    EXPECT_FAULT_AFTER(stack, 0, "movq %0, %%rbp", "movq (%%rbp), %%rcx", : : "a"(NON_CANONICAL) : "rcx", "rbp");
    CHECK_EQ(last_trap.frame.rbp, NON_CANONICAL);

    /* Two bytes at the last canonical one. */
    page_map(edge, (uint64_t)page_alloc(), PTE_P | PTE_W, LEVEL_4K);
    EXPECT_NO_TRAP("movb %%cl, (%0)", : : "a"(NON_CANONICAL - 1) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movw %%cx, (%0)", : : "a"(NON_CANONICAL - 1) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %%rcx, (%0)", : : "a"(NON_CANONICAL - 7) : "memory");

    gate_set_ist(stack, IST_FREE);
    EXPECT_FAULT_AFTER(stack, 0, "movq %0, %%rsp", "pushq %%rcx", : : "a"(NON_CANONICAL + 8) : "memory");
    CHECK_EQ(last_trap.frame.rsp, NON_CANONICAL + 8);
    EXPECT_FAULT_AFTER(stack, 0, "movq %0, %%rsp", "popq %%rcx", : : "a"(NON_CANONICAL) : "rcx", "memory");
    EXPECT_FAULT_AFTER(stack, 0, "movq %0, %%rsp", "call .", : : "a"(NON_CANONICAL + 8) : "memory");
    EXPECT_FAULT_AFTER(stack, 0, "movq %0, %%rsp", "ret", : : "a"(NON_CANONICAL) : "memory");
    EXPECT_FAULT_AFTER(stack, 0, "movq %0, %%rsp", "iretq", : : "a"(NON_CANONICAL) : "memory");
    EXPECT_FAULT_AFTER(stack, 0, "movq %0, %%rsp", "popq (%1)", : : "a"(NON_CANONICAL), "c"(&cell) : "memory");
    gate_set_ist(stack, 0);
}

/* The branch itself faults, with RSP as it was. */
static void test_non_canonical_branch(void)
{
    test_group("#GP, branch to a non-canonical address");
    if (skip_on("qemu", "the fault comes at the target, not at the branch"))
        return;
    EXPECT_FAULT(VECTOR_GP, 0, "jmp *%0", : : "a"(NON_CANONICAL));
    EXPECT_FAULT(VECTOR_GP, 0, "call *%0", : : "a"(NON_CANONICAL) : "memory");
    CHECK_EQ(last_trap.frame.rsp, trap_recover_rsp);
    EXPECT_FAULT_AFTER(VECTOR_GP, 0, "pushq %0", "ret", : : "a"(NON_CANONICAL) : "memory");
    CHECK_EQ(last_trap.frame.rsp, trap_recover_rsp - 8);
    EXPECT_FAULT_AFTER(VECTOR_GP, 0, "pushq %0", "ret $16", : : "a"(NON_CANONICAL) : "memory");
}

static void test_control_registers(void)
{
    test_group("#GP, control registers");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%dr7", : : "r"(1ull << 32) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%dr6", : : "r"(1ull << 32) : "memory");
    CHECK(!(read_cr0() & CR0_NW) && (read_cr4() & CR4_PAE));
}

static void test_reserved_control_bits(void)
{
    test_group("#GP, reserved bits and combinations");
    if (skip_on("qemu", "writes to CR0, CR3, CR4, CR8 and the base registers are not checked"))
        return;
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr0", : : "r"(read_cr0() & ~CR0_PE) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr0", : : "r"((read_cr0() | CR0_NW) & ~CR0_CD) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr0", : : "r"(read_cr0() | 1ull << 32) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr4", : : "r"(read_cr4() & ~CR4_PAE) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr4", : : "r"(read_cr4() | 1ull << 63) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr8", : : "r"(16ull) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(MSR_LSTAR), "a"(0), "d"(0x8000) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(MSR_FS_BASE), "a"(0), "d"(0x8000) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr3", : : "r"(read_cr3() | 1ull << 62) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr3", : : "r"(read_cr3() | 1ull << 63) : "memory");
}

static void test_alignment(void)
{
    static uint8_t area[1024] __attribute__((aligned(64)));

    test_group("#GP, alignment and length");
    EXPECT_FAULT(VECTOR_GP, 0, "movaps %%xmm0, (%0)", : : "a"(area + 8) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movaps (%0), %%xmm0", : : "a"(area + 1) : "memory");
    EXPECT_NO_TRAP("movups %%xmm0, (%0)", : : "a"(area + 1) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "addps (%0), %%xmm0", : : "a"(area + 4) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "lock; cmpxchg16b (%0)", : : "D"(area + 8) : "rax", "rdx", "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "fxsave (%0)", : : "a"(area + 8) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, ".fill 15, 1, 0x66; nop", : : : "memory");
    EXPECT_NO_TRAP(".fill 14, 1, 0x66; nop", : : : "memory");
}

static void test_gates(void)
{
    struct table_pointer shortened = { VECTOR_TEST * 16 + 14, (uint64_t)idt };

    test_group("#GP, gates");
    gate_set_type(VECTOR_TEST, 0x82);
    EXPECT_FAULT(VECTOR_GP, idt_error(VECTOR_TEST, 0), "int $0x60", : : : "memory");
    gate_set(VECTOR_TEST, trap_stub(VECTOR_TEST), KERNEL_DS, GATE_INTERRUPT, 0);
    EXPECT_FAULT(VECTOR_GP, KERNEL_DS, "int $0x60", : : : "memory");
    gate_set(VECTOR_TEST, trap_stub(VECTOR_TEST), 0, GATE_INTERRUPT, 0);
    EXPECT_FAULT(VECTOR_GP, 0, "int $0x60", : : : "memory");
    gate_set(VECTOR_TEST, trap_stub(VECTOR_TEST), KERNEL_CS32, GATE_INTERRUPT, 0);
    EXPECT_FAULT(VECTOR_GP, KERNEL_CS32, "int $0x60", : : : "memory");
    gate_set(VECTOR_TEST, trap_stub(VECTOR_TEST), KERNEL_CS, GATE_INTERRUPT, 0);

    __asm__ volatile("lidt %0" : : "m"(shortened));
    EXPECT_FAULT(VECTOR_GP, idt_error(VECTOR_TEST, 0), "int $0x60", : : : "memory");
    trap_tables_load();
    EXPECT_TRAP(VECTOR_TEST, "int $0x60", : : : "memory");
}

static void test_privilege(void)
{
    test_group("#GP, privilege");
    EXPECT_RUN(context_user(user_cli), VECTOR_GP, 0, user_cli);
    EXPECT_RUN(context_user(user_hlt), VECTOR_GP, 0, user_hlt);
    EXPECT_RUN(context_user(user_in), VECTOR_GP, 0, user_in);
    EXPECT_RUN(context_user(user_cr0), VECTOR_GP, 0, user_cr0);
    EXPECT_RUN(context_user(user_dr0), VECTOR_GP, 0, user_dr0);
    EXPECT_RUN(context_user(user_lgdt), VECTOR_GP, 0, user_lgdt);
    EXPECT_RUN(context_user(user_wrmsr), VECTOR_GP, 0, user_wrmsr);
    EXPECT_RUN(context_user(user_invlpg), VECTOR_GP, 0, user_invlpg);
    EXPECT_RUN(context_user(user_swapgs), VECTOR_GP, 0, user_swapgs);
    EXPECT_RUN(context_user(user_wbinvd), VECTOR_GP, 0, user_wbinvd);
    EXPECT_RUN(context_user(user_int3), VECTOR_GP, idt_error(VECTOR_BP, 0), user_int3);
    EXPECT_RUN(context_user(user_read_kernel), VECTOR_PF, PF_P | PF_U, user_read_kernel);
    CHECK_EQ(last_trap.cr2, 0x100000);
    EXPECT_RUN(context_user(user_ud2), VECTOR_UD, 0, user_ud2);
    CHECK_EQ(last_trap.frame.cs, USER_CS);
    CHECK_EQ(last_trap.frame.ss, USER_DS);
}

static void test_page_fault(void)
{
    uint64_t hole = TEST_SLOT(3);

    test_group("#PF");
    EXPECT_PF(0, hole + 5, "movb (%0), %%cl", : : "a"(hole + 5) : "rcx");
    EXPECT_PF(PF_W, hole + 5, "movb %%cl, (%0)", : : "a"(hole + 5) : "memory");
    if (!skip_on("qemu", "a read-modify-write faults as a read")) {
        EXPECT_PF(PF_W, hole + 5, "addl %%ecx, (%0)", : : "a"(hole + 5) : "memory");
        EXPECT_PF(PF_W, hole + 5, "lock; incb (%0)", : : "a"(hole + 5) : "memory");
    }
    TRY("jmp *%0", : : "a"(hole + 7));
    trap_expect_at(__FILE__, __LINE__, "jump to an absent page", VECTOR_PF, PF_I, hole + 7);
    CHECK_EQ(last_trap.cr2, hole + 7);
    TRY("call *%0", : : "a"(hole + 7) : "memory");
    trap_expect_at(__FILE__, __LINE__, "call to an absent page", VECTOR_PF, PF_I, hole + 7);
    CHECK_EQ(last_trap.frame.rsp, trap_recover_rsp - 8);
}

static void test_floating_point(void)
{
    static const uint16_t control_zero_divide = 0x037b;
    static const uint32_t mxcsr_zero_divide = 0x1d80, mxcsr_default = 0x1f80;

    test_group("#MF and #XM");
    EXPECT_FAULT_AFTER(VECTOR_MF, 0, "fninit; fldcw %0; fld1; fldz; fdivrp", "fwait", : : "m"(control_zero_divide));
    if (!skip_on("qemu", "only FWAIT reports a pending x87 exception"))
        EXPECT_FAULT(VECTOR_MF, 0, "fld1", : : : "memory");
    EXPECT_NO_TRAP("fnstsw %%ax", : : : "rax");
    EXPECT_NO_TRAP("fninit", : : : "memory");
    if (!skip_on("qemu", "unmasked SSE exceptions are not raised")) {
        EXPECT_FAULT_AFTER(VECTOR_XM, 0,
                           "ldmxcsr %0; xorps %%xmm1, %%xmm1; pcmpeqd %%xmm0, %%xmm0; pslld $25, %%xmm0; "
                           "psrld $2, %%xmm0",
                           "divps %%xmm1, %%xmm0", : : "m"(mxcsr_zero_divide));
    }
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr_default));
}

static void test_alignment_check(void)
{
    struct trap_frame context;

    test_group("#AC");
    write_cr0(read_cr0() | CR0_AM);
    context = context_user(user_misaligned);
    EXPECT_END(context, user_misaligned);
    context = context_user(user_aligned);
    context.rflags |= RFLAGS_AC;
    EXPECT_END(context, user_aligned);
    if (!skip_on("qemu", "there is no alignment check")) {
        context = context_user(user_misaligned);
        context.rflags |= RFLAGS_AC;
        EXPECT_RUN(context, VECTOR_AC, 0, user_misaligned);
        write_rflags(read_rflags() | RFLAGS_AC);
        EXPECT_NO_TRAP("movl 1(%%rsp), %%eax", : : : "rax"); /* CPL 0 is never checked */
        write_rflags(read_rflags() & ~RFLAGS_AC);
    }
    write_cr0(read_cr0() & ~CR0_AM);
}

/* SDM volume 3, table 6-5. RIP of a #DF is undefined. */
static void test_double_fault(void)
{
    uint64_t hole = TEST_SLOT(3) + 4096;

    test_group("#DF");
    /* The hypervisor gives memory for the stack of the double fault in the middle of the first. */
    if (!skip_on("nested", "a fault is forgotten when its delivery is interrupted")) {
        gate_set_type(VECTOR_GP, GATE_INTERRUPT & 0x7f);
        TRY("movq (%0), %%rcx", : : "a"(NON_CANONICAL) : "rcx");
        trap_expect_at(__FILE__, __LINE__, "#GP, then #NP", VECTOR_DF, 0, last_trap.frame.rip);
        gate_set_type(VECTOR_GP, GATE_INTERRUPT);

        gate_set_type(VECTOR_PF, GATE_INTERRUPT & 0x7f);
        TRY("movq (%0), %%rcx", : : "a"(hole) : "rcx");
        trap_expect_at(__FILE__, __LINE__, "#PF, then #NP", VECTOR_DF, 0, last_trap.frame.rip);
        gate_set_type(VECTOR_PF, GATE_INTERRUPT);
    }

    TRY_AFTER("movq %1, %%rsp", "movq (%0), %%rcx", : : "a"(hole), "d"(hole + 256) : "rcx");
    trap_expect_at(__FILE__, __LINE__, "#PF, then #PF on the stack", VECTOR_DF, 0, last_trap.frame.rip);
    CHECK_EQ(last_trap.frame.rsp, hole + 256);

    gate_set_ist(VECTOR_PF, IST_FREE);
    TRY_AFTER("movq %1, %%rsp", "ud2", : : "a"(0), "d"(hole + 256));
    trap_expect_at(__FILE__, __LINE__, "#UD, then #PF on the stack", VECTOR_PF, PF_W, trap_try_start);
    TRY_AFTER("movq %1, %%rsp", "movq (%0), %%rcx", : : "a"(NON_CANONICAL), "d"(hole + 256) : "rcx");
    trap_expect_at(__FILE__, __LINE__, "#GP, then #PF on the stack", VECTOR_PF, PF_W, trap_try_start);
    CHECK(last_trap.cr2 >= hole + 256 - 64 && last_trap.cr2 < hole + 256);
    gate_set_ist(VECTOR_PF, 0);
}

static unsigned nested_depth;

/* Takes another exception inside the handler, three deep, and skips the UD2 on the way out. */
static bool nested_handler(struct trap_frame *frame)
{
    if (++nested_depth < 3)
        __asm__ volatile("ud2");
    frame->rip += 2;
    return true;
}

static void test_nested(void)
{
    uint64_t r12 = 0;

    test_group("nested");
    trap_set_handler(VECTOR_UD, nested_handler);
    __asm__ volatile("movq $0x1234, %0; ud2" : "=&r"(r12) : : "memory");
    trap_set_handler(VECTOR_UD, 0);
    CHECK_EQ(nested_depth, 3);
    CHECK_EQ(r12, 0x1234);
}

/* What an exception pushes: RSP aligned down to 16, the frame as the processor found it. */
static void test_frame(void)
{
    test_group("frame");
    for (unsigned skew = 0; skew < 16; skew++) {
        TRY_AFTER("subq %0, %%rsp", "ud2", : : "c"((uint64_t)skew) : "memory");
        CHECK_EQ(last_trap.frame.rsp, trap_recover_rsp - skew);
        CHECK_EQ((last_trap.stack + sizeof(struct trap_frame)) & 15, 0);
        CHECK(last_trap.stack + sizeof(struct trap_frame) <= last_trap.frame.rsp);
    }
    TRY_AFTER("stc; std; pushfq; orl $0x40c5, (%%rsp); popfq", "ud2", : : : "memory");
    CHECK_EQ(last_trap.frame.rflags & ~(RFLAGS_RF | RFLAGS_AF | RFLAGS_OF), 0x44c7);
    if (!skip_on("qemu", "faults push RF clear"))
        CHECK(last_trap.frame.rflags & RFLAGS_RF);
    CHECK_EQ(last_trap.frame.cs, KERNEL_CS);
    CHECK_EQ(last_trap.frame.ss, KERNEL_DS);
}

void test_main(void)
{
    test_divide();
    test_traps();
    test_undefined();
    test_lapsed_opcodes();
    test_no_math();
    test_invalid_tss();
    test_not_present();
    test_non_canonical();
    test_non_canonical_branch();
    test_control_registers();
    test_reserved_control_bits();
    test_alignment();
    test_gates();
    test_privilege();
    test_page_fault();
    test_floating_point();
    test_alignment_check();
    test_double_fault();
    test_nested();
    test_frame();
}
