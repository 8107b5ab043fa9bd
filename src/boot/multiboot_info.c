/* The Multiboot information structure and what it points to. */
#include "boot/multiboot_info.h"

#include "base/bits.h"
#include "boot/context.h"
#include "boot/image.h"
#include "core/memory.h"

enum {
    INFO_FLAGS = 0,
    INFO_MEM_LOWER = 4,
    INFO_MEM_UPPER = 8,
    INFO_CMDLINE = 16,
    INFO_MODS_COUNT = 20,
    INFO_MODS_ADDR = 24,
    INFO_MMAP_LENGTH = 44,
    INFO_MMAP_ADDR = 48,
    INFO_BOOT_LOADER_NAME = 64,
    INFO_SIZE = 120,
};

enum { HAS_MEMORY = BIT(0), HAS_CMDLINE = BIT(2), HAS_MODS = BIT(3), HAS_MMAP = BIT(6), HAS_BOOT_LOADER_NAME = BIT(9) };

enum { MODULE_START = 0, MODULE_END = 4, MODULE_STRING = 8, MODULE_ENTRY = 16 };

/* A map record's size field does not count itself. */
enum { MMAP_SIZE = 0, MMAP_BASE = 4, MMAP_LENGTH = 12, MMAP_TYPE = 20, MMAP_ENTRY = 24 };

static enum status multiboot_place_module(struct boot_context *context, const struct boot_file *module,
                                          uint64_t kernel_end, uint8_t *entry)
{
    uint64_t minimum = kernel_end > HIGH_MEMORY ? kernel_end : HIGH_MEMORY;
    uint64_t address, string = 0;

    if (!space_find_low(&context->space, module->size, PAGE_SIZE, minimum, BOOT_32BIT_LIMIT, &address))
        return boot_too_large(context, module->name, module->size);
    enum status status = space_take(&context->space, address, module->size);
    if (status == STATUS_OK)
        status = boot_put(context, address, module->bytes, module->size);
    if (status == STATUS_OK)
        status = boot_place_string(context, "a module's command line", boot_module_string(module), &string);

    store_le(entry + MODULE_START, 4, address);
    store_le(entry + MODULE_END, 4, address + module->size);
    store_le(entry + MODULE_STRING, 4, string);
    return status;
}

static enum status multiboot_place_modules(struct boot_context *context, uint64_t kernel_end, uint64_t *address)
{
    const struct boot_request *request = context->request;
    uint8_t list[BOOT_MODULES * MODULE_ENTRY] = {0};

    for (unsigned i = 0; i < request->module_count; i++) {
        enum status status =
            multiboot_place_module(context, &request->modules[i], kernel_end, list + (size_t)i * MODULE_ENTRY);

        if (status != STATUS_OK)
            return status;
    }
    return boot_place(context, "the module list", list, (size_t)request->module_count * MODULE_ENTRY, 4, address);
}

static enum status multiboot_place_map(struct boot_context *context, uint64_t *address)
{
    const struct e820_map *map = &context->map;
    uint8_t table[E820_ENTRIES * MMAP_ENTRY];

    for (unsigned i = 0; i < map->count; i++) {
        uint8_t *entry = table + (size_t)i * MMAP_ENTRY;

        store_le(entry + MMAP_SIZE, 4, MMAP_ENTRY - 4);
        store_le(entry + MMAP_BASE, 8, map->entries[i].base);
        store_le(entry + MMAP_LENGTH, 8, map->entries[i].size);
        store_le(entry + MMAP_TYPE, 4, map->entries[i].type);
    }
    return boot_place(context, "the memory map", table, (size_t)map->count * MMAP_ENTRY, 4, address);
}

/* KiB of RAM from 1 MiB up to the first hole. */
static uint64_t multiboot_upper_memory(const struct e820_map *map)
{
    for (unsigned i = 0; i < map->count; i++) {
        if (map->entries[i].type == E820_RAM && map->entries[i].base == HIGH_MEMORY)
            return map->entries[i].size / 1024;
    }
    return 0;
}

enum status multiboot_place_info(struct boot_context *context, uint64_t kernel_end, uint64_t *address)
{
    uint64_t modules = 0, map = 0, command_line = 0, loader = 0;
    uint8_t info[INFO_SIZE] = {0};
    enum status status = multiboot_place_modules(context, kernel_end, &modules);

    if (status == STATUS_OK)
        status = multiboot_place_map(context, &map);
    if (status == STATUS_OK)
        status = boot_place_string(context, "the command line", boot_command_line(context), &command_line);
    if (status == STATUS_OK)
        status = boot_place_string(context, "the loader's name", "Lodge", &loader);
    if (status != STATUS_OK)
        return status;

    store_le(info + INFO_FLAGS, 4, HAS_MEMORY | HAS_CMDLINE | HAS_MODS | HAS_MMAP | HAS_BOOT_LOADER_NAME);
    store_le(info + INFO_MEM_LOWER, 4, BIOS_EXTENDED_DATA_AREA / 1024);
    store_le(info + INFO_MEM_UPPER, 4, multiboot_upper_memory(&context->map));
    store_le(info + INFO_CMDLINE, 4, command_line);
    store_le(info + INFO_MODS_COUNT, 4, context->request->module_count);
    store_le(info + INFO_MODS_ADDR, 4, modules);
    store_le(info + INFO_MMAP_LENGTH, 4, (uint64_t)context->map.count * MMAP_ENTRY);
    store_le(info + INFO_MMAP_ADDR, 4, map);
    store_le(info + INFO_BOOT_LOADER_NAME, 4, loader);
    return boot_place(context, "the Multiboot information", info, sizeof(info), 4, address);
}
