/*
 * String instructions and their repeat prefixes: exact progress when a page is missing, both
 * directions, every element size, address sizes, overlap, and interrupts in the middle. SDM volume 1,
 * 7.3.9.3: registers are updated after each element, so that a fault can be resumed.
 */
#include "lib/apic.h"
#include "lib/check.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "string";

/* Window of two pages; the second one, or the first, is missing at times. */
#define WINDOW TEST_SLOT(1)
#define EDGE (WINDOW + PAGE_SIZE)

/* The operands of a string instruction; where its registers end is of no interest to C. */
#define REGISTERS(count, from, to)                                                                                     \
    : "=c"(ended.rcx), "=S"(ended.rsi), "=D"(ended.rdi) : "0"((uint64_t)(count)), "1"(from), "2"(to)

static struct {
    uint64_t rcx, rsi, rdi;
} ended;

static uint8_t *frames[2];
static uint8_t source[4 * PAGE_SIZE] __attribute__((aligned(4096)));

static void both_pages(void)
{
    page_map(WINDOW, (uint64_t)frames[0], PTE_P | PTE_W, LEVEL_4K);
    page_map(EDGE, (uint64_t)frames[1], PTE_P | PTE_W, LEVEL_4K);
}

static void only_page(unsigned which)
{
    both_pages();
    *page_entry(which == 0 ? EDGE : WINDOW, LEVEL_4K) = 0;
    invlpg((void *)(which == 0 ? EDGE : WINDOW));
}

static uint8_t pattern(uint64_t i)
{
    return (uint8_t)(i * 37 + 11 + i / 256);
}

static void fill(void)
{
    for (unsigned i = 0; i < sizeof(source); i++)
        source[i] = pattern(i);
}

/* Checks the registers of a string instruction that faulted. */
static void check_progress(const char *what, uint64_t rcx, uint64_t rsi, uint64_t rdi)
{
    check_equal_at(what, 0, "RCX", last_trap.frame.rcx, rcx);
    check_equal_at(what, 0, "RSI", last_trap.frame.rsi, rsi);
    check_equal_at(what, 0, "RDI", last_trap.frame.rdi, rdi);
}

static void test_movs_to_hole(void)
{
    test_group("REP MOVS into a missing page");
    only_page(0);
    memset(frames[0], 0, PAGE_SIZE);
    EXPECT_PF(PF_W, EDGE, "rep movsb", REGISTERS(100, source, EDGE - 10) : "memory");
    check_progress("rep movsb", 90, (uint64_t)source + 10, EDGE);
    CHECK_EQ(memcmp(frames[0] + 4086, source, 10), 0);
    EXPECT_PF(PF_W, EDGE, "rep movsw", REGISTERS(100, source, EDGE - 7) : "memory");
    check_progress("rep movsw", 97, (uint64_t)source + 6, EDGE - 1);
    EXPECT_PF(PF_W, EDGE, "rep movsl", REGISTERS(100, source, EDGE - 8) : "memory");
    check_progress("rep movsl", 98, (uint64_t)source + 8, EDGE);
    frames[0][4092] = 0xee;
    EXPECT_PF(PF_W, EDGE, "rep movsq", REGISTERS(100, source, EDGE - 12) : "memory");
    check_progress("rep movsq", 99, (uint64_t)source + 8, EDGE - 4);
    CHECK_EQ(frames[0][4092], 0xee); /* nothing of the element that does not fit */
    EXPECT_PF(PF_W, EDGE, "rep stosb", REGISTERS(50, 0, EDGE - 20), "a"(0x42) : "memory");
    CHECK_EQ(last_trap.frame.rcx, 30);
    CHECK_EQ(last_trap.frame.rdi, EDGE);
    CHECK_EQ(frames[0][4095], 0x42);
    EXPECT_PF(PF_W, EDGE, "rep stosq", REGISTERS(50, 0, EDGE - 20), "a"(0x42) : "memory");
    CHECK_EQ(last_trap.frame.rcx, 48);
    CHECK_EQ(last_trap.frame.rdi, EDGE - 4);
    EXPECT_PF(PF_W, EDGE, "movsb", REGISTERS(0, source, EDGE) : "memory");
    CHECK_EQ(last_trap.frame.rdi, EDGE);
    EXPECT_NO_TRAP("rep movsb", REGISTERS(0, EDGE, EDGE) : "memory");
    EXPECT_NO_TRAP("rep stosq", REGISTERS(0, 0, 0x0000800000000000) : "memory");
}

static void test_movs_from_hole(void)
{
    test_group("REP MOVS from a missing page");
    only_page(0);
    memcpy(frames[0], source, PAGE_SIZE);
    EXPECT_PF(0, EDGE, "rep movsb", REGISTERS(100, EDGE - 10, source + 200) : "memory");
    check_progress("rep movsb", 90, EDGE, (uint64_t)source + 210);
    EXPECT_PF(0, EDGE, "rep movsl", REGISTERS(100, EDGE - 10, source + 200) : "memory");
    check_progress("rep movsl", 98, EDGE - 2, (uint64_t)source + 208);
    EXPECT_PF(0, EDGE, "rep lodsb", REGISTERS(100, EDGE - 10, 0) : "rax", "memory");
    CHECK_EQ(last_trap.frame.rcx, 90);
    CHECK_EQ(last_trap.frame.rax & 0xff, frames[0][4095]);
    fill();
}

static void test_backwards(void)
{
    test_group("DF set");
    only_page(1);
    memset(frames[1], 0, PAGE_SIZE);
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "std", "rep movsb", REGISTERS(100, source + 500, EDGE + 9) : "memory");
    check_progress("std; rep movsb", 90, (uint64_t)source + 490, EDGE - 1);
    trap_expect_cr2_at(__FILE__, __LINE__, "std; rep movsb", EDGE - 1);
    CHECK_EQ(memcmp(frames[1], source + 491, 10), 0);
    CHECK(last_trap.frame.rflags & RFLAGS_DF);
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "std", "rep movsl", REGISTERS(100, source + 500, EDGE + 8) : "memory");
    check_progress("std; rep movsl", 97, (uint64_t)source + 488, EDGE - 4);
    EXPECT_FAULT_AFTER(VECTOR_PF, PF_W, "std", "rep stosq", REGISTERS(100, 0, EDGE + 20), "a"(5) : "memory");
    CHECK_EQ(last_trap.frame.rcx, 97);
    CHECK_EQ(last_trap.frame.rdi, EDGE - 4);
    trap_expect_cr2_at(__FILE__, __LINE__, "std; rep stosq", EDGE - 4);
}

static void test_compare(void)
{
    uint64_t rcx, rsi, rdi;
    bool zero, carry;

    test_group("REP CMPS");
    only_page(0);
    memcpy(frames[0], source, PAGE_SIZE);
    frames[0][4090] = 0;
    source[4090] = 1;
    /* The difference comes before the hole: no fault, and the flags are of the last comparison. */
    EXPECT_NO_TRAP("repe cmpsb", : "=c"(rcx), "=S"(rsi), "=D"(rdi), "=@ccz"(zero), "=@ccc"(carry)
                   : "0"(50ull), "1"(source + 4080), "2"(EDGE - 16) : "memory");
    CHECK_EQ(rcx, 39);
    CHECK_EQ(rsi, (uint64_t)source + 4091);
    CHECK_EQ(rdi, EDGE - 5);
    CHECK(!zero && !carry);
    source[4090] = pattern(4090);
    frames[0][4090] = source[4090];
    EXPECT_PF(0, EDGE, "repe cmpsb", REGISTERS(50, source + 4080, EDGE - 16) : "memory");
    check_progress("repe cmpsb", 34, (uint64_t)source + 4096, EDGE);
    EXPECT_PF(0, EDGE, "repe cmpsl", REGISTERS(50, source + 4082, EDGE - 14) : "memory");
    check_progress("repe cmpsl", 47, (uint64_t)source + 4094, EDGE - 2);

    /* A count of zero compares nothing and leaves the flags alone. */
    __asm__ volatile("stc; repe cmpsb" : "=@ccc"(carry), "=c"(rcx) : "1"(0ull), "S"(EDGE), "D"(EDGE) : "memory");
    CHECK(carry);
    fill();
}

static void test_scan(void)
{
    uint64_t rcx, rdi;
    bool zero;

    test_group("REP SCAS");
    only_page(0);
    memset(frames[0], 7, PAGE_SIZE);
    frames[0][4000] = 9;
    EXPECT_NO_TRAP("repne scasb", : "=c"(rcx), "=D"(rdi), "=@ccz"(zero) : "0"(~0ull), "1"(WINDOW), "a"(9) : "memory");
    CHECK_EQ(rcx, ~0ull - 4001);
    CHECK_EQ(rdi, WINDOW + 4001);
    CHECK(zero);
    EXPECT_PF(0, EDGE, "repne scasb", REGISTERS(~0, 0, WINDOW), "a"(8) : "memory");
    CHECK_EQ(last_trap.frame.rdi, EDGE);
    CHECK_EQ(last_trap.frame.rcx, ~0ull - 4096);
    EXPECT_NO_TRAP("repe scasb", : "=c"(rcx), "=D"(rdi), "=@ccz"(zero) : "0"(5000ull), "1"(WINDOW), "a"(7) : "memory");
    CHECK_EQ(rcx, 999);
    CHECK(!zero);
    EXPECT_NO_TRAP("repne scasq", : "=c"(rcx), "=D"(rdi), "=@ccz"(zero)
                   : "0"(100ull), "1"(WINDOW), "a"(1ull) : "memory");
    CHECK_EQ(rcx, 0);
    CHECK_EQ(rdi, WINDOW + 800);
    CHECK(!zero);
}

/* The handler provides the page, and the instruction goes on where it was. */
static unsigned provided;

static bool provide_page(struct trap_frame *frame)
{
    uint64_t address = read_cr2();

    if (address < WINDOW || address >= WINDOW + 16 * PAGE_SIZE)
        return false;
    (void)frame;
    provided++;
    *page_entry(address, LEVEL_4K) |= PTE_P;
    return true;
}

static void test_resume(void)
{
    uint64_t run = (uint64_t)page_alloc_run(16, PAGE_SIZE), rcx, rsi, rdi;

    test_group("resumed after a page fault");
    for (unsigned i = 0; i < 16; i++)
        page_map(WINDOW + i * (uint64_t)PAGE_SIZE, run + i * (uint64_t)PAGE_SIZE, PTE_W, LEVEL_4K);
    trap_set_handler(VECTOR_PF, provide_page);
    __asm__ volatile("rep movsb"
                     : "=c"(rcx), "=S"(rsi), "=D"(rdi)
                     : "0"(sizeof(source)), "1"(source), "2"(WINDOW + 100) : "memory");
    CHECK_EQ(provided, 5);
    CHECK_EQ(rcx, 0);
    CHECK_EQ(rdi, WINDOW + 100 + sizeof(source));
    CHECK_EQ(memcmp((void *)(run + 100), source, sizeof(source)), 0);
    __asm__ volatile("rep stosq" : "=c"(rcx), "=D"(rdi)
                     : "0"(4 * 512ull), "1"(WINDOW + 8 * PAGE_SIZE + 4), "a"(0x0123456789abcdef) : "memory");
    CHECK_EQ(provided, 10);
    for (unsigned i = 0; i < 4 * 512; i += 61)
        CHECK_EQ(*(uint64_t *)(run + 8 * PAGE_SIZE + 4 + i * 8ull), 0x0123456789abcdef);
    CHECK_EQ(*(uint32_t *)(run + 12 * PAGE_SIZE + 4), 0);
    trap_set_handler(VECTOR_PF, 0);
}

/* Pages neither adjacent nor in order behind adjacent addresses. */
static void test_scattered(void)
{
    uint64_t run = (uint64_t)page_alloc_run(16, PAGE_SIZE);
    uint64_t base = TEST_SLOT(2);

    test_group("scattered pages");
    for (unsigned i = 0; i < 16; i++)
        page_map(base + i * (uint64_t)PAGE_SIZE, run + (i * 7 % 16) * (uint64_t)PAGE_SIZE, PTE_P | PTE_W, LEVEL_4K);
    for (unsigned i = 0; i < 3; i++)
        memcpy((void *)(base + 50 + i * sizeof(source)), source, sizeof(source));
    for (unsigned i = 0; i < 3 * sizeof(source); i += 173)
        CHECK_EQ(*(uint8_t *)(base + 50 + i), pattern(i % sizeof(source)));
    /* From window to window, over each other's page borders. */
    __asm__ volatile("rep movsq"
                     REGISTERS(2000, base + 50, base + 9 * PAGE_SIZE + 3) : "memory");
}

/* MOVS moves one element after the other: overlap repeats the pattern. */
static void test_overlap(void)
{
    static uint8_t area[512];

    test_group("overlap");
    for (unsigned distance = 1; distance < 40; distance++) {
        for (unsigned i = 0; i < sizeof(area); i++)
            area[i] = (uint8_t)i;
        __asm__ volatile("rep movsb" REGISTERS(300, area, area + distance) : "memory");
        for (unsigned i = 0; i < 300 + distance; i += 7)
            CHECK_EQ(area[i], i % distance);
        for (unsigned i = 0; i < sizeof(area); i++)
            area[i] = (uint8_t)i;
        __asm__ volatile("std; rep movsb; cld" REGISTERS(300, area + 299, area + 299 + distance) : "memory");
        for (unsigned i = 0; i < 300; i += 7)
            CHECK_EQ(area[i + distance], (uint8_t)i);
    }
    /* Elements of 8 bytes, 3 apart. */
    for (unsigned i = 0; i < sizeof(area); i++)
        area[i] = (uint8_t)i;
    uint8_t model[512];
    memcpy(model, area, sizeof(area));
    for (unsigned i = 0; i < 20; i++) {
        uint8_t element[8];
        for (unsigned j = 0; j < 8; j++)
            element[j] = model[i * 8 + j];
        for (unsigned j = 0; j < 8; j++)
            model[i * 8 + j + 3] = element[j];
    }
    __asm__ volatile("rep movsq" REGISTERS(20, area, area + 3) : "memory");
    CHECK_EQ(memcmp(area, model, sizeof(area)), 0);
}

static void test_address_size(void)
{
    static uint8_t target[64];
    uint64_t rcx, rsi, rdi;

    test_group("32-bit addresses");
    __asm__ volatile("addr32 rep movsb"
                     : "=c"(rcx), "=S"(rsi), "=D"(rdi)
                     : "0"(0xaaaaaaaa00000010), "1"((uint64_t)source | 0xbbbbbbbb00000000),
                       "2"((uint64_t)target | 0xcccccccc00000000)
                     : "memory");
    CHECK_EQ(rcx, 0);
    CHECK_EQ(rsi, (uint64_t)source + 16);
    CHECK_EQ(rdi, (uint64_t)target + 16);
    CHECK_EQ(memcmp(target, source, 16), 0);
    *page_entry(0x90000000, LEVEL_2M) = 0;
    invlpg((void *)0x90000000);
    EXPECT_PF(PF_W, 0x90000000, "addr32 rep stosb", REGISTERS(5, 0, 0x1234567890000000), "a"(1) : "memory");
}

static void test_segment_override(void)
{
    static uint8_t target[32];

    test_group("segment override");
    write_msr(MSR_FS_BASE, (uint64_t)source + 100);
    /* FS moves the source; nothing moves the destination. */
    __asm__ volatile(".byte 0x64; rep movsb" REGISTERS(16, 5ull, target) : "memory");
    CHECK_EQ(memcmp(target, source + 105, 16), 0);
    write_msr(MSR_FS_BASE, 0);
}

/* Port strings: the same progress rules. The line status register can be read any number of times. */
static void test_ports(void)
{
    test_group("REP INS and OUTS");
    only_page(0);
    EXPECT_PF(0, EDGE, "rep outsb", REGISTERS(100, EDGE - 3, 0), "d"(0x80) : "memory");
    CHECK_EQ(last_trap.frame.rcx, 97);
    CHECK_EQ(last_trap.frame.rsi, EDGE);
    EXPECT_PF(PF_W, EDGE, "rep insb", REGISTERS(100, 0, EDGE - 3), "d"(0x3fd) : "memory");
    CHECK_EQ(last_trap.frame.rcx, 97);
    CHECK_EQ(last_trap.frame.rdi, EDGE);
    CHECK_EQ(frames[0][4095], in8(0x3fd));
}

/* Device memory takes the long way. */
static void test_device_memory(void)
{
    uint32_t values[2] = { 0, 0 };

    test_group("device memory");
    apic_enable();
    __asm__ volatile("movsl" REGISTERS(0, APIC_MMIO + APIC_SVR, values) : "memory");
    CHECK_EQ(values[0], apic_read(APIC_SVR));
    values[1] = 0x30;
    __asm__ volatile("movsl" REGISTERS(0, values + 1, APIC_MMIO + APIC_TPR) : "memory");
    CHECK_EQ(read_cr8(), 3);
    __asm__ volatile("stosl" REGISTERS(0, 0, APIC_MMIO + APIC_TPR), "a"(0) : "memory");
    CHECK_EQ(read_cr8(), 0);
}

static volatile unsigned ticks, inside;
static const uint8_t *long_copy;

static bool on_tick(struct trap_frame *frame)
{
    ticks++;
    if (frame->rip == (uint64_t)long_copy) {
        inside++; /* stopped between two elements: what is done is done, what is not is not */
        CHECK(frame->rcx > 0);
        CHECK_EQ((frame->rdi - WINDOW) + frame->rcx * 8, 0x200000);
    }
    apic_eoi();
    return true;
}

/* A long REP takes interrupts, and comes back to itself. */
static void test_interrupted(void)
{
    uint8_t *large = page_alloc_run(512, 0x200000);
    uint64_t rcx, rdi, address;

    test_group("interrupted");
    *page_entry(WINDOW, LEVEL_2M) = 0;
    page_map(WINDOW, (uint64_t)large, PTE_P | PTE_W, LEVEL_2M);
    write_cr3(read_cr3());
    trap_set_handler(0x70, on_tick);
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
    apic_write(APIC_LVT_TIMER, 0x70 | LVT_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, 50000);
    for (uint64_t round = 1; round <= 10 || (ticks < 5 && round <= 2000); round++) {
        __asm__ volatile("leaq 1f(%%rip), %2; movq %2, %3; sti; nop; 1: rep stosq; cli"
                         : "=c"(rcx), "=D"(rdi), "=&r"(address), "=m"(long_copy)
                         : "0"(0x40000ull), "1"(WINDOW), "a"(round * 0x0101010101010101)
                         : "memory");
        CHECK_EQ(rcx, 0);
        CHECK_EQ(rdi, WINDOW + 0x200000);
        for (unsigned i = 0; i < 0x200000; i += 0x1fff8)
            CHECK_EQ(*(uint64_t *)(large + i), round * 0x0101010101010101);
    }
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 0);
    CHECK(ticks > 0);
}

void test_main(void)
{
    frames[0] = page_alloc_run(3, PAGE_SIZE);
    frames[1] = frames[0] + 2 * PAGE_SIZE;
    fill();
    test_movs_to_hole();
    test_movs_from_hole();
    test_backwards();
    test_compare();
    test_scan();
    test_resume();
    test_scattered();
    test_overlap();
    test_address_size();
    test_segment_override();
    test_ports();
    test_device_memory();
    test_interrupted();
}
