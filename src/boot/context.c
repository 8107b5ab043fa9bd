/* Copying into guest memory, and finding room there. */
#include "boot/context.h"

#include "base/bits.h"
#include "base/memory.h"
#include "boot/image.h"
#include "core/memory.h"
#include "port/log.h"

enum { STRUCTURES = 0x10000, KIB = 1024 };

enum status boot_put(struct boot_context *context, uint64_t address, const void *bytes, size_t size)
{
    if (size == 0)
        return STATUS_OK;
    enum status status = memory_write(context->memory, address, bytes, size);

    if (status != STATUS_OK)
        log_error("boot: no memory for %zu bytes at 0x%llx", size, (unsigned long long)address);
    return status;
}

enum status boot_clear(struct boot_context *context, uint64_t address, uint64_t size)
{
    if (size == 0)
        return STATUS_OK;
    void *host = memory_at(context->memory, address, size, true);

    if (!host) {
        log_error("boot: no memory for %llu bytes at 0x%llx", (unsigned long long)size, (unsigned long long)address);
        return STATUS_INVALID;
    }
    memset(host, 0, (size_t)size);
    memory_wrote(context->memory, address, size);
    return STATUS_OK;
}

enum status boot_reserve(struct boot_context *context, const char *what, uint64_t size, uint64_t alignment,
                         uint64_t *address)
{
    if (!space_find_low(&context->space, size, alignment, STRUCTURES, BOOT_32BIT_LIMIT, address))
        return boot_too_large(context, what, size);

    enum status status = space_take(&context->space, *address, size);
    if (status != STATUS_OK)
        log_error("boot: too many pieces of memory in use to place %s", what);
    return status;
}

enum status boot_place(struct boot_context *context, const char *what, const void *bytes, size_t size,
                       uint64_t alignment, uint64_t *address)
{
    enum status status = boot_reserve(context, what, size, alignment, address);

    if (status != STATUS_OK)
        return status;
    return boot_put(context, *address, bytes, size);
}

enum status boot_place_string(struct boot_context *context, const char *what, const char *string, uint64_t *address)
{
    return boot_place(context, what, string, strlen(string) + 1, 1, address);
}

const char *boot_command_line(const struct boot_context *context)
{
    return context->request->command_line ? context->request->command_line : "";
}

const char *boot_module_string(const struct boot_file *module)
{
    return module->command_line ? module->command_line : module->name;
}

uint64_t boot_modules_size(const struct boot_context *context, uint64_t alignment)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < context->request->module_count; i++)
        total += align_up(context->request->modules[i].size, alignment);
    return total;
}

enum status boot_too_large(const struct boot_context *context, const char *name, uint64_t size)
{
    log_error("boot: %s needs %llu KiB in one piece; the machine's %llu KiB of memory have no room for it: "
              "give the machine more memory with -m",
              name, (unsigned long long)(size + KIB - 1) / KIB,
              (unsigned long long)e820_ram_total(&context->map) / KIB);
    return STATUS_NO_MEMORY;
}
