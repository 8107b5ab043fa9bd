/*
 * Address translation: SDM volume 3, chapter 4. Page sizes, rights, error codes, accessed and dirty
 * bits, what the TLB may and may not remember, PCIDs, SMEP and SMAP, accesses across two pages.
 */
#include "lib/paging.h"

#include "lib/check.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "paging";

#define PTE_AD (PTE_A | PTE_D)
#define KERNEL_PAGE (PTE_P | PTE_W)
#define USER_PAGE (PTE_P | PTE_W | PTE_U)

SNIPPET(user_load, 64, "movl (%rdi), %eax");
SNIPPET(user_store, 64, "movl %eax, (%rdi)");
SNIPPET(user_jump, 64, "jmp *%rdi");

enum { CPUID_1GB_PAGES = 1 << 26, CPUID_PCID = 1 << 17, CPUID_INVPCID = 1 << 10, CPUID_SMEP = 1 << 7 };
#define CPUID_SMAP (1u << 20)

/* A reserved bit implies a present entry, except for QEMU. */
static uint64_t pf_reserved(void)
{
    return option("oracle=qemu") ? PF_RSVD : PF_P | PF_RSVD;
}

static uint64_t load(uint64_t address)
{
    uint64_t value;
    __asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
    return value;
}

static void store(uint64_t address, uint64_t value)
{
    __asm__ volatile("movq %1, (%0)" : : "r"(address), "r"(value) : "memory");
}

/* A page whose first quadword is this. */
static uint64_t marked_page(uint64_t mark)
{
    uint64_t page = (uint64_t)page_alloc();
    *(volatile uint64_t *)page = mark;
    return page;
}

static struct trap_frame user_at(const void *rip, uint64_t address)
{
    struct trap_frame context = context_user(rip);
    context.rdi = address;
    return context;
}

static void test_sizes(void)
{
    uint64_t base = TEST_SLOT(1);
    uint64_t large = (uint64_t)page_alloc_run(1024, 0x200000);

    test_group("page sizes");
    *(volatile uint64_t *)(large + 0x1234f8) = 0xabcdef;
    page_map(base, large + 0x123000, KERNEL_PAGE, LEVEL_4K);
    CHECK_EQ(load(base + 0x4f8), 0xabcdef);
    page_map(base + 0x40000000, large, KERNEL_PAGE, LEVEL_2M);
    CHECK_EQ(load(base + 0x40000000 + 0x1234f8), 0xabcdef);
    store(base + 0x40000000 + 0x1234f8, 0x123456);
    CHECK_EQ(load(base + 0x4f8), 0x123456);
    if (cpuid(0x80000001, 0).edx & CPUID_1GB_PAGES) {
        page_map(base + 0x80000000, 0, KERNEL_PAGE, LEVEL_1G);
        CHECK_EQ(load(base + 0x80000000 + large + 0x1234f8), 0x123456);
        store(base + 0x80000000 + large + 0x1234f8, 0x777);
        CHECK_EQ(load(base + 0x4f8), 0x777);
    } else {
        skip("no 1 GiB pages");
    }
}

static void test_write_protect(void)
{
    uint64_t base = TEST_SLOT(2);
    uint64_t page = marked_page(1);

    test_group("W and CR0.WP");
    page_map(base, page, PTE_P, LEVEL_4K);
    CHECK_EQ(load(base), 1);
    EXPECT_PF(PF_P | PF_W, base + 8, "movq %%rcx, (%0)", : : "a"(base + 8), "c"(5) : "memory");
    CHECK_EQ(*(volatile uint64_t *)(page + 8), 0);
    write_cr0(read_cr0() & ~CR0_WP);
    EXPECT_NO_TRAP("movq %%rcx, (%0)", : : "a"(base + 8), "c"(5) : "memory");
    CHECK_EQ(*(volatile uint64_t *)(page + 8), 5);
    write_cr0(read_cr0() | CR0_WP);
    EXPECT_PF(PF_P | PF_W, base + 8, "movq %%rcx, (%0)", : : "a"(base + 8), "c"(6) : "memory");
    CHECK_EQ(*(volatile uint64_t *)(page + 8), 5);

    /* W must be set at every level. */
    page_map(base, page, KERNEL_PAGE, LEVEL_4K);
    EXPECT_NO_TRAP("movq %%rcx, (%0)", : : "a"(base), "c"(7) : "memory");
    *page_entry(base, LEVEL_2M) &= ~PTE_W;
    invlpg((void *)base);
    EXPECT_PF(PF_P | PF_W, base, "movq %%rcx, (%0)", : : "a"(base), "c"(6) : "memory");
    *page_entry(base, LEVEL_2M) |= PTE_W;
    *page_entry(base, LEVEL_PML4) &= ~PTE_W;
    invlpg((void *)base);
    EXPECT_PF(PF_P | PF_W, base, "movq %%rcx, (%0)", : : "a"(base), "c"(6) : "memory");
    *page_entry(base, LEVEL_PML4) |= PTE_W;
    invlpg((void *)base);
    EXPECT_NO_TRAP("movq %%rcx, (%0)", : : "a"(base), "c"(7) : "memory");
}

static void test_user(void)
{
    uint64_t base = TEST_SLOT(3);
    uint64_t page = marked_page(0x11);

    test_group("U");
    page_map(base, page, USER_PAGE, LEVEL_4K);
    EXPECT_END(user_at(user_load, base), user_load);
    CHECK_EQ(last_trap.frame.rax, 0x11);
    EXPECT_END(user_at(user_store, base + 8), user_store);
    page_map(base, page, PTE_P | PTE_U, LEVEL_4K);
    EXPECT_END(user_at(user_load, base), user_load);
    EXPECT_RUN(user_at(user_store, base), VECTOR_PF, PF_P | PF_W | PF_U, user_store);
    CHECK_EQ(last_trap.cr2, base);
    write_cr0(read_cr0() & ~CR0_WP); /* no effect on ring 3 */
    EXPECT_RUN(user_at(user_store, base), VECTOR_PF, PF_P | PF_W | PF_U, user_store);
    write_cr0(read_cr0() | CR0_WP);

    page_map(base, page, KERNEL_PAGE, LEVEL_4K);
    EXPECT_RUN(user_at(user_load, base + 4), VECTOR_PF, PF_P | PF_U, user_load);
    CHECK_EQ(last_trap.cr2, base + 4);
    EXPECT_RUN(user_at(user_store, base + 4), VECTOR_PF, PF_P | PF_W | PF_U, user_store);
    EXPECT_RUN(user_at(user_jump, base), VECTOR_PF, PF_P | PF_U | PF_I, base);
    EXPECT_RUN(user_at(user_jump, base + 4096), VECTOR_PF, PF_U | PF_I, base + 4096);

    /* The kernel fills its TLB; ring 3 must not profit from it. */
    load(base);
    EXPECT_RUN(user_at(user_load, base), VECTOR_PF, PF_P | PF_U, user_load);
    page_map(base, page, USER_PAGE, LEVEL_4K);
    *page_entry(base, LEVEL_1G) &= ~PTE_U;
    invlpg((void *)base);
    EXPECT_RUN(user_at(user_load, base), VECTOR_PF, PF_P | PF_U, user_load);
    *page_entry(base, LEVEL_1G) |= PTE_U;
    invlpg((void *)base);
    EXPECT_END(user_at(user_load, base), user_load);
}

static void test_no_execute(void)
{
    uint64_t base = TEST_SLOT(4);
    uint64_t page = (uint64_t)page_alloc();

    test_group("NX");
    *(volatile uint8_t *)page = 0xc3; /* RET */
    page_map(base, page, KERNEL_PAGE, LEVEL_4K);
    EXPECT_NO_TRAP("call *%0", : : "a"(base) : "memory");
    page_map(base, page, KERNEL_PAGE | PTE_NX, LEVEL_4K);
    TRY("call *%0", : : "a"(base) : "memory");
    trap_expect_at(__FILE__, __LINE__, "call into a NX page", VECTOR_PF, PF_P | PF_I, base);
    trap_expect_cr2_at(__FILE__, __LINE__, "call into a NX page", base);
    CHECK_EQ(load(base) & 0xff, 0xc3);
    page_map(base, page, KERNEL_PAGE, LEVEL_4K);
    EXPECT_NO_TRAP("call *%0", : : "a"(base) : "memory");
    *page_entry(base, LEVEL_PML4) |= PTE_NX;
    invlpg((void *)base);
    TRY("call *%0", : : "a"(base) : "memory");
    trap_expect_at(__FILE__, __LINE__, "call below a NX directory", VECTOR_PF, PF_P | PF_I, base);
    *page_entry(base, LEVEL_PML4) &= ~PTE_NX;
    invlpg((void *)base);

    /* Without EFER.NXE the bit is reserved, and the error code never has I. */
    page_map(base, page, KERNEL_PAGE | PTE_NX, LEVEL_4K);
    write_msr(MSR_IA32_EFER, read_msr(MSR_IA32_EFER) & ~EFER_NXE);
    write_cr3(read_cr3());
    EXPECT_PF(pf_reserved(), base, "movb (%0), %%cl", : : "a"(base) : "rcx");
    write_msr(MSR_IA32_EFER, read_msr(MSR_IA32_EFER) | EFER_NXE);
    write_cr3(read_cr3());
    EXPECT_NO_TRAP("movb (%0), %%cl", : : "a"(base) : "rcx");

    /* An instruction across a page border: the fault names the second page, RIP the instruction. */
    uint64_t pair = (uint64_t)page_alloc_run(2, PAGE_SIZE);
    memcpy((void *)(pair + 4094), "\x48\xb8\1\2\3\4\5\6\7\x08\xc3", 11); /* MOV RAX, imm64; RET */
    page_map(base + 0x1000, pair, KERNEL_PAGE, LEVEL_4K);
    page_map(base + 0x2000, pair + 4096, KERNEL_PAGE | PTE_NX, LEVEL_4K);
    TRY("call *%0", : : "a"(base + 0x1000 + 4094) : "memory");
    trap_expect_at(__FILE__, __LINE__, "instruction into a NX page", VECTOR_PF, PF_P | PF_I, base + 0x1ffe);
    trap_expect_cr2_at(__FILE__, __LINE__, "instruction into a NX page", base + 0x2000);
    page_map(base + 0x2000, pair + 4096, KERNEL_PAGE, LEVEL_4K);
    uint64_t rax = base + 0x1000 + 4094;
    EXPECT_NO_TRAP("call *%0", : "+a"(rax) : : "memory");
    CHECK_EQ(rax, 0x0807060504030201);
}

static void test_reserved_bits(void)
{
    uint64_t base = TEST_SLOT(5);
    uint64_t page = (uint64_t)page_alloc();
    unsigned width = cpuid(0x80000008, 0).eax & 0xff;
    volatile uint64_t *entry = page_map(base, page, KERNEL_PAGE, LEVEL_4K);

    test_group("reserved bits");
    if (width < 52) {
        *entry |= 1ull << 51;
        invlpg((void *)base);
        EXPECT_PF(pf_reserved(), base, "movb (%0), %%cl", : : "a"(base) : "rcx");
        EXPECT_PF(pf_reserved() | PF_W, base, "movb %%cl, (%0)", : : "a"(base) : "memory");
        EXPECT_RUN(user_at(user_load, base), VECTOR_PF, pf_reserved() | PF_U, user_load);
    } else {
        skip("physical addresses have 52 bits");
    }
    *entry = page | KERNEL_PAGE | 7ull << 9 | 1ull << 52; /* ignored bits */
    invlpg((void *)base);
    EXPECT_NO_TRAP("movb (%0), %%cl", : : "a"(base) : "rcx");

    page_map(base + 0x40000000, 0x200000 | 1 << 13, KERNEL_PAGE, LEVEL_2M);
    EXPECT_PF(pf_reserved(), base + 0x40000000, "movb (%0), %%cl", : : "a"(base + 0x40000000) : "rcx");
    page_map(base + 0x40000000, 0x200000, KERNEL_PAGE, LEVEL_2M);
    EXPECT_NO_TRAP("movb (%0), %%cl", : : "a"(base + 0x40000000) : "rcx");
    *page_entry(base, LEVEL_PML4) |= PTE_PS;
    invlpg((void *)base);
    EXPECT_PF(pf_reserved(), base, "movb (%0), %%cl", : : "a"(base) : "rcx");
    *page_entry(base, LEVEL_PML4) &= ~PTE_PS;
    invlpg((void *)base);
    EXPECT_NO_TRAP("movb (%0), %%cl", : : "a"(base) : "rcx");
}

static void test_accessed_dirty(void)
{
    uint64_t base = TEST_SLOT(6);
    volatile uint64_t *entry = page_map(base, marked_page(3), KERNEL_PAGE, LEVEL_4K);
    volatile uint64_t *directory = page_entry(base, LEVEL_2M);

    test_group("A and D");
    *directory &= ~PTE_AD;
    invlpg((void *)base);
    CHECK_EQ(*entry & PTE_AD, 0);
    load(base);
    CHECK_EQ(*entry & PTE_AD, PTE_A);
    CHECK_EQ(*directory & PTE_A, PTE_A);
    CHECK_EQ(*page_entry(base, LEVEL_1G) & PTE_A, PTE_A);
    CHECK_EQ(*page_entry(base, LEVEL_PML4) & PTE_A, PTE_A);
    store(base, 4);
    CHECK_EQ(*entry & PTE_AD, PTE_AD);
    CHECK_EQ(*directory & PTE_D, 0);

    /* Cleared and invalidated: set again by the next access of its kind. */
    *entry &= ~PTE_AD;
    invlpg((void *)base);
    store(base, 5);
    CHECK_EQ(*entry & PTE_AD, PTE_AD);
    *entry &= ~PTE_D;
    invlpg((void *)base);
    load(base);
    CHECK_EQ(*entry & PTE_AD, PTE_A);
    store(base, 6);
    CHECK_EQ(*entry & PTE_AD, PTE_AD);

    /* A failed write sets no D. */
    *entry = (*entry & ~(PTE_AD | PTE_W));
    invlpg((void *)base);
    EXPECT_PF(PF_P | PF_W, base, "movb %%cl, (%0)", : : "a"(base) : "memory");
    CHECK_EQ(*entry & PTE_D, 0);

    /* A compare that fails still writes; execution sets A. */
    *entry = (*entry & ~PTE_AD) | PTE_W;
    invlpg((void *)base);
    uint64_t other = 1;
    __asm__ volatile("lock; cmpxchgq %1, (%2)" : "+a"(other) : "r"(9ull), "r"(base) : "memory", "cc");
    CHECK_EQ(*entry & PTE_AD, PTE_AD);
    *(volatile uint8_t *)base = 0xc3;
    *entry &= ~PTE_AD;
    invlpg((void *)base);
    __asm__ volatile("call *%0" : : "r"(base) : "memory");
    CHECK_EQ(*entry & PTE_AD, PTE_A);

    /* Large page. */
    volatile uint64_t *large = page_map(base + 0x40000000, 0x800000, KERNEL_PAGE, LEVEL_2M);
    load(base + 0x40000000);
    CHECK_EQ(*large & PTE_AD, PTE_A);
    store(base + 0x40000000 + 0x1fff00, load(base + 0x40000000 + 0x1fff00));
    CHECK_EQ(*large & PTE_AD, PTE_AD);
}

/* Changes that take away rights need an invalidation; each kind must work, and at once. */
static void test_invalidation(void)
{
    uint64_t base = TEST_SLOT(7);
    uint64_t first = marked_page(1), second = marked_page(2);
    volatile uint64_t *entry = page_map(base, first, KERNEL_PAGE, LEVEL_4K);

    test_group("invalidation");
    CHECK_EQ(load(base), 1);
    *entry = second | KERNEL_PAGE;
    invlpg((void *)(base + 0xabc));
    CHECK_EQ(load(base), 2);
    *entry = first | KERNEL_PAGE;
    write_cr3(read_cr3());
    CHECK_EQ(load(base), 1);
    *entry = 0;
    invlpg((void *)base);
    EXPECT_PF(0, base, "movb (%0), %%cl", : : "a"(base) : "rcx");
    *entry = second | KERNEL_PAGE; /* from absent to present needs none */
    CHECK_EQ(load(base), 2);

    /* The directory entry instead: INVLPG drops all paging-structure caches. */
    uint64_t *table = page_alloc();
    table[base >> 12 & 511] = first | KERNEL_PAGE;
    *page_entry(base, LEVEL_2M) = (uint64_t)table | USER_PAGE;
    invlpg((void *)base);
    CHECK_EQ(load(base), 1);

    /* INVLPG in a large page. */
    page_map(base + 0x40000000, 0xc00000, KERNEL_PAGE, LEVEL_2M);
    *(volatile uint64_t *)0xe00000 = 0xee;
    load(base + 0x40000000);
    load(base + 0x40000000 + 0x100000);
    *page_entry(base + 0x40000000, LEVEL_2M) = 0xe00000 | KERNEL_PAGE | PTE_PS;
    invlpg((void *)(base + 0x40000000 + 0x100000));
    CHECK_EQ(load(base + 0x40000000), 0xee);

    /* A table modified through another mapping of it. */
    page_map(base + 0x80000000, (uint64_t)table, KERNEL_PAGE, LEVEL_4K);
    store(base + 0x80000000 + (base >> 12 & 511) * 8, second | KERNEL_PAGE);
    invlpg((void *)base);
    CHECK_EQ(load(base), 2);
    EXPECT_NO_TRAP("invlpg (%0)", : : "r"(0x0000800000000000) : "memory"); /* non-canonical: nothing */
}

/* With G set, a translation lives through MOV CR3 but not through a change of CR4.PGE. */
static void test_global(void)
{
    uint64_t base = TEST_SLOT(8);
    uint64_t first = marked_page(1), second = marked_page(2);
    volatile uint64_t *entry = page_map(base, first, KERNEL_PAGE | PTE_G, LEVEL_4K);

    test_group("global pages");
    write_cr4(read_cr4() | CR4_PGE);
    CHECK_EQ(load(base), 1);
    *entry = second | KERNEL_PAGE | PTE_G;
    write_cr3(read_cr3());
    uint64_t seen = load(base); /* kept, as a rule, but a TLB may always forget */
    CHECK(seen == 1 || seen == 2);
    invlpg((void *)base);
    CHECK_EQ(load(base), 2);
    *entry = first | KERNEL_PAGE | PTE_G;
    write_cr4(read_cr4() & ~CR4_PGE);
    CHECK_EQ(load(base), 1);
}

/* PCIDs: SDM volume 3, 4.10.1 and 4.10.4.1. */
static void test_pcid(void)
{
    uint64_t base = TEST_SLOT(9);
    uint64_t first = marked_page(1), second = marked_page(2);
    volatile uint64_t *entry = page_map(base, first, KERNEL_PAGE, LEVEL_4K);
    uint64_t root = read_cr3() & PTE_ADDRESS;

    test_group("PCID");
    if (!(cpuid(1, 0).ecx & CPUID_PCID)) {
        skip("no PCIDs");
        return;
    }
    TRY_AFTER("movq %1, %%cr3", "movq %0, %%cr4", : : "r"(read_cr4() | CR4_PCIDE), "r"(root | 8) : "memory");
    trap_expect_at(__FILE__, __LINE__, "CR4.PCIDE with a PCID in CR3", VECTOR_GP, 0, trap_try_start);
    write_cr3(root);
    write_cr4(read_cr4() | CR4_PCIDE);

    /* Fill PCID 1, change the table, and look with all kinds of MOV CR3. */
    write_cr3(root | 1);
    CHECK_EQ(read_cr3(), root | 1);
    CHECK_EQ(load(base), 1);
    write_cr3(root | 2 | CR3_NO_FLUSH);
    CHECK_EQ(read_cr3(), root | 2);
    *entry = second | KERNEL_PAGE;
    write_cr3(root | 2); /* flushes PCID 2 */
    CHECK_EQ(load(base), 2);
    write_cr3(root | 1 | CR3_NO_FLUSH);
    uint64_t seen = load(base);
    CHECK(seen == 1 || seen == 2);
    write_cr3(root | 1); /* flushes PCID 1 */
    CHECK_EQ(load(base), 2);

    /* Another address space under another PCID, without flushes: nothing may leak. */
    uint64_t *other = page_alloc();
    memcpy(other, (void *)root, PAGE_SIZE);
    other[base >> 39] = 0;
    write_cr3((uint64_t)other | 3);
    page_map(base, first, KERNEL_PAGE, LEVEL_4K);
    for (unsigned i = 0; i < 20; i++) {
        write_cr3((uint64_t)other | 3 | CR3_NO_FLUSH);
        CHECK_EQ(load(base), 1);
        write_cr3(root | 1 | CR3_NO_FLUSH);
        CHECK_EQ(load(base), 2);
    }
    EXPECT_NO_TRAP("movq %0, %%cr4", : : "r"(read_cr4() & ~CR4_PCIDE) : "memory"); /* with any PCID */
    write_cr3(root);
}

struct invpcid_descriptor {
    uint64_t pcid, address;
};

#define INVPCID_OPERANDS(type, descriptor) : : "r"((uint64_t)(type)), "r"(descriptor) : "memory"

static void invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
    struct invpcid_descriptor descriptor = { pcid, address };
    __asm__ volatile("invpcid (%1), %0" : : "r"(type), "r"(&descriptor) : "memory");
}

static void test_invpcid_checks(uint64_t base)
{
    struct invpcid_descriptor descriptor = { 0, base };

    EXPECT_FAULT(VECTOR_GP, 0, "invpcid (%1), %0", INVPCID_OPERANDS(4, &descriptor));
    EXPECT_PF(0, TEST_SLOT(100), "invpcid (%1), %0", INVPCID_OPERANDS(2, TEST_SLOT(100)));
    descriptor.pcid = 4096;
    EXPECT_FAULT(VECTOR_GP, 0, "invpcid (%1), %0", INVPCID_OPERANDS(1, &descriptor));
    descriptor.pcid = 1; /* CR4.PCIDE is clear */
    EXPECT_FAULT(VECTOR_GP, 0, "invpcid (%1), %0", INVPCID_OPERANDS(0, &descriptor));
    EXPECT_FAULT(VECTOR_GP, 0, "invpcid (%1), %0", INVPCID_OPERANDS(1, &descriptor));
    descriptor = (struct invpcid_descriptor){ 0, 0x0000800000000000 };
    EXPECT_FAULT(VECTOR_GP, 0, "invpcid (%1), %0", INVPCID_OPERANDS(0, &descriptor));
    EXPECT_NO_TRAP("invpcid (%1), %0", INVPCID_OPERANDS(1, &descriptor));
}

/* Each type of INVPCID must drop what it names: change the table, invalidate, look. */
static void test_invpcid(void)
{
    uint64_t base = TEST_SLOT(10);
    uint64_t page[2] = { marked_page(0), marked_page(1) };
    volatile uint64_t *entry = page_map(base, page[0], KERNEL_PAGE, LEVEL_4K);
    uint64_t root = read_cr3() & PTE_ADDRESS;

    test_group("INVPCID");
    if (!(cpuid(7, 0).ebx & CPUID_INVPCID)) {
        skip("no INVPCID");
        return;
    }
    for (unsigned round = 0; round < 8; round++) {
        load(base);
        *entry = page[round & 1] | KERNEL_PAGE | (round >= 4 ? PTE_G : 0);
        invpcid(round >= 4 ? 2 : round & 3, 0, base);
        CHECK_EQ(load(base), round & 1);
    }
    test_invpcid_checks(base);
    if (!(cpuid(1, 0).ecx & CPUID_PCID))
        return;

    /* Invalidate another PCID than the current one. */
    write_cr4(read_cr4() | CR4_PCIDE);
    for (unsigned type = 0; type < 4; type++) {
        write_cr3(root | 1);
        *entry = page[0] | KERNEL_PAGE;
        write_cr3(root | 1);
        CHECK_EQ(load(base), 0);
        write_cr3(root | 2 | CR3_NO_FLUSH);
        *entry = page[1] | KERNEL_PAGE;
        invpcid(type, 1, base);
        write_cr3(root | 1 | CR3_NO_FLUSH);
        CHECK_EQ(load(base), 1);
    }
    write_cr4(read_cr4() & ~CR4_PCIDE);
    write_cr3(root);
}

static void test_smep(void)
{
    uint64_t base = TEST_SLOT(11);
    uint64_t page = marked_page(0xc3);

    test_group("SMEP");
    if (!(cpuid(7, 0).ebx & CPUID_SMEP)) {
        skip("no SMEP");
        return;
    }
    page_map(base, page, USER_PAGE, LEVEL_4K);
    EXPECT_NO_TRAP("call *%0", : : "a"(base) : "memory");
    write_cr4(read_cr4() | CR4_SMEP);
    TRY("call *%0", : : "a"(base) : "memory");
    trap_expect_at(__FILE__, __LINE__, "call into a user page", VECTOR_PF, PF_P | PF_I, base);
    EXPECT_END(user_at(user_load, base), user_load);
    *page_entry(base, LEVEL_2M) &= ~PTE_U; /* not a user page any more */
    invlpg((void *)base);
    EXPECT_NO_TRAP("call *%0", : : "a"(base) : "memory");
    write_cr4(read_cr4() & ~CR4_SMEP);
}

static void test_smap(void)
{
    uint64_t base = TEST_SLOT(12);
    uint64_t page = marked_page(0x5a);
    uint64_t value;

    test_group("SMAP");
    if (!(cpuid(7, 0).ebx & CPUID_SMAP)) {
        skip("no SMAP");
        return;
    }
    page_map(base, page, USER_PAGE, LEVEL_4K);
    load(base);
    write_cr4(read_cr4() | CR4_SMAP);
    EXPECT_PF(PF_P, base, "movq (%0), %%rcx", : : "a"(base) : "rcx");
    EXPECT_PF(PF_P | PF_W, base, "movq %%rcx, (%0)", : : "a"(base) : "memory");
    EXPECT_NO_TRAP("stac; movq (%1), %0; clac", : "=r"(value) : "r"(base) : "memory");
    CHECK_EQ(value, 0x5a);
    EXPECT_PF(PF_P, base, "movq (%0), %%rcx", : : "a"(base) : "rcx");
    EXPECT_NO_TRAP("stac; movq $0x5b, (%0); clac", : : "r"(base) : "memory");
    CHECK_EQ(*(volatile uint64_t *)page, 0x5b);
    EXPECT_NO_TRAP("pushfq; orl $0x40000, (%%rsp); popfq; movq (%0), %%rcx; pushfq; andl $~0x40000, (%%rsp); popfq",
                   : : "a"(base) : "rcx", "cc", "memory");
    EXPECT_PF(PF_P, base, "movq (%0), %%rcx", : : "a"(base) : "rcx");

    /* The exception clears nothing: AC is in the pushed flags; IRETQ restores it. */
    TRY_AFTER("stac", "ud2", : : : "memory");
    CHECK(last_trap.frame.rflags & RFLAGS_AC);
    CHECK(!(read_rflags() & RFLAGS_AC));

    /* Ring 3 is not concerned, whatever its AC. */
    EXPECT_END(user_at(user_load, base), user_load);
    EXPECT_END(user_at(user_store, base), user_store);
    EXPECT_PF(PF_P, base, "movq (%0), %%rcx", : : "a"(base) : "rcx");

    write_cr4(read_cr4() & ~CR4_SMAP);
    EXPECT_NO_TRAP("movq (%0), %%rcx", : : "a"(base) : "rcx");
    if (!skip_on("qemu", "LOCK STAC is not refused"))
        EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0, 0x0f, 0x01, 0xcb", : : : "memory"); /* LOCK STAC */
}

static void test_alias(void)
{
    uint64_t base = TEST_SLOT(13);
    uint64_t page = (uint64_t)page_alloc();

    test_group("aliases");
    for (unsigned i = 0; i < 4; i++)
        page_map(base + i * 0x1000, page, i == 3 ? PTE_P : KERNEL_PAGE, LEVEL_4K);
    for (unsigned i = 0; i < 64; i++) {
        store(base + (i % 3) * 0x1000 + i * 8, 0x1111111111111111 * (i & 15));
        CHECK_EQ(load(base + ((i + 1) % 4) * 0x1000 + i * 8), 0x1111111111111111 * (i & 15));
        CHECK_EQ(load(page + i * 8), 0x1111111111111111 * (i & 15));
    }
    /* A store and a load in one block, through different names. */
    uint64_t value;
    __asm__ volatile("movq %3, (%1); movq (%2), %0; addq $1, (%1); addq (%2), %0"
                     : "=&r"(value)
                     : "r"(base), "r"(base + 0x1000), "r"(40ull)
                     : "memory", "cc");
    CHECK_EQ(value, 81);
}

/* Accesses that touch two pages: neither adjacent nor in order in memory. */
static void test_crossing_contents(void)
{
    uint64_t base = TEST_SLOT(14);
    uint64_t low = (uint64_t)page_alloc_run(3, PAGE_SIZE), high = low + 0x2000;
    uint64_t edge = base + 4096;

    test_group("page crossing, contents");
    page_map(base, high, KERNEL_PAGE, LEVEL_4K);
    page_map(edge, low, KERNEL_PAGE, LEVEL_4K);
    for (unsigned back = 1; back < 8; back++) {
        store(edge - back, 0x8877665544332211 + back);
        CHECK_EQ(load(edge - back), 0x8877665544332211 + back);
        CHECK_EQ(*(volatile uint8_t *)(high + 4096 - back), 0x11 + back);
        CHECK_EQ(*(volatile uint8_t *)(low + 7 - back), 0x88);
        __asm__ volatile("lock; addq $1, (%0)" : : "r"(edge - back) : "memory", "cc");
        CHECK_EQ(load(edge - back), 0x8877665544332212 + back);
    }
}

/* All or nothing when one of the two pages faults. */
/* A conditional jump on two pages, come to by POPF, and so with flags that matter. */
static void test_crossing_jump(void)
{
    static const uint8_t code[] = {
        0x48, 0x39, 0xf7,             /* cmpq %rsi, %rdi */
        0x9c, 0x9d,                   /* pushfq; popfq */
        0x0f, 0x84, 6, 0, 0, 0,       /* je 1f */
        0xb8, 1, 0, 0, 0, 0xc3,       /* movl $1, %eax; ret */
        0xb8, 2, 0, 0, 0, 0xc3,       /* 1: movl $2, %eax; ret */
    };
    uint8_t *pages = page_alloc_run(2, 0x1000);

    test_group("page crossing, jump");
    __asm__ volatile("sti"); /* the way back from a helper is another one while interrupts are off */
    for (unsigned before = 1; before < 6; before++) { /* bytes of the jump on the first page */
        uint8_t *start = pages + 0x1000 - 5 - before;

        memcpy(start, code, sizeof(code));
        for (uint64_t i = 0; i < 8; i++) {
            uint64_t result;

            __asm__ volatile("call *%1" : "=a"(result) : "r"(start), "D"(i), "S"(i & 4) : "memory", "cc");
            CHECK_EQ(result, i == (i & 4) ? 2 : 1);
        }
    }
    __asm__ volatile("cli");
}

static void test_crossing_faults(void)
{
    uint64_t base = TEST_SLOT(15);
    uint64_t low = (uint64_t)page_alloc_run(3, PAGE_SIZE), high = low + 0x2000;
    uint64_t edge = base + 4096;

    test_group("page crossing, faults");
    page_map(base, high, KERNEL_PAGE, LEVEL_4K);
    page_map(edge, low, PTE_P, LEVEL_4K);
    *(volatile uint64_t *)(high + 4088) = 0x1122334455667788;
    *(volatile uint64_t *)low = 0x99aabbccddeeff00;
    EXPECT_PF(PF_P | PF_W, edge, "movq %%rcx, (%0)", : : "a"(edge - 4), "c"(0ull) : "memory");
    if (!skip_on("qemu", "a 16-byte store is two"))
        EXPECT_PF(PF_P | PF_W, edge, "movups %%xmm0, (%0)", : : "a"(edge - 8) : "memory");
    EXPECT_PF(PF_P | PF_W, edge, "xchgq %%rcx, (%0)", : : "a"(edge - 1), "c"(0ull) : "memory");
    EXPECT_PF(PF_P | PF_W, edge, "lock; xaddq %%rcx, (%0)", : : "a"(edge - 1), "c"(7ull) : "memory");
    CHECK_EQ(last_trap.frame.rcx, 7);
    EXPECT_PF(PF_P | PF_W, edge, "shlq $4, (%0)", : : "a"(edge - 2) : "memory", "cc");
    EXPECT_PF(PF_P | PF_W, edge, "movsq", : : "D"(edge - 3), "S"(low) : "memory");
    CHECK_EQ(last_trap.frame.rdi, edge - 3);
    gate_set_ist(VECTOR_PF, IST_FREE);
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_P | PF_W, "movq %0, %%rsp", "pushq %%rcx", : : "a"(edge + 4) : "memory");
    gate_set_ist(VECTOR_PF, 0);
    CHECK_EQ(*(volatile uint64_t *)(high + 4088), 0x1122334455667788);
    CHECK_EQ(*(volatile uint64_t *)low, 0x99aabbccddeeff00);
    EXPECT_NO_TRAP("movq (%0), %%rcx", : : "a"(edge - 4) : "rcx");

    *page_entry(edge, LEVEL_4K) = 0;
    invlpg((void *)edge);
    EXPECT_PF(0, edge, "movq (%0), %%rcx", : : "a"(edge - 1) : "rcx");
    EXPECT_PF(PF_W, edge, "movl %%ecx, (%0)", : : "a"(edge - 3) : "memory");
    EXPECT_NO_TRAP("movl %%ecx, (%0)", : : "a"(edge - 4) : "memory");
    page_map(edge, low, KERNEL_PAGE, LEVEL_4K);
    *page_entry(base, LEVEL_4K) = 0;
    invlpg((void *)base);
    EXPECT_PF(0, edge - 1, "movq (%0), %%rcx", : : "a"(edge - 1) : "rcx");
    EXPECT_PF(PF_W, edge - 3, "movl %%ecx, (%0)", : : "a"(edge - 3) : "memory");
}

/* Either operand may fault; the stack pointer moves only when all is done. */
static void test_push_pop(void)
{
    uint64_t base = TEST_SLOT(16);
    uint64_t page = marked_page(0x77);
    uint64_t hole = base + 0x10000;

    test_group("push and pop");
    page_map(base, page, KERNEL_PAGE, LEVEL_4K);
    gate_set_ist(VECTOR_PF, IST_FREE);
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "movq %0, %%rsp", "popq (%1)", : : "a"(base), "d"(hole) : "memory");
    CHECK_EQ(last_trap.frame.rsp, base);
    EXPECT_FAULT_AFTER(VECTOR_PF, 0, "movq %0, %%rsp", "popq %%rcx", : : "a"(hole) : "rcx", "memory");
    CHECK_EQ(last_trap.frame.rsp, hole);
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "movq %0, %%rsp", "pushq (%1)", : : "a"(hole), "d"(base) : "memory");
    CHECK_EQ(last_trap.frame.rsp, hole);
    EXPECT_FAULT_AFTER(VECTOR_PF, 0, "movq %0, %%rsp", "pushq (%1)", : : "a"(base + 64), "d"(hole) : "memory");
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "movq %0, %%rsp", "call *(%1)", : : "a"(hole), "d"(base) : "memory");
    CHECK_EQ(last_trap.frame.rsp, hole);
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "movq %0, %%rsp", "enter $16, $0", : : "a"(hole) : "memory");
    CHECK_EQ(last_trap.frame.rsp, hole);
    EXPECT_FAULT_AFTER(VECTOR_PF, 0, "movq %0, %%rbp", "leave", : : "a"(hole) : "rbp", "memory");
    CHECK_EQ(last_trap.frame.rbp, hole);
    EXPECT_FAULT_AFTER(VECTOR_PF, 0, "movq %0, %%rsp", "ret", : : "a"(hole) : "memory");
    CHECK_EQ(last_trap.frame.rsp, hole);
    EXPECT_FAULT_AFTER(VECTOR_PF, 0, "movq %0, %%rsp", "iretq", : : "a"(hole) : "memory");
    CHECK_EQ(last_trap.frame.rsp, hole);
    EXPECT_FAULT_AFTER(VECTOR_PF, 0, "movq %0, %%rsp", "popfq", : : "a"(hole) : "memory");
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "movq %0, %%rsp", "pushfq", : : "a"(hole) : "memory");
    gate_set_ist(VECTOR_PF, 0);
}

/* A compare-and-exchange whose write is not allowed faults even when the compare fails. */
static void test_conditional_writes(void)
{
    uint64_t base = TEST_SLOT(17);
    uint64_t page = marked_page(0x77);

    test_group("conditional writes");
    page_map(base, page, PTE_P, LEVEL_4K);
    EXPECT_PF(PF_P | PF_W, base, "cmpxchgq %1, (%0)", : : "r"(base), "r"(1ull), "a"(2ull) : "memory", "cc");
    CHECK_EQ(last_trap.frame.rax, 2);
    EXPECT_PF(PF_P | PF_W, base, "lock; cmpxchgq %1, (%0)", : : "r"(base), "r"(1ull), "a"(2ull) : "memory", "cc");
    EXPECT_PF(PF_P | PF_W, base, "lock; cmpxchg16b (%0)",
              : : "r"(base), "a"(2ull), "d"(0ull), "b"(0ull), "c"(0ull) : "memory", "cc");
    EXPECT_PF(PF_P | PF_W, base, "lock; btsq %1, (%0)", : : "r"(base), "r"(0ull) : "memory", "cc");
    EXPECT_PF(PF_P | PF_W, base + 64, "btsq %1, (%0)", : : "r"(base), "r"(512ull) : "memory", "cc");
    EXPECT_NO_TRAP("btq %1, (%0)", : : "r"(base), "r"(512ull) : "memory", "cc");
    EXPECT_PF(0, base + 0x1000, "cmovneq (%0), %%rcx", : : "r"(base + 0x1000), "c"(0ull) : "memory", "cc");
}

void test_main(void)
{
    test_sizes();
    test_write_protect();
    test_user();
    test_no_execute();
    test_reserved_bits();
    test_accessed_dirty();
    test_invalidation();
    test_global();
    test_pcid();
    test_invpcid();
    test_smep();
    test_smap();
    test_alias();
    test_crossing_contents();
    test_crossing_jump();
    test_crossing_faults();
    test_push_pop();
    test_conditional_writes();
}
