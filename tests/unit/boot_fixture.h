/* What the tests of src/boot share: a machine to load a kernel into. */
#ifndef LODGE_TESTS_BOOT_FIXTURE_H
#define LODGE_TESTS_BOOT_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "boot/image.h"
#include "boot_images.h"
#include "core/memory.h"
#include "x86/cpu_state.h"

#define FIXTURE_MIB 0x100000ull

struct boot_fixture {
    struct guest_memory memory;
    struct cpu_state bsp;
    struct boot_request request;
    struct boot_file modules[3];
};

/* Guest memory of this many bytes, the first 4 MiB of them rubbish; a processor after reset; two CPUs; no kernel. */
void fixture_open(struct boot_fixture *fixture, uint64_t ram);
void fixture_close(struct boot_fixture *fixture);

void fixture_kernel(struct boot_fixture *fixture, const void *bytes, size_t size);
void fixture_module(struct boot_fixture *fixture, const char *name, const void *bytes, size_t size);

/* boot_load(). fixture_refused() also wants the processor untouched and one line that contains `text`. */
enum status fixture_load(struct boot_fixture *fixture);
void fixture_refused(struct boot_fixture *fixture, enum status status, const char *text);

/* Little-endian fields of guest memory; the address must be RAM. */
uint64_t fixture_get(const struct boot_fixture *fixture, uint64_t address, unsigned size);
const char *fixture_string(const struct boot_fixture *fixture, uint64_t address);

/* A real kernel, $LODGE_TEST_KERNEL or one of /boot, or NULL when there is none; free() it. */
void *fixture_real_kernel(size_t *size);

#endif
