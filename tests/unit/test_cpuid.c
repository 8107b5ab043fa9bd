#include <string.h>

#include "unit.h"

#include "fake_port.h"
#include "x86/cpuid.h"
#include "x86/cpuid_features.h"
#include "x86/regs.h"

static struct cpuid_table table;

static struct cpuid_request request_for(const char *model)
{
    return (struct cpuid_request){
        .model = model, .cpus = 6, .xcr0_allowed = ~0ull, .tsc_khz = 2500000, .kvm_features = 9, .one_gib_pages = true};
}

static void build(const char *model)
{
    struct cpuid_request request = request_for(model);

    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
}

static struct cpuid_result query(uint32_t leaf, uint32_t subleaf)
{
    return cpuid_query(&table, leaf, subleaf, 3, CR4_OSXSAVE, 7);
}

static bool is_amd(void)
{
    return query(0, 0).ebx == 0x68747541;
}

static void only_listed_features_are_shown(void **state)
{
    static const uint32_t hidden_1_ecx = 1u << 3 | 1u << 5 | 1u << 15,
                          hidden_7_ebx = 1u << 2 | 1u << 4 | 1u << 11 | 1u << 14 | 1u << 25;
    static const uint32_t hidden_7_ecx = 1u << 3 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 16 | 1u << 23;

    (void)state;
    build("host");
    assert_int_equal(query(1, 0).ecx & hidden_1_ecx, 0);  /* MONITOR, VMX, PDCM */
    assert_int_equal(query(7, 0).ebx & hidden_7_ebx, 0);  /* SGX, HLE, RTM, MPX, PT */
    assert_int_equal(query(7, 0).ecx & hidden_7_ecx, 0);  /* PKU, OSPKE, WAITPKG, CET, LA57, KL */
    assert_int_equal(query(7, 0).edx & (7u << 22), 0);    /* AMX */
    assert_int_equal(query(7, 0).edx & (0x88u << 24), 0); /* STIBP, SSBD */
    assert_int_equal(query(0xd, 1).eax & ~7u, 0);         /* XSAVES and XFD */
    assert_int_equal(query(0xa, 0).eax, 0);
    assert_int_equal(query(0x80000001, 0).ecx & 1u << 2, 0); /* SVM */
    for (unsigned i = 0; i < cpuid_feature_count; i++) {
        const struct cpuid_feature *feature = &cpuid_features[i];

        for (unsigned j = 0; j < i; j++)
            assert_false(feature->leaf == cpuid_features[j].leaf && feature->subleaf == cpuid_features[j].subleaf &&
                         feature->reg == cpuid_features[j].reg && feature->bit == cpuid_features[j].bit);
    }
}

static void the_machine_has_its_own_features(void **state)
{
    (void)state;
    for (const char *const *model = cpuid_models(); *model; model++) {
        struct cpuid_request request = request_for(*model);

        if (cpuid_build(&table, &request) == STATUS_UNSUPPORTED)
            continue;
        assert_true(cpuid_has(&table, 1, 0, ECX, 31)); /* hypervisor */
        assert_true(cpuid_has(&table, 1, 0, ECX, 21)); /* x2APIC */
        assert_true(cpuid_has(&table, 1, 0, ECX, 24)); /* TSC deadline */
        assert_true(cpuid_has(&table, 1, 0, EDX, 9));  /* APIC */
        assert_true(cpuid_has(&table, 7, 0, EDX, 29)); /* ARCH_CAPABILITIES */
        assert_int_equal(query(0x40000000, 0).eax, 0x40000010);
        assert_int_equal(query(0x40000000, 0).ebx, 0x4b4d564b);
        assert_int_equal(query(0x40000001, 0).eax, 9);
        assert_int_equal(query(0x40000010, 0).eax, 2500000);
    }
}

static void host_is_the_host(void **state)
{
    struct cpuid_result mine, real = cpuid_host(0, 0);

    (void)state;
    build("host");
    mine = query(0, 0);
    assert_int_equal(mine.ebx, real.ebx);
    assert_int_equal(query(1, 0).eax, cpuid_host(1, 0).eax);
    assert_int_equal(query(0x80000002, 0).eax, cpuid_host(0x80000002, 0).eax);
    if (cpuid_host(0, 0).eax >= 7 && (cpuid_host(0xd, 0).eax & 4))
        assert_int_equal(cpuid_has(&table, 7, 0, EBX, 5), cpuid_host(7, 0).ebx >> 5 & 1);
}

static void what_depends_on_the_asker_does(void **state)
{
    (void)state;
    build("host");
    assert_int_equal(query(1, 0).ebx >> 24, 3);
    assert_int_equal(cpuid_query(&table, 1, 0, 5, 0, 1).ebx >> 24, 5);
    assert_int_equal(query(1, 0).ecx >> 27 & 1, 1);
    assert_int_equal(cpuid_query(&table, 1, 0, 5, 0, 1).ecx >> 27 & 1, 0);
    assert_int_equal(query(0xb, 0).edx, 3);
    assert_int_equal(query(0xb, 7).edx, 3);
    assert_int_equal(query(0xb, 7).ecx, 7);
    assert_int_equal(query(0xb, 7).ebx, 0);
    if (is_amd())
        assert_int_equal(query(0x8000001e, 0).eax, 3);
}

static void topology_is_one_socket_of_single_thread_cores(void **state)
{
    (void)state;
    build("host");
    assert_int_equal(query(1, 0).ebx >> 16 & 0xff, 6);
    assert_int_equal(query(0xb, 0).eax, 0);
    assert_int_equal(query(0xb, 0).ebx, 1);
    assert_int_equal(query(0xb, 0).ecx, 0x100);
    assert_int_equal(query(0xb, 1).eax, 3);
    assert_int_equal(query(0xb, 1).ebx, 6);
    assert_int_equal(query(0xb, 1).ecx, 0x201);
    if (is_amd()) {
        assert_int_equal(query(0x80000008, 0).ecx, 0x3005);
        assert_int_equal(query(0x8000001d, 0).eax >> 14 & 0xfff, 0);
        assert_int_equal(query(0x8000001d, 3).eax >> 14 & 0xfff, 7);
        assert_int_equal(query(0x8000001e, 0).ebx >> 8, 0);
    }
}

static void xsave_sizes_follow_xcr0(void **state)
{
    (void)state;
    build("host");
    if (!cpuid_has(&table, 1, 0, ECX, 28))
        skip();
    assert_int_equal(cpuid_xsave_size(&table, 3), 576);
    assert_int_equal(cpuid_xsave_size(&table, 7), 832);
    assert_int_equal(cpuid_query(&table, 0xd, 0, 0, 0, 3).ebx, 576);
    assert_int_equal(cpuid_query(&table, 0xd, 0, 0, 0, 7).ebx, 832);
    assert_int_equal(query(0xd, 0).ecx, cpuid_xsave_size(&table, query(0xd, 0).eax));
    assert_int_equal(query(0xd, 2).eax, 256);
    if (cpuid_has(&table, 0xd, 1, EAX, 1))
        assert_int_equal(query(0xd, 1).ebx, 832);
}

static void an_engine_without_avx_gets_none(void **state)
{
    struct cpuid_request request = request_for("host");

    (void)state;
    request.xcr0_allowed = XCR0_X87 | XCR0_SSE;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_false(cpuid_has(&table, 1, 0, ECX, 28));
    assert_false(cpuid_has(&table, 7, 0, EBX, 5));
    assert_false(cpuid_has(&table, 7, 0, EBX, 16));
    request.xcr0_allowed = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_false(cpuid_has(&table, 7, 0, EBX, 16));
    assert_int_equal(query(0xd, 0).eax & ~7u, 0);
    request.one_gib_pages = false;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_false(cpuid_has(&table, 0x80000001, 0, EDX, 26));
}

/* Whatever the host has of them, and nothing else that it lacks. */
static void an_engine_that_emulates_the_system_has_its_features(void **state)
{
    static const char *const names[] = {"pcid",  "fsgsbase", "smep", "invpcid", "smap",  "umip",
                                        "rdpid", "syscall",  "nx",   "pdpe1gb", "rdtscp"};
    struct cpuid_request request = request_for("host");
    unsigned found = 0;

    (void)state;
    request.system_emulated = true;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    for (size_t i = 0; i < cpuid_feature_count; i++) {
        const struct cpuid_feature *feature = &cpuid_features[i];
        struct cpuid_result real = cpuid_host(feature->leaf, feature->subleaf);
        bool shown = cpuid_has(&table, feature->leaf, feature->subleaf, feature->reg, feature->bit);
        bool named = false;

        for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
            named = named || strcmp(names[j], feature->name) == 0;
        found += named;
        if (named)
            assert_true(shown);
        else if (feature->level != LEVEL_MACHINE && shown)
            assert_true(((const uint32_t[]){real.eax, real.ebx, real.ecx, real.edx})[feature->reg] >> feature->bit & 1);
    }
    assert_int_equal(found, sizeof(names) / sizeof(names[0]));
    request.one_gib_pages = false;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_false(cpuid_has(&table, 0x80000001, 0, EDX, 26));
}

static void no_paravirtual_leaves_without_features(void **state)
{
    struct cpuid_request request = request_for("host");

    (void)state;
    request.kvm_features = 0;
    assert_int_equal(cpuid_build(&table, &request), STATUS_OK);
    assert_int_equal(query(0x40000000, 0).ebx, 0);
    assert_true(cpuid_has(&table, 1, 0, ECX, 31));
}

static void leaves_out_of_range(void **state)
{
    (void)state;
    build("host");
    assert_int_equal(query(0x40000abc, 0).eax, 0);
    if (is_amd()) {
        assert_int_equal(query(0x1000, 0).eax, 0);
        assert_int_equal(query(0x80001000, 0).eax, 0);
    } else {
        assert_int_equal(query(0x1000, 0).eax, query(table.max_basic, 0).eax);
    }
    assert_false(cpuid_has(&table, 1, 0, 4, 0));
    assert_false(cpuid_has(&table, 1, 0, 0, 32));
}

/* The psABI's lists: what a program compiled for the level may use. */
static void fixed_models_keep_their_promise(void **state)
{
    static const uint32_t v2_ecx = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23;
    static const uint32_t v3_ecx = 1u << 12 | 1u << 22 | 1u << 26 | 1u << 28 | 1u << 29;
    static const uint32_t v3_ebx = 1u << 3 | 1u << 5 | 1u << 8;
    struct cpuid_request request = request_for("x86-64-v2");

    (void)state;
    if (cpuid_build(&table, &request) == STATUS_UNSUPPORTED)
        skip();
    assert_int_equal(query(1, 0).ecx & v2_ecx, v2_ecx);
    assert_false(cpuid_has(&table, 1, 0, ECX, 28));
    assert_true(cpuid_has(&table, 0x80000001, 0, ECX, 0));
    request.model = "x86-64-v3";
    if (cpuid_build(&table, &request) == STATUS_UNSUPPORTED)
        skip();
    assert_int_equal(query(1, 0).ecx & (v2_ecx | v3_ecx), v2_ecx | v3_ecx);
    assert_int_equal(query(7, 0).ebx & v3_ebx, v3_ebx);
    assert_true(cpuid_has(&table, 0x80000001, 0, ECX, 5));
    assert_false(cpuid_has(&table, 7, 0, EBX, 16));
    assert_int_equal(query(0xd, 0).eax, 7);
    assert_int_equal(query(0, 0).ebx, 0x68747541);
}

static void what_cannot_be_built_is_refused_with_a_line(void **state)
{
    struct cpuid_request request = request_for("i486");

    (void)state;
    (void)fake_log_count();
    assert_int_equal(cpuid_build(&table, &request), STATUS_NOT_FOUND);
    assert_int_equal(fake_log_count(), 1);
    request = request_for("host");
    request.cpus = 0;
    assert_int_equal(cpuid_build(&table, &request), STATUS_INVALID);
    request.cpus = 256;
    assert_int_equal(cpuid_build(&table, &request), STATUS_INVALID);
    request = request_for("x86-64-v3");
    request.xcr0_allowed = XCR0_X87 | XCR0_SSE;
    (void)fake_log_count();
    assert_int_equal(cpuid_build(&table, &request), STATUS_UNSUPPORTED);
    assert_int_equal(fake_log_count(), 1);
    assert_non_null(strstr(fake_log_line, "x86-64-v3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_listed_features_are_shown),
        cmocka_unit_test(the_machine_has_its_own_features),
        cmocka_unit_test(host_is_the_host),
        cmocka_unit_test(what_depends_on_the_asker_does),
        cmocka_unit_test(topology_is_one_socket_of_single_thread_cores),
        cmocka_unit_test(xsave_sizes_follow_xcr0),
        cmocka_unit_test(an_engine_without_avx_gets_none),
        cmocka_unit_test(an_engine_that_emulates_the_system_has_its_features),
        cmocka_unit_test(no_paravirtual_leaves_without_features),
        cmocka_unit_test(leaves_out_of_range),
        cmocka_unit_test(fixed_models_keep_their_promise),
        cmocka_unit_test(what_cannot_be_built_is_refused_with_a_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
