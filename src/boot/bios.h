/* What firmware leaves below 1 MiB: the BIOS data area and the ACPI tables. Private to boot/. */
#ifndef LODGE_BOOT_BIOS_H
#define LODGE_BOOT_BIOS_H

#include "base/status.h"

struct boot_context;

/*
 * Writes both, and notes the ACPI root pointer's address in the context. Interrupt vectors stay
 * zero: there is no BIOS to call.
 */
enum status bios_prepare(struct boot_context *context) MUST_CHECK;

#endif
