/*
 * Guest memory by linear address, for whoever looks from outside: a debugger, a report. The processor's own page walk
 * (Intel SDM volume 3, chapter 4), but it asks for no rights, raises nothing and leaves the A and D bits alone.
 *
 * The page tables are the guest's: whatever is in them, a walk reads at most five entries.
 * Threads: the caller sees to it that the vCPU whose state this is stands still; other vCPUs may run.
 */
#ifndef LODGE_CORE_LINEAR_H
#define LODGE_CORE_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"
#include "x86/cpu_state.h"

/*
 * The guest physical address behind a linear one, as control registers and EFER of this state have it, and how many
 * bytes from there on are mapped contiguously (at least 1). False: not mapped, not canonical, or above 4 GiB outside of
 * long mode. The physical address need not be RAM.
 */
bool linear_translate(const struct guest_memory *memory, const struct cpu_state *cpu, uint64_t linear,
                      uint64_t *physical, uint64_t *mapped);

/* Copies up to size bytes; how many there were before the first that is not mapped to RAM. */
size_t linear_read(const struct guest_memory *memory, const struct cpu_state *cpu, uint64_t linear, void *to,
                   size_t size);

#endif
