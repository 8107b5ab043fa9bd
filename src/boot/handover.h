/* The first processor at a kernel's entry point: modes, segments, page tables. Private to boot/. */
#ifndef LODGE_BOOT_HANDOVER_H
#define LODGE_BOOT_HANDOVER_H

#include <stdint.h>

#include "base/status.h"

struct boot_context;
struct cpu_state;

/* Selectors that Linux's boot protocol asks for; the 32-bit entries get the same. */
enum { BOOT_CS = 0x10, BOOT_DS = 0x18, BOOT_TSS = 0x20 };

/*
 * Both place a global descriptor table (and page tables) in guest memory, then set *cpu; on failure
 * it is untouched. Interrupts off, no interrupt table, every other register as it was.
 */

/* 64-bit mode, the first 4 GiB mapped to themselves in 2 MiB pages. */
enum status handover_long_mode(struct boot_context *context, struct cpu_state *cpu, uint64_t entry) MUST_CHECK;

/* 32-bit protected mode, paging off, flat 4 GiB segments (Multiboot 3.2; Xen's PVH boot ABI). */
enum status handover_protected_mode(struct boot_context *context, struct cpu_state *cpu, uint32_t entry) MUST_CHECK;

#endif
