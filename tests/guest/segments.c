/*
 * Segmentation in long mode: what is left of it in 64-bit code, and all of it in compatibility mode.
 * SDM volume 3, chapter 5; volume 2 for LAR, LSL, VERR, VERW, far CALL, JMP and RET.
 */
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "segments";

/* Slots of the GDT that the tests describe anew. */
enum {
    SLOT_A = FREE_SELECTOR,
    SLOT_B = FREE_SELECTOR + 8,
    SLOT_GATE = FREE_SELECTOR + 16,
    SLOT_LDT = FREE_SELECTOR + 32,
};

#define DATA (DESCRIPTOR_P | DESCRIPTOR_S | DESCRIPTOR_W | DESCRIPTOR_A)
#define CODE (DATA | DESCRIPTOR_CODE)
#define CODE64 (CODE | DESCRIPTOR_L)
#define RING3 DESCRIPTOR_DPL(3)

SNIPPET(user_load_ds, 64, "movl %eax, %ds");
SNIPPET(user_load_es, 64, "movl %eax, %es");
SNIPPET(user_load_ss, 64, "movl %eax, %ss");
SNIPPET(user_in, 64, "inb %dx, %al");
SNIPPET(user_in_long, 64, "inl %dx, %eax");
SNIPPET(user_out_word, 64, "outw %ax, %dx");
SNIPPET(user_lar, 64, "larl %ecx, %eax; setz %bl");
SNIPPET(user_far_call_32, 64, "lcall *(%rdi)");
SNIPPET(user_nothing, 64, "nop");
SNIPPET(user_far_return, 64, "lretq");
/* Through FS, so that nothing else in the snippet depends on the segment. */
SNIPPET(fs_read, 32, "movl %eax, %fs; movl %fs:(%ebx), %ecx");
SNIPPET(fs_write, 32, "movl %eax, %fs; movl %ecx, %fs:(%ebx)");
SNIPPET(fs_write_byte, 32, "movl %eax, %fs; movb %cl, %fs:(%ebx)");
SNIPPET(ds_read, 32, "movl %eax, %ds; movl (%ebx), %ecx");
SNIPPET(ss_push, 32, "movl %eax, %ss; movl %ebx, %esp; pushl %ecx");
SNIPPET(cs_write, 32, "movl %ecx, %cs:(%ebx)");
SNIPPET(cs_read, 32, "movl %cs:(%ebx), %ecx");
SNIPPET(far_jump_compat, 32, "pushl %eax; pushl %ebx; lret");
/* Where gates and far calls lead: says which CS and stack it found. */
SNIPPET(far_target, 64, "movl %cs, %eax; movl %ss, %ebx; movq %rsp, %rcx");
SNIPPET(far_target_return, 64, "movl $77, %ebx; lretq");
SNIPPET(far_target_32, 32, "movl %cs, %eax; movl %esp, %ecx");

struct far_pointer {
    uint64_t offset;
    uint16_t selector;
} __attribute__((packed));

struct far_pointer_32 {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));

static struct trap_frame with_rax(struct trap_frame context, uint64_t rax)
{
    context.rax = rax;
    return context;
}

static void test_loads(void)
{
    uint32_t value;

    test_group("data segment loads");
    EXPECT_NO_TRAP("movl %0, %%ds; movl %0, %%es; movl %0, %%fs", : : "r"(0) : "memory");
    EXPECT_NO_TRAP("movl %0, %%ds; movl %0, %%es", : : "r"(3) : "memory");
    EXPECT_NO_TRAP("movl %0, %%ds; movl %0, %%es", : : "r"(USER_DS) : "memory");
    EXPECT_NO_TRAP("movl %0, %%ds; movl %0, %%es", : : "r"(KERNEL_DS) : "memory");
    EXPECT_NO_TRAP("movl %0, %%es", : : "r"(KERNEL_CS) : "memory"); /* readable code */
    gdt[SLOT_A / 8] = CODE64 & ~DESCRIPTOR_W;
    EXPECT_FAULT(VECTOR_GP, SLOT_A, "movl %0, %%es", : : "r"(SLOT_A) : "memory");
    gdt[SLOT_A / 8] = 0;
    EXPECT_FAULT(VECTOR_GP, SLOT_A, "movl %0, %%es", : : "r"(SLOT_A) : "memory");
    EXPECT_FAULT(VECTOR_GP, TSS_SELECTOR, "movl %0, %%es", : : "r"(TSS_SELECTOR) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0xfff8, "movl %0, %%es", : : "r"(0xfff8) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0x000c, "movl %0, %%es", : : "r"(0x000f) : "memory"); /* no LDT */

    /* The accessed bit appears with the load. */
    gdt[SLOT_A / 8] = DATA & ~DESCRIPTOR_A;
    EXPECT_NO_TRAP("movl %0, %%es", : : "r"(SLOT_A) : "memory");
    CHECK(*(volatile uint64_t *)&gdt[SLOT_A / 8] & DESCRIPTOR_A);
    __asm__ volatile("movl %%es, %0" : "=r"(value));
    CHECK_EQ(value, SLOT_A);
    __asm__ volatile("movl %0, %%es" : : "r"(KERNEL_DS));

    /* Ring 3. */
    EXPECT_RUN(with_rax(context_user(user_load_ds), KERNEL_DS), VECTOR_GP, KERNEL_DS, user_load_ds);
    EXPECT_RUN(with_rax(context_user(user_load_ds), KERNEL_DS | 3), VECTOR_GP, KERNEL_DS, user_load_ds);
    EXPECT_END(with_rax(context_user(user_load_ds), USER_DS), user_load_ds);
    EXPECT_END(with_rax(context_user(user_load_ds), USER_DS & ~3), user_load_ds);
    EXPECT_END(with_rax(context_user(user_load_es), 0), user_load_es);
    gdt[SLOT_A / 8] = CODE64 | DESCRIPTOR_E; /* conforming: the DPL does not matter */
    EXPECT_END(with_rax(context_user(user_load_es), SLOT_A), user_load_es);
}

static void test_stack_loads(void)
{
    test_group("SS loads");
    EXPECT_NO_TRAP("movl %0, %%ss; nop", : : "r"(0) : "memory"); /* CPL 0, 64-bit: allowed */
    EXPECT_NO_TRAP("movl %0, %%ss; nop", : : "r"(KERNEL_DS) : "memory");
    if (!skip_on("qemu", "the RPL of a null SS is not checked"))
        EXPECT_FAULT(VECTOR_GP, 0, "movl %0, %%ss", : : "r"(3) : "memory");
    EXPECT_FAULT(VECTOR_GP, USER_DS & ~3, "movl %0, %%ss", : : "r"(USER_DS) : "memory");
    EXPECT_FAULT(VECTOR_GP, KERNEL_DS, "movl %0, %%ss", : : "r"(KERNEL_DS | 3) : "memory");
    EXPECT_FAULT(VECTOR_GP, KERNEL_CS, "movl %0, %%ss", : : "r"(KERNEL_CS) : "memory");
    gdt[SLOT_A / 8] = DATA & ~DESCRIPTOR_W;
    EXPECT_FAULT(VECTOR_GP, SLOT_A, "movl %0, %%ss", : : "r"(SLOT_A) : "memory");
    gdt[SLOT_A / 8] = DATA & ~DESCRIPTOR_P;
    EXPECT_FAULT(VECTOR_SS, SLOT_A, "movl %0, %%ss", : : "r"(SLOT_A) : "memory");
    EXPECT_RUN(with_rax(context_user(user_load_ss), 0), VECTOR_GP, 0, user_load_ss);
    EXPECT_RUN(with_rax(context_user(user_load_ss), 3), VECTOR_GP, 0, user_load_ss);
    EXPECT_END(with_rax(context_user(user_load_ss), USER_DS), user_load_ss);
}

/* FS and GS have bases in 64-bit mode: 32 bits from the descriptor. */
static void test_bases(void)
{
    static uint64_t cells[4] = { 10, 11, 12, 13 };
    uint64_t value;

    test_group("FS and GS bases");
    gdt[SLOT_A / 8] = DATA | DESCRIPTOR_DB | descriptor_range((uint32_t)(uint64_t)cells + 8, 0); /* no limit check */
    __asm__ volatile("movl %1, %%fs; movq %%fs:8, %0; movl %2, %%fs" : "=r"(value) : "r"(SLOT_A), "r"(0));
    CHECK_EQ(value, 12);
    __asm__ volatile("movl %0, %%gs" : : "r"(SLOT_A));
    CHECK_EQ(read_msr(MSR_GS_BASE), (uint64_t)cells + 8);
    __asm__ volatile("movl %1, %%ds; movq (%2), %0; movl %3, %%ds"
                     : "=&r"(value) : "r"(SLOT_A), "r"(cells), "r"(KERNEL_DS)); /* DS has none */
    CHECK_EQ(value, 10);
    write_msr(MSR_GS_BASE, 0xffff800000001000);
    if (!skip_on("qemu", "a null selector clears the base whatever the vendor")) {
        __asm__ volatile("movl %0, %%gs" : : "r"(0));
        /* Leaf 0x80000021, bit 6: newer processors of AMD do as Intel's. */
        bool newer = cpuid(0x80000000, 0).eax >= 0x80000021 && cpuid(0x80000021, 0).eax & 1 << 6;
        bool clears = vendor_is_intel() || newer;
        CHECK_EQ(read_msr(MSR_GS_BASE), clears ? 0 : 0xffff800000001000);
    }
    write_msr(MSR_GS_BASE, 0);
}

/* Runs a ring-0 compatibility snippet with EAX = selector and EBX = offset. */
static struct trap_frame compat(const char *code, unsigned selector, uint32_t offset)
{
    struct trap_frame context = context_compat(code, 0);

    context.rax = selector;
    context.rbx = offset;
    return context;
}

/* Limits are checked in compatibility mode only; the second instruction of each snippet faults. */
static void test_limits(void)
{
    static uint32_t cell[4] = { 0x11111111, 0x22222222, 0x33333333, 0x44444444 };
    uint32_t base = (uint32_t)(uint64_t)cell;

    test_group("limits");
    if (skip_on("qemu", "segment limits are not checked"))
        return;
    gdt[SLOT_A / 8] = DATA | DESCRIPTOR_DB | descriptor_range(base, 7);
    EXPECT_END(compat(fs_read, SLOT_A, 4), fs_read);
    CHECK_EQ(last_trap.frame.rcx, 0x22222222);
    EXPECT_RUN(compat(fs_read, SLOT_A, 5), VECTOR_GP, 0, fs_read + 2);
    EXPECT_RUN(compat(fs_read, SLOT_A, 8), VECTOR_GP, 0, fs_read + 2);
    EXPECT_RUN(compat(fs_read, SLOT_A, 0xfffffffe), VECTOR_GP, 0, fs_read + 2);
    EXPECT_RUN(compat(fs_write, SLOT_A, 6), VECTOR_GP, 0, fs_write + 2);
    EXPECT_END(compat(fs_write_byte, SLOT_A, 7), fs_write_byte);
    EXPECT_RUN(compat(fs_write_byte, SLOT_A, 8), VECTOR_GP, 0, fs_write_byte + 2);
    /* Pages as the unit: 4096 bytes. */
    gdt[SLOT_A / 8] = DATA | DESCRIPTOR_DB | DESCRIPTOR_G | descriptor_range(0x100000, 0);
    EXPECT_END(compat(fs_read, SLOT_A, 4092), fs_read);
    EXPECT_RUN(compat(fs_read, SLOT_A, 4093), VECTOR_GP, 0, fs_read + 2);
    /* Expand down: valid above the limit. */
    gdt[SLOT_A / 8] = DATA | DESCRIPTOR_DB | DESCRIPTOR_E | descriptor_range(base - 0x1000, 0xfff);
    EXPECT_END(compat(fs_read, SLOT_A, 0x1000), fs_read);
    CHECK_EQ(last_trap.frame.rcx, 0x11111111);
    EXPECT_RUN(compat(fs_read, SLOT_A, 0xfff), VECTOR_GP, 0, fs_read + 2);
    EXPECT_RUN(compat(fs_read, SLOT_A, 0), VECTOR_GP, 0, fs_read + 2);
    gdt[SLOT_A / 8] &= ~DESCRIPTOR_DB; /* up to 64 KiB only */
    EXPECT_END(compat(fs_read, SLOT_A, 0x1004), fs_read);
    EXPECT_RUN(compat(fs_read, SLOT_A, 0x10000), VECTOR_GP, 0, fs_read + 2);
    EXPECT_RUN(compat(fs_read, SLOT_A, 0xfffe), VECTOR_GP, 0, fs_read + 2);
    /* The stack segment's are #SS. */
    gdt[SLOT_A / 8] = DATA | DESCRIPTOR_DB | descriptor_range(0, 0xfff);
    EXPECT_RUN(compat(ss_push, SLOT_A, 0x2000), VECTOR_SS, 0, ss_push + 4);
}

static void test_rights(void)
{
    static uint32_t cell = 0x5555;
    uint32_t base = (uint32_t)(uint64_t)&cell;

    test_group("access rights in compatibility mode");
    gdt[SLOT_A / 8] = DATA | DESCRIPTOR_DB | descriptor_range(base, 0xfff);
    EXPECT_END(compat(fs_read, SLOT_A, 0), fs_read);
    CHECK_EQ(last_trap.frame.rcx, 0x5555);
    EXPECT_END(compat(ds_read, SLOT_A, 0), ds_read);
    CHECK_EQ(last_trap.frame.rcx, 0x5555); /* DS has a base here */
    if (skip_on("qemu", "access rights of segments are not checked"))
        return;
    gdt[SLOT_A / 8] = (DATA & ~DESCRIPTOR_W) | DESCRIPTOR_DB | descriptor_range(base, 0xfff);
    EXPECT_RUN(compat(fs_write, SLOT_A, 0), VECTOR_GP, 0, fs_write + 2);
    EXPECT_END(compat(fs_read, SLOT_A, 0), fs_read);
    gdt[SLOT_A / 8] = CODE | DESCRIPTOR_DB | descriptor_range(base, 0xfff);
    EXPECT_END(compat(fs_read, SLOT_A, 0), fs_read);
    EXPECT_RUN(compat(fs_write, SLOT_A, 0), VECTOR_GP, 0, fs_write + 2);
    EXPECT_RUN(compat(cs_write, 0, base), VECTOR_GP, 0, cs_write);
    EXPECT_END(compat(cs_read, 0, base), cs_read);
    CHECK_EQ(last_trap.frame.rcx, 0x5555);
    EXPECT_RUN(compat(fs_read, 0, base), VECTOR_GP, 0, fs_read + 2); /* null */
    EXPECT_RUN(compat(ds_read, 3, base), VECTOR_GP, 0, ds_read + 2);
}

static bool lar(uint32_t selector, uint32_t *rights)
{
    bool zero;
    __asm__ volatile("larl %2, %0" : "=r"(*rights), "=@ccz"(zero) : "r"(selector), "0"(0));
    return zero;
}

static bool lsl(uint32_t selector, uint32_t *limit)
{
    bool zero;
    __asm__ volatile("lsll %2, %0" : "=r"(*limit), "=@ccz"(zero) : "r"(selector), "0"(0));
    return zero;
}

static bool verr(uint32_t selector)
{
    bool zero;
    __asm__ volatile("verr %w1" : "=@ccz"(zero) : "r"(selector));
    return zero;
}

static bool verw(uint32_t selector)
{
    bool zero;
    __asm__ volatile("verw %w1" : "=@ccz"(zero) : "r"(selector));
    return zero;
}

static void test_queries(void)
{
    uint32_t value;

    test_group("LAR, LSL, VERR, VERW");
    CHECK(lar(KERNEL_DS, &value));
    CHECK_EQ(value, gdt[KERNEL_DS / 8] >> 32 & 0xf0ff00); /* limit bits undefined, here they are as in the table */
    CHECK(lar(TSS_SELECTOR, &value));
    CHECK_EQ(value & 0xff00, 0x8b00); /* busy */
    CHECK(lsl(KERNEL_DS, &value));
    CHECK_EQ(value, 0xffffffff);
    CHECK(lsl(TSS_SELECTOR, &value));
    CHECK_EQ(value, TSS_LIMIT_NO_IO);
    gdt[SLOT_A / 8] = DATA | descriptor_range(0, 0x12345);
    CHECK(lsl(SLOT_A, &value));
    CHECK_EQ(value, 0x12345);
    gdt[SLOT_A / 8] |= DESCRIPTOR_G;
    CHECK(lsl(SLOT_A, &value));
    CHECK_EQ(value, 0x12345fff);

    CHECK(!lar(0, &value));
    CHECK(!lar(0xfff8, &value));
    CHECK(!lar(0x000c, &value));
    CHECK(!lar(KERNEL_DS | 3, &value)); /* RPL above DPL */
    CHECK(lar(USER_DS, &value));
    gdt[SLOT_GATE / 8] = DESCRIPTOR_P | DESCRIPTOR_TYPE(12); /* call gate */
    CHECK(lar(SLOT_GATE, &value));
    CHECK(!lsl(SLOT_GATE, &value));
    gdt[SLOT_GATE / 8] = DESCRIPTOR_P | DESCRIPTOR_TYPE(14); /* interrupt gate */
    CHECK(!lar(SLOT_GATE, &value));
    gdt[SLOT_GATE / 8] = DESCRIPTOR_P | DESCRIPTOR_TYPE(3); /* a 16-bit TSS is none in long mode */
    if (!skip_on("qemu", "LAR takes 16-bit system types in long mode"))
        CHECK(!lar(SLOT_GATE, &value));

    CHECK(verr(KERNEL_DS) && verw(KERNEL_DS) && verr(KERNEL_CS));
    CHECK(!verw(KERNEL_CS) && !verr(0) && !verw(TSS_SELECTOR) && !verr(KERNEL_DS | 3));
    gdt[SLOT_A / 8] = CODE & ~DESCRIPTOR_W;
    CHECK(!verr(SLOT_A));
    gdt[SLOT_A / 8] = DATA & ~DESCRIPTOR_W;
    CHECK(verr(SLOT_A) && !verw(SLOT_A));
    /* Not present does not matter to them, nor do they set the accessed bit. */
    gdt[SLOT_A / 8] = DATA & ~(DESCRIPTOR_P | DESCRIPTOR_A);
    CHECK(verr(SLOT_A) && lar(SLOT_A, &value) && lsl(SLOT_A, &value));
    CHECK(!(*(volatile uint64_t *)&gdt[SLOT_A / 8] & DESCRIPTOR_A));

    struct trap_frame context = context_user(user_lar);
    context.rcx = KERNEL_DS;
    context.rax = 0x1234;
    context.rbx = 0;
    EXPECT_END(context, user_lar);
    CHECK_EQ(last_trap.frame.rbx, 0);
    CHECK_EQ(last_trap.frame.rax, 0x1234); /* untouched when it fails */
    context.rcx = USER_DS;
    EXPECT_END(context, user_lar);
    CHECK_EQ(last_trap.frame.rbx, 1);
}

static void test_ldt(void)
{
    static uint64_t ldt[4];
    uint64_t base = (uint64_t)ldt;
    uint32_t selector, value;

    test_group("LDT");
    ldt[1] = DATA | RING3 | descriptor_range(0, 0x777);
    gdt[SLOT_LDT / 8] = DESCRIPTOR_P | DESCRIPTOR_TYPE(2) | descriptor_range((uint32_t)base, 15);
    gdt[SLOT_LDT / 8 + 1] = base >> 32;
    EXPECT_NO_TRAP("lldt %w0", : : "r"(SLOT_LDT) : "memory");
    __asm__ volatile("sldt %0" : "=r"(selector));
    CHECK_EQ(selector, SLOT_LDT);
    EXPECT_NO_TRAP("movl %0, %%es", : : "r"(8 | 4) : "memory");
    CHECK(lsl(8 | 4, &value));
    CHECK_EQ(value, 0x777);
    EXPECT_FAULT(VECTOR_GP, 16 | 4, "movl %0, %%es", : : "r"(16 | 4 | 3) : "memory"); /* outside */
    EXPECT_FAULT(VECTOR_GP, 4, "movl %0, %%es", : : "r"(4) : "memory"); /* entry 0 is no null selector */
    EXPECT_END(with_rax(context_user(user_load_ds), 8 | 4 | 3), user_load_ds);
    EXPECT_NO_TRAP("lldt %w0", : : "r"(0) : "memory");
    EXPECT_FAULT(VECTOR_GP, 8 | 4, "movl %0, %%es", : : "r"(8 | 4) : "memory");
    EXPECT_FAULT(VECTOR_GP, KERNEL_DS, "lldt %w0", : : "r"(KERNEL_DS) : "memory");
    EXPECT_FAULT(VECTOR_GP, 8 | 4, "lldt %w0", : : "r"(8 | 4) : "memory");
    gdt[SLOT_LDT / 8] &= ~DESCRIPTOR_P;
    EXPECT_FAULT(VECTOR_NP, SLOT_LDT, "lldt %w0", : : "r"(SLOT_LDT) : "memory");
    __asm__ volatile("movl %0, %%es" : : "r"(KERNEL_DS));
}

static void test_task_register(void)
{
    test_group("LTR");
    EXPECT_FAULT(VECTOR_GP, TSS_SELECTOR, "ltr %w0", : : "r"(TSS_SELECTOR) : "memory"); /* busy */
    if (!skip_on("qemu", "LTR takes a null selector"))
        EXPECT_FAULT(VECTOR_GP, 0, "ltr %w0", : : "r"(0) : "memory");
    EXPECT_FAULT(VECTOR_GP, KERNEL_DS, "ltr %w0", : : "r"(KERNEL_DS) : "memory");
    uint64_t saved = gdt[TSS_SELECTOR / 8];
    gdt[TSS_SELECTOR / 8] &= ~(DESCRIPTOR_TYPE(2) | DESCRIPTOR_P);
    EXPECT_FAULT(VECTOR_NP, TSS_SELECTOR, "ltr %w0", : : "r"(TSS_SELECTOR) : "memory");
    gdt[TSS_SELECTOR / 8] = saved & ~DESCRIPTOR_TYPE(2);
    EXPECT_NO_TRAP("ltr %w0", : : "r"(TSS_SELECTOR) : "memory");
    CHECK_EQ(*(volatile uint64_t *)&gdt[TSS_SELECTOR / 8], saved); /* busy again */
}

/* The TSS has a permission bit for each port. */
static void test_io_permissions(void)
{
    uint64_t *descriptor = &gdt[TSS_SELECTOR / 8], saved = *descriptor;
    struct trap_frame context = context_user(user_in);

    test_group("I/O permission map");
    context.rdx = 0x80;
    EXPECT_RUN(context, VECTOR_GP, 0, user_in); /* the TSS ends before its map */
    *descriptor = (saved & ~(0xffffull | DESCRIPTOR_TYPE(2))) | (sizeof(struct tss) - 1);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
    memset(cpu_tss[0].io_bits, 0xff, sizeof(cpu_tss[0].io_bits));
    EXPECT_RUN(context, VECTOR_GP, 0, user_in);
    cpu_tss[0].io_bits[0x80 / 8] = 0xfe; /* port 0x80 */
    EXPECT_END(context, user_in);
    context = context_user(user_out_word);
    context.rdx = 0x80;
    EXPECT_RUN(context, VECTOR_GP, 0, user_out_word);
    cpu_tss[0].io_bits[0x80 / 8] = 0xfc;
    EXPECT_END(context, user_out_word);
    context = context_user(user_in_long); /* four ports over a byte border */
    context.rdx = 0x8e;
    EXPECT_RUN(context, VECTOR_GP, 0, user_in_long);
    cpu_tss[0].io_bits[0x88 / 8] = 0x3f;
    EXPECT_RUN(context, VECTOR_GP, 0, user_in_long);
    cpu_tss[0].io_bits[0x90 / 8] = 0xfc;
    EXPECT_END(context, user_in_long);
    context = context_user(user_in);
    context.rdx = 0x3fd;
    context.rflags |= RFLAGS_IOPL; /* needs no map */
    EXPECT_END(context, user_in);
    *descriptor = saved & ~DESCRIPTOR_TYPE(2);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
}

static void test_far_same_ring(void)
{
    struct far_pointer wide = { (uint64_t)far_target_return, KERNEL_CS };
    struct far_pointer_32 narrow = { (uint32_t)(uint64_t)far_target_return, KERNEL_CS };
    uint64_t rbx = 0;

    test_group("far transfers in ring 0");
    if (vendor_is_intel() || option("oracle=qemu")) { /* AMD's have no 64-bit far pointers */
        EXPECT_NO_TRAP("rex.w lcall *%1", : "=b"(rbx) : "m"(wide) : "memory");
        CHECK_EQ(rbx, 77);
    }
    /* A 32-bit far call pushes 4 bytes each, and the 64-bit return would miss them: jump. */
    narrow.offset = (uint32_t)(uint64_t)far_target;
    TRY("ljmp *%0", : : "m"(narrow) : "rax", "rbx", "rcx", "memory");
    trap_expect_at(__FILE__, __LINE__, "ljmp", VECTOR_RETURN, 0, (uint64_t)far_target_end + 2);
    CHECK_EQ(last_trap.frame.rax, KERNEL_CS);
    CHECK_EQ(last_trap.frame.rcx, trap_recover_rsp);
    narrow.offset = (uint32_t)(uint64_t)far_target_32;
    narrow.selector = KERNEL_CS32;
    TRY("ljmp *%0", : : "m"(narrow) : "rax", "rcx", "memory");
    trap_expect_at(__FILE__, __LINE__, "ljmp to compatibility mode", VECTOR_RETURN, 0, (uint64_t)far_target_32_end + 2);
    CHECK_EQ(last_trap.frame.cs, KERNEL_CS32);
    TRY("pushq %0; pushq %1; lretq", : : "r"((uint64_t)KERNEL_CS), "r"(far_target) : "rax", "rbx", "rcx", "memory");
    trap_expect_at(__FILE__, __LINE__, "lretq", VECTOR_RETURN, 0, (uint64_t)far_target_end + 2);

    narrow.selector = 0;
    EXPECT_FAULT(VECTOR_GP, 0, "ljmp *%0", : : "m"(narrow) : "memory");
    narrow.selector = KERNEL_DS;
    EXPECT_FAULT(VECTOR_GP, KERNEL_DS, "ljmp *%0", : : "m"(narrow) : "memory");
    EXPECT_FAULT(VECTOR_GP, KERNEL_DS, "lcall *%0", : : "m"(narrow) : "memory");
    CHECK_EQ(last_trap.frame.rsp, trap_recover_rsp);
    narrow.selector = USER_CS;
    EXPECT_FAULT(VECTOR_GP, USER_CS & ~3, "ljmp *%0", : : "m"(narrow) : "memory");
    narrow.selector = 0xfff8;
    EXPECT_FAULT(VECTOR_GP, 0xfff8, "ljmp *%0", : : "m"(narrow) : "memory");
    narrow.selector = SLOT_A;
    gdt[SLOT_A / 8] = CODE64 & ~DESCRIPTOR_P;
    EXPECT_FAULT(VECTOR_NP, SLOT_A, "ljmp *%0", : : "m"(narrow) : "memory");
    gdt[SLOT_A / 8] = CODE64 | DESCRIPTOR_DB; /* L and D exclude each other */
    if (!skip_on("qemu", "a code segment with L and D is accepted"))
        EXPECT_FAULT(VECTOR_GP, SLOT_A, "ljmp *%0", : : "m"(narrow) : "memory");
    narrow.selector = TSS_SELECTOR; /* no task switches in long mode */
    EXPECT_FAULT(VECTOR_GP, TSS_SELECTOR, "ljmp *%0", : : "m"(narrow) : "memory");
}

static void set_call_gate(const void *target, uint16_t selector, unsigned dpl)
{
    uint64_t offset = (uint64_t)target;

    gdt[SLOT_GATE / 8] = (offset & 0xffff) | (uint64_t)selector << 16 | DESCRIPTOR_P | DESCRIPTOR_TYPE(12) |
                         DESCRIPTOR_DPL(dpl) | (offset >> 16 & 0xffff) << 48;
    gdt[SLOT_GATE / 8 + 1] = offset >> 32;
}

static void test_call_gate(void)
{
    static struct far_pointer_32 pointer USER_DATA;
    struct trap_frame context = context_user(user_far_call_32);
    uint64_t rsp0 = cpu_tss[0].rsp[0];

    test_group("call gates");
    pointer = (struct far_pointer_32){ 0xdeadbeef, SLOT_GATE | 3 }; /* the offset is ignored */
    context.rdi = (uint64_t)&pointer;
    set_call_gate(far_target, KERNEL_CS, 3);
    EXPECT_END(context, far_target);
    CHECK_EQ(last_trap.frame.rax, KERNEL_CS);
    CHECK_EQ(last_trap.frame.rbx, 0); /* SS is null */
    CHECK_EQ(last_trap.frame.rcx, rsp0 - 32);
    uint64_t *pushed = (uint64_t *)(rsp0 - 32);
    CHECK_EQ(pushed[0], (uint64_t)user_far_call_32_end);
    CHECK_EQ(pushed[1], USER_CS);
    CHECK_EQ(pushed[2], context.rsp);
    CHECK_EQ(pushed[3], USER_DS);

    set_call_gate(far_target_return, KERNEL_CS, 3); /* and back */
    EXPECT_END(context, user_far_call_32);
    CHECK_EQ(last_trap.frame.rbx, 77);
    CHECK_EQ(last_trap.frame.cs, USER_CS);
    CHECK_EQ(last_trap.frame.rsp, context.rsp);

    set_call_gate(far_target, KERNEL_CS, 0);
    EXPECT_RUN(context, VECTOR_GP, SLOT_GATE, user_far_call_32);
    set_call_gate(far_target, KERNEL_CS, 3);
    gdt[SLOT_GATE / 8] &= ~DESCRIPTOR_P;
    EXPECT_RUN(context, VECTOR_NP, SLOT_GATE, user_far_call_32);
    set_call_gate(far_target, KERNEL_CS32, 3); /* must lead to 64-bit code */
    EXPECT_RUN(context, VECTOR_GP, KERNEL_CS32, user_far_call_32);
    set_call_gate(far_target, KERNEL_DS, 3);
    EXPECT_RUN(context, VECTOR_GP, KERNEL_DS, user_far_call_32);
    set_call_gate(far_target, 0, 3);
    EXPECT_RUN(context, VECTOR_GP, 0, user_far_call_32);
}

static void test_conforming(void)
{
    static struct far_pointer_32 pointer USER_DATA;
    struct trap_frame context = context_user(user_far_call_32);

    test_group("conforming code");
    gdt[SLOT_B / 8] = CODE64 | DESCRIPTOR_E | DESCRIPTOR_G | descriptor_range(0, 0xfffff); /* QEMU wants a limit */
    pointer = (struct far_pointer_32){ (uint32_t)(uint64_t)far_target, SLOT_B };
    context.rdi = (uint64_t)&pointer;
    EXPECT_END(context, far_target);
    CHECK_EQ(last_trap.frame.cs, SLOT_B | 3); /* CPL stays */
    CHECK_EQ(last_trap.frame.rcx, context.rsp - 8);
    pointer.selector = KERNEL_CS;
    EXPECT_RUN(context, VECTOR_GP, KERNEL_CS, user_far_call_32);
    gdt[SLOT_B / 8] = CODE64 | DESCRIPTOR_E | RING3; /* CPL 0 may not go there */
    struct far_pointer_32 inner = { (uint32_t)(uint64_t)far_target, SLOT_B };
    EXPECT_FAULT(VECTOR_GP, SLOT_B, "ljmp *%0", : : "m"(inner) : "memory");
}

static void test_far_return_outward(void)
{
    struct trap_frame context = context_user(user_nothing);

    test_group("far return to ring 3");
    TRY("pushq %0; pushq %1; pushq %2; pushq %3; lretq",
        : : "r"((uint64_t)USER_DS), "r"(context.rsp), "r"((uint64_t)USER_CS), "r"(user_nothing) : "memory");
    trap_expect_at(__FILE__, __LINE__, "lretq to ring 3", VECTOR_RETURN, 0, (uint64_t)user_nothing_end + 2);
    CHECK_EQ(last_trap.frame.cs, USER_CS);
    CHECK_EQ(last_trap.frame.ss, USER_DS);
    CHECK_EQ(last_trap.frame.rsp, context.rsp);
    EXPECT_FAULT_AFTER(VECTOR_GP, KERNEL_DS, "pushq %0; pushq %1; pushq %2; pushq %3", "lretq",
        : : "r"((uint64_t)KERNEL_DS), "r"(context.rsp), "r"((uint64_t)USER_CS), "r"(user_nothing) : "memory");
    /* Data segments too privileged for ring 3 are emptied on the way. */
    __asm__ volatile("movl %0, %%fs" : : "r"(KERNEL_DS));
    context_run(&context);
    uint32_t fs;
    __asm__ volatile("movl %%fs, %0" : "=r"(fs));
    CHECK_EQ(fs, 0);
    /* Ring 3 cannot return inward. */
    context = context_user(user_far_return);
    static uint64_t frame[2] USER_DATA = { 0, KERNEL_CS };
    frame[0] = (uint64_t)user_nothing;
    context.rsp = (uint64_t)frame;
    EXPECT_RUN(context, VECTOR_GP, KERNEL_CS, user_far_return);
}

/* EIP is relative to CS's base in compatibility mode, and wraps nowhere. */
static void test_code_base(void)
{
    test_group("code segment base");
    gdt[SLOT_A / 8] = CODE | RING3 | DESCRIPTOR_DB | DESCRIPTOR_G | descriptor_range(0x300000, 0xfffff);
    uint64_t start = (uint64_t)far_target_32 - 0x300000, end = (uint64_t)far_target_32_end + 2 - 0x300000;
    struct trap_frame context = context_compat((const void *)start, 3);
    context.cs = SLOT_A | 3;
    EXPECT_RUN(context, VECTOR_RETURN, 0, end);
    CHECK_EQ(last_trap.frame.rax, SLOT_A | 3);
    context = context_compat(far_jump_compat, 3); /* from base 0 to this base */
    context.rax = SLOT_A | 3;
    context.rbx = start;
    EXPECT_RUN(context, VECTOR_RETURN, 0, end);
}

void test_main(void)
{
    __asm__ volatile("lldt %w0" : : "r"(0)); /* after a reset there is one, at address 0 */
    test_loads();
    test_stack_loads();
    test_bases();
    test_limits();
    test_rights();
    test_queries();
    test_ldt();
    test_task_register();
    test_io_permissions();
    test_far_same_ring();
    test_call_gate();
    test_conforming();
    test_far_return_outward();
    test_code_base();
}
