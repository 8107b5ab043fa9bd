/* The instructions around RIP. */
#ifndef LODGE_VMM_DISASSEMBLY_H
#define LODGE_VMM_DISASSEMBLY_H

#include "core/memory.h"
#include "x86/cpu_state.h"

/*
 * Logs the instruction at RIP, marked, with a few before and behind it, read through the guest's page
 * tables; or that the code is not mapped. Those before are a guess: x86 code cannot be read backwards, so
 * it is read from the farthest start whose instructions meet RIP.
 */
void disassembly_print(const struct cpu_state *cpu, const struct guest_memory *memory);

#endif
