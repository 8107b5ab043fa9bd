/*
 * Multiboot 1 kernels (Multiboot Specification 0.6.96): a header in the first 8 KiB, ELF of either
 * class or a flat image whose header carries its addresses. The kernel starts in 32-bit protected
 * mode with EAX = 0x2BADB002 and EBX pointing to the Multiboot information. Private to boot/.
 */
#ifndef LODGE_BOOT_MULTIBOOT_H
#define LODGE_BOOT_MULTIBOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct boot_context;
struct boot_file;
struct cpu_state;

/* Is there a Multiboot header, with a right checksum, where one must be? */
bool multiboot_detect(const struct boot_file *kernel);

/* The same for Multiboot 2, which boot_load() cannot start: for the error line. */
bool multiboot2_detect(const struct boot_file *kernel);

/* Loads the kernel, modules, command line and information; sets *bsp last. Errors are logged. */
enum status multiboot_load(struct boot_context *context, struct cpu_state *bsp) MUST_CHECK;

#endif
