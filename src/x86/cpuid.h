/* CPUID as a guest sees it: a named model turned into a table of leaves. */
#ifndef LODGE_X86_CPUID_H
#define LODGE_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { CPUID_LEAVES = 96, CPUID_CARRIED = 16 };

/* The leaf of hypervisors that tells the frequency of the time stamp counter: EAX, in kHz. */
enum { CPUID_TIMING = 0x40000010 };

struct cpuid_result {
    uint32_t eax, ebx, ecx, edx;
};

struct cpuid_leaf {
    uint32_t leaf, subleaf;
    bool subleaf_matters;
    struct cpuid_result result;
};

/* What the engine at hand can carry, and how the machine is built. */
struct cpuid_request {
    const char *model;       /* "host", "x86-64-v2", "x86-64-v3" */
    unsigned cpus;           /* 1..255; APIC identifiers are 0..cpus-1 */
    uint64_t xcr0_allowed;   /* XSAVE components the engine carries */
    uint32_t tsc_khz;        /* guest TSC frequency, for leaves 0x15 and 0x4000_0010 */
    uint32_t kvm_features;   /* leaf 0x4000_0001 EAX; 0: none are served */
    bool one_gib_pages, la57_denied;
    bool system_emulated;    /* the engine carries out system instructions and paging itself: CPUID_SYSTEM */
    uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES */
    struct cpuid_leaf carried[CPUID_CARRIED]; /* the feature words of what the engine carries; */
    unsigned carried_count;                   /* 0: all that the host has */
    unsigned physical_bits_most; /* of addresses, 36 and up; 0: as many as the model has */
};

struct cpuid_table {
    struct cpuid_leaf leaves[CPUID_LEAVES];
    unsigned count;
    uint32_t max_basic, max_extended, max_hypervisor;
    uint64_t arch_capabilities; /* what the register reads as, where its feature bit is shown */
};

/*
 * Builds the table. STATUS_NOT_FOUND for an unknown model, STATUS_UNSUPPORTED when the host lacks
 * what the model promises (logged: which feature). Features that no engine of ours carries are always
 * off, and page-table isolation is reported as not needed (cpuid_features.c). hypervisor bit set; leaf 0x4000_0000 has KVM's signature when kvm_features != 0.
 */
enum status cpuid_build(struct cpuid_table *table, const struct cpuid_request *request) MUST_CHECK;

/* The names that cpuid_build() takes, NULL-terminated. */
const char *const *cpuid_models(void);

/*
 * What the CPUID instruction answers (SDM volume 2, CPUID). Dynamic bits: APIC id from apic_id, OSXSAVE
 * from cr4, leaf 0xD sizes from xcr0. Out-of-range leaves answer as Intel's or AMD's processor does.
 */
struct cpuid_result cpuid_query(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, uint32_t apic_id,
                                uint64_t cr4, uint64_t xcr0);

/* Is a feature bit set in the table? Register: 0 EAX .. 3 EDX. */
bool cpuid_has(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit);

/* Size in bytes of a standard-format XSAVE area for these components. */
uint32_t cpuid_xsave_size(const struct cpuid_table *table, uint64_t xcr0);

/* The real processor's answer. */
struct cpuid_result cpuid_host(uint32_t leaf, uint32_t subleaf);

#endif
