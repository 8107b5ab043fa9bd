/*
 * A script by which firmware places tables that it has read from fw_cfg files: room for each file, then
 * pointers between them and checksums. Format: QEMU's linker/loader, as OVMF and SeaBIOS carry it out: commands of 128
 * bytes, little-endian, names of files in 56 bytes.
 */
#ifndef LODGE_BOOT_TABLE_LOADER_H
#define LODGE_BOOT_TABLE_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TABLE_LOADER_COMMAND = 128, TABLE_LOADER_NAME = 56 };

enum table_loader_zone { TABLE_LOADER_HIGH = 1, TABLE_LOADER_F_SEGMENT = 2 };

struct table_loader {
    uint8_t *bytes; /* borrowed */
    size_t room;
    size_t length;
    bool failed; /* no room: latched */
};

/* Read a file to memory of a zone, at a multiple of alignment (a power of two). Before what mentions the file. */
void table_loader_allocate(struct table_loader *loader, const char *file, uint32_t alignment,
                           enum table_loader_zone zone);

/* Add the address of file `target` to the number of `size` bytes (1, 2, 4, 8) at offset in `file`. */
void table_loader_add_pointer(struct table_loader *loader, const char *file, uint32_t offset, uint8_t size,
                              const char *target);

/* Make the bytes [start, start + length) of a file sum to zero by the byte at offset, which is zero before. */
void table_loader_add_checksum(struct table_loader *loader, const char *file, uint32_t offset, uint32_t start,
                               uint32_t length);

#endif
