/*
 * ELF executables of 32 and 64 bits, little-endian, for x86 (System V ABI, chapter 5): read from
 * bytes that nobody has checked. Private to boot/.
 */
#ifndef LODGE_BOOT_ELF_H
#define LODGE_BOOT_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct boot_context;
struct boot_file;

struct elf_image {
    const char *name;
    const uint8_t *bytes; /* borrowed */
    size_t size;
    bool is_64bit;
    uint64_t entry; /* e_entry, a virtual address */
    uint64_t phoff; /* the program header table is inside the file */
    unsigned phentsize;
    unsigned phnum;
};

/* A program header, whatever its class. */
struct elf_segment {
    uint32_t type;
    uint64_t offset;
    uint64_t vaddr;
    uint64_t paddr;
    uint64_t filesz;
    uint64_t memsz;
    uint64_t align;
};

enum { ELF_PT_LOAD = 1, ELF_PT_NOTE = 4 };

/* Does it begin with ELF's magic number? */
bool elf_detect(const struct boot_file *file);

/* Checks the file header and that the program headers are inside the file. Errors are logged. */
enum status elf_open(struct elf_image *image, const struct boot_file *file) MUST_CHECK;

/* index < phnum. */
struct elf_segment elf_segment(const struct elf_image *image, unsigned index);

/*
 * The descriptor of the first note with this owner and type in a PT_NOTE segment. Damaged notes end
 * the search. False: there is none.
 */
bool elf_find_note(const struct elf_image *image, const char *owner, uint32_t type, const uint8_t **descriptor,
                   size_t *size);

/* Puts every PT_LOAD segment at its physical address and takes that space; *end is one past the highest. */
enum status elf_load(const struct elf_image *image, struct boot_context *context, uint64_t *end) MUST_CHECK;

/* Is [address, address + 1) in the memory of a PT_LOAD segment, by physical address? */
bool elf_has_physical(const struct elf_image *image, uint64_t address);

/* Where the entry point is in physical memory: through the segment that holds it. False: in none. */
bool elf_physical_entry(const struct elf_image *image, uint64_t *entry);

#endif
