/*
 * SMBIOS 2.8 tables (DMTF DSP0134): who made the machine, its processors and its memory. For firmware,
 * which completes the entry point with the address where it has put the structures.
 */
#ifndef LODGE_BOOT_SMBIOS_H
#define LODGE_BOOT_SMBIOS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SMBIOS_ENTRY_SIZE = 31, SMBIOS_UUID_SIZE = 16 };

struct smbios_machine {
    unsigned cpus;                  /* 1 to 64; one socket */
    uint64_t low, high;             /* bytes of RAM from 0, and from 4 GiB */
    uint8_t uuid[SMBIOS_UUID_SIZE]; /* as in the structure; all zero: none */
};

/*
 * Writes the structures to to[0..room), *used bytes, and the entry point with a structure table address
 * of zero and its checksums. STATUS_NO_MEMORY (logged) without room.
 */
enum status smbios_build(const struct smbios_machine *machine, void *to, size_t room, size_t *used,
                         uint8_t entry[SMBIOS_ENTRY_SIZE]) MUST_CHECK;

#endif
