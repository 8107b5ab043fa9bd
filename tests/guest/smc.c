/*
 * Code that changes: SDM volume 3, 8.1.3 and 11.6. Every processor since the P6 sees its own stores to
 * code at the next branch, and in practice at the next instruction; so must we.
 */
#include <stdatomic.h>

#include "lib/apic.h"
#include "lib/check.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/smp.h"
#include "lib/trap.h"

const char test_name[] = "smc";

typedef uint64_t function(void);

static const uint8_t return_constant[] = { 0xb8, 0, 0, 0, 0, 0xc3 }; /* MOV EAX, imm32; RET */

static void serialize(void)
{
    cpuid(0, 0);
}

/* Writes "return value" at this address and makes it a function. */
static function *put_function(uint64_t at, uint32_t value)
{
    volatile uint8_t *bytes = (volatile uint8_t *)at;

    for (unsigned i = 0; i < sizeof(return_constant); i++)
        bytes[i] = i >= 1 && i <= 4 ? (uint8_t)(value >> 8 * (i - 1)) : return_constant[i];
    return (function *)at;
}

/* A store to an instruction further on in the same straight line of code. */
static void test_same_block(void)
{
    uint64_t result;
    uint8_t *page = page_alloc();
    /* movb $0x22, 8(%rdi) ... nops ... : the immediate of the MOV at offset 7 */
    static const uint8_t code[] = {
        0xc6, 0x47, 0x08, 0x22,       /* movb $0x22, 8(%rdi) */
        0x90, 0x90, 0x90,             /* nop */
        0xb8, 0x11, 0, 0, 0,          /* movl $0x11, %eax (offset 7) */
        0xc3,
    };

    test_group("store into the same block");
    for (unsigned round = 0; round < 3; round++) {
        memcpy(page, code, sizeof(code));
        serialize();
        __asm__ volatile("call *%1" : "=a"(result) : "r"(page), "D"(page) : "memory");
        CHECK_EQ(result, 0x22);
        CHECK_EQ(page[8], 0x22);
    }
}

/* A stack that grows into code: the push changes the code and RSP, and a CALL goes where it should. */
static void test_stack_over_code(void)
{
    uint8_t *page = page_alloc();
    uint64_t top = (uint64_t)page + 0x100;
    uint64_t rsp, result;

    test_group("stack over code");
    for (unsigned round = 0; round < 3; round++) {
        function *code = put_function(top - 8, 0x31);

        serialize();
        CHECK_EQ(code(), 0x31);
        __asm__ volatile("movq %%rsp, %%rbx\n\tmovq %2, %%rsp\n\tpushq $0x5a\n\tmovq %%rsp, %0\n\t"
                         "movq (%%rsp), %1\n\tmovq %%rbx, %%rsp"
                         : "=&r"(rsp), "=&r"(result)
                         : "r"(top)
                         : "rbx", "memory");
        CHECK_EQ(rsp, top - 8);
        CHECK_EQ(result, 0x5a);
        code = put_function(top - 8, 0x32);
        CHECK_EQ(code(), 0x32);
        __asm__ volatile("movq %%rsp, %%rbx\n\tmovq %2, %%rsp\n\tpushq %%rax\n\tpushq %%rcx\n\tpushq %%rdx\n\t"
                         "movq %%rsp, %0\n\tpopq %%rdx\n\tpopq %%rcx\n\tpopq %1\n\tmovq %%rbx, %%rsp"
                         : "=&r"(rsp), "=&r"(result)
                         : "r"(top), "a"(0x77)
                         : "rbx", "rcx", "rdx", "memory");
        CHECK_EQ(rsp, top - 24);
        CHECK_EQ(result, 0x77);
        code = put_function(top - 8, 0x33);
        CHECK_EQ(code(), 0x33);
        __asm__ volatile("movq %%rsp, %%rbx\n\tmovq %1, %%rsp\n\tcall 1f\n1:\tmovq %%rsp, %0\n\tmovq %%rbx, %%rsp"
                         : "=&r"(rsp)
                         : "r"(top)
                         : "rbx", "memory");
        CHECK_EQ(rsp, top - 8);
    }
}

static void test_next_instruction(void)
{
    uint64_t result;
    uint8_t *page = page_alloc();
    static const uint8_t code[] = {
        0x31, 0xc0,                   /* xorl %eax, %eax */
        0xc6, 0x47, 0x06, 0x77,       /* movb $0x77, 6(%rdi): the byte right behind */
        0x05, 0x33, 0, 0, 0,          /* addl imm, %eax: becomes 0x77 JA, not taken or taken */
        0xc3,
    };

    test_group("store into the next instruction");
    memcpy(page, code, sizeof(code));
    page[6 + 2] = 0x90;
    page[6 + 3] = 0x90;
    page[6 + 4] = 0xc3;
    page[6 + 0x33 + 2] = 0xc3;
    serialize();
    __asm__ volatile("call *%1" : "=a"(result) : "r"(page), "D"(page) : "memory", "cc");
    CHECK_EQ(result, 0);              /* the ADD did not happen */
    CHECK_EQ(page[6], 0x77);
}

/* A loop that changes its own immediate each time round. */
static void test_loop(void)
{
    uint64_t result;
    uint8_t *page = page_alloc();
    static const uint8_t code[] = {
        0x31, 0xc0,                   /*    xorl %eax, %eax */
        0x05, 1, 0, 0, 0,             /* 1: addl $1, %eax */
        0xff, 0x47, 0x03,             /*    incl 3(%rdi) */
        0xff, 0xc9,                   /*    decl %ecx */
        0x75, 0xf4,                   /*    jnz 1b */
        0xc3,
    };

    test_group("loop that changes itself");
    memcpy(page, code, sizeof(code));
    serialize();
    __asm__ volatile("movl $1000, %%ecx; call *%1" : "=a"(result) : "r"(page), "D"(page) : "rcx", "memory", "cc");
    CHECK_EQ(result, 1000 * 1001 / 2);
}

/* Every kind of store that a translator may treat on its own. */
static void test_kinds_of_store(void)
{
    uint64_t page = (uint64_t)page_alloc();
    function *code = put_function(page, 0);
    uint8_t image[16] __attribute__((aligned(16)));

    test_group("kinds of store");
    for (uint32_t value = 1; value < 40; value++) {
        memcpy(image, return_constant, sizeof(return_constant));
        image[1] = (uint8_t)value;
        switch (value % 10) {
        case 0:
            *(volatile uint8_t *)(page + 1) = (uint8_t)value;
            break;
        case 1:
            *(volatile uint32_t *)(page + 1) = value;
            break;
        case 2:
            memcpy((void *)page, image, sizeof(return_constant)); /* REP MOVSB */
            break;
        case 3:
            __asm__ volatile("movq %0, %%rdi; movl $1, %%ecx; rep stosb"
                             : : "r"(page + 1), "a"(value) : "rdi", "rcx", "memory");
            break;
        case 4:
            __asm__ volatile("xchgl %0, (%1)" : "+r"(value) : "r"(page + 1) : "memory");
            value = *(volatile uint32_t *)(page + 1);
            break;
        case 5:
            __asm__ volatile("lock; cmpxchgl %1, (%2)"
                             : : "a"(value - 1), "r"(value), "r"(page + 1) : "memory", "cc");
            break;
        case 6:
            __asm__ volatile("lock; incl (%0)" : : "r"(page + 1) : "memory", "cc");
            break;
        case 7:
            __asm__ volatile("movups (%0), %%xmm0; movups %%xmm0, (%1)" : : "r"(image), "r"(page) : "memory");
            break;
        case 8: /* a push: the stack lies on the code */
            __asm__ volatile("movq %%rsp, %%rcx; leaq 8(%0), %%rsp; pushq %1; movq %%rcx, %%rsp"
                             : : "r"(page), "r"(*(uint64_t *)image) : "rcx", "memory");
            break;
        case 9:
            __asm__ volatile("movnti %1, (%0); sfence" : : "r"(page + 1), "r"(value) : "memory");
            break;
        }
        CHECK_EQ(code(), value);
    }
}

/* Another linear address of the same page. */
static void test_alias(void)
{
    uint64_t page = (uint64_t)page_alloc(), writable = TEST_SLOT(1), executable = TEST_SLOT(2);

    test_group("store through an alias");
    page_map(writable, page, PTE_P | PTE_W | PTE_NX, LEVEL_4K);
    page_map(executable, page, PTE_P, LEVEL_4K);
    function *code = (function *)executable;
    for (uint32_t value = 0; value < 50; value++) {
        put_function(writable, value);
        serialize();
        CHECK_EQ(code(), value);
    }
    /* And executed under two names. */
    put_function(writable, 1234);
    serialize();
    CHECK_EQ(((function *)page)(), 1234);
    CHECK_EQ(code(), 1234);
    put_function(page, 4321);
    serialize();
    CHECK_EQ(((function *)page)(), 4321);
    CHECK_EQ(code(), 4321);
}

/* The page table, not the page, changes. */
static void test_remap(void)
{
    uint64_t pages[2] = { (uint64_t)page_alloc(), (uint64_t)page_alloc() };
    uint64_t window = TEST_SLOT(3);
    function *code = (function *)window;

    test_group("remapped code");
    put_function(pages[0], 100);
    put_function(pages[1], 101);
    for (unsigned i = 0; i < 50; i++) {
        page_map(window, pages[i & 1], PTE_P | PTE_W, LEVEL_4K);
        CHECK_EQ(code(), 100 + (i & 1));
    }
    /* By MOV CR3 instead of INVLPG. */
    volatile uint64_t *entry = page_entry(window, LEVEL_4K);
    for (unsigned i = 0; i < 50; i++) {
        *entry = pages[i & 1] | PTE_P;
        write_cr3(read_cr3());
        CHECK_EQ(code(), 100 + (i & 1));
    }
    /* Taken away, then given back. */
    *entry = 0;
    invlpg((void *)window);
    TRY("call *%0", : : "r"(window) : "rax", "memory");
    trap_expect_at(__FILE__, __LINE__, "call to unmapped code", VECTOR_PF, PF_I, window);
    *entry = pages[0] | PTE_P;
    CHECK_EQ(code(), 100);
}

/* An instruction that lies on two pages; either page changes, or is mapped elsewhere. */
static void test_crossing(void)
{
    uint64_t pages = (uint64_t)page_alloc_run(2, PAGE_SIZE), other = (uint64_t)page_alloc();
    uint64_t window = TEST_SLOT(4), at = window + 4096 - 3;
    function *code = (function *)at;

    test_group("code across pages");
    page_map(window, pages, PTE_P | PTE_W, LEVEL_4K);
    page_map(window + 4096, pages + 4096, PTE_P | PTE_W, LEVEL_4K);
    put_function(at, 0x01020304);
    CHECK_EQ(code(), 0x01020304);
    *(volatile uint8_t *)(window + 4096) = 0x55; /* second page */
    CHECK_EQ(code(), 0x01550304);
    *(volatile uint8_t *)(at + 1) = 0x66;        /* first page */
    CHECK_EQ(code(), 0x01550366);
    memcpy((void *)other, (void *)(pages + 4096), 16);
    *(volatile uint8_t *)other = 0x99;
    page_map(window + 4096, other, PTE_P | PTE_W, LEVEL_4K);
    CHECK_EQ(code(), 0x01990366);
    *(volatile uint8_t *)(pages + 4096) = 0x44;  /* no longer part of it */
    CHECK_EQ(code(), 0x01990366);
    put_function(at, 0x0a0b0c0d);                /* one store loop over the border */
    CHECK_EQ(code(), 0x0a0b0c0d);
    __asm__ volatile("movl %1, (%0)" : : "r"(at + 1), "r"(0x11223344) : "memory");
    CHECK_EQ(code(), 0x11223344);
}

/* A function that changes the code it returns to. */
static void test_return_site(void)
{
    uint64_t page = (uint64_t)page_alloc(), result;
    static const uint8_t caller[] = {
        0xe8, 0x0b, 0, 0, 0,          /* call 0x10 */
        0xb8, 0x11, 0, 0, 0,          /* movl $0x11, %eax (offset 5) */
        0xc3,
    };
    static const uint8_t callee[] = { 0xff, 0x47, 0x06, 0xc3 }; /* incl 6(%rdi); ret */

    test_group("changed return site");
    memcpy((void *)page, caller, sizeof(caller));
    memcpy((void *)(page + 0x10), callee, sizeof(callee));
    for (unsigned i = 1; i < 50; i++) {
        __asm__ volatile("call *%1" : "=a"(result) : "r"(page), "D"(page) : "memory", "cc");
        CHECK_EQ(result, 0x11 + i);
    }
}

/* Data next to code: must be correct, and must not take forever. */
static void test_data_beside_code(void)
{
    uint64_t page = (uint64_t)page_alloc();
    function *code = put_function(page + 0x100, 7);
    volatile uint64_t *near = (volatile uint64_t *)(page + 0x108), *far = (volatile uint64_t *)(page + 0x800);
    uint64_t sum = 0;

    test_group("data beside code");
    for (unsigned i = 0; i < 20000; i++) {
        *far += i;
        *near ^= i;
        sum += code();
    }
    CHECK_EQ(sum, 140000);
    CHECK_EQ(*far, 20000ull * 19999 / 2);
}

/* What a kernel does: INT3 over the first byte, the rest, then the first byte. */
static unsigned breakpoints;

static bool on_breakpoint(struct trap_frame *frame)
{
    (void)frame;
    breakpoints++;
    return true; /* goes on behind the INT3: at the operand, which must be harmless */
}

static void test_breakpoint_patch(void)
{
    uint64_t page = (uint64_t)page_alloc();
    function *code = (function *)page;

    test_group("INT3 patching");
    memcpy((void *)page, "\x90\x90\x90\x90\xc3", 5);
    trap_set_handler(VECTOR_BP, on_breakpoint);
    for (unsigned i = 0; i < 20; i++) {
        *(volatile uint8_t *)page = 0xcc;
        code();
        *(volatile uint8_t *)page = 0x90;
        code();
    }
    trap_set_handler(VECTOR_BP, 0);
    CHECK_EQ(breakpoints, 20);
}

/* One page's bytes as 64-bit and as 32-bit code: 48 is REX.W here and DEC EAX there. */
static void test_two_modes(void)
{
    uint64_t page = (uint64_t)page_alloc();
    struct trap_frame context;

    test_group("one code, two modes");
    memcpy((void *)page, "\x48\xff\xc0\xcd\x80", 5); /* 64: incq %rax. 32: decl %eax; incl %eax */
    page_map(TEST_SLOT(5), page, PTE_P | PTE_W | PTE_U, LEVEL_4K);
    for (unsigned i = 0; i < 4; i++) {
        context = context_user((void *)TEST_SLOT(5));
        context.rax = 0xffffffff;
        context_run(&context);
        CHECK_EQ(last_trap.frame.rax, 0x100000000);
        context = context_compat((void *)page, 0);
        context.rax = 5;
        context_run(&context);
        CHECK_EQ(last_trap.frame.vector, VECTOR_RETURN);
        CHECK_EQ(last_trap.frame.rax, 5);
    }
}

/* An exception frame pushed onto code. */
static void test_pushed_frame(void)
{
    uint64_t page = (uint64_t)page_alloc();
    function *code = put_function(page + 0x200, 9);

    test_group("interrupt frame over code");
    CHECK_EQ(code(), 9);
    gate_set_ist(0x60, IST_FREE);
    uint64_t saved = cpu_tss[0].ist[IST_FREE];
    cpu_tss[0].ist[IST_FREE] = page + 0x400;
    TRY("int $0x60", : : : "memory");
    CHECK_EQ(last_trap.frame.vector, 0x60);
    cpu_tss[0].ist[IST_FREE] = saved;
    gate_set_ist(0x60, 0);
    put_function(page + 0x200, 10);
    CHECK_EQ(code(), 10);
}

/* Cross-modifying code: one CPU changes, tells the other by interrupt, and that one runs the new code. */
static struct {
    function *code;
    atomic_uint turn;
    unsigned errors;
} cross;

enum { CROSS_ROUNDS = 200 };

static void cross_reader(void *argument)
{
    (void)argument;
    for (unsigned round = 1; round <= CROSS_ROUNDS; round++) {
        while (atomic_load(&cross.turn) != 2 * round - 1)
            cpu_pause();
        serialize();
        if (cross.code() != round)
            cross.errors++;
        atomic_store(&cross.turn, 2 * round);
    }
}

static void cross_interrupted(void *argument)
{
    if (cross.code() != (uint64_t)argument)
        cross.errors++;
}

static void test_cross_modifying(void)
{
    test_group("cross-modifying code");
    if (smp_start() < 2) {
        skip("needs two CPUs");
        return;
    }
    cross.code = put_function((uint64_t)page_alloc(), 0);
    for (uint64_t i = 1; i < 50; i++) {
        put_function((uint64_t)cross.code, (uint32_t)i);
        smp_call(1, cross_interrupted, (void *)i);
        smp_wait(1);
    }
    CHECK_EQ(cross.errors, 0);

    smp_call(1, cross_reader, 0);
    for (unsigned round = 1; round <= CROSS_ROUNDS; round++) {
        put_function((uint64_t)cross.code, round);
        atomic_store(&cross.turn, 2 * round - 1);
        while (atomic_load(&cross.turn) != 2 * round)
            cpu_pause();
    }
    smp_wait(1);
    CHECK_EQ(cross.errors, 0);
}

/* The other CPU changes an aligned immediate while this one loops over it: old or new, never torn. */
static atomic_bool tear_stop;

static void tear_writer(void *argument)
{
    volatile uint32_t *immediate = argument;

    for (unsigned i = 0; i < 3000; i++)
        *immediate = i & 1 ? 0xffffffff : 0;
    *immediate = 0x5a5a5a5a;
    atomic_store(&tear_stop, true);
}

static void test_torn_immediate(void)
{
    uint64_t at = (uint64_t)page_alloc() + 3; /* the immediate is aligned to 4 */
    unsigned torn = 0;

    test_group("immediate changed by another CPU");
    if (option_number("cpus=", 1) < 2) {
        skip("needs two CPUs");
        return;
    }
    function *code = put_function(at, 0);
    smp_call(1, tear_writer, (void *)(at + 1));
    while (!atomic_load(&tear_stop)) {
        uint64_t value = code();
        torn += value != 0 && value != 0xffffffff && value != 0x5a5a5a5a;
    }
    smp_wait(1);
    serialize();
    CHECK_EQ(torn, 0);
    if (!skip_on("qemu", "a store during translation may be missed"))
        CHECK_EQ(code(), 0x5a5a5a5a);
}

void test_main(void)
{
    apic_enable();
    test_same_block();
    test_stack_over_code();
    test_next_instruction();
    test_loop();
    test_kinds_of_store();
    test_alias();
    test_remap();
    test_crossing();
    test_return_site();
    test_data_beside_code();
    test_breakpoint_patch();
    test_two_modes();
    test_pushed_frame();
    test_cross_modifying();
    test_torn_immediate();
}
