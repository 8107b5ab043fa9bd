/* What the functions that fill a CPUID table share. Private to src/x86. */
#ifndef LODGE_X86_CPUID_BUILDER_H
#define LODGE_X86_CPUID_BUILDER_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/cpuid.h"
#include "x86/cpuid_features.h"

struct cpuid_model {
    const char *name;
    enum cpuid_level level;
};

/* What the processor answered: a hypervisor below us may take tens of microseconds for each question. */
struct host_cache {
    struct cpuid_leaf leaves[CPUID_LEAVES];
    unsigned count;
};

struct cpuid_builder {
    struct cpuid_table *table;
    const struct cpuid_request *request;
    const struct cpuid_model *model;
    enum cpuid_vendor vendor;
    uint64_t xcr0;
    struct host_cache host;
    bool full; /* the table was too small */
};

bool builder_is_host(const struct cpuid_builder *builder);

/* Appends a leaf, or notes that the table is full. */
void builder_add(struct cpuid_builder *builder, uint32_t leaf, struct cpuid_result result);
void builder_add_subleaf(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf, struct cpuid_result result);

/* The processor's answer, or zeros where it has no such leaf (Intel's would answer with another one). */
struct cpuid_result builder_host_leaf(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf);
uint32_t builder_host_word(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf, enum cpuid_register reg);
enum cpuid_vendor builder_host_vendor(struct cpuid_builder *builder);

/* Does the model show this feature, on this host, with this engine? And all that it shows in one register. */
bool builder_shown(struct cpuid_builder *builder, const struct cpuid_feature *feature);
uint32_t builder_features(struct cpuid_builder *builder, uint32_t leaf, uint32_t subleaf, enum cpuid_register reg);

#endif
