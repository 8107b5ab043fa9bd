/*
 * x87, SSE and XSAVE state management: SDM volume 1, chapters 8, 10 and 13; volume 3, 2.5 and 13.
 */
#include "lib/apic.h"
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "fpu";

enum { MXCSR_DEFAULT = 0x1f80, CPUID_XSAVE = 1 << 26, CPUID_AVX = 1 << 28 };

/* The legacy image, and behind it header and extended state. SDM volume 1, tables 10-2 and 13-1. */
struct xsave_image {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[16][16];
    uint8_t unused[96];
    uint64_t xstate_bv, xcomp_bv, header[6];
    uint8_t extended[4096 - 576];
};
_Static_assert(sizeof(struct xsave_image) == 4096, "the layout of the XSAVE area");

static struct xsave_image image __attribute__((aligned(64))), other __attribute__((aligned(64)));

SNIPPET(user_xsetbv, 64, "xorl %ecx, %ecx; movl $1, %eax; xorl %edx, %edx; 1: xsetbv");
SNIPPET(user_fld, 64, "fld1");

static void load_mxcsr(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(value));
}

static uint32_t store_mxcsr(void)
{
    uint32_t value;
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value;
}

static void test_not_available(void)
{
    uint64_t cr0 = read_cr0();

    test_group("CR0.TS, EM and MP");
    write_cr0(cr0 | CR0_TS);
    EXPECT_FAULT(VECTOR_NM, 0, "fld1", : : : "memory");
    EXPECT_FAULT(VECTOR_NM, 0, "fxsave %0", : "=m"(image) : : "memory");
    EXPECT_FAULT(VECTOR_NM, 0, "fwait", : : : "memory");
    EXPECT_FAULT(VECTOR_NM, 0, "movaps %%xmm1, %%xmm0", : : : "memory");
    EXPECT_FAULT(VECTOR_NM, 0, "ldmxcsr %0", : : "m"(image.mxcsr) : "memory");
    if (!skip_on("qemu", "EMMS looks at neither TS nor EM"))
        EXPECT_FAULT(VECTOR_NM, 0, "emms", : : : "memory");
    EXPECT_NO_TRAP("sfence; lfence; mfence", : : : "memory");
    EXPECT_NO_TRAP("prefetchnta %0", : : "m"(image) : "memory");
    EXPECT_NO_TRAP("movnti %%rax, %0", : "=m"(image) : : "memory");
    EXPECT_RUN(context_user(user_fld), VECTOR_NM, 0, user_fld);
    write_cr0((cr0 | CR0_TS) & ~CR0_MP);
    EXPECT_NO_TRAP("fwait", : : : "memory"); /* only with MP */
    EXPECT_FAULT(VECTOR_NM, 0, "fld1", : : : "memory");
    __asm__ volatile("clts");
    CHECK_EQ(read_cr0() & CR0_TS, 0);
    write_cr0(cr0 | CR0_EM);
    EXPECT_FAULT(VECTOR_NM, 0, "fld1", : : : "memory");
    EXPECT_FAULT(VECTOR_UD, 0, "movaps %%xmm1, %%xmm0", : : : "memory");
    if (!option("oracle=qemu"))
        EXPECT_FAULT(VECTOR_UD, 0, "emms", : : : "memory");
    write_cr0(cr0);
    EXPECT_NO_TRAP("fld1; fstp %%st(0)", : : : "memory");

    write_cr4(read_cr4() & ~CR4_OSFXSR);
    EXPECT_FAULT(VECTOR_UD, 0, "movaps %%xmm1, %%xmm0", : : : "memory");
    EXPECT_FAULT(VECTOR_UD, 0, "ldmxcsr %0", : : "m"(image.mxcsr) : "memory");
    EXPECT_NO_TRAP("emms", : : : "memory");
    write_cr4(read_cr4() | CR4_OSFXSR);
}

/* The lazy switching of a kernel: #NM, CLTS, the instruction again. */
static unsigned switches;

static bool on_no_math(struct trap_frame *frame)
{
    (void)frame;
    switches++;
    __asm__ volatile("clts");
    return true;
}

static void test_lazy_switch(void)
{
    uint64_t value = 0;

    test_group("lazy switching");
    trap_set_handler(VECTOR_NM, on_no_math);
    for (unsigned i = 0; i < 20; i++) {
        __asm__ volatile("movq %0, %%xmm3" : : "r"(0x1000ull + i));
        write_cr0(read_cr0() | CR0_TS);
        __asm__ volatile("movq %%xmm3, %0" : "=r"(value));
        CHECK_EQ(value, 0x1000 + i);
    }
    trap_set_handler(VECTOR_NM, 0);
    CHECK_EQ(switches, 20);
}

static void test_reset_values(void)
{
    struct {
        uint32_t control, status, tags, rest[4];
    } environment;

    test_group("FNINIT");
    __asm__ volatile("fld1; fldpi; fninit; fnstenv %0" : "=m"(environment));
    CHECK_EQ(environment.control & 0xffff, 0x37f);
    CHECK_EQ(environment.status & 0xffff, 0);
    CHECK_EQ(environment.tags & 0xffff, 0xffff);
    __asm__ volatile("fninit; fld1; fldz; fnstenv %0" : "=m"(environment));
    CHECK_EQ(environment.tags & 0xffff, 0x1fff); /* physical registers 7: valid, 6: zero */
    CHECK_EQ(environment.status >> 11 & 7, 6);
    __asm__ volatile("fninit; fld1; fldz; fxsave %0; fninit" : "=m"(image));
    CHECK_EQ(image.ftw, 0xc0);
    CHECK_EQ(image.fsw >> 11 & 7, 6);
    CHECK_EQ(image.mxcsr, MXCSR_DEFAULT);
    CHECK((image.mxcsr_mask & 0xffbf) == 0xffbf);
}

static void test_fxsave(void)
{
    test_group("FXSAVE and FXRSTOR");
    memset(&image, 0, sizeof(image));
    __asm__ volatile("fninit; fxsave %0" : "=m"(image));
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned j = 0; j < 10; j++)
            image.st[i][j] = (uint8_t)(i * 16 + j + 1);
        image.st[i][7] |= 0x80; /* a normal number */
    }
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned j = 0; j < 16; j++)
            image.xmm[i][j] = (uint8_t)(i * 16 + j);
    }
    image.ftw = 0xff;
    image.fcw = 0x27f;
    image.mxcsr = 0x1fa0;
    memset(&other, 0xcc, sizeof(other));
    __asm__ volatile("fxrstor64 %1; fxsave64 %0; fninit" : "=m"(other) : "m"(image));
    CHECK_EQ(memcmp(other.xmm, image.xmm, sizeof(image.xmm)), 0);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(memcmp(other.st[i], image.st[i], 10), 0);
    CHECK_EQ(other.fcw, 0x27f);
    CHECK_EQ(other.ftw, 0xff);
    CHECK_EQ(other.mxcsr, 0x1fa0);
    CHECK_EQ(other.unused[95], 0xcc); /* FXSAVE leaves the last bytes to software */

    EXPECT_FAULT(VECTOR_GP, 0, "fxsave (%0)", : : "r"((uint8_t *)&other + 8) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "fxrstor (%0)", : : "r"((uint8_t *)&other + 1) : "memory");
    load_mxcsr(MXCSR_DEFAULT);
}

static void test_mxcsr(void)
{
    uint32_t bad = 0x10000;

    test_group("MXCSR");
    load_mxcsr(0x9fc0);
    CHECK_EQ(store_mxcsr(), 0x9fc0);
    load_mxcsr(MXCSR_DEFAULT);
    if (!skip_on("qemu", "reserved bits of MXCSR are not checked")) {
        EXPECT_FAULT(VECTOR_GP, 0, "ldmxcsr %0", : : "m"(bad) : "memory");
        CHECK_EQ(store_mxcsr(), MXCSR_DEFAULT);
        image.mxcsr = 0x80000000 | MXCSR_DEFAULT;
        EXPECT_FAULT(VECTOR_GP, 0, "fxrstor %0", : : "m"(image) : "memory");
    }
    image.mxcsr = MXCSR_DEFAULT;

    /* The rounding mode counts, and the flags stay. */
    double half = 2.5;
    uint32_t result;
    for (unsigned mode = 0; mode < 4; mode++) {
        static const uint8_t wanted[4] = { 2, 2, 3, 2 };

        load_mxcsr(MXCSR_DEFAULT | mode << 13);
        __asm__ volatile("cvtsd2si %1, %0" : "=r"(result) : "m"(half));
        CHECK_EQ(result, wanted[mode]);
        CHECK_EQ(store_mxcsr(), MXCSR_DEFAULT | mode << 13 | 0x20);
    }
    load_mxcsr(MXCSR_DEFAULT);
}

/* One instruction per SIMD exception, each unmasked alone. */
static void test_simd_exceptions(void)
{
    static const uint32_t zero[4] = { 0 }, one[4] = { 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000 };
    static const uint32_t huge[4] = { 0x7f000000, 0x7f000000, 0x7f000000, 0x7f000000 }, three[4] = { 0x40400000 };
    static const uint32_t small[4] = { 1, 1, 1, 1 }, signalling[4] = { 0x7fa00000 };
    static const struct {
        const uint32_t *left, *right; /* left / right, left * right or left + right */
        char operation;
        uint8_t flag;
    } cases[] = {
        { signalling, one, '+', 0x01 }, { small, one, '+', 0x02 }, { one, zero, '/', 0x04 },
        { huge, huge, '*', 0x08 },      { one, three, '/', 0x20 },
    };

    test_group("#XM");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load_mxcsr(MXCSR_DEFAULT);
        __asm__ volatile("movups (%0), %%xmm0; movups (%1), %%xmm1" : : "r"(cases[i].left), "r"(cases[i].right));
        if (cases[i].operation == '/')
            __asm__ volatile("divss %xmm1, %xmm0");
        else if (cases[i].operation == '*')
            __asm__ volatile("mulss %xmm1, %xmm0");
        else
            __asm__ volatile("addss %xmm1, %xmm0");
        if (cases[i].flag != 0x02 || !skip_on("qemu", "MXCSR.DE is not set"))
            CHECK_EQ(store_mxcsr() & cases[i].flag, cases[i].flag); /* masked: only the flag */
    }
    if (skip_on("qemu", "unmasked SIMD exceptions are not raised"))
        return;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        __asm__ volatile("movups (%0), %%xmm0; movups (%1), %%xmm1" : : "r"(cases[i].left), "r"(cases[i].right));
        load_mxcsr(MXCSR_DEFAULT & ~((uint32_t)cases[i].flag << 7));
        if (cases[i].operation == '/')
            EXPECT_FAULT(VECTOR_XM, 0, "divss %%xmm1, %%xmm0", : : : "memory");
        else if (cases[i].operation == '*')
            EXPECT_FAULT(VECTOR_XM, 0, "mulss %%xmm1, %%xmm0", : : : "memory");
        else
            EXPECT_FAULT(VECTOR_XM, 0, "addss %%xmm1, %%xmm0", : : : "memory");
        CHECK_EQ(store_mxcsr() & cases[i].flag, cases[i].flag);
        memset(&image, 0, sizeof(image));
        __asm__ volatile("movups %%xmm0, %0" : "=m"(image.xmm[0]));
        CHECK_EQ(memcmp(image.xmm[0], cases[i].left, 16), 0); /* the destination is as before */
    }
    /* Without OSXMMEXCPT it is #UD. */
    write_cr4(read_cr4() & ~CR4_OSXMMEXCPT);
    __asm__ volatile("movups (%0), %%xmm0; movups (%1), %%xmm1" : : "r"(one), "r"(zero));
    load_mxcsr(MXCSR_DEFAULT & ~(0x04u << 7));
    EXPECT_FAULT(VECTOR_UD, 0, "divss %%xmm1, %%xmm0", : : : "memory");
    write_cr4(read_cr4() | CR4_OSXMMEXCPT);
    load_mxcsr(MXCSR_DEFAULT);
}

/* x87 exceptions stay pending until the next waiting instruction. */
static void test_x87_exceptions(void)
{
    uint16_t control = 0x37f & ~0x04, status; /* zero divide unmasked */

    test_group("#MF");
    EXPECT_NO_TRAP("fninit; fldcw %0; fldz; fld1; fdivp", : : "m"(control) : "memory");
    __asm__ volatile("fnstsw %0" : "=a"(status));
    CHECK_EQ(status & 0x8084, 0x8084); /* B, ES, ZE */
    EXPECT_FAULT(VECTOR_MF, 0, "fwait", : : : "memory");
    EXPECT_NO_TRAP("fnstcw %0", : "=m"(control) : : "memory");
    EXPECT_NO_TRAP("fxsave %0", : "=m"(image) : : "memory");
    CHECK_EQ(image.fsw & 0x84, 0x84);
    if (!skip_on("qemu", "only FWAIT reports a pending x87 exception")) {
        EXPECT_FAULT(VECTOR_MF, 0, "fld1", : : : "memory");
        EXPECT_FAULT(VECTOR_MF, 0, "fstl %0", : "=m"(image) : : "memory");
        EXPECT_FAULT(VECTOR_MF, 0, "emms", : : : "memory");
    }
    EXPECT_NO_TRAP("fnclex; fwait", : : : "memory");
    __asm__ volatile("fnstsw %0" : "=a"(status));
    CHECK_EQ(status & 0x80ff, 0);
    if (skip_on("qemu", "FLDCW makes nothing pending, and the register stack has no overflow"))
        return;
    /* Unmasking an exception whose flag is set makes it pending; FLDCW itself does not fault. */
    EXPECT_NO_TRAP("fninit; fldz; fld1; fdivp", : : : "memory");
    control = 0x37f & ~0x04;
    EXPECT_NO_TRAP("fldcw %0", : : "m"(control) : "memory");
    EXPECT_FAULT(VECTOR_MF, 0, "fwait", : : : "memory");
    EXPECT_NO_TRAP("fninit; fwait", : : : "memory");
    /* Stack underflow, masked: C1 = 0, SF, IE. */
    __asm__ volatile("fninit; fstp %%st(0); fnstsw %0; fninit" : "=a"(status));
    CHECK_EQ(status & 0x241, 0x41);
}

static uint64_t get_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (uint64_t)high << 32;
}

static void set_xcr0(uint64_t value)
{
    __asm__ volatile("xsetbv" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(0) : "memory");
}

#define XSETBV_OPERANDS(index, value)                                                                                  \
    : : "c"(index), "a"((uint32_t)(value)), "d"((uint32_t)((uint64_t)(value) >> 32)) : "memory"

static void test_xsetbv(void)
{
    uint64_t supported = cpuid(0xd, 0).eax | (uint64_t)cpuid(0xd, 0).edx << 32;

    test_group("XSETBV");
    CHECK(!(cpuid(1, 0).ecx & 1 << 27));
    EXPECT_FAULT(VECTOR_UD, 0, "xsetbv", XSETBV_OPERANDS(0, 1));
    EXPECT_FAULT(VECTOR_UD, 0, "xgetbv", : : "c"(0) : "rax", "rdx");
    EXPECT_FAULT(VECTOR_UD, 0, "xsave %0", : "=m"(image) : "a"(7), "d"(0) : "memory");
    write_cr4(read_cr4() | CR4_OSXSAVE);
    CHECK(cpuid(1, 0).ecx & 1 << 27); /* CPUID follows CR4 */
    CHECK_EQ(get_xcr0(), XCR0_X87);
    CHECK_EQ(cpuid(0xd, 0).ebx, 576);
    EXPECT_FAULT(VECTOR_GP, 0, "xsetbv", XSETBV_OPERANDS(0, 0));
    EXPECT_FAULT(VECTOR_GP, 0, "xsetbv", XSETBV_OPERANDS(0, 2));
    EXPECT_FAULT(VECTOR_GP, 0, "xsetbv", XSETBV_OPERANDS(0, 1ull << 63 | 1));
    EXPECT_FAULT(VECTOR_GP, 0, "xsetbv", XSETBV_OPERANDS(1, 3));
    EXPECT_FAULT(VECTOR_GP, 0, "xgetbv", : : "c"(2) : "rax", "rdx");
    if (supported & XCR0_AVX) {
        EXPECT_FAULT(VECTOR_GP, 0, "xsetbv", XSETBV_OPERANDS(0, XCR0_X87 | XCR0_AVX));
        EXPECT_FAULT(VECTOR_UD, 0, "vzeroupper", : : : "memory"); /* AVX not enabled yet */
    }
    EXPECT_NO_TRAP("xsetbv", XSETBV_OPERANDS(0, supported));
    CHECK_EQ(get_xcr0(), supported);
    CHECK_EQ(cpuid(0xd, 0).ebx, cpuid(0xd, 0).ecx);
    context_run(&(struct trap_frame){ .rip = (uint64_t)user_xsetbv, .cs = USER_CS, .ss = USER_DS,
                                      .rsp = context_user(0).rsp, .rflags = RFLAGS_FIXED });
    trap_expect_at(__FILE__, __LINE__, "XSETBV in ring 3", VECTOR_GP, 0, (uint64_t)user_xsetbv_end - 3);
    set_xcr0(supported & (XCR0_X87 | XCR0_SSE | XCR0_AVX));
}

static void xsave(struct xsave_image *area, uint64_t mask)
{
    __asm__ volatile("xsave64 %0" : "+m"(*area) : "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static void xrstor(const struct xsave_image *area, uint64_t mask)
{
    __asm__ volatile("xrstor64 %0" : : "m"(*area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static void test_xsave(void)
{
    uint64_t value;

    test_group("XSAVE and XRSTOR");
    memset(&image, 0, sizeof(image));
    __asm__ volatile("fninit; movq %0, %%xmm5" : : "r"(0x1122334455667788));
    xsave(&image, 7);
    CHECK_EQ(image.xstate_bv & ~7ull, 0);
    CHECK(image.xstate_bv & XCR0_SSE);
    CHECK_EQ(image.xcomp_bv, 0);
    CHECK_EQ(*(uint64_t *)image.xmm[5], 0x1122334455667788);

    /* A component that is not asked for is not written; its header bit stays. */
    memset(&other, 0, sizeof(other));
    other.xstate_bv = XCR0_AVX;
    xsave(&other, XCR0_X87);
    CHECK_EQ(*(uint64_t *)other.xmm[5], 0);
    CHECK(other.xstate_bv & XCR0_AVX);
    CHECK(!(other.xstate_bv & XCR0_SSE));

    /* Components whose bit is clear come back initialized. */
    memset(&other, 0, sizeof(other));
    *(uint64_t *)other.xmm[5] = 99;
    other.mxcsr = MXCSR_DEFAULT;
    xrstor(&other, XCR0_X87 | XCR0_SSE);
    __asm__ volatile("movq %%xmm5, %0" : "=r"(value));
    CHECK_EQ(value, 0);
    other.xstate_bv = XCR0_SSE;
    xrstor(&other, XCR0_X87 | XCR0_SSE);
    __asm__ volatile("movq %%xmm5, %0" : "=r"(value));
    CHECK_EQ(value, 99);
    *(uint64_t *)other.xmm[5] = 55;
    xrstor(&other, XCR0_X87); /* not asked for: unchanged */
    __asm__ volatile("movq %%xmm5, %0" : "=r"(value));
    CHECK_EQ(value, 99);

#define XRSTOR_OPERANDS : : "m"(other), "a"(7), "d"(0) : "memory"
    other.xstate_bv = 1ull << 62;
    EXPECT_FAULT(VECTOR_GP, 0, "xrstor64 %0", XRSTOR_OPERANDS);
    other.xstate_bv = XCR0_SSE;
    other.xcomp_bv = 1;
    EXPECT_FAULT(VECTOR_GP, 0, "xrstor64 %0", XRSTOR_OPERANDS);
    other.xcomp_bv = 0;
    other.header[0] = 1;
    if (!skip_on("qemu", "the reserved bytes of the header are not checked"))
        EXPECT_FAULT(VECTOR_GP, 0, "xrstor64 %0", XRSTOR_OPERANDS);
    other.header[0] = 0;
    EXPECT_NO_TRAP("xrstor64 %0", XRSTOR_OPERANDS);
    EXPECT_FAULT(VECTOR_GP, 0, "xsave64 (%0)", : : "r"((uint8_t *)&other + 16), "a"(7), "d"(0) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "xrstor64 (%0)", : : "r"((uint8_t *)&other + 32), "a"(7), "d"(0) : "memory");
    write_cr0(read_cr0() | CR0_TS);
    if (!skip_on("qemu", "XSAVE does not look at TS")) {
        EXPECT_FAULT(VECTOR_NM, 0, "xsave64 %0", XRSTOR_OPERANDS);
        EXPECT_FAULT(VECTOR_NM, 0, "xrstor64 %0", XRSTOR_OPERANDS);
    }
    __asm__ volatile("clts");
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0; xsave64 %0", XRSTOR_OPERANDS);
}

/* The image may lie across pages, either of them missing. */
static void test_xsave_faults(void)
{
    uint64_t base = TEST_SLOT(1), run = (uint64_t)page_alloc_run(2, PAGE_SIZE);
    uint64_t at = base + PAGE_SIZE - 256;

    test_group("XSAVE across pages");
    page_map(base, run, PTE_P | PTE_W, LEVEL_4K);
    EXPECT_FAULT(VECTOR_PF, PF_W, "xsave64 (%0)", : : "r"(at), "a"(7), "d"(0) : "memory");
    EXPECT_FAULT(VECTOR_PF, 0, "xrstor64 (%0)", : : "r"(at), "a"(7), "d"(0) : "memory");
    CHECK(last_trap.cr2 >= base + PAGE_SIZE);
    EXPECT_FAULT(VECTOR_PF, PF_W, "fxsave64 (%0)", : : "r"(at) : "memory");
    page_map(base + PAGE_SIZE, run + PAGE_SIZE, PTE_P | PTE_W, LEVEL_4K);
    memset((void *)run, 0, 2 * PAGE_SIZE);
    __asm__ volatile("movq %0, %%xmm15; movq %0, %%xmm0" : : "r"(0x7777ull));
    EXPECT_NO_TRAP("xsave64 (%0)", : : "r"(at), "a"(7), "d"(0) : "memory");
    __asm__ volatile("xorps %xmm15, %xmm15; xorps %xmm0, %xmm0");
    EXPECT_NO_TRAP("xrstor64 (%0)", : : "r"(at), "a"(7), "d"(0) : "memory");
    uint64_t first, last;
    __asm__ volatile("movq %%xmm0, %0; movq %%xmm15, %1" : "=r"(first), "=r"(last));
    CHECK_EQ(first, 0x7777);
    CHECK_EQ(last, 0x7777);
}

static void test_avx(void)
{
    static uint64_t wide[4] __attribute__((aligned(32))) = { 1, 2, 3, 4 };
    uint64_t got[4] __attribute__((aligned(32)));

    test_group("AVX state");
    if (!(cpuid(1, 0).ecx & CPUID_AVX)) {
        skip("no AVX");
        return;
    }
    memset(&image, 0, sizeof(image));
    __asm__ volatile("vmovdqa %0, %%ymm7" : : "m"(wide));
    xsave(&image, 7);
    CHECK(image.xstate_bv & XCR0_AVX);
    CHECK_EQ(*(uint64_t *)((uint8_t *)&image + cpuid(0xd, 2).ebx + 7 * 16), 3);
    __asm__ volatile("vzeroall");
    xrstor(&image, 7);
    __asm__ volatile("vmovdqu %%ymm7, %0" : "=m"(got));
    CHECK_EQ(memcmp(got, wide, sizeof(wide)), 0);
    /* A legacy SSE write keeps the upper half, a VEX one clears it. */
    __asm__ volatile("xorps %%xmm7, %%xmm7; vmovdqu %%ymm7, %0" : "=m"(got));
    CHECK_EQ(got[0], 0);
    CHECK_EQ(got[2], 3);
    __asm__ volatile("vxorps %%xmm7, %%xmm7, %%xmm7; vmovdqu %%ymm7, %0" : "=m"(got));
    CHECK_EQ(got[2], 0);
    EXPECT_FAULT(VECTOR_GP, 0, "vmovdqa (%0), %%ymm7", : : "r"((uint8_t *)wide + 16) : "memory");
    set_xcr0(XCR0_X87 | XCR0_SSE);
    EXPECT_FAULT(VECTOR_UD, 0, "vzeroupper", : : : "memory");
    set_xcr0(XCR0_X87 | XCR0_SSE | XCR0_AVX);
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0x66, 0xc5, 0xf8, 0x77", : : : "memory"); /* 66 before VEX */
    EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0, 0xc5, 0xf8, 0x77", : : : "memory"); /* LOCK before VEX */
}

/* Nothing that interrupts a computation may touch its registers. */
static bool on_tick(struct trap_frame *frame)
{
    (void)frame;
    (void)apic_read(APIC_ID); /* a device access on the way */
    apic_eoi();
    return true;
}

static void test_isolation(void)
{
    test_group("state across interrupts");
    apic_enable();
    trap_set_handler(0x70, on_tick);
    memset(&image, 0, sizeof(image));
    __asm__ volatile("fninit; fxsave64 %0" : "=m"(image));
    image.ftw = 0xff;
    for (unsigned i = 0; i < 8; i++) {
        image.st[i][7] = 0x80;
        image.st[i][8] = (uint8_t)(i + 1);
        image.st[i][9] = 0x40;
    }
    for (unsigned i = 0; i < 16; i++)
        memset(image.xmm[i], (int)(0x30 + i), 16);
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
    apic_write(APIC_LVT_TIMER, 0x70 | LVT_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, 100000);
    __asm__ volatile("fxrstor64 %0" : : "m"(image));
    for (unsigned i = 0; i < 300; i++) {
        uint64_t spin = 500;
        __asm__ volatile("sti; 1: decq %0; jnz 1b; cli" : "+r"(spin) : : "memory", "cc");
        (void)in8(0x61);
        EXPECT_FAULT(VECTOR_PF, 0, "movb (%0), %%cl", : : "r"(TEST_SLOT(200)) : "rcx");
    }
    memset(&other, 0, sizeof(other));
    __asm__ volatile("fxsave64 %0; fninit" : "=m"(other));
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    CHECK_EQ(memcmp(other.xmm, image.xmm, sizeof(image.xmm)), 0);
    CHECK_EQ(memcmp(other.st, image.st, sizeof(image.st)), 0);
    CHECK_EQ(other.fcw, image.fcw);
    CHECK_EQ(other.ftw, image.ftw);
}

void test_main(void)
{
    test_not_available();
    test_lazy_switch();
    test_reset_values();
    test_fxsave();
    test_mxcsr();
    test_simd_exceptions();
    test_x87_exceptions();
    if (cpuid(1, 0).ecx & CPUID_XSAVE && !skip_on("nested", "the hypervisor is not told of XSETBV")) {
        test_xsetbv();
        test_xsave();
        test_xsave_faults();
        test_avx();
    } else if (!(cpuid(1, 0).ecx & CPUID_XSAVE)) {
        skip("no XSAVE");
    }
    test_isolation();
}
