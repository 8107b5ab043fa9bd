#include "x86/cpuid_builder.h"

#include "base/bits.h"

bool builder_is_host(const struct cpuid_builder *builder)
{
    return builder->model->level == LEVEL_HOST;
}

void builder_add(struct cpuid_builder *builder, uint32_t leaf, struct cpuid_result result)
{
    struct cpuid_table *table = builder->table;

    if (table->count == CPUID_LEAVES)
        builder->full = true;
    else
        table->leaves[table->count++] = (struct cpuid_leaf){.leaf = leaf, .result = result};
}

void builder_add_subleaf(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf, struct cpuid_result result)
{
    builder_add(builder, leaf, result);
    if (!builder->full) {
        builder->table->leaves[builder->table->count - 1].subleaf = subleaf;
        builder->table->leaves[builder->table->count - 1].subleaf_matters = true;
    }
}

static struct cpuid_result host_cached(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf)
{
    struct host_cache *cache = &builder->host;
    struct cpuid_leaf entry = {.leaf = leaf, .subleaf = subleaf};

    for (unsigned i = 0; i < cache->count; i++) {
        if (cache->leaves[i].leaf == leaf && cache->leaves[i].subleaf == subleaf)
            return cache->leaves[i].result;
    }
    entry.result = cpuid_host(leaf, subleaf);
    if (cache->count < CPUID_LEAVES)
        cache->leaves[cache->count++] = entry;
    return entry.result;
}

struct cpuid_result builder_host_leaf(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf)
{
    if (leaf > host_cached(builder, leaf & 0x80000000, 0).eax)
        return (struct cpuid_result){0, 0, 0, 0};
    if (leaf == 7 && subleaf > host_cached(builder, 7, 0).eax)
        return (struct cpuid_result){0, 0, 0, 0};
    return host_cached(builder, leaf, subleaf);
}

uint32_t builder_host_word(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf, enum cpuid_register reg)
{
    struct cpuid_result result = builder_host_leaf(builder, leaf, subleaf);

    return ((const uint32_t[]){result.eax, result.ebx, result.ecx, result.edx})[reg];
}

static bool host_has(struct cpuid_builder *builder, const struct cpuid_feature *feature)
{
    return builder_host_word(builder, feature->leaf, feature->subleaf, feature->reg) >> feature->bit & 1;
}

/* An engine of the host's kernel does not carry all that the processor has. */
static bool engine_carries(const struct cpuid_builder *builder, const struct cpuid_feature *feature)
{
    const struct cpuid_request *request = builder->request;

    for (unsigned i = 0; i < request->carried_count; i++) {
        const struct cpuid_leaf *leaf = &request->carried[i];

        if (leaf->leaf == feature->leaf && leaf->subleaf == feature->subleaf)
            return ((const uint32_t[]){leaf->result.eax, leaf->result.ebx, leaf->result.ecx,
                                       leaf->result.edx})[feature->reg] >>
                       feature->bit &
                   1;
    }
    return request->carried_count == 0;
}

enum cpuid_vendor builder_host_vendor(struct cpuid_builder *builder)
{
    return builder_host_leaf(builder, 0, 0).ebx == 0x756e6547 /* "Genu" */ ? VENDOR_INTEL : VENDOR_AMD;
}

bool builder_shown(struct cpuid_builder *builder, const struct cpuid_feature *feature)
{
    if (feature->vendor != VENDOR_ANY && feature->vendor != builder->vendor)
        return false;
    if (feature->needs & CPUID_CLAIM)
        return builder->request->system_emulated || engine_carries(builder, feature);
    if ((feature->needs & CPUID_CURE) && builder->request->system_emulated)
        return false;
    if (feature->level == LEVEL_MACHINE)
        return true;
    if (feature->level > builder->model->level || (feature->needs & 0xff & ~builder->xcr0) != 0)
        return false;
    if (feature->leaf == 0x80000001 && feature->reg == EDX && feature->bit == 26 && !builder->request->one_gib_pages)
        return false;
    if (builder->request->system_emulated && (feature->needs & CPUID_SYSTEM))
        return true;
    return host_has(builder, feature) && engine_carries(builder, feature);
}

uint32_t builder_features(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf, enum cpuid_register reg)
{
    uint32_t word = 0;

    for (size_t i = 0; i < cpuid_feature_count; i++) {
        const struct cpuid_feature *feature = &cpuid_features[i];

        if (feature->leaf == leaf && feature->subleaf == subleaf && feature->reg == reg &&
            builder_shown(builder, feature))
            word |= BIT(feature->bit);
    }
    return word;
}
