/*
 * What a processor says about itself, and its model-specific registers: SDM volume 2 (CPUID), volume 4;
 * APM volume 2, appendix A, and volume 3, appendix E. And RDTSC, RDPMC, UMIP.
 */
#include "lib/apic.h"
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "msr_cpuid";

enum { CPUID_HYPERVISOR = 31, CPUID_UMIP = 2, UNKNOWN_MSR = 0x12345678 };

SNIPPET(user_rdtsc, 64, "rdtsc");
SNIPPET(user_rdtscp, 64, "rdtscp");
SNIPPET(user_rdpmc, 64, "rdpmc");
SNIPPET(user_rdmsr, 64, "rdmsr");
SNIPPET(user_sgdt, 64, "sgdt -16(%rsp)");
SNIPPET(user_sidt, 64, "sidt -16(%rsp)");
SNIPPET(user_sldt, 64, "sldt %eax");
SNIPPET(user_str, 64, "str %eax");
SNIPPET(user_smsw, 64, "smsw %eax");
SNIPPET(user_cpuid, 64, "cpuid");
SNIPPET(user_lmsw, 64, "lmsw %ax");
SNIPPET(user_clts, 64, "clts");

static bool feature(uint32_t word, unsigned bit)
{
    return word >> bit & 1;
}

static void test_basic_leaves(void)
{
    struct cpuid_registers zero = cpuid(0, 0), one = cpuid(1, 0);
    static const uint8_t edx_bits[] = { 0, 3, 4, 5, 6, 8, 9, 13, 15, 16, 17, 19, 23, 24, 25, 26 };

    test_group("basic leaves");
    CHECK(zero.eax >= 7);
    CHECK(vendor_is_intel() != vendor_is_amd());
    for (unsigned i = 0; i < sizeof(edx_bits); i++) {
        if (!feature(one.edx, edx_bits[i]))
            fail("CPUID 1 EDX bit %u is clear: every x86-64 processor has it", edx_bits[i]);
    }
    CHECK_EQ(one.ebx >> 24, 0);                    /* initial APIC identifier */
    CHECK_EQ((one.ebx >> 8 & 0xff) * 8, 64);       /* CLFLUSH line */
    CHECK(feature(one.ecx, 13));                   /* CMPXCHG16B */
    CHECK(feature(one.ecx, CPUID_HYPERVISOR));
    CHECK_EQ(feature(one.ecx, 27), (read_cr4() & CR4_OSXSAVE) != 0);
    CHECK(cpuid(0x40000000, 0).eax >= 0x40000000 || option("oracle=qemu"));

    /* The upper halves are cleared. */
    uint64_t rax = ~0ull << 32, rbx = ~0ull, rcx = ~0ull << 32, rdx = ~0ull;
    __asm__ volatile("cpuid" : "+a"(rax), "+b"(rbx), "+c"(rcx), "+d"(rdx));
    CHECK_EQ((rax | rbx | rcx | rdx) >> 32, 0);
    CHECK_EQ(rax, zero.eax);
    EXPECT_END(context_user(user_cpuid), user_cpuid);
    CHECK_EQ(last_trap.frame.rbx, zero.ebx);
}

static void test_extended_leaves(void)
{
    struct cpuid_registers features = cpuid(0x80000001, 0);
    uint32_t highest = cpuid(0x80000000, 0).eax;

    test_group("extended leaves");
    CHECK(highest >= 0x80000008);
    CHECK(feature(features.edx, 11)); /* SYSCALL */
    CHECK(feature(features.edx, 20)); /* NX */
    CHECK(feature(features.edx, 29)); /* LM */
    CHECK(feature(features.ecx, 0));  /* LAHF */
    uint32_t widths = cpuid(0x80000008, 0).eax;
    CHECK((widths & 0xff) >= 36 && (widths & 0xff) <= 52);
    CHECK_EQ(widths >> 8 & 0xff, feature(cpuid(7, 0).ecx, 16) ? 57 : 48); /* LA57 */
    for (unsigned leaf = 0x80000002; leaf <= 0x80000004; leaf++) {
        struct cpuid_registers text = cpuid(leaf, 0);
        for (unsigned i = 0; i < 16; i++) {
            uint8_t c = ((uint8_t *)&text)[i];
            if (c != 0 && (c < 0x20 || c > 0x7e))
                fail("CPUID 0x%x: byte 0x%x in the name", leaf, c);
        }
    }
}

/* Beyond the last basic leaf Intel repeats the highest one, AMD says zero. */
static void test_out_of_range(void)
{
    struct cpuid_registers answer = cpuid(0x3fffffff, 0), highest = cpuid(cpuid(0, 0).eax, 0);

    test_group("leaves out of range");
    if (skip_on("qemu", "out-of-range leaves answer as Intel's do"))
        return;
    if (vendor_is_intel())
        CHECK_EQ(memcmp(&answer, &highest, sizeof(answer)), 0);
    else
        CHECK_EQ(answer.eax | answer.ebx | answer.ecx | answer.edx, 0);
}

/* What contradicts itself misleads kernels. */
static void test_consistency(void)
{
    struct cpuid_registers one = cpuid(1, 0), seven = cpuid(7, 0);

    test_group("consistency");
    if (feature(seven.ebx, 5)) /* AVX2 needs AVX, AVX needs XSAVE */
        CHECK(feature(one.ecx, 28));
    if (feature(one.ecx, 28))
        CHECK(feature(one.ecx, 26));
    if (feature(seven.ebx, 16)) /* AVX-512F */
        CHECK(feature(seven.ebx, 5));
    if (feature(seven.ebx, 10)) /* INVPCID */
        CHECK(feature(one.ecx, 17) || option("oracle=qemu"));
    if (!feature(one.ecx, 26))
        return;
    struct cpuid_registers d = cpuid(0xd, 0);
    uint64_t components = d.eax | (uint64_t)d.edx << 32;
    uint32_t size = 576;
    CHECK_EQ(components & 3, 3);
    CHECK_EQ((components & XCR0_AVX) != 0, feature(one.ecx, 28));
    CHECK_EQ((components & XCR0_AVX512) == XCR0_AVX512, feature(seven.ebx, 16));
    for (unsigned i = 2; i < 63; i++) {
        struct cpuid_registers part = cpuid(0xd, i);

        if (!(components >> i & 1)) {
            if (!(cpuid(0xd, 1).ecx >> (i & 31) & 1))
                CHECK_EQ(part.eax, 0);
            continue;
        }
        if (part.ebx + part.eax > size)
            size = part.ebx + part.eax;
    }
    CHECK_EQ(d.ecx, size);
}

static void test_unknown_msrs(void)
{
    test_group("unknown MSRs");
    if (skip_on("qemu", "unknown MSRs read as zero and ignore writes"))
        return;
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(UNKNOWN_MSR) : "rax", "rdx");
    EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", : : "c"(UNKNOWN_MSR), "a"(0), "d"(0) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0xffffffff) : "rax", "rdx");
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0xc0000fff) : "rax", "rdx");
    EXPECT_FAULT(VECTOR_GP, 0, "rdmsr", : : "c"(0x480) : "rax", "rdx"); /* VMX is not there */
}

static void test_rdmsr_registers(void)
{
    uint64_t rax = ~0ull, rdx = ~0ull, rcx = 0xffffffff00000000 | MSR_IA32_EFER;

    test_group("RDMSR and its registers");
    /* ECX counts, and the upper halves of RAX and RDX are cleared. */
    __asm__ volatile("rdmsr" : "+a"(rax), "+d"(rdx) : "c"(rcx));
    CHECK_EQ(rax, read_msr(MSR_IA32_EFER));
    CHECK_EQ(rdx, 0);
    EXPECT_RUN(context_user(user_rdmsr), VECTOR_GP, 0, user_rdmsr);
    static const uint32_t scratch[] = { MSR_LSTAR, MSR_CSTAR, MSR_STAR, MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_EIP,
                                        MSR_IA32_SYSENTER_ESP, MSR_FS_BASE, MSR_GS_BASE };
    for (unsigned i = 0; i < sizeof(scratch) / sizeof(scratch[0]); i++) {
        write_msr(scratch[i], 0xffff812345678000 + i);
        CHECK_EQ(read_msr(scratch[i]), 0xffff812345678000 + i);
        write_msr(scratch[i], 0);
        CHECK_EQ(read_msr(scratch[i]), 0);
    }
}

#define WRMSR_OPERANDS(msr, value)                                                                                     \
    : : "c"(msr), "a"((uint32_t)(value)), "d"((uint32_t)((uint64_t)(value) >> 32)) : "memory"

static void test_efer(void)
{
    uint64_t efer = read_msr(MSR_IA32_EFER);

    test_group("EFER");
    CHECK_EQ(efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE), EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    if (!skip_on("qemu", "writes to EFER are not checked")) {
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", WRMSR_OPERANDS(MSR_IA32_EFER, efer & ~EFER_LME)); /* paging is on */
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", WRMSR_OPERANDS(MSR_IA32_EFER, efer | 1ull << 63));
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", WRMSR_OPERANDS(MSR_IA32_EFER, efer | 1 << 9));
    }
    CHECK_EQ(read_msr(MSR_IA32_EFER), efer);
    write_msr(MSR_IA32_EFER, efer & ~EFER_SCE);
    CHECK_EQ(read_msr(MSR_IA32_EFER), efer & ~EFER_SCE);
    write_msr(MSR_IA32_EFER, efer);
}

static void test_pat_and_mtrr(void)
{
    uint64_t pat = read_msr(MSR_IA32_PAT);

    test_group("PAT and MTRRs");
    CHECK_EQ(pat, 0x0007040600070406);
    write_msr(MSR_IA32_PAT, 0x0001050600070406);
    CHECK_EQ(read_msr(MSR_IA32_PAT), 0x0001050600070406);
    if (!skip_on("qemu", "memory types are not checked")) {
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", WRMSR_OPERANDS(MSR_IA32_PAT, 0x0002040600070406));
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", WRMSR_OPERANDS(MSR_IA32_PAT, 0x0807040600070406));
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", WRMSR_OPERANDS(MSR_IA32_MTRR_DEF_TYPE, 2));
        EXPECT_FAULT(VECTOR_GP, 0, "wrmsr", WRMSR_OPERANDS(MSR_IA32_MTRRCAP, 0));
    }
    write_msr(MSR_IA32_PAT, pat);
    unsigned ranges = read_msr(MSR_IA32_MTRRCAP) & 0xff;
    CHECK(ranges > 0 && ranges < 32);
    write_msr(MSR_IA32_MTRR_PHYSBASE0, 0x80000006);
    CHECK_EQ(read_msr(MSR_IA32_MTRR_PHYSBASE0), 0x80000006);
    write_msr(MSR_IA32_MTRR_PHYSBASE0, 0);
}

static void test_tsc(void)
{
    uint64_t last = read_tsc(), backwards = 0;
    struct trap_frame context;

    test_group("time stamp counter");
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t now = read_tsc();
        backwards += now < last;
        last = now;
    }
    CHECK_EQ(backwards, 0);
    uint64_t khz = ~0ull; /* the least of some: the host may take the processor away in between */
    for (unsigned i = 0; i < 10; i++) {
        uint64_t start = read_tsc();
        pit_delay_us(1000);
        uint64_t ticks = read_tsc() - start;
        khz = ticks < khz ? ticks : khz;
    }
    CHECK(khz > 100000 && khz < 20000000);

    EXPECT_END(context_user(user_rdtsc), user_rdtsc);
    write_cr4(read_cr4() | CR4_TSD);
    EXPECT_RUN(context_user(user_rdtsc), VECTOR_GP, 0, user_rdtsc);
    EXPECT_NO_TRAP("rdtsc", : : : "rax", "rdx"); /* CPL 0 may */
    write_cr4(read_cr4() & ~CR4_TSD);
    if (feature(cpuid(0x80000001, 0).edx, 27)) {
        write_msr(MSR_TSC_AUX, 0x12345);
        context = context_user(user_rdtscp);
        context.rcx = ~0ull;
        EXPECT_END(context, user_rdtscp);
        CHECK_EQ(last_trap.frame.rcx, 0x12345);
        CHECK_EQ(last_trap.frame.rax >> 32 | last_trap.frame.rdx >> 32, 0);
        if (feature(cpuid(7, 0).ecx, 22)) {
            uint64_t value;
            __asm__ volatile("rdpid %0" : "=r"(value));
            CHECK_EQ(value, 0x12345);
        }
    }
    if (skip_on("qemu", "the TSC cannot be written"))
        return;
    write_msr(MSR_IA32_TSC, 1000);
    uint64_t after = read_tsc();
    CHECK(after >= 1000 && after < last);
    CHECK(read_msr(MSR_IA32_TSC) >= after);
    if (feature(cpuid(7, 0).ebx, 1)) {
        uint64_t adjust = read_msr(MSR_IA32_TSC_ADJUST);

        CHECK((int64_t)adjust < 0); /* the write above moved it back */
        write_msr(MSR_IA32_TSC_ADJUST, adjust + (1ull << 50));
        CHECK(read_tsc() > 1ull << 50);
        write_msr(MSR_IA32_TSC_ADJUST, adjust);
        CHECK(read_tsc() < 1ull << 50);
    }
}

static void test_rdpmc(void)
{
    test_group("RDPMC");
    EXPECT_RUN(context_user(user_rdpmc), VECTOR_GP, 0, user_rdpmc); /* CR4.PCE is clear */
    if (!skip_on("qemu", "RDPMC is undefined"))
        EXPECT_FAULT(VECTOR_GP, 0, "rdpmc", : : "c"(0x3fff) : "rax", "rdx");
}

static void test_umip(void)
{
    static const struct {
        const char *code, *end;
    } cases[] = { { user_sgdt, user_sgdt_end }, { user_sidt, user_sidt_end }, { user_sldt, user_sldt_end },
                  { user_str, user_str_end },   { user_smsw, user_smsw_end } };

    test_group("UMIP");
    EXPECT_END(context_user(user_smsw), user_smsw);
    CHECK_EQ(last_trap.frame.rax & 0xffffffff, read_cr0() & 0xffffffff);
    EXPECT_END(context_user(user_str), user_str);
    CHECK_EQ(last_trap.frame.rax, TSS_SELECTOR);
    EXPECT_END(context_user(user_sgdt), user_sgdt);
    EXPECT_RUN(context_user(user_lmsw), VECTOR_GP, 0, user_lmsw);
    EXPECT_RUN(context_user(user_clts), VECTOR_GP, 0, user_clts);
    if (!feature(cpuid(7, 0).ecx, CPUID_UMIP)) {
        skip("no UMIP");
        return;
    }
    write_cr4(read_cr4() | CR4_UMIP);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        EXPECT_RUN(context_user(cases[i].code), VECTOR_GP, 0, cases[i].code);
    EXPECT_NO_TRAP("str %%eax; sldt %%eax; smsw %%eax; sgdt -64(%%rsp); sidt -64(%%rsp)", : : : "rax", "memory");
    write_cr4(read_cr4() & ~CR4_UMIP);
}

static void test_table_registers(void)
{
    struct table_pointer pointer = { 0, 0 };
    uint64_t value = ~0ull;

    test_group("SGDT, SIDT, SMSW and LMSW");
    __asm__ volatile("sgdt %0" : "=m"(pointer));
    CHECK_EQ(pointer.base, (uint64_t)gdt);
    CHECK_EQ(pointer.limit, sizeof(gdt) - 1);
    __asm__ volatile("sidt %0" : "=m"(pointer));
    CHECK_EQ(pointer.base, (uint64_t)idt);
    CHECK_EQ(pointer.limit, 4095);
    __asm__ volatile("smsw %0" : "=r"(value));
    CHECK_EQ(value, read_cr0());
    __asm__ volatile("lmsw %w0" : : "r"(read_cr0() | CR0_TS)); /* can set PE, MP, EM, TS only */
    CHECK_EQ(read_cr0(), value | CR0_TS);
    __asm__ volatile("lmsw %w0" : : "r"(0ull)); /* cannot clear PE */
    CHECK_EQ(read_cr0(), value & ~(CR0_MP | CR0_EM | CR0_TS));
    write_cr0(value);
    pointer.base = 0x0000800000000000;
    if (!skip_on("qemu", "LGDT takes non-canonical bases"))
        EXPECT_FAULT(VECTOR_GP, 0, "lgdt %0", : : "m"(pointer) : "memory");
}

static void test_random(void)
{
    test_group("RDRAND and RDSEED");
    if (feature(cpuid(1, 0).ecx, 30)) {
        uint64_t first = 0, second = 0;
        bool good = false;
        for (unsigned i = 0; i < 100 && !good; i++)
            __asm__ volatile("rdrand %0" : "=r"(first), "=@ccc"(good));
        CHECK(good);
        for (good = false; !good;)
            __asm__ volatile("rdrand %0" : "=r"(second), "=@ccc"(good));
        CHECK(first != second);
        EXPECT_FAULT(VECTOR_UD, 0, ".byte 0xf0, 0x0f, 0xc7, 0xf0", : : : "rax");
    }
}

/* CR4 bits of what CPUID does not report are reserved. */
static void test_cr4_features(void)
{
    test_group("CR4 and CPUID");
    if (skip_on("qemu", "writes to CR4 are not checked"))
        return;
    if (!feature(cpuid(1, 0).ecx, 5))
        EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr4", : : "r"(read_cr4() | CR4_VMXE) : "memory");
    if (!feature(cpuid(7, 0).ecx, 3))
        EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr4", : : "r"(read_cr4() | CR4_PKE) : "memory");
    if (!feature(cpuid(7, 0).ecx, 16))
        EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr4", : : "r"(read_cr4() | CR4_LA57) : "memory");
    EXPECT_FAULT(VECTOR_GP, 0, "movq %0, %%cr4", : : "r"(read_cr4() | 1ull << 30) : "memory");
}

void test_main(void)
{
    test_basic_leaves();
    test_extended_leaves();
    test_out_of_range();
    test_consistency();
    test_unknown_msrs();
    test_rdmsr_registers();
    test_efer();
    test_pat_and_mtrr();
    test_tsc();
    test_rdpmc();
    test_umip();
    test_table_registers();
    test_random();
    test_cr4_features();
}
