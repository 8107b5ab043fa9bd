/*
 * System instructions of the translator that move data: MSRs, clocks, ports, the XSAVE family, gathers, and the
 * old ones. Where the processor at hand has an instruction, it is the oracle.
 */
#include "unit.h"

#include <string.h>

#include "dbt_fixture.h"
#include "engine/dbt/sys.h"
#include "engine/dbt/sys_xstate.h"
#include "x86/msr.h"

enum { RAX = GPR_RAX, RCX = GPR_RCX, RDX = GPR_RDX, RBX = GPR_RBX, RSP = GPR_RSP };

/* ---- MSRs and time ---- */

static bool wrmsr(uint32_t msr, uint64_t value)
{
    cpu.gpr[RCX] = msr;
    cpu.gpr[RAX] = (uint32_t)value;
    cpu.gpr[RDX] = value >> 32;
    return RUN(0x0f, 0x30);
}

static uint64_t rdmsr(uint32_t msr)
{
    cpu.gpr[RCX] = msr;
    assert_true(RUN(0x0f, 0x32));
    return cpu.gpr[RAX] | cpu.gpr[RDX] << 32;
}

static void test_msr_values(void **state)
{
    (void)state;
    fixture_long(0);
    assert_true(wrmsr(MSR_LSTAR, 0xffffffff81000000));
    assert_int_equal(rdmsr(MSR_LSTAR), 0xffffffff81000000);
    assert_false(wrmsr(MSR_LSTAR, 0x8000000000000000));
    assert_int_equal(fx.vector, VECTOR_GP);
    assert_true(wrmsr(MSR_GS_BASE, 0xffff888000000000));
    assert_int_equal(cpu.segment[SEG_GS].base, 0xffff888000000000);
    assert_true(wrmsr(MSR_IA32_PAT, 0x0407010600070106));
    assert_false(wrmsr(MSR_IA32_PAT, 0x0407010600020106));
    assert_true(wrmsr(MSR_IA32_MTRR_DEF_TYPE, 0xc06));
    assert_false(wrmsr(MSR_IA32_MTRR_DEF_TYPE, 0xc02));
    assert_true(wrmsr(MSR_IA32_MTRR_PHYSBASE0 + 2, 0xc0000000));
    assert_int_equal(cpu.mtrr_base[1], 0xc0000000);
    assert_false(wrmsr(MSR_IA32_MTRR_PHYSMASK0, 1ull << 45));
    assert_false(wrmsr(MSR_IA32_MTRR_PHYSBASE0 + 16, 0));
    assert_true(wrmsr(MSR_IA32_MTRR_FIX4K_F8000, 0x0606060606060606));
    assert_int_equal(cpu.mtrr_fixed[10], 0x0606060606060606);
    assert_int_equal(rdmsr(MSR_IA32_MTRRCAP), MTRRCAP_VALUE);
    assert_false(wrmsr(MSR_IA32_MTRRCAP, 0)); /* read-only */
    assert_int_equal(rdmsr(MSR_HWCR), HWCR_TSC_FREQ_SEL);
    assert_true(wrmsr(0x808, 0x20));
    assert_int_equal(fx.apic_msr, 0x20);
    assert_false(wrmsr(0x801, 0));
    assert_false(wrmsr(0x12345, 0));
    assert_false(wrmsr(MSR_KVM_PV_EOI_EN, 1)); /* not served */
    cpu.cpl = 3;
    assert_false(wrmsr(MSR_LSTAR, 0));
    fixture_long(0);
    fixture_intel();
    assert_false(wrmsr(MSR_HWCR, 0));
}

static void test_cpuid(void **state)
{
    (void)state;
    fixture_long(3);
    fx.apic_msr = 0xfee00800;
    cpu.gpr[RAX] = 0xffffffff00000001;
    assert_true(RUN(0x0f, 0xa2));
    assert_true(cpu.gpr[RDX] & BIT(9));
    fx.apic_msr = 0xfee00000; /* switched off */
    cpu.gpr[RAX] = 1;
    assert_true(RUN(0x0f, 0xa2));
    assert_false(cpu.gpr[RDX] & BIT(9));
}

static void test_msr_efer(void **state)
{
    (void)state;
    fixture_long(0);
    assert_true(wrmsr(MSR_IA32_EFER, EFER_SCE | EFER_LME | EFER_NXE)); /* LMA is not his to clear */
    assert_int_equal(cpu.efer, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    assert_int_equal(fx.flushes_all, 0);
    assert_false(wrmsr(MSR_IA32_EFER, EFER_NXE | EFER_LMA)); /* LME with paging on */
    assert_false(wrmsr(MSR_IA32_EFER, cpu.efer | EFER_SVME));
    assert_true(wrmsr(MSR_IA32_EFER, EFER_SCE | EFER_LME));
    assert_int_equal(fx.flushes_all, 1);
    fixture_protected(0);
    assert_true(wrmsr(MSR_IA32_EFER, EFER_LME | EFER_LMA));
    assert_int_equal(cpu.efer, EFER_LME);
}

static uint64_t kvmclock_now(uint64_t tsc)
{
    uint64_t ticks = tsc - peek(AT_DATA + 8, 8);
    int8_t shift = (int8_t)peek(AT_DATA + 28, 1);

    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    return (uint64_t)((unsigned __int128)ticks * (uint32_t)peek(AT_DATA + 24, 4) >> 32) + peek(AT_DATA + 16, 8);
}

static void test_time(void **state)
{
    uint64_t before;

    (void)state;
    fixture_long(0);
    assert_true(wrmsr(MSR_IA32_TSC, 5000000000)); /* two seconds at 2.5 GHz */
    assert_in_range(rdmsr(MSR_IA32_TSC), 5000000000, 5100000000);
    assert_int_equal(rdmsr(MSR_IA32_TSC_ADJUST), cpu.tsc_adjust);
    cpu.tsc_adjust = 0;
    assert_true(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, AT_DATA | 1));
    assert_int_equal(peek(AT_DATA, 4), 2); /* even: complete */
    assert_int_equal(peek(AT_DATA + 29, 1), 1);
    assert_int_equal(kvmclock_now(5000000000), 1999999999);
    assert_int_equal(kvmclock_now(2500000), 999999);

    /* A step of the TSC is no step of kvmclock. */
    before = kvmclock_now(rdmsr(MSR_IA32_TSC));
    assert_true(wrmsr(MSR_IA32_TSC_ADJUST, 25000000000));
    assert_int_equal(peek(AT_DATA, 4), 4);
    assert_in_range(kvmclock_now(rdmsr(MSR_IA32_TSC)) - before, 0, 100000000);

    assert_true(wrmsr(MSR_KVM_WALL_CLOCK_NEW, AT_DATA + 0x100));
    assert_in_range(peek(AT_DATA + 0x104, 4), 1699999990, 1699999998);
    assert_false(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0xfffffff001));

    cpu.tsc_aux = 7;
    assert_true(RUN(0x0f, 0x01, 0xf9));
    assert_int_equal(cpu.gpr[RCX], 7);
    cpu.cr4 |= CR4_TSD;
    cpu.cpl = 3;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x31);
}

/* ---- ports ---- */

static void test_port_rights(void **state)
{
    (void)state;
    fixture_long(3);
    cpu.gpr[RDX] = 0x3f8;
    poke(AT_TSS + 0x88 + 0x7f, 2, 0xffff);
    EXPECT_FAULT(VECTOR_GP, 0, 0xec);
    poke(AT_TSS + 0x88 + 0x7f, 2, 0xfffe); /* one port */
    assert_true(RUN(0xec));
    EXPECT_FAULT(VECTOR_GP, 0, 0xed);
    cpu.gpr[RDX] = 0xffff; /* the bitmap ends before */
    EXPECT_FAULT(VECTOR_GP, 0, 0xee);
    cpu.sys_flags |= RFLAGS_IOPL;
    cpu.gpr[RAX] = 0x1122334455667788;
    assert_true(RUN(0xef));
    assert_int_equal(fx.port_value, 0x55667788);
    fx.port_value = 0xaabb;
    assert_true(RUN(0x66, 0xe5, 0x80)); /* in ax, 0x80 */
    assert_int_equal(cpu.gpr[RAX], 0x112233445566aabb);
    assert_int_equal(fx.last_port, 0x80);
    fx.port_value = 0xffffffff;
    assert_true(RUN(0xe5, 0x80));
    assert_int_equal(cpu.gpr[RAX], 0xffffffff);
}

static void test_port_strings(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RDX] = 0x1f0;
    cpu.gpr[GPR_RDI] = AT_DATA + 0xffe; /* the second element would be on a page that is not there */
    cpu.gpr[RCX] = 4;
    fx.unmapped_page = (AT_DATA >> 12) + 1;
    fx.port_value = 0x1234;
    EXPECT_FAULT(VECTOR_PF, 2, 0xf3, 0x66, 0x6d); /* rep insw */
    assert_int_equal(fx.port_reads, 1);
    assert_int_equal(cpu.gpr[RCX], 3);
    assert_int_equal(cpu.gpr[GPR_RDI], AT_DATA + 0x1000);
    assert_int_equal(peek(AT_DATA + 0xffe, 2), 0x1234);
    fx.unmapped_page = NO_PAGE;
    assert_true(RUN(0xf3, 0x66, 0x6d));
    assert_int_equal(cpu.gpr[RCX], 0);
    assert_int_equal(fx.port_reads, 4);

    fixture_long(0); /* attention stops it between elements */
    cpu.gpr[GPR_RSI] = AT_DATA;
    cpu.gpr[RCX] = 10;
    fx.attention_after = 4;
    assert_true(RUN(0xf3, 0x6e)); /* rep outsb */
    assert_int_equal(cpu.rip, AT_CODE);
    assert_int_equal(cpu.gpr[RCX], 6);
    assert_true(RUN(0xf3, 0x6e));
    assert_int_equal(cpu.gpr[RCX], 5);
    cpu.vcpu.attention = 0;
    assert_true(RUN(0xf3, 0x6e));
    assert_int_equal(cpu.gpr[RCX], 0);
    assert_int_equal(cpu.rip, AT_CODE + 2);
    assert_int_equal(cpu.gpr[GPR_RSI], AT_DATA + 10);
}

/* ---- extended state ---- */

static uint64_t random_state = 1;

static uint8_t random_byte(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint8_t)(random_state >> 56);
}

static uint64_t host_components(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low & 0xe7;
}

/* All registers random, or in the initial configuration where `in_use` says so. */
static void fill_state(uint64_t in_use)
{
    for (unsigned i = 0; i < CPU_XSAVE_SIZE; i++)
        cpu.xsave[i] = random_byte();
    for (unsigned i = 0; i < 8; i++)
        memset(cpu.xsave + XSAVE_ST + 16 * i + 10, 0, 6);
    memset(cpu.xsave, 0, XSAVE_MXCSR);
    store_le(cpu.xsave + XSAVE_FCW, 2, 0x37f);
    store_le(cpu.xsave + XSAVE_FSW, 2, 0x2800);
    cpu.xsave[XSAVE_FTW] = 0x5a;
    store_le(cpu.xsave + XSAVE_MXCSR, 4, 0x1fa0);
    store_le(cpu.xsave + XSAVE_MXCSR_MASK, 4, 0x2ffff);
    memset(cpu.xsave + XSAVE_XSTATE_BV, 0, 64);
    store_le(cpu.xsave + XSAVE_XSTATE_BV, 8, in_use);
    cpu.xcr0 = host_components();
}

enum native { NATIVE_XSAVE, NATIVE_XSAVEC, NATIVE_XSAVEOPT, NATIVE_XRSTOR };

/* What the real processor stores to `area` when its registers are those of `image`; or, last, what it loads from it. */
static void native_run(enum native what, uint8_t *image, uint8_t *area, uint64_t mask)
{
    static _Alignas(64) uint8_t mine[CPU_XSAVE_SIZE];
    uint32_t all = (uint32_t)host_components(), some = (uint32_t)mask;

    memset(mine, 0, sizeof(mine));
#define WITH_STATE(instruction)                                                                                        \
    __asm__ volatile("mov %3, %%eax; xor %%edx, %%edx; xsave64 (%0); xrstor64 (%1); mov %4, %%eax;" instruction        \
                     "; mov %3, %%eax; xsave64 (%1); xrstor64 (%0)"                                                    \
                     :                                                                                                 \
                     : "r"(mine), "r"(image), "r"(area), "r"(all), "r"(some)                                           \
                     : "rax", "rdx", "memory")
    switch (what) {
    case NATIVE_XSAVE:
        WITH_STATE("xsave64 (%2)");
        break;
    case NATIVE_XSAVEC:
        WITH_STATE("xsavec64 (%2)");
        break;
    case NATIVE_XSAVEOPT:
        WITH_STATE("xsaveopt64 (%2)");
        break;
    case NATIVE_XRSTOR:
        WITH_STATE("xrstor64 (%2)");
        break;
    }
}

static void set_mask(uint64_t mask)
{
    cpu.gpr[RAX] = (uint32_t)mask;
    cpu.gpr[RDX] = mask >> 32;
}

static bool run_save(enum native what)
{
    cpu.gpr[RBX] = AT_DATA;
    switch (what) {
    case NATIVE_XSAVEC:
        return RUN(0x48, 0x0f, 0xc7, 0x23);
    case NATIVE_XSAVEOPT:
        return RUN(0x48, 0x0f, 0xae, 0x33);
    case NATIVE_XRSTOR:
        return RUN(0x48, 0x0f, 0xae, 0x2b);
    default:
        return RUN(0x48, 0x0f, 0xae, 0x23);
    }
}

static void check_save(enum native what, uint64_t in_use, uint64_t mask)
{
    static _Alignas(64) uint8_t image[CPU_XSAVE_SIZE], area[CPU_XSAVE_SIZE];

    fixture_long(0);
    fill_state(in_use);
    memcpy(image, cpu.xsave, sizeof(image));
    memset(area, 0xa5, sizeof(area));
    memset(area + XSAVE_XSTATE_BV, 0, 64);
    memcpy(fx.memory + AT_DATA, area, sizeof(area));
    native_run(what, image, area, mask);
    set_mask(mask);
    assert_true(run_save(what));
    assert_memory_equal(fx.memory + AT_DATA, area, sizeof(area));
}

static void test_xsave_is_native(void **state)
{
    const uint64_t all = host_components();

    (void)state;
    for (uint64_t i = 0; i < 64; i++) {
        uint64_t mask = (uint64_t)random_byte() & all, in_use = ((uint64_t)random_byte() & all) | XCR0_X87 | XCR0_SSE;

        check_save(NATIVE_XSAVE, in_use, mask);
        check_save(NATIVE_XSAVEC, in_use, mask);
        check_save(NATIVE_XSAVEC, all, all);
        check_save(NATIVE_XSAVEOPT, in_use, mask);
    }
}

static void check_restore(enum native format, uint64_t in_use, uint64_t mask)
{
    static _Alignas(64) uint8_t image[CPU_XSAVE_SIZE], area[CPU_XSAVE_SIZE], before[CPU_XSAVE_SIZE];
    const uint64_t all = host_components();

    /* An area of the wanted format, from one random state ... */
    fixture_long(0);
    fill_state(in_use);
    memcpy(image, cpu.xsave, sizeof(image));
    memset(area, 0, sizeof(area));
    native_run(format, image, area, all);
    /* ... loaded over another one. */
    fill_state(all);
    memcpy(before, cpu.xsave, sizeof(before));
    native_run(NATIVE_XRSTOR, before, area, mask);
    memcpy(fx.memory + AT_DATA, area, sizeof(area));
    set_mask(mask);
    assert_true(run_save(NATIVE_XRSTOR));
    /* The processor's own view of both images: initial components have no bytes to compare. */
    memset(area, 0, sizeof(area));
    memset(image, 0, sizeof(image));
    native_run(NATIVE_XSAVE, cpu.xsave, area, all);
    native_run(NATIVE_XSAVE, before, image, all);
    assert_memory_equal(area, image, sizeof(area));
}

static void test_xrstor_is_native(void **state)
{
    const uint64_t all = host_components();

    (void)state;
    for (uint64_t i = 0; i < 64; i++) {
        uint64_t mask = (uint64_t)random_byte() & all, in_use = (uint64_t)random_byte() & all;

        check_restore(NATIVE_XSAVE, in_use, mask);
        check_restore(NATIVE_XSAVEC, in_use, mask);
        check_restore(NATIVE_XSAVEC, all, all);
    }
}

static void test_xsave_faults(void **state)
{
    (void)state;
    fixture_long(0);
    fill_state(3);
    set_mask(7);
    cpu.gpr[RBX] = AT_DATA + 32;
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0x0f, 0xae, 0x23);
    cpu.gpr[RBX] = AT_DATA;
    poke(AT_DATA + XSAVE_XSTATE_BV, 8, 1 << 9); /* not in XCR0 */
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0x0f, 0xae, 0x2b);
    poke(AT_DATA + XSAVE_XSTATE_BV, 8, 3);
    poke(AT_DATA + XSAVE_XCOMP_BV, 8, 1);
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0x0f, 0xae, 0x2b);
    poke(AT_DATA + XSAVE_XCOMP_BV, 8, 1ull << 63 | 1); /* compacted, without SSE */
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0x0f, 0xae, 0x2b);
    poke(AT_DATA + XSAVE_XCOMP_BV, 8, 0);
    poke(AT_DATA + XSAVE_MXCSR, 4, 0x80000000);
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0x0f, 0xae, 0x2b);
    cpu.gpr[RBX] = AT_DATA;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0xae, 0x0b); /* fxrstor */
    cpu.cr0 |= CR0_TS;
    EXPECT_FAULT(VECTOR_NM, -1, 0x48, 0x0f, 0xae, 0x23);
    cpu.cr4 &= ~CR4_OSXSAVE;
    EXPECT_FAULT(VECTOR_UD, -1, 0x48, 0x0f, 0xae, 0x23);
    fixture_long(0);
    fill_state(3);
    set_mask(3);
    cpu.gpr[RBX] = AT_DATA + 0x1000 - 512;
    fx.unmapped_page = (AT_DATA >> 12) + 1;
    EXPECT_FAULT(VECTOR_PF, 2, 0x48, 0x0f, 0xae, 0x23);
    assert_int_equal(peek(AT_DATA + 0x1000 - 512, 2), 0);
}

static void test_fxsave_and_environment(void **state)
{
    uint8_t before[XSAVE_LEGACY];

    (void)state;
    fixture_long(0);
    fill_state(3);
    memcpy(before, cpu.xsave, sizeof(before));
    store_le(cpu.xsave + XSAVE_FIP, 8, 0x7f0012345678); /* the host's: never shown */
    cpu.gpr[RBX] = AT_DATA;
    assert_true(RUN(0x48, 0x0f, 0xae, 0x03)); /* fxsave64 [rbx] */
    assert_memory_equal(fx.memory + AT_DATA, before, 416);
    fill_state(0);
    assert_true(RUN(0x48, 0x0f, 0xae, 0x0b));
    assert_memory_equal(cpu.xsave, before, 416);
    assert_int_equal(xstate_in_use(&cpu), 3);

    /* TOP is 5; physical registers 1, 3, 4, 6 are full. ST0 = register 5 is empty. */
    store_le(cpu.xsave + XSAVE_ST + 16 * 1, 8, 1ull << 63); /* register 6: valid */
    store_le(cpu.xsave + XSAVE_ST + 16 * 1 + 8, 2, 0x3fff);
    memset(cpu.xsave + XSAVE_ST + 16 * 4, 0, 10); /* register 1: zero */
    memset(cpu.xsave + XSAVE_ST + 16 * 6, 0, 10); /* register 3: special (denormal) */
    store_le(cpu.xsave + XSAVE_ST + 16 * 6, 2, 1);
    store_le(cpu.xsave + XSAVE_ST + 16 * 7 + 8, 2, 0x7fff); /* register 4: special */
    assert_true(RUN(0xd9, 0x33));                           /* fnstenv [rbx] */
    assert_int_equal(peek(AT_DATA, 4), 0xffff037f);
    assert_int_equal(peek(AT_DATA + 4, 4), 0xffff2800);
    assert_int_equal(peek(AT_DATA + 8, 4) & 0x33cc, 0x0284 & 0x33cc);
    assert_int_equal(peek(AT_DATA + 12, 8), 0);
    assert_true(RUN(0xdd, 0x33)); /* fnsave [rbx] */
    assert_int_equal(load_le(cpu.xsave + XSAVE_FCW, 2), FCW_FNINIT);
    assert_int_equal(load_le(cpu.xsave + XSAVE_FSW, 2), 0);
    assert_int_equal(cpu.xsave[XSAVE_FTW], 0); /* all empty, though the registers keep their contents */
    assert_true(RUN(0xdd, 0x23));              /* frstor [rbx] */
    assert_int_equal(cpu.xsave[XSAVE_FTW], 0x5a);
    assert_int_equal(load_le(cpu.xsave + XSAVE_ST + 16 + 8, 2), 0x3fff);
    poke(AT_DATA, 2, 0x37e); /* an unmasked exception, pending: ES follows */
    poke(AT_DATA + 4, 2, 1);
    assert_true(RUN(0xd9, 0x23)); /* fldenv [rbx] */
    assert_int_equal(load_le(cpu.xsave + XSAVE_FSW, 2), 0x8081);
    EXPECT_FAULT(VECTOR_MF, -1, 0xd9, 0x23);
    cpu.cr0 |= CR0_TS;
    EXPECT_FAULT(VECTOR_NM, -1, 0xd9, 0x23);
}

static void unavailable(unsigned vector, const char *bytes, size_t size)
{
    static struct insn insn;

    memset(&insn, 0, sizeof(insn));
    memcpy(insn.bytes, bytes, size);
    insn.length = (uint8_t)size;
    assert_false(fixture_call(fpu_unavailable, &insn));
    assert_int_equal(fx.vector, vector);
}

static void test_fpu_unavailable(void **state)
{
    static struct insn wait;

    (void)state;
    fixture_long(0);
    cpu.xcr0 = 7;
    cpu.cr0 |= CR0_TS;
    unavailable(VECTOR_NM, "\xd9\xe8", 2);
    unavailable(VECTOR_NM, "\x0f\x28\xc1", 3);
    unavailable(VECTOR_NM, "\xc5\xf8\x28\xc1", 4);
    unavailable(VECTOR_UD, "\x62\xf1\x7c\x48\x28\xc1", 6); /* AVX-512 not enabled */
    memset(&wait, 0, sizeof(wait));
    wait.bytes[0] = 0x9b;
    wait.length = 1;
    fill_state(3);
    assert_true(fixture_call(fpu_unavailable, &wait)); /* without MP */
    assert_int_equal(cpu.rip, AT_CODE + 1);
    cpu.cr0 |= CR0_MP;
    unavailable(VECTOR_NM, "\x9b", 1);
    cpu.xcr0 = 7;
    cpu.cr0 |= CR0_EM;
    unavailable(VECTOR_UD, "\x66\x0f\x6f\xc1", 4);
    unavailable(VECTOR_UD, "\x0f\x6f\xc1", 3);
    unavailable(VECTOR_NM, "\x41\xd9\xe8", 3);
    cpu.cr0 &= ~CR0_EM;
    cpu.cr4 &= ~CR4_OSFXSR;
    unavailable(VECTOR_UD, "\x0f\x28\xc1", 3);
    unavailable(VECTOR_NM, "\x0f\x6f\xc1", 3); /* MMX does not need OSFXSR */
    cpu.xcr0 = 1;
    unavailable(VECTOR_UD, "\xc5\xf8\x28\xc1", 4);
}

/* ---- gathers ---- */

static void set_vector(unsigned reg, const uint32_t *dwords, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct xstate_layout layout;
        uint8_t *to;

        xstate_layout_get(&cpu, &layout);
        if (i < 4)
            to = cpu.xsave + XSAVE_XMM + 16 * reg + 4 * i;
        else if (i < 8)
            to = cpu.xsave + layout.component[XSTATE_AVX].offset + 16 * reg + 4 * (i - 4);
        else
            to = cpu.xsave + layout.component[XSTATE_ZMM_HI256].offset + 32 * reg + 4 * (i - 8);
        store_le(to, 4, dwords[i]);
    }
}

/* vpgatherdd ymm0, [rbx + ymm1 * 4], ymm2 against the processor's, from the fixture's own memory. */
static void test_gather_vex(void **state)
{
    static _Alignas(64) uint8_t image[CPU_XSAVE_SIZE], mine[CPU_XSAVE_SIZE], after[CPU_XSAVE_SIZE];
    uint32_t indices[8] = {0, 5, 0xffffffff, 9, 100, 7, 2, 1}, mask[8] = {1u << 31, 0, ~0u, ~0u, 0, 1u << 31, ~0u, 0};
    uint32_t all = (uint32_t)host_components();

    (void)state;
    if (!__builtin_cpu_supports("avx2"))
        skip();
    fixture_long(0);
    fill_state(all);
    set_vector(1, indices, 8);
    set_vector(2, mask, 8);
    for (unsigned i = 0; i < 1024; i++)
        poke(AT_DATA - 64 + i, 1, random_byte());
    memcpy(image, cpu.xsave, sizeof(image));
    memset(after, 0, sizeof(after));
    __asm__ volatile("mov %4, %%eax; xor %%edx, %%edx; xsave64 (%0); xrstor64 (%1);"
                     "vpgatherdd %%ymm2, (%3, %%ymm1, 4), %%ymm0; xsave64 (%2); xrstor64 (%0)"
                     :
                     : "r"(mine), "r"(image), "r"(after), "r"(fx.memory + AT_DATA), "r"(all)
                     : "rax", "rdx", "memory");
    cpu.gpr[RBX] = AT_DATA;
    assert_true(RUN(0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x8b));
    assert_memory_equal(cpu.xsave + XSAVE_ST, after + XSAVE_ST, 384);
    assert_memory_equal(cpu.xsave + XSAVE_EXTENDED, after + XSAVE_EXTENDED, 256);

    /* A fault in the middle keeps what was done. */
    memcpy(cpu.xsave, image, sizeof(image));
    indices[3] = 0x1000;
    set_vector(1, indices, 8);
    fx.unmapped_page = (AT_DATA + 0x4000) >> 12;
    EXPECT_FAULT(VECTOR_PF, 0, 0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x8b);
    assert_int_equal(load_le(cpu.xsave + XSAVE_XMM, 4), peek(AT_DATA, 4));
    assert_int_equal(load_le(cpu.xsave + XSAVE_XMM + 32 + 8, 4), 0);
    assert_int_equal(load_le(cpu.xsave + XSAVE_XMM + 32 + 12, 4), ~0u);
}

/* vgatherqpd zmm17{k3}, [rbx + zmm9 * 8 + 16], then the scatter of it. */
static void test_gather_evex(void **state)
{
    struct xstate_layout layout;
    uint32_t indices[16] = {3, 0, 1, 0, 0xffffffff, 0xffffffff, 8, 0, 4, 0, 20, 0, 2, 0, 30, 0};
    uint8_t *zmm17, *k3;

    (void)state;
    if ((host_components() & XCR0_AVX512) != XCR0_AVX512)
        skip();
    fixture_long(0);
    fill_state(host_components());
    xstate_layout_get(&cpu, &layout);
    zmm17 = cpu.xsave + layout.component[XSTATE_HI16_ZMM].offset + 64;
    k3 = cpu.xsave + layout.component[XSTATE_OPMASK].offset + 24;
    set_vector(9, indices, 16);
    memset(zmm17, 0x77, 64);
    store_le(k3, 8, 0xffffffffffffff3d);
    for (unsigned i = 0; i < 64; i++)
        poke(AT_DATA + 8 * i, 8, 0x1000 + i);
    cpu.gpr[RBX] = AT_DATA;
    assert_true(RUN(0x62, 0xa2, 0xfd, 0x4b, 0x93, 0x4c, 0xcb, 0x02));
    assert_int_equal(load_le(zmm17, 8), 0x1005);
    assert_int_equal(load_le(zmm17 + 8, 8), 0x7777777777777777);
    assert_int_equal(load_le(zmm17 + 16, 8), 0x1001);
    assert_int_equal(load_le(zmm17 + 40, 8), 0x1016);
    assert_int_equal(load_le(zmm17 + 48, 8), 0x7777777777777777);
    assert_int_equal(load_le(k3, 8), 0);
    store_le(k3, 8, 0x20);
    memset(zmm17, 0x99, 64);
    assert_true(RUN(0x62, 0xa2, 0xfd, 0x4b, 0xa3, 0x4c, 0xcb, 0x02));
    assert_int_equal(peek(AT_DATA + 22 * 8, 8), 0x9999999999999999);
    assert_int_equal(peek(AT_DATA + 5 * 8, 8), 0x1005);
}

/* ---- old instructions ---- */

static void check_al(unsigned before, uint64_t flags, unsigned after, uint64_t flags_after, uint8_t opcode)
{
    cpu.gpr[RAX] = before;
    cpu.alu_flags = flags;
    assert_true(fixture_run(&opcode, 1));
    assert_int_equal(cpu.gpr[RAX], after);
    assert_int_equal(cpu.alu_flags & (RFLAGS_CF | RFLAGS_AF), flags_after);
}

static void test_decimal(void **state)
{
    (void)state;
    fixture_protected(3);
    check_al(0xae, 0, 0x14, RFLAGS_CF | RFLAGS_AF, 0x27); /* daa */
    check_al(0x2e, RFLAGS_CF, 0x94, RFLAGS_CF | RFLAGS_AF, 0x27);
    check_al(0x42, 0, 0x42, 0, 0x27);
    check_al(0x02, RFLAGS_AF, 0xfc, RFLAGS_CF | RFLAGS_AF, 0x2f); /* das: borrow from the low digit */
    check_al(0xae, 0, 0x48, RFLAGS_CF | RFLAGS_AF, 0x2f);
    check_al(0x020f, 0, 0x0305, RFLAGS_CF | RFLAGS_AF, 0x37);         /* aaa */
    check_al(0x02ff, 0, 0x0405, RFLAGS_CF | RFLAGS_AF, 0x37);         /* the addition carries into AH */
    check_al(0x0305, RFLAGS_AF, 0x010f, RFLAGS_CF | RFLAGS_AF, 0x3f); /* aas */
    check_al(0x0005, RFLAGS_CF, 0x00ff, RFLAGS_CF, 0xd6);             /* salc */
    cpu.gpr[RAX] = 0x003f;
    assert_true(RUN(0xd4, 0x0a));
    assert_int_equal(cpu.gpr[RAX], 0x0603);
    assert_true(RUN(0xd5, 0x0a));
    assert_int_equal(cpu.gpr[RAX], 0x003f);
    EXPECT_FAULT(VECTOR_DE, -1, 0xd4, 0x00);
}

static void test_stack_frames(void **state)
{
    (void)state;
    fixture_protected(3);
    for (unsigned i = 0; i < 8; i++)
        cpu.gpr[i] = i == RSP ? AT_USER_STACK : 0x11111111 * i;
    assert_true(RUN(0x60));
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK - 32);
    assert_int_equal(peek(AT_USER_STACK - 20, 4), AT_USER_STACK); /* the old ESP */
    for (unsigned i = 0; i < 8; i++)
        cpu.gpr[i] = i == RSP ? AT_USER_STACK - 32 : 0;
    assert_true(RUN(0x61));
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(cpu.gpr[i], i == RSP ? AT_USER_STACK : 0x11111111 * i);

    fixture_long(3);
    cpu.gpr[GPR_RBP] = AT_USER_STACK + 0x100;
    poke(AT_USER_STACK + 0xf8, 8, 0xabc);
    assert_true(RUN(0xc8, 0x20, 0x00, 0x02)); /* enter 32, 2 */
    assert_int_equal(cpu.gpr[GPR_RBP], AT_USER_STACK - 8);
    assert_int_equal(peek(AT_USER_STACK - 8, 8), AT_USER_STACK + 0x100);
    assert_int_equal(peek(AT_USER_STACK - 16, 8), 0xabc);
    assert_int_equal(peek(AT_USER_STACK - 24, 8), AT_USER_STACK - 8);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK - 24 - 32);

    fixture_protected(3);
    cpu.gpr[RAX] = 7;
    cpu.gpr[RBX] = AT_DATA;
    poke(AT_DATA, 4, 0);
    poke(AT_DATA + 4, 4, 6);
    EXPECT_FAULT(VECTOR_BR, -1, 0x62, 0x03); /* bound eax, [ebx] */
    cpu.gpr[RAX] = 6;
    assert_true(RUN(0x62, 0x03));
    poke(AT_DATA + 6, 1, 0x5c);
    assert_true(RUN(0xd7));
    assert_int_equal(cpu.gpr[RAX], 0x5c);
}

static void test_masked_stores(void **state)
{
    (void)state;
    fixture_long(3);
    fill_state(host_components());
    for (unsigned i = 0; i < 16; i++) {
        cpu.xsave[XSAVE_XMM + i] = (uint8_t)i;
        cpu.xsave[XSAVE_XMM + 16 + i] = i % 3 ? 0 : 0x80;
    }
    cpu.gpr[GPR_RDI] = AT_DATA;
    assert_true(RUN(0x66, 0x0f, 0xf7, 0xc1)); /* maskmovdqu xmm0, xmm1 */
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(peek(AT_DATA + i, 1), i % 3 ? 0 : i);
    cpu.gpr[GPR_RDI] = AT_DATA + 0x1000 - 15; /* byte 15 is on a page that is not there: nothing is written */
    fx.unmapped_page = (AT_DATA >> 12) + 1;
    EXPECT_FAULT(VECTOR_PF, 2, 0x66, 0x0f, 0xf7, 0xc1);
    assert_int_equal(peek(AT_DATA + 0x1000 - 12, 1), 0);

    /* TOP is 5: MMX register 6 is ST1, register 0 is ST3. */
    memset(cpu.xsave + XSAVE_ST + 16 * 1, 0x66, 8);
    memset(cpu.xsave + XSAVE_ST + 16 * 3, 0x80, 8);
    cpu.gpr[GPR_RDI] = AT_DATA + 0x100;
    assert_true(RUN(0x0f, 0xf7, 0xf0)); /* maskmovq mm6, mm0 */
    assert_int_equal(peek(AT_DATA + 0x100, 8), 0x6666666666666666);
    assert_int_equal(load_le(cpu.xsave + XSAVE_ST + 16 * 6, 8), 0x6666666666666666);
    assert_int_equal(load_le(cpu.xsave + XSAVE_FSW, 2), 0);
    assert_int_equal(cpu.xsave[XSAVE_FTW], 0xff);

    fx.unmapped_page = NO_PAGE;
    cpu.gpr[RAX] = AT_DATA + 0x105;
    assert_true(RUN(0x0f, 0x01, 0xfc)); /* clzero */
    assert_int_equal(peek(AT_DATA + 0x100, 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_msr_values),      cmocka_unit_test(test_cpuid),
        cmocka_unit_test(test_msr_efer),        cmocka_unit_test(test_time),
        cmocka_unit_test(test_port_rights),     cmocka_unit_test(test_port_strings),
        cmocka_unit_test(test_xsave_is_native), cmocka_unit_test(test_xrstor_is_native),
        cmocka_unit_test(test_xsave_faults),    cmocka_unit_test(test_fxsave_and_environment),
        cmocka_unit_test(test_fpu_unavailable), cmocka_unit_test(test_gather_vex),
        cmocka_unit_test(test_gather_evex),     cmocka_unit_test(test_decimal),
        cmocka_unit_test(test_stack_frames),    cmocka_unit_test(test_masked_stores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
