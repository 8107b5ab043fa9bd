/*
 * Ways into the machine without firmware: which kind of kernel a file is, and how memory and the
 * first processor must look when it starts.
 *
 * Nothing here touches a file: the caller hands in bytes. Everything is done once, before the
 * machine runs (and again after a reset), by one thread.
 */
#ifndef LODGE_BOOT_IMAGE_H
#define LODGE_BOOT_IMAGE_H

#include <stddef.h>

#include "base/status.h"
#include "boot/acpi.h"

struct cpu_state;
struct guest_memory;

enum boot_kind {
    BOOT_KIND_NONE,
    BOOT_KIND_LINUX,     /* bzImage, 64-bit boot protocol (boot/linux.h) */
    BOOT_KIND_PVH,       /* ELF with a PHYS32_ENTRY note (boot/pvh.h) */
    BOOT_KIND_MULTIBOOT, /* Multiboot 1 (boot/multiboot.h) */
};

enum { BOOT_MODULES = 64 };

/* Bytes that somebody has read for us; borrowed for the call. */
struct boot_file {
    const char *name;         /* for messages */
    const char *command_line; /* of a module: what a Multiboot or PVH kernel is told; NULL: the name */
    const void *bytes;
    size_t size;
};

struct boot_request {
    struct boot_file kernel;
    const struct boot_file *modules; /* initrds or modules, in order; Linux sees one initrd, their concatenation */
    unsigned module_count;           /* at most BOOT_MODULES */
    const char *command_line;        /* NULL: empty */
    unsigned physical_bits;          /* the guest's physical address width (CPUID 0x8000_0008) */
    struct acpi_machine machine;     /* what the ACPI tables describe */
};

/*
 * Tells the kinds apart by their magic numbers. BOOT_KIND_NONE has been logged: "not a kernel: ..."
 * with what it is instead, where that can be told.
 */
enum boot_kind boot_image_kind(const struct boot_file *kernel);

/* "Linux bzImage" for example; never NULL. */
const char *boot_kind_name(enum boot_kind kind);

/*
 * Puts BIOS data, ACPI tables, kernel, modules and command line into guest memory, and turns *bsp,
 * which holds the state after reset, into the state at the kernel's entry. Every refusal is one
 * logged line; memory may then be half filled, *bsp is untouched.
 *
 * STATUS_INVALID: not a kernel, or its fields are wrong. STATUS_CORRUPT: truncated.
 * STATUS_UNSUPPORTED: a kernel, but not one for this machine. STATUS_NO_MEMORY: the machine is too small.
 */
enum status boot_load(const struct boot_request *request, struct guest_memory *memory,
                      struct cpu_state *bsp) MUST_CHECK;

/*
 * What firmware does to every processor before it hands over: caches on, memory types set. To be
 * applied to the reset state of each application processor; boot_load() does it to the first one.
 * physical_bits: the guest's physical address width (CPUID 0x8000_0008).
 */
void boot_firmware_cpu(struct cpu_state *cpu, unsigned physical_bits);

#endif
