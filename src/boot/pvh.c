/* Loading a PVH kernel: struct hvm_start_info, version 1, and what it points to. */
#include "boot/pvh.h"

#include "base/bits.h"
#include "boot/context.h"
#include "boot/elf.h"
#include "boot/handover.h"
#include "boot/image.h"
#include "core/memory.h"
#include "port/log.h"
#include "x86/cpu_state.h"

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18 };

/* struct hvm_start_info, hvm_modlist_entry and hvm_memmap_table_entry. */
enum {
    START_MAGIC = 0,
    START_VERSION = 4,
    START_NR_MODULES = 12,
    START_MODLIST_PADDR = 16,
    START_CMDLINE_PADDR = 24,
    START_RSDP_PADDR = 32,
    START_MEMMAP_PADDR = 40,
    START_MEMMAP_ENTRIES = 48,
    START_SIZE = 56,
    MODULE_PADDR = 0,
    MODULE_SIZE = 8,
    MODULE_CMDLINE_PADDR = 16,
    MODULE_ENTRY = 32,
    MEMMAP_ADDR = 0,
    MEMMAP_SIZE = 8,
    MEMMAP_TYPE = 16,
    MEMMAP_ENTRY = 24,
};
#define START_MAGIC_VALUE 0x336ec578u

static bool pvh_find_entry(const struct elf_image *image, uint64_t *entry)
{
    const uint8_t *descriptor;
    size_t size;

    if (!elf_find_note(image, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &descriptor, &size) || (size != 4 && size != 8))
        return false;
    *entry = load_le(descriptor, size);
    return true;
}

bool pvh_detect(const struct elf_image *image)
{
    uint64_t entry;

    return pvh_find_entry(image, &entry);
}

/* Modules go as high as memory below 4 GiB allows, out of the way of a kernel that grows. */
static enum status pvh_place_module(struct boot_context *context, const struct boot_file *module, uint8_t *entry)
{
    uint64_t address, string = 0;

    if (!space_find_high(&context->space, module->size, PAGE_SIZE, HIGH_MEMORY, BOOT_32BIT_LIMIT, &address))
        return boot_too_large(context, module->name, module->size);
    enum status status = space_take(&context->space, address, module->size);
    if (status == STATUS_OK)
        status = boot_put(context, address, module->bytes, module->size);
    if (status == STATUS_OK)
        status = boot_place_string(context, "a module's command line", boot_module_string(module), &string);

    store_le(entry + MODULE_PADDR, 8, address);
    store_le(entry + MODULE_SIZE, 8, module->size);
    store_le(entry + MODULE_CMDLINE_PADDR, 8, string);
    return status;
}

static enum status pvh_place_modules(struct boot_context *context, uint64_t *address)
{
    const struct boot_request *request = context->request;
    uint8_t list[BOOT_MODULES * MODULE_ENTRY] = {0};

    if (request->module_count == 0)
        return STATUS_OK;
    for (unsigned i = 0; i < request->module_count; i++) {
        enum status status = pvh_place_module(context, &request->modules[i], list + (size_t)i * MODULE_ENTRY);

        if (status != STATUS_OK)
            return status;
    }
    return boot_place(context, "the module list", list, (size_t)request->module_count * MODULE_ENTRY, 8, address);
}

static enum status pvh_place_memory_map(struct boot_context *context, uint64_t *address)
{
    const struct e820_map *map = &context->map;
    uint8_t table[E820_ENTRIES * MEMMAP_ENTRY] = {0};

    for (unsigned i = 0; i < map->count; i++) {
        uint8_t *entry = table + (size_t)i * MEMMAP_ENTRY;

        store_le(entry + MEMMAP_ADDR, 8, map->entries[i].base);
        store_le(entry + MEMMAP_SIZE, 8, map->entries[i].size);
        store_le(entry + MEMMAP_TYPE, 4, map->entries[i].type);
    }
    return boot_place(context, "the memory map", table, (size_t)map->count * MEMMAP_ENTRY, 8, address);
}

static enum status pvh_place_start_info(struct boot_context *context, uint64_t *address)
{
    uint64_t modules = 0, command_line = 0, memory_map = 0;
    uint8_t info[START_SIZE] = {0};
    enum status status = pvh_place_modules(context, &modules);

    if (status == STATUS_OK)
        status = boot_place_string(context, "the command line", boot_command_line(context), &command_line);
    if (status == STATUS_OK)
        status = pvh_place_memory_map(context, &memory_map);
    if (status != STATUS_OK)
        return status;

    store_le(info + START_MAGIC, 4, START_MAGIC_VALUE);
    store_le(info + START_VERSION, 4, 1);
    store_le(info + START_NR_MODULES, 4, context->request->module_count);
    store_le(info + START_MODLIST_PADDR, 8, modules);
    store_le(info + START_CMDLINE_PADDR, 8, command_line);
    store_le(info + START_RSDP_PADDR, 8, context->rsdp);
    store_le(info + START_MEMMAP_PADDR, 8, memory_map);
    store_le(info + START_MEMMAP_ENTRIES, 4, context->map.count);
    return boot_place(context, "the start info", info, sizeof(info), 8, address);
}

enum status pvh_load(struct boot_context *context, struct cpu_state *bsp)
{
    struct elf_image image;
    uint64_t entry = 0, end, info = 0;
    enum status status = elf_open(&image, &context->request->kernel);

    if (status != STATUS_OK)
        return status;
    if (!pvh_find_entry(&image, &entry) || !elf_has_physical(&image, entry) || entry >= BOOT_32BIT_LIMIT) {
        log_error("boot: %s is damaged: its PVH entry point 0x%llx is in none of its segments", image.name,
                  (unsigned long long)entry);
        return STATUS_CORRUPT;
    }
    status = elf_load(&image, context, &end);
    if (status == STATUS_OK)
        status = pvh_place_start_info(context, &info);
    if (status == STATUS_OK)
        status = handover_protected_mode(context, bsp, (uint32_t)entry);
    if (status == STATUS_OK)
        bsp->gpr[GPR_RBX] = info;
    return status;
}
