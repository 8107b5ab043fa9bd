/* What a Multiboot kernel is told (Multiboot Specification 0.6.96, section 3.3). Private to boot/. */
#ifndef LODGE_BOOT_MULTIBOOT_INFO_H
#define LODGE_BOOT_MULTIBOOT_INFO_H

#include <stdint.h>

#include "base/status.h"

struct boot_context;

/*
 * Places modules, strings, memory map and the information structure; modules follow the kernel,
 * which ends at kernel_end, on page boundaries, as kernels have come to expect.
 */
enum status multiboot_place_info(struct boot_context *context, uint64_t kernel_end, uint64_t *address) MUST_CHECK;

#endif
