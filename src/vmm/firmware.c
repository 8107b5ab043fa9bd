#include "vmm/firmware.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "board/q35.h"
#include "core/memory.h"
#include "host/memory.h"
#include "port/log.h"

/* What Debian's packages have. */
struct firmware_package {
    const char *name;
    const char *package;
    const char *code;
    const char *variables; /* NULL: it has none */
};

static const struct firmware_package packages[] = {
    {"seabios", "seabios", "/usr/share/seabios/bios-256k.bin", NULL},
    {"ovmf", "ovmf", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
    {"uefi", "ovmf", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
};

#define FLASH_LIMIT (Q35_FLASH_END - Q35_FLASH_BASE)

static const struct firmware_package *package_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(packages); i++)
        if (strcmp(packages[i].name, name) == 0)
            return &packages[i];
    return NULL;
}

/* The files of one firmware. original: what its variables start from; empty if that is not known. */
struct firmware_files {
    const char *code;
    char original[VMM_PATH];
};

/* OVMF_CODE.fd, OVMF_CODE_4M.fd: the variables that belong to it lie beside it as OVMF_VARS.fd, OVMF_VARS_4M.fd. */
static void files_guess_original(struct firmware_files *files)
{
    const char *name = strrchr(files->code, '/');
    const char *part = strstr(name ? name : files->code, "CODE");

    if (!part)
        return;
    (void)snprintf(files->original, sizeof(files->original), "%.*sVARS%s", (int)(part - files->code), files->code,
                   part + 4);
    if (access(files->original, R_OK) != 0)
        files->original[0] = '\0';
}

static enum status files_resolve(struct firmware_files *files, const struct vmm_options *options)
{
    const struct firmware_package *package = package_find(options->firmware);

    *files = (struct firmware_files){.code = package ? package->code : options->firmware};
    if (!package) {
        files_guess_original(files);
        return STATUS_OK;
    }
    if (access(package->code, R_OK) != 0) {
        log_error("firmware %s is not installed (%s: %s); install Debian's package %s", package->name, package->code,
                  strerror(errno), package->package);
        return STATUS_NOT_FOUND;
    }
    if (package->variables)
        (void)snprintf(files->original, sizeof(files->original), "%s", package->variables);
    return STATUS_OK;
}

static enum status check_flash_size(const char *path, uint64_t size)
{
    if (size != 0 && size % PAGE_SIZE == 0 && size <= FLASH_LIMIT)
        return STATUS_OK;
    log_error("%s is no flash image: it has %" PRIu64 " bytes, not a multiple of 4096 up to 16 MiB", path, size);
    return STATUS_INVALID;
}

/* --- opening --- */

static enum status open_store(struct firmware *firmware, const struct vmm_options *options,
                              const struct firmware_files *files)
{
    const char *original = files->original[0] ? files->original : NULL;
    enum status status =
        host_store_open(&firmware->store, options->firmware_vars, original, options->firmware_readonly);

    if (status == STATUS_NOT_FOUND && !original)
        log_error("firmware variables start as a copy of the OVMF_VARS file that belongs to %s", files->code);
    firmware->variables_size = status == STATUS_OK ? firmware->store.size : 0;
    firmware->keeps = !options->firmware_readonly;
    return status == STATUS_OK ? check_flash_size(options->firmware_vars, firmware->variables_size) : status;
}

static enum status open_variables(struct firmware *firmware, const struct vmm_options *options,
                                  const struct firmware_files *files)
{
    enum status status;

    if (options->firmware_vars[0])
        return open_store(firmware, options, files);
    if (!files->original[0])
        return STATUS_OK;
    status = host_file_read(&firmware->variables, "firmware's variables", files->original, FLASH_LIMIT);
    firmware->variables_size = firmware->variables.size;
    return status == STATUS_OK ? check_flash_size(files->original, firmware->variables_size) : status;
}

/* A BIOS cannot start a kernel that it is handed: that takes an option ROM. */
static enum status check_kernel(const struct vmm_options *options)
{
    if (!options->kernel || strcmp(options->firmware, "seabios") != 0)
        return STATUS_OK;
    log_error("--firmware seabios boots disks only; leave it away for --kernel, or use --firmware ovmf");
    return STATUS_INVALID;
}

static enum status open_code(struct firmware *firmware, const char *path)
{
    enum status status = host_file_read(&firmware->code, "firmware", path, FLASH_LIMIT);

    firmware->code_size = firmware->code.size;
    return status == STATUS_OK ? check_flash_size(path, firmware->code_size) : status;
}

enum status firmware_open(struct firmware *firmware, const struct vmm_options *options)
{
    struct firmware_files files;
    enum status status;

    firmware->store.fd = -1;
    firmware->log.fd = -1;
    firmware->present = options->firmware[0] != '\0';
    if (!firmware->present)
        return STATUS_OK;
    status = check_kernel(options);
    if (status == STATUS_OK)
        status = files_resolve(&files, options);
    if (status == STATUS_OK)
        status = open_code(firmware, files.code);
    if (status == STATUS_OK)
        status = open_variables(firmware, options, &files);
    if (status == STATUS_OK && firmware_flash_size(firmware) > FLASH_LIMIT) {
        log_error("firmware and its variables have more than 16 MiB");
        status = STATUS_INVALID;
    }
    if (status == STATUS_OK && options->firmware_log[0])
        status = host_log_file_open(&firmware->log, options->firmware_log);
    return status;
}

void firmware_close(struct firmware *firmware)
{
    if (!firmware->present)
        return;
    host_file_destroy(&firmware->code);
    host_file_destroy(&firmware->variables);
    host_store_close(&firmware->store);
    host_log_file_close(&firmware->log);
    free(firmware->initrd);
    firmware->initrd = NULL;
    firmware->present = false;
}

/* --- the flash --- */

uint64_t firmware_flash_size(const struct firmware *firmware)
{
    return firmware->code_size + firmware->variables_size;
}

enum status firmware_fill(struct firmware *firmware, struct host_memory *memory, uint64_t ram)
{
    uint8_t *code = (uint8_t *)memory->host + ram, *variables = code + firmware->code_size;
    enum status status = STATUS_OK;

    if (!firmware->present)
        return STATUS_OK;
    memcpy(code, firmware->code.bytes, firmware->code_size);
    if (firmware->store.fd >= 0)
        status = host_store_read(&firmware->store, variables);
    else if (firmware->variables_size)
        memcpy(variables, firmware->variables.bytes, firmware->variables_size);
    host_file_destroy(&firmware->code);
    host_file_destroy(&firmware->variables);
    return status;
}

enum status firmware_map(struct firmware *firmware, struct guest_memory *memory)
{
    uint64_t code = Q35_FLASH_END - firmware->code_size;
    unsigned code_range;
    enum status status = STATUS_OK;

    if (firmware->present)
        status = memory_add_rom(memory, code, firmware->code_size, &code_range);
    if (status == STATUS_OK && firmware->variables_size)
        status = memory_add_rom(memory, code - firmware->variables_size, firmware->variables_size,
                                &firmware->variables_range);
    return status;
}

void firmware_configure(struct firmware *firmware, struct q35_config *config)
{
    config->firmware = firmware->present;
    config->firmware_log = firmware->log.fd >= 0 ? &firmware->log.stream : NULL;
    config->flash = firmware->variables_size != 0;
    config->flash_range = firmware->variables_range;
    config->flash_store = firmware->store.fd >= 0 && firmware->keeps ? &firmware->store.store : NULL;
}
