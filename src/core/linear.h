/*
 * Guest memory by linear address, as a debugger or a report looks at it: through the guest's page
 * tables, without rights, without setting A and D bits, without the TLB.
 */
#ifndef LODGE_CORE_LINEAR_H
#define LODGE_CORE_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"
#include "x86/cpu_state.h"

/*
 * Where a linear address (segment base added) leads under CR0, CR3, CR4 and EFER of cpu: SDM volume 3,
 * sections 4.3 to 4.5. False: not canonical, not present, or a table is not in RAM. The physical address
 * need not be RAM. Any thread; tables that others change meanwhile give the old or the new answer.
 */
bool linear_to_physical(const struct cpu_state *cpu, const struct guest_memory *memory, uint64_t linear,
                        uint64_t *physical);

/* Copies up to size bytes; returns how many there are before the first that is not mapped or not RAM. */
size_t linear_read(const struct cpu_state *cpu, const struct guest_memory *memory, uint64_t linear, void *to,
                   size_t size);

#endif
