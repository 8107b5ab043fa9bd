/* The CPU models on a processor that this test makes up: Intel's leaves, whatever the host is. */
#include <string.h>

#include "unit.h"

#include "base/bits.h"

#define cpuid_host cpuid_host_of_this_machine
#include "x86/cpuid.c"
#undef cpuid_host
#include "x86/cpuid.h"

struct cpuid_result cpuid_host(uint32_t leaf, uint32_t subleaf);

#include "x86/cpuid_builder.c"
#include "x86/cpuid_models.c"

/* A server of the Skylake generation with all that we hide: VMX, TSX, MPX, protection keys, processor trace. */
static const struct {
    uint32_t leaf, subleaf;
    struct cpuid_result result;
} processor[] = {
    {0, 0, {0x16, 0x756e6547, 0x6c65746e, 0x49656e69}},
    {1, 0, {0x00050654, 0x00400800, 0x7ffefbff, 0xbfebfbff}},
    {2, 0, {0x76036301, 0x00f0b5ff, 0, 0x00c30000}},
    {4, 0, {0x7c004121, 0x01c0003f, 0x0000003f, 0}},
    {4, 1, {0x7c004122, 0x01c0003f, 0x0000003f, 0}},
    {4, 2, {0x7c004143, 0x03c0003f, 0x000003ff, 0}},
    {4, 3, {0x7c0fc163, 0x0280003f, 0x00009fff, 4}},
    {6, 0, {0x00000ef7, 2, 9, 0}},
    {7, 0, {0, 0xd39ffffb, 0x00000018, 0xbc000400}},
    {0xd, 0, {0x2ff, 0xa80, 0xa88, 0}},
    {0xd, 1, {0xf, 0xa08, 0x100, 0}},
    {0xd, 2, {0x100, 0x240, 0, 0}},
    {0xd, 3, {0x40, 0x3c0, 0, 0}},
    {0xd, 5, {0x40, 0x440, 0, 0}},
    {0xd, 6, {0x200, 0x480, 0, 0}},
    {0xd, 7, {0x400, 0x680, 0, 0}},
    {0xd, 9, {0x8, 0xa80, 0, 0}},
    {0x15, 0, {2, 0xa8, 25000000, 0}},
    {0x16, 0, {2100, 3700, 100, 0}},
    {0x80000000, 0, {0x80000008, 0, 0, 0}},
    {0x80000001, 0, {0, 0, 0x121, 0x2c100800}},
    {0x80000006, 0, {0, 0, 0x01006040, 0}},
    {0x80000007, 0, {0, 0, 0, 0x100}},
    {0x80000008, 0, {0x302e, 0, 0, 0}},
};

struct cpuid_result cpuid_host(uint32_t leaf, uint32_t subleaf)
{
    bool known = leaf <= 0x16 || (leaf >= 0x80000000 && leaf <= 0x80000008);

    for (size_t i = 0; i < ARRAY_LENGTH(processor); i++) {
        if (processor[i].leaf == leaf && processor[i].subleaf == subleaf)
            return processor[i].result;
    }
    return known ? (struct cpuid_result){0, 0, 0, 0} : cpuid_host(0x16, 0);
}

static struct cpuid_table table;

static int build(void **state)
{
    const struct cpuid_request request = {
        .model = "host", .cpus = 4, .xcr0_allowed = ~0ull, .tsc_khz = 2100000, .one_gib_pages = true};

    (void)state;
    return cpuid_build(&table, &request) != STATUS_OK;
}

static struct cpuid_result query(uint32_t leaf, uint32_t subleaf)
{
    return cpuid_query(&table, leaf, subleaf, 1, 0, 0xe7);
}

static void what_no_engine_carries_is_hidden(void **state)
{
    (void)state;
    assert_int_equal(query(0, 0).ebx, 0x756e6547);
    assert_int_equal(query(1, 0).eax, 0x00050654);
    assert_int_equal(query(1, 0).ecx & (1u << 3 | 1u << 5), 0);              /* MONITOR, VMX */
    assert_int_equal(query(1, 0).edx & (1u << 21 | 1u << 22 | 1u << 29), 0); /* DS, ACPI, TM */
    assert_int_equal(query(7, 0).ebx & (1u << 4 | 1u << 11 | 1u << 14 | 1u << 25), 0);
    assert_int_equal(query(7, 0).ecx, 0);
    assert_int_equal(query(0xd, 0).eax, 0xe7);
    assert_int_equal(query(0xd, 1).eax, 7);
    assert_int_equal(query(6, 0).eax, 4);
    assert_int_equal(query(0xa, 0).eax, 0);
    assert_true(cpuid_has(&table, 7, 0, EBX, 16)); /* AVX-512 stays */
}

/* This processor has neither UMIP nor RDPID; an engine may. Of what programs run directly, nothing comes along. */
static void the_engines_own_are_shown_without_the_processor(void **state)
{
    const struct cpuid_request request = {.model = "host",
                                          .cpus = 4,
                                          .xcr0_allowed = ~0ull,
                                          .tsc_khz = 2100000,
                                          .one_gib_pages = true,
                                          .system_emulated = true};
    static struct cpuid_table own;

    (void)state;
    assert_int_equal(cpuid_build(&own, &request), STATUS_OK);
    assert_int_equal(cpuid_query(&own, 7, 0, 1, 0, 0xe7).ecx, 1u << 2 | 1u << 22);
    assert_int_equal(cpuid_query(&own, 7, 0, 1, 0, 0xe7).ebx, query(7, 0).ebx);
    assert_int_equal(cpuid_query(&own, 1, 0, 1, 0, 0xe7).ecx, query(1, 0).ecx);
    assert_int_equal(cpuid_query(&own, 0x80000001, 0, 1, 0, 0xe7).edx, query(0x80000001, 0).edx);
}

enum { MD_CLEAR = 1 << 10, SPEC_CTRL = 1 << 26, STIBP = 1 << 27, ARCH_CAPABILITIES = 1 << 29 };

static void no_page_table_isolation_is_needed_under_translation(void **state)
{
    const struct cpuid_request request = {
        .model = "host", .cpus = 1, .xcr0_allowed = 7, .system_emulated = true, .arch_capabilities = 0x4b};

    (void)state;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_int_equal(query(7, 0).edx & (SPEC_CTRL | ARCH_CAPABILITIES), SPEC_CTRL | ARCH_CAPABILITIES);
    assert_int_equal(query(7, 0).edx & (1u << 31 | STIBP | MD_CLEAR), 0);
    assert_int_equal(table.arch_capabilities, 0x4b);
}

/* An engine that lets the processor run the guest: what it says of its host, no more. */
static void flaws_are_told_as_the_engine_tells_them(void **state)
{
    struct cpuid_request request = {.model = "host", .cpus = 1, .xcr0_allowed = 7, .carried_count = 2};

    (void)state;
    request.carried[0] = (struct cpuid_leaf){.leaf = 7, .result = {0, 0, 0, MD_CLEAR | STIBP}};
    request.carried[1] = (struct cpuid_leaf){.leaf = 1, .result = {0, 0, 0, 0x078bfbff}};
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_int_equal(query(7, 0).edx, MD_CLEAR | STIBP);
    assert_int_equal(query(7, 0).ebx & ~2u,
                     0); /* the processor has much, the engine carries none; TSC_ADJUST is ours */
    assert_true(cpuid_has(&table, 1, 0, EDX, 26));
    assert_true(cpuid_has(&table, 1, 0, ECX, 21)); /* x2APIC is the machine's */
    assert_false(cpuid_has(&table, 1, 0, ECX, 20));
}

static void caches_and_cores(void **state)
{
    (void)state;
    assert_int_equal(query(4, 0).eax, 0x0c000121);
    assert_int_equal(query(4, 3).eax, 0x0c00c163);
    assert_int_equal(query(4, 4).eax, 0);
    assert_int_equal(query(0xb, 1).eax, 2);
    assert_int_equal(query(2, 0).eax, 0x76036301);
}

static void the_layout_of_xsave_is_the_processors(void **state)
{
    (void)state;
    assert_int_equal(query(0xd, 0).ecx, 0xa80);
    assert_int_equal(query(0xd, 0).ebx, 0xa80);
    assert_int_equal(query(0xd, 6).ebx, 0x480);
    assert_int_equal(query(0xd, 3).eax, 0);
    assert_int_equal(query(0xd, 9).eax, 0);
    assert_int_equal(query(0xd, 1).ebx, 576 + 0x100 + 0x40 + 0x200 + 0x400);
}

static void frequency_is_in_leaf_15(void **state)
{
    struct cpuid_result leaf = query(0x15, 0);

    (void)state;
    assert_int_equal((uint64_t)leaf.ecx * leaf.ebx / leaf.eax, 2100000000ull);
    assert_int_equal(leaf.ecx, 1000000000); /* the local APIC timer's clock */
}

static void only_intels_extended_leaves(void **state)
{
    (void)state;
    assert_int_equal(query(0x80000000, 0).eax, 0x80000008);
    assert_int_equal(query(0x80000000, 0).ebx, 0);
    assert_int_equal(query(0x80000001, 0).ecx, 0x121);
    assert_int_equal(query(0x80000001, 0).edx, 0x2c100800);
    assert_int_equal(query(0x80000008, 0).eax, 0x302e);
    assert_int_equal(query(0x80000008, 0).ebx, 0);
    assert_int_equal(query(0x8000001d, 0).ecx, query(0x15, 0).ecx); /* beyond the end: the last basic leaf */
    assert_int_equal(query(0x1234, 0).ecx, query(0x15, 0).ecx);
}

static void a_fixed_model_is_the_same_here(void **state)
{
    const struct cpuid_request request = {.model = "x86-64-v3", .cpus = 4, .xcr0_allowed = ~0ull};

    (void)state;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_int_equal(query(0, 0).ebx, 0x68747541);
    assert_true(cpuid_has(&table, 0x80000001, 0, ECX, 22));
    assert_false(cpuid_has(&table, 7, 0, EBX, 16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_no_engine_carries_is_hidden, build),
        cmocka_unit_test_setup(the_engines_own_are_shown_without_the_processor, build),
        cmocka_unit_test(no_page_table_isolation_is_needed_under_translation),
        cmocka_unit_test(flaws_are_told_as_the_engine_tells_them),
        cmocka_unit_test_setup(caches_and_cores, build),
        cmocka_unit_test_setup(the_layout_of_xsave_is_the_processors, build),
        cmocka_unit_test_setup(frequency_is_in_leaf_15, build),
        cmocka_unit_test_setup(only_intels_extended_leaves, build),
        cmocka_unit_test(a_fixed_model_is_the_same_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
