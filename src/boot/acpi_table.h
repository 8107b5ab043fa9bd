/* Writing one ACPI table after the other. Private to boot/. */
#ifndef LODGE_BOOT_ACPI_TABLE_H
#define LODGE_BOOT_ACPI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct acpi_machine;
struct table_loader;

enum { ACPI_HEADER_SIZE = 36 };

struct acpi_tables {
    uint8_t *bytes; /* borrowed */
    size_t room;
    size_t length;
    size_t start;     /* of the table being written */
    uint64_t address; /* guest physical, of bytes[0] */
    bool failed;      /* no room: latched, everything after it does nothing */
    /*
     * Not NULL: bytes are the file ACPI_LOADER_TABLES, address is 0, and firmware will place it: pointers
     * and checksums become commands.
     */
    struct table_loader *loader;
};

/* Adds `size` zero bytes at a multiple of alignment (a power of two); NULL without room. */
uint8_t *acpi_reserve(struct acpi_tables *tables, size_t size, size_t alignment);

/* Copies to the end of the table being written. */
void acpi_append(struct acpi_tables *tables, const void *bytes, size_t size);

/* Begins a table with its header; ends it with length and checksum. Answers its guest physical address. */
void acpi_begin(struct acpi_tables *tables, const char *signature, uint8_t revision);
uint64_t acpi_end(struct acpi_tables *tables);

/* Writes the guest physical address of one of the tables, in `size` bytes, into another. */
void acpi_point(struct acpi_tables *tables, uint8_t *at, uint8_t size, uint64_t address);

/* What to add to a byte of bytes[0..size) so that they sum to zero. */
uint8_t acpi_checksum(const void *bytes, size_t size);

/* The larger tables, each in its own file: acpi_fadt.c, acpi_dsdt.c. They answer where the table is. */
uint64_t acpi_add_fadt(struct acpi_tables *tables, uint64_t facs, uint64_t dsdt);
enum status acpi_add_dsdt(struct acpi_tables *tables, const struct acpi_machine *machine, uint64_t *address) MUST_CHECK;

#endif
