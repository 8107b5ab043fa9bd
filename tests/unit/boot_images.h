/* Kernels made up byte by byte, for the tests and the fuzzer of src/boot. */
#ifndef LODGE_TESTS_BOOT_IMAGES_H
#define LODGE_TESTS_BOOT_IMAGES_H

#include <stddef.h>
#include <stdint.h>

/*
 * A bzImage of setup header version 2.15: one setup sector, then payload bytes 0x90 and up, at
 * 16 MiB, relocatable by 2 MiB, init_size 1 MiB.
 */
enum { BZIMAGE_SETUP = 1024, BZIMAGE_PAYLOAD = 4096, BZIMAGE_SIZE = BZIMAGE_SETUP + BZIMAGE_PAYLOAD };
void boot_image_make_bzimage(uint8_t *image);

/*
 * An ELF executable: one PT_LOAD of 0x200 bytes (0x1200 in memory) at 1 MiB, virtual 0xffffffff80100000
 * or, with 32 bits, 0xc0100000; entry 0x40 into it. note: with PHYS32_ENTRY 1 MiB + 0x80.
 */
enum { ELF_SIZE = 0x800, ELF_NOTE = 0x300, ELF_MULTIBOOT = 0x400, ELF_LOAD = 0x100000 };
void boot_image_make_elf(uint8_t *image, int bits, int note);

/* Writes a Multiboot 1 header at this offset; address fields are the caller's. */
void boot_image_add_multiboot(uint8_t *image, size_t at, uint32_t flags);

#endif
