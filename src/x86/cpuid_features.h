/* The CPUID feature bits that Lodge shows to guests, and on which conditions. Private to src/x86. */
#ifndef LODGE_X86_CPUID_FEATURES_H
#define LODGE_X86_CPUID_FEATURES_H

#include <stddef.h>
#include <stdint.h>

#include "x86/cpuid.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

/*
 * Which models show a feature. Each level has all features of those before it; `host` shows what the
 * processor has of all of them. The machine's own features come from our models, not from the
 * processor, so every model shows them, whatever the host has.
 */
enum cpuid_level { LEVEL_MACHINE, LEVEL_1, LEVEL_2, LEVEL_3, LEVEL_HOST };

/* Which vendor's processors have it at all. */
enum cpuid_vendor { VENDOR_ANY, VENDOR_INTEL, VENDOR_AMD };

struct cpuid_feature {
    const char *name;
    uint32_t leaf;
    uint8_t subleaf;
    uint8_t reg; /* enum cpuid_register */
    uint8_t bit;
    uint8_t level;  /* enum cpuid_level */
    uint8_t vendor; /* enum cpuid_vendor */
    uint16_t needs; /* XSAVE components (XCR0 bits 7:0) without which it does not work; the flags below */
};

/*
 * A feature of system instructions and paging alone: no instruction of it reaches the processor under an engine that
 * carries them out by itself (struct cpuid_request), which has it whatever the host has.
 */
enum { CPUID_SYSTEM = 1 << 8 };

/*
 * About flaws of speculation, which matter where the guest's branches are the processor's. CPUID_CLAIM: it says that a
 * flaw or its cure is not needed; true under translation, and elsewhere only where the engine says so of its host.
 * CPUID_CURE: a guest can do something with it only there.
 */
enum { CPUID_CLAIM = 1 << 9, CPUID_CURE = 1 << 10 };

extern const struct cpuid_feature cpuid_features[];
extern const size_t cpuid_feature_count;

#endif
