/* What the loaders of boot/ share while one kernel is being put into memory. Private to boot/. */
#ifndef LODGE_BOOT_CONTEXT_H
#define LODGE_BOOT_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "boot/e820.h"
#include "boot/space.h"

struct boot_file;
struct boot_request;
struct guest_memory;

struct boot_context {
    const struct boot_request *request;
    const struct guest_memory *memory;
    struct e820_map map;
    struct boot_space space;
    uint64_t rsdp; /* guest physical address of the ACPI root pointer */
};

/* One byte past what a 32-bit entry point can address. */
#define BOOT_32BIT_LIMIT 0x100000000ull

/* Copies into guest memory, or zeroes it. */
enum status boot_put(struct boot_context *context, uint64_t address, const void *bytes, size_t size) MUST_CHECK;
enum status boot_clear(struct boot_context *context, uint64_t address, uint64_t size) MUST_CHECK;

/*
 * Takes room for one of the loader's own structures: low, but above the first 64 KiB, where hobby
 * kernels put the start-up code of their other processors. `what` is for the error line.
 */
enum status boot_reserve(struct boot_context *context, const char *what, uint64_t size, uint64_t alignment,
                         uint64_t *address) MUST_CHECK;

/* boot_reserve() and boot_put(). The second does it with a string and its terminating zero. */
enum status boot_place(struct boot_context *context, const char *what, const void *bytes, size_t size,
                       uint64_t alignment, uint64_t *address) MUST_CHECK;
enum status boot_place_string(struct boot_context *context, const char *what, const char *string,
                              uint64_t *address) MUST_CHECK;

/* The command line, never NULL. */
const char *boot_command_line(const struct boot_context *context);

/* What a module's kernel is told about it: its command line, or else its name. */
const char *boot_module_string(const struct boot_file *module);

/* All modules' sizes, each rounded up to alignment. */
uint64_t boot_modules_size(const struct boot_context *context, uint64_t alignment);

/* The error line for something that memory has no room for; returns STATUS_NO_MEMORY. */
enum status boot_too_large(const struct boot_context *context, const char *name, uint64_t size);

#endif
