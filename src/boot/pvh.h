/*
 * ELF kernels that start by the PVH ABI: a note names a 32-bit entry point, EBX points to a
 * description of the machine (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h).
 * Private to boot/.
 */
#ifndef LODGE_BOOT_PVH_H
#define LODGE_BOOT_PVH_H

#include <stdbool.h>

#include "base/status.h"

struct boot_context;
struct cpu_state;
struct elf_image;

/* Has it the note XEN_ELFNOTE_PHYS32_ENTRY? */
bool pvh_detect(const struct elf_image *image);

/* Loads segments, modules, command line and start info; sets *bsp last. Errors are logged. */
enum status pvh_load(struct boot_context *context, struct cpu_state *bsp) MUST_CHECK;

#endif
