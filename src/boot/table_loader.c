#include "boot/table_loader.h"

#include "base/bits.h"
#include "base/memory.h"

enum { COMMAND_ALLOCATE = 1, COMMAND_ADD_POINTER = 2, COMMAND_ADD_CHECKSUM = 3 };

/* Offsets in a command. */
enum {
    COMMAND = 0,
    FIRST_NAME = 4,
    ALLOCATE_ALIGNMENT = FIRST_NAME + TABLE_LOADER_NAME,
    ALLOCATE_ZONE = ALLOCATE_ALIGNMENT + 4,
    POINTER_TARGET = FIRST_NAME + TABLE_LOADER_NAME,
    POINTER_OFFSET = POINTER_TARGET + TABLE_LOADER_NAME,
    POINTER_SIZE = POINTER_OFFSET + 4,
    CHECKSUM_OFFSET = FIRST_NAME + TABLE_LOADER_NAME,
    CHECKSUM_START = CHECKSUM_OFFSET + 4,
    CHECKSUM_LENGTH = CHECKSUM_START + 4,
};

static void put_name(uint8_t *to, const char *name)
{
    size_t length = strlen(name);

    memcpy(to, name, length < TABLE_LOADER_NAME ? length : TABLE_LOADER_NAME - 1);
}

static uint8_t *table_loader_command(struct table_loader *loader, uint32_t command, const char *file)
{
    uint8_t *bytes = loader->bytes + loader->length;

    if (loader->failed || !range_inside(loader->length, TABLE_LOADER_COMMAND, loader->room)) {
        loader->failed = true;
        return NULL;
    }
    loader->length += TABLE_LOADER_COMMAND;
    memset(bytes, 0, TABLE_LOADER_COMMAND);
    store_le(bytes + COMMAND, 4, command);
    put_name(bytes + FIRST_NAME, file);
    return bytes;
}

void table_loader_allocate(struct table_loader *loader, const char *file, uint32_t alignment,
                           enum table_loader_zone zone)
{
    uint8_t *bytes = table_loader_command(loader, COMMAND_ALLOCATE, file);

    if (!bytes)
        return;
    store_le(bytes + ALLOCATE_ALIGNMENT, 4, alignment);
    bytes[ALLOCATE_ZONE] = (uint8_t)zone;
}

void table_loader_add_pointer(struct table_loader *loader, const char *file, uint32_t offset, uint8_t size,
                              const char *target)
{
    uint8_t *bytes = table_loader_command(loader, COMMAND_ADD_POINTER, file);

    if (!bytes)
        return;
    put_name(bytes + POINTER_TARGET, target);
    store_le(bytes + POINTER_OFFSET, 4, offset);
    bytes[POINTER_SIZE] = size;
}

void table_loader_add_checksum(struct table_loader *loader, const char *file, uint32_t offset, uint32_t start,
                               uint32_t length)
{
    uint8_t *bytes = table_loader_command(loader, COMMAND_ADD_CHECKSUM, file);

    if (!bytes)
        return;
    store_le(bytes + CHECKSUM_OFFSET, 4, offset);
    store_le(bytes + CHECKSUM_START, 4, start);
    store_le(bytes + CHECKSUM_LENGTH, 4, length);
}
