/*
 * Named CPU models turned into tables.
 *
 * `host` keeps the processor's vendor, family, model, caches and name, and shows those of its
 * features that our engines carry. The fixed models look the same everywhere: an AMD processor of
 * family 19h, since that family has the fewest flaws for a kernel to work around.
 *
 * The topology is always one socket of single-thread cores, numbered by APIC identifier.
 */
#include "base/bits.h"
#include "base/memory.h"
#include "port/log.h"
#include "x86/cpuid.h"
#include "x86/cpuid_builder.h"
#include "x86/cpuid_features.h"
#include "x86/regs.h"

enum {
    LEAF1_EDX_HTT = 1 << 28,
    EXT1_ECX_CMP_LEGACY = 1 << 1,
    EXT1_EDX_COPIED = 0x0183f3ff, /* AMD repeats these bits of leaf 1 EDX */
    MAX_BASIC_AMD = 0xd,
    MAX_BASIC_INTEL = 0x15,
    MAX_EXTENDED_AMD = 0x80000021 - 0x80000000,
    MAX_EXTENDED_INTEL = 0x80000008 - 0x80000000,
    FIXED_SIGNATURE = 0x00a00f11, /* family 19h, model 1, stepping 1 */
    FIXED_PHYSICAL_BITS = 40,
    VIRTUAL_BITS = 48,
    LAPIC_HZ = 1000000000, /* the local APIC timer's input: dev/chipset/lapic_timer.c */
    CACHES = 8,
};

static const struct cpuid_model models[] = {
    {"host", LEVEL_HOST},
    {"x86-64-v2", LEVEL_2},
    {"x86-64-v3", LEVEL_3},
};

static const char *const model_names[] = {"host", "x86-64-v2", "x86-64-v3", NULL};

const char *const *cpuid_models(void)
{
    return model_names;
}

/* The smallest n with 2^n >= value. */
static uint32_t bits_for(uint32_t value)
{
    uint32_t bits = 0;

    while ((1u << bits) < value)
        bits++;
    return bits;
}

/* A fixed model promises all of its features; `host` promises none. */
static enum status check_promise(struct cpuid_builder *builder)
{
    for (size_t i = 0; i < cpuid_feature_count; i++) {
        const struct cpuid_feature *feature = &cpuid_features[i];

        if (builder_is_host(builder) || feature->level > builder->model->level || feature->vendor == VENDOR_INTEL)
            continue;
        if (!(feature->needs & CPUID_CLAIM) && !builder_shown(builder, feature)) {
            log_error("cpu model %s: this host or engine lacks %s; use --cpu host, or a smaller model",
                      builder->model->name, feature->name);
            return STATUS_UNSUPPORTED;
        }
    }
    return STATUS_OK;
}

/* Leaves 4 (Intel) and 0x8000001d (AMD) have the same form in EAX..EDX. */
static struct cpuid_result share_cache(struct cpuid_builder *builder, struct cpuid_result cache)
{
    uint32_t cores = 1u << bits_for(builder->request->cpus);
    uint32_t level = (uint32_t)bits_get(cache.eax, 7, 5);
    uint32_t sharers = level >= 3 ? cores : 1;

    cache.eax = (cache.eax & 0x3fff) | (sharers - 1) << 14;
    if (builder->vendor == VENDOR_INTEL)
        cache.eax |= (cores > 64 ? 63 : cores - 1) << 26;
    return cache;
}

static const struct cpuid_result fixed_caches[] = {
    {0x00000121, 0x01c0003f, 0x0000003f, 0}, /* L1 data: 32 KiB, 8 ways */
    {0x00000122, 0x01c0003f, 0x0000003f, 0}, /* L1 code */
    {0x00000143, 0x01c0003f, 0x000003ff, 2}, /* L2: 512 KiB, 8 ways, inclusive */
    {0x00000163, 0x03c0003f, 0x00003fff, 1}, /* L3: 16 MiB, 16 ways */
};

static void build_caches(struct cpuid_builder *builder, uint32_t leaf)
{
    bool from_host = builder_is_host(builder) && bits_get(builder_host_leaf(builder, leaf, 0).eax, 4, 0) != 0;

    for (uint32_t i = 0; i < CACHES; i++) {
        struct cpuid_result cache = {0, 0, 0, 0};

        if (from_host)
            cache = builder_host_leaf(builder, leaf, i);
        else if (i < ARRAY_LENGTH(fixed_caches))
            cache = fixed_caches[i];
        if (bits_get(cache.eax, 4, 0) == 0)
            return;
        builder_add_subleaf(builder, leaf, i, share_cache(builder, cache));
    }
}

static void build_xsave(struct cpuid_builder *builder)
{
    uint32_t size = 576;

    if (!(builder_features(builder, 1, 0, ECX) & BIT(26)))
        return;
    for (uint32_t component = 2; component < 63; component++) {
        struct cpuid_result layout;

        if (!(builder->xcr0 & BIT64(component)))
            continue;
        layout = builder_host_leaf(builder, 0xd, component);
        layout.ecx &= 2;
        layout.edx = 0;
        builder_add_subleaf(builder, 0xd, component, layout);
        if (layout.ebx + layout.eax > size)
            size = layout.ebx + layout.eax;
    }
    builder_add_subleaf(builder, 0xd, 0, (struct cpuid_result){(uint32_t)builder->xcr0, 0, size, 0});
    builder_add_subleaf(builder, 0xd, 1, (struct cpuid_result){builder_features(builder, 0xd, 1, EAX), 0, 0, 0});
}

static void build_topology(struct cpuid_builder *builder)
{
    uint32_t cpus = builder->request->cpus;

    builder_add_subleaf(builder, 0xb, 0, (struct cpuid_result){0, 1, 1 << 8, 0});
    builder_add_subleaf(builder, 0xb, 1, (struct cpuid_result){bits_for(cpus), cpus, 2 << 8, 0});
}

static void build_basic(struct cpuid_builder *builder)
{
    const struct cpuid_request *request = builder->request;
    bool intel = builder->vendor == VENDOR_INTEL;
    uint32_t max = intel ? MAX_BASIC_INTEL : MAX_BASIC_AMD;
    struct cpuid_result vendor = {0, 0x68747541, 0x444d4163, 0x69746e65}; /* AuthenticAMD */

    if (builder_is_host(builder))
        vendor = builder_host_leaf(builder, 0, 0);
    vendor.eax = builder->table->max_basic = max;
    builder_add(builder, 0, vendor);
    builder_add(builder, 1,
                (struct cpuid_result){
                    .eax = builder_is_host(builder) ? builder_host_leaf(builder, 1, 0).eax : FIXED_SIGNATURE,
                    .ebx = request->cpus << 16 | 8 << 8, /* CLFLUSH works on 8 * 8 bytes */
                    .ecx = builder_features(builder, 1, 0, ECX),
                    .edx = builder_features(builder, 1, 0, EDX) | (request->cpus > 1 ? LEAF1_EDX_HTT : 0),
                });
    if (intel) {
        builder_add(builder, 2, builder_host_leaf(builder, 2, 0));
        build_caches(builder, 4);
    }
    builder_add(builder, 6, (struct cpuid_result){builder_features(builder, 6, 0, EAX), 0, 0, 0});
    builder_add_subleaf(builder, 7, 0,
                        (struct cpuid_result){1, builder_features(builder, 7, 0, EBX),
                                              builder_features(builder, 7, 0, ECX),
                                              builder_features(builder, 7, 0, EDX)});
    builder_add_subleaf(builder, 7, 1, (struct cpuid_result){builder_features(builder, 7, 1, EAX), 0, 0, 0});
    build_topology(builder);
    build_xsave(builder);
    if (intel) /* TSC = crystal * EBX / EAX; Linux takes the crystal for the local APIC timer's clock too */
        builder_add(builder, 0x15, (struct cpuid_result){LAPIC_HZ / 1000, request->tsc_khz, LAPIC_HZ, 0});
}

static void build_brand(struct cpuid_builder *builder)
{
    char brand[48] = "Lodge ";

    if (!builder_is_host(builder)) {
        memcpy(brand + 6, builder->model->name, strlen(builder->model->name));
        memcpy(brand + 6 + strlen(builder->model->name), " processor", 10);
    }
    for (uint32_t i = 0; i < 3; i++) {
        const char *part = brand + (size_t)16 * i;

        if (builder_is_host(builder))
            builder_add(builder, 0x80000002 + i, builder_host_leaf(builder, 0x80000002 + i, 0));
        else
            builder_add(builder, 0x80000002 + i,
                        (struct cpuid_result){(uint32_t)load_le(part, 4), (uint32_t)load_le(part + 4, 4),
                                              (uint32_t)load_le(part + 8, 4), (uint32_t)load_le(part + 12, 4)});
    }
}

static uint32_t address_sizes(struct cpuid_builder *builder)
{
    uint32_t physical =
        builder_is_host(builder) ? builder_host_leaf(builder, 0x80000008, 0).eax & 0xff : FIXED_PHYSICAL_BITS;

    if (physical < 36 || physical > 52)
        physical = FIXED_PHYSICAL_BITS;
    if (builder->request->physical_bits_most && physical > builder->request->physical_bits_most)
        physical = builder->request->physical_bits_most;
    return physical | VIRTUAL_BITS << 8;
}

/* Leaves that only AMD has: old cache and TLB descriptions, then the topology. */
static void build_amd(struct cpuid_builder *builder)
{
    static const uint32_t descriptive[] = {0x80000005, 0x80000019, 0x8000001a};
    static const struct cpuid_result fixed_l1 = {0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140};

    for (size_t i = 0; i < ARRAY_LENGTH(descriptive); i++) {
        if (builder_is_host(builder))
            builder_add(builder, descriptive[i], builder_host_leaf(builder, descriptive[i], 0));
    }
    if (!builder_is_host(builder))
        builder_add(builder, 0x80000005, fixed_l1);
    build_caches(builder, 0x8000001d);
    builder_add(builder, 0x8000001e, (struct cpuid_result){0, 0, 0, 0});
    builder_add(builder, 0x80000021,
                (struct cpuid_result){builder_features(builder, 0x80000021, 0, EAX), 0,
                                      builder_features(builder, 0x80000021, 0, ECX), 0});
}

static void build_extended(struct cpuid_builder *builder)
{
    static const struct cpuid_result fixed_l2 = {0, 0x42004200, 0x02006140, 0x00808140};
    bool amd = builder->vendor == VENDOR_AMD;
    uint32_t cpus = builder->request->cpus;
    struct cpuid_result vendor = {0, 0, 0, 0};

    if (amd)
        vendor = builder->table->leaves[0].result;
    vendor.eax = builder->table->max_extended = 0x80000000 + (amd ? MAX_EXTENDED_AMD : MAX_EXTENDED_INTEL);
    builder_add(builder, 0x80000000, vendor);
    builder_add(builder, 0x80000001,
                (struct cpuid_result){
                    .eax = amd ? builder->table->leaves[1].result.eax : 0,
                    .ecx = builder_features(builder, 0x80000001, 0, ECX) | (amd && cpus > 1 ? EXT1_ECX_CMP_LEGACY : 0),
                    .edx = builder_features(builder, 0x80000001, 0, EDX) |
                           (amd ? builder_features(builder, 1, 0, EDX) & EXT1_EDX_COPIED : 0),
                });
    build_brand(builder);
    builder_add(builder, 0x80000006, builder_is_host(builder) ? builder_host_leaf(builder, 0x80000006, 0) : fixed_l2);
    builder_add(builder, 0x80000007, (struct cpuid_result){0, 0, 0, builder_features(builder, 0x80000007, 0, EDX)});
    builder_add(builder, 0x80000008,
                (struct cpuid_result){
                    .eax = address_sizes(builder),
                    .ebx = builder_features(builder, 0x80000008, 0, EBX),
                    .ecx = amd ? (cpus - 1) | bits_for(cpus) << 12 : 0,
                });
    if (amd)
        build_amd(builder);
}

static void build_hypervisor(struct cpuid_builder *builder)
{
    const struct cpuid_request *request = builder->request;

    if (request->kvm_features == 0)
        return;
    builder->table->max_hypervisor = CPUID_TIMING;
    builder_add(builder, 0x40000000, (struct cpuid_result){CPUID_TIMING, 0x4b4d564b, 0x564b4d56, 0x4d}); /* KVMKVMKVM */
    builder_add(builder, 0x40000001, (struct cpuid_result){request->kvm_features, 0, 0, 0});
    builder_add(builder, CPUID_TIMING, (struct cpuid_result){request->tsc_khz, LAPIC_HZ / 1000, 0, 0});
}

static const struct cpuid_model *model_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(models); i++) {
        if (strcmp(models[i].name, name) == 0)
            return &models[i];
    }
    return NULL;
}

/* What XCR0 may hold: what the engine carries of what the processor has; AVX-512 all or nothing. */
static uint64_t usable_xcr0(struct cpuid_builder *builder)
{
    uint64_t usable = builder->request->xcr0_allowed & builder_host_word(builder, 0xd, 0, EAX);

    if (!(usable & XCR0_AVX) || (usable & XCR0_AVX512) != XCR0_AVX512)
        usable &= ~XCR0_AVX512;
    if (!builder_is_host(builder))
        usable &= XCR0_AVX;
    return (usable & (XCR0_AVX | XCR0_AVX512)) | XCR0_X87 | XCR0_SSE;
}

enum status cpuid_build(struct cpuid_table *table, const struct cpuid_request *request)
{
    struct cpuid_builder builder = {.table = table, .request = request, .model = model_find(request->model)};
    enum status status;

    memset(table, 0, sizeof(*table));
    if (builder.model == NULL) {
        log_error("cpu model %s is unknown; there are host, x86-64-v2 and x86-64-v3", request->model);
        return STATUS_NOT_FOUND;
    }
    if (request->cpus < 1 || request->cpus > 255) {
        log_error("%u processors cannot be described; give 1 to 255", request->cpus);
        return STATUS_INVALID;
    }
    builder.vendor = builder_is_host(&builder) ? builder_host_vendor(&builder) : VENDOR_AMD;
    builder.xcr0 = usable_xcr0(&builder);
    table->arch_capabilities = request->arch_capabilities;
    status = check_promise(&builder);
    if (status != STATUS_OK)
        return status;
    build_basic(&builder);
    build_extended(&builder);
    build_hypervisor(&builder);
    if (builder.full) {
        log_error("cpu model %s: the processor has more leaves than the table holds", builder.model->name);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}
