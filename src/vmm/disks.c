#include "vmm/disks.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/disk.h"
#include "base/bits.h"
#include "port/log.h"
#include "vmm/spec.h"

/* Points into a copy of the spec. */
struct disk_spec {
    struct disk_options options;
    const char *serial;
};

static enum status unknown_value(const char *spec, const char *name, const char *value)
{
    log_error("--disk %s: %s %s is not known; 'man lodge-run' lists them", spec, name, value);
    return STATUS_INVALID;
}

static bool cache_parse(const char *name, enum disk_cache *cache)
{
    static const char *const names[] = {
        [DISK_CACHE_WRITEBACK] = "writeback", [DISK_CACHE_DIRECT] = "direct", [DISK_CACHE_UNSAFE] = "unsafe"};

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(names[i], name) == 0) {
            *cache = (enum disk_cache)i;
            return true;
        }
    }
    return false;
}

static enum status take_serial(struct disk_spec *disk, const char *spec, const char *serial)
{
    disk->serial = serial;
    if (strlen(serial) <= DISK_SERIAL)
        return STATUS_OK;
    log_error("--disk %s: a serial number has at most %d bytes", spec, (int)DISK_SERIAL);
    return STATUS_INVALID;
}

static enum status take_word(struct disk_spec *disk, const char *spec, const char *word)
{
    struct disk_options *options = &disk->options;
    const char *value;

    if (strcmp(word, "readonly") == 0) {
        options->read_only = true;
        return STATUS_OK;
    }
    if (strcmp(word, "discard-changes") == 0) {
        options->discard_changes = true;
        return STATUS_OK;
    }
    if ((value = spec_value(word, "serial")))
        return take_serial(disk, spec, value);
    if ((value = spec_value(word, "format")))
        return image_format_parse(value, &options->format) ? STATUS_OK : unknown_value(spec, "format", value);
    if ((value = spec_value(word, "backing")))
        return backing_rule_parse(value, &options->backing) ? STATUS_OK : unknown_value(spec, "backing", value);
    if ((value = spec_value(word, "cache")))
        return cache_parse(value, &options->cache) ? STATUS_OK : unknown_value(spec, "cache", value);
    log_error("--disk %s: '%s' is not known (there are: format=, readonly, discard-changes, serial=, backing=, cache=)",
              spec, word);
    return STATUS_INVALID;
}

/* Cuts copy, which is spec's, at its commas. */
static enum status spec_parse(struct disk_spec *disk, const char *spec, char *copy)
{
    enum status status = STATUS_OK;
    char *rest = copy;

    *disk = (struct disk_spec){.options.path = strsep(&rest, ","), .serial = ""};
    if (disk->options.path[0] == '\0') {
        log_error("--disk needs a file");
        return STATUS_INVALID;
    }
    while (rest && status == STATUS_OK)
        status = take_word(disk, spec, strsep(&rest, ","));
    if (status == STATUS_OK && disk->options.read_only && disk->options.discard_changes) {
        log_error("--disk %s: readonly and discard-changes exclude each other", spec);
        status = STATUS_INVALID;
    }
    return status;
}

enum status vmm_disk_open(const char *text, struct aio_engine *engine, struct vmm_disk *disk)
{
    struct disk_spec spec;
    char *copy = strdup(text);
    enum status status;

    *disk = (struct vmm_disk){0};
    if (!copy) {
        log_error("no memory for disk %s", text);
        return STATUS_NO_MEMORY;
    }
    status = spec_parse(&spec, text, copy);
    spec.options.engine = engine;
    if (status == STATUS_OK)
        status = disk_open(&spec.options, &disk->block);
    if (status == STATUS_OK)
        (void)snprintf(disk->serial, sizeof(disk->serial), "%s", spec.serial);
    free(copy);
    return status;
}

void vmm_disk_close(struct vmm_disk *disk)
{
    (void)disk_close(disk->block); /* logged */
    *disk = (struct vmm_disk){0};
}
