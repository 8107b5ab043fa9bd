/*
 * Model-specific registers without effect: kernels look at them on the real processors of this family, so they read as
 * something harmless, and writes that a kernel may make are forgotten. The same under every engine.
 */
#ifndef LODGE_X86_MSR_FIXED_H
#define LODGE_X86_MSR_FIXED_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/cpuid.h"

/* False: there is no such register for this vendor's processor, or it does not take that value: #GP. Any thread. */
bool msr_fixed_read(const struct cpuid_table *table, uint32_t msr, uint64_t *value);
bool msr_fixed_write(const struct cpuid_table *table, uint32_t msr, uint64_t value);

#endif
