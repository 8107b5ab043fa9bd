/* What firmware finds in fw_cfg. Names and formats are those that SeaBIOS and OVMF look for. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "board/q35.h"
#include "boot/e820.h"
#include "core/memory.h"
#include "dev/chipset/fw_cfg.h"
#include "port/log.h"
#include "vmm/firmware.h"

enum { COM1 = 0x3f8, NEVER = 0xffffffff };

/* A bzImage (Linux Documentation/x86/boot.rst): where the setup part ends. */
enum { SETUP_SECTS = 0x1f1, SETUP_SECTS_DEFAULT = 4, SETUP_MAGIC = 0x202, SECTOR = 512 };

/* Adds items until one fails. */
struct items {
    struct fw_cfg *config;
    enum status status;
};

static void add(struct items *items, enum fw_cfg_key key, const void *bytes, uint64_t size)
{
    if (items->status == STATUS_OK)
        items->status = fw_cfg_add(items->config, (uint16_t)key, bytes, (uint32_t)size);
}

static void add_number(struct items *items, enum fw_cfg_key key, uint64_t number, unsigned size)
{
    if (items->status == STATUS_OK)
        items->status = fw_cfg_add_number(items->config, (uint16_t)key, number, size);
}

static void add_file(struct items *items, const char *name, const void *bytes, uint64_t size)
{
    if (items->status == STATUS_OK)
        items->status = fw_cfg_add_file(items->config, name, bytes, (uint32_t)size);
}

static void add_file_number(struct items *items, const char *name, uint64_t number, unsigned size)
{
    if (items->status == STATUS_OK)
        items->status = fw_cfg_add_file_number(items->config, name, number, size);
}

/* --- the machine --- */

/* Firmware takes its own part from the first MiB. */
static size_t fill_e820(struct firmware *firmware, const struct guest_memory *memory)
{
    uint8_t *entry = firmware->e820;

    for (unsigned i = 0; i < memory->range_count && i < FIRMWARE_E820_ENTRIES; i++) {
        const struct memory_range *range = &memory->ranges[i];

        if (range->read_only)
            continue;
        store_le(entry, 8, range->base);
        store_le(entry + 8, 8, range->size);
        store_le(entry + 16, 4, E820_RAM);
        entry += FIRMWARE_E820_ENTRY;
    }
    return (size_t)(entry - firmware->e820);
}

static void add_machine(struct items *items, struct firmware *firmware, const struct firmware_machine *machine)
{
    unsigned cpus = machine->options->cpus;

    add_number(items, FW_CFG_RAM_SIZE, machine->options->memory, 8);
    add_number(items, FW_CFG_NO_GRAPHIC, 1, 2);
    add_number(items, FW_CFG_CPU_COUNT, cpus, 2);
    add_number(items, FW_CFG_MAX_CPUS, cpus, 2);
    add_number(items, FW_CFG_BOOT_MENU, 0, 2);
    add_file(items, "etc/e820", firmware->e820, fill_e820(firmware, machine->memory));
    add_file_number(items, "etc/sercon-port", COM1, 2);
    add_file_number(items, "etc/boot-fail-wait", NEVER, 4);
    if (machine->windows->memory64_base)
        add_file_number(items, "etc/reserved-memory-end", machine->windows->memory64_base, 8);
}

static void add_acpi(struct items *items, struct firmware *firmware, const struct firmware_machine *machine)
{
    struct table_loader loader = {.bytes = firmware->commands, .room = sizeof(firmware->commands)};
    size_t used = 0;

    if (items->status == STATUS_OK)
        items->status = acpi_build_loader(machine->acpi, firmware->tables, sizeof(firmware->tables), &used,
                                          firmware->rsdp, &loader);
    add_file(items, ACPI_LOADER_RSDP, firmware->rsdp, sizeof(firmware->rsdp));
    add_file(items, ACPI_LOADER_TABLES, firmware->tables, used);
    add_file(items, "etc/table-loader", firmware->commands, loader.length);
}

static void add_smbios(struct items *items, struct firmware *firmware, const struct firmware_machine *machine)
{
    const struct smbios_machine smbios = {
        .cpus = machine->options->cpus,
        .low = memory_low_size(machine->memory),
        .high = machine->options->memory - memory_low_size(machine->memory),
    };
    size_t used = 0;

    if (items->status == STATUS_OK)
        items->status =
            smbios_build(&smbios, firmware->smbios, sizeof(firmware->smbios), &used, firmware->smbios_entry);
    add_file(items, "etc/smbios/smbios-anchor", firmware->smbios_entry, sizeof(firmware->smbios_entry));
    add_file(items, "etc/smbios/smbios-tables", firmware->smbios, used);
}

/* --- a kernel --- */

static enum status refuse_kernel(const char *name)
{
    log_error("%s: firmware starts Linux bzImages only; other kernels start without --firmware", name);
    return STATUS_INVALID;
}

static void add_kernel(struct items *items, const struct vmm_options *options, const struct host_file *kernel)
{
    const uint8_t *bytes = kernel->bytes;
    uint64_t setup;

    if (kernel->size < SETUP_MAGIC + 4 || memcmp(bytes + SETUP_MAGIC, "HdrS", 4) != 0) {
        items->status = refuse_kernel(options->kernel);
        return;
    }
    setup = ((bytes[SETUP_SECTS] ? bytes[SETUP_SECTS] : SETUP_SECTS_DEFAULT) + 1u) * SECTOR;
    if (setup >= kernel->size || kernel->size > UINT32_MAX) {
        items->status = refuse_kernel(options->kernel);
        return;
    }
    add_number(items, FW_CFG_SETUP_SIZE, setup, 4);
    add(items, FW_CFG_SETUP_DATA, bytes, setup);
    add_number(items, FW_CFG_KERNEL_SIZE, kernel->size - setup, 4);
    add(items, FW_CFG_KERNEL_DATA, bytes + setup, kernel->size - setup);
    add_number(items, FW_CFG_CMDLINE_SIZE, strlen(options->append) + 1, 4);
    add(items, FW_CFG_CMDLINE_DATA, options->append, strlen(options->append) + 1);
}

/* One after the other, each at a multiple of four, as the kernel wants archives that follow one another. */
static enum status join_initrds(struct firmware *firmware, const struct firmware_machine *machine)
{
    const struct images *images = machine->images;
    uint64_t size = 0;
    uint8_t *to;

    for (unsigned i = 0; i < machine->options->initrd_count; i++)
        size += align_up(images->initrds[i].size, 4);
    free(firmware->initrd);
    firmware->initrd_size = size;
    firmware->initrd = size <= UINT32_MAX ? calloc(1, size + 1) : NULL;
    if (!firmware->initrd) {
        log_error("the initial file systems have %llu bytes; firmware cannot be given that many",
                  (unsigned long long)size);
        return STATUS_NO_MEMORY;
    }
    to = firmware->initrd;
    for (unsigned i = 0; i < machine->options->initrd_count; i++) {
        if (images->initrds[i].size)
            memcpy(to, images->initrds[i].bytes, images->initrds[i].size);
        to += align_up(images->initrds[i].size, 4);
    }
    return STATUS_OK;
}

static void add_initrds(struct items *items, struct firmware *firmware, const struct firmware_machine *machine)
{
    if (items->status == STATUS_OK)
        items->status = join_initrds(firmware, machine);
    add_number(items, FW_CFG_INITRD_SIZE, firmware->initrd_size, 4);
    add(items, FW_CFG_INITRD_DATA, firmware->initrd, firmware->initrd_size);
}

enum status firmware_describe(struct firmware *firmware, const struct firmware_machine *machine, struct fw_cfg *config)
{
    struct items items = {.config = config};

    add_machine(&items, firmware, machine);
    add_acpi(&items, firmware, machine);
    add_smbios(&items, firmware, machine);
    if (machine->options->kernel)
        add_kernel(&items, machine->options, &machine->images->kernel);
    if (machine->options->initrd_count && machine->options->kernel)
        add_initrds(&items, firmware, machine);
    return items.status;
}
