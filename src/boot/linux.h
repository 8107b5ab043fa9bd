/*
 * Linux bzImage by the 64-bit boot protocol (Linux Documentation/x86/boot.rst, "64-bit Boot
 * Protocol"): the kernel starts in long mode at its load address + 0x200, RSI points to the boot
 * parameters ("zero page"). Private to boot/.
 */
#ifndef LODGE_BOOT_LINUX_H
#define LODGE_BOOT_LINUX_H

#include <stdbool.h>

#include "base/status.h"

struct boot_context;
struct boot_file;
struct cpu_state;

/* Does it carry the boot sector signature and the setup header's magic number? */
bool linux_detect(const struct boot_file *kernel);

/* Loads kernel, initrd, command line and boot parameters; sets *bsp last. Errors are logged. */
enum status linux_load(struct boot_context *context, struct cpu_state *bsp) MUST_CHECK;

#endif
