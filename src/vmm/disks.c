#include "vmm/disks.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/disk.h"
#include "base/bits.h"
#include "port/log.h"

#define FORMAT "format="
#define SERIAL "serial="
#define BACKING "backing="
#define CACHE "cache="

/* Points into a copy of the spec. */
struct disk_spec {
    char *path;
    const char *serial;
    struct disk_options options;
};

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Which of the names the value is, or -1 after logging that it is none. */
static int spec_choose(const char *spec, const char *word, const char *value, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], value) == 0)
            return (int)i;
    log_error("--disk %s: %s is not known; lodge-run(1) tells what there is", spec, word);
    return -1;
}

static enum status spec_take_choice(struct disk_spec *disk, const char *spec, const char *word)
{
    static const char *const formats[] = {[IMAGE_AUTO] = "auto", [IMAGE_RAW] = "raw", [IMAGE_QCOW2] = "qcow2"};
    static const char *const rules[] = {
        [BACKING_BESIDE] = "beside", [BACKING_ALLOW] = "allow", [BACKING_DENY] = "deny"};
    static const char *const caches[] = {
        [DISK_CACHE_WRITEBACK] = "writeback", [DISK_CACHE_DIRECT] = "direct", [DISK_CACHE_UNSAFE] = "unsafe"};
    int chosen;

    if (starts_with(word, FORMAT)) {
        chosen = spec_choose(spec, word, word + strlen(FORMAT), formats, ARRAY_LENGTH(formats));
        disk->options.format = (enum image_format)(chosen < 0 ? 0 : chosen);
    } else if (starts_with(word, BACKING)) {
        chosen = spec_choose(spec, word, word + strlen(BACKING), rules, ARRAY_LENGTH(rules));
        disk->options.backing = (enum backing_rule)(chosen < 0 ? 0 : chosen);
    } else {
        chosen = spec_choose(spec, word, word + strlen(CACHE), caches, ARRAY_LENGTH(caches));
        disk->options.cache = (enum disk_cache)(chosen < 0 ? 0 : chosen);
    }
    return chosen < 0 ? STATUS_INVALID : STATUS_OK;
}

static enum status spec_take(struct disk_spec *disk, const char *spec, const char *word)
{
    if (starts_with(word, FORMAT) || starts_with(word, BACKING) || starts_with(word, CACHE))
        return spec_take_choice(disk, spec, word);
    if (strcmp(word, "readonly") == 0) {
        disk->options.read_only = true;
    } else if (strcmp(word, "discard-changes") == 0) {
        disk->options.discard_changes = true;
    } else if (starts_with(word, SERIAL)) {
        disk->serial = word + strlen(SERIAL);
        if (strlen(disk->serial) > DISK_SERIAL) {
            log_error("--disk %s: a serial number has at most %d bytes", spec, (int)DISK_SERIAL);
            return STATUS_INVALID;
        }
    } else {
        log_error("--disk %s: '%s' is not known (there are: format=, readonly, discard-changes, backing=, cache=, "
                  "serial=)",
                  spec, word);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

/* Cuts copy, which is spec's, at its commas. */
static enum status spec_parse(struct disk_spec *disk, const char *spec, char *copy)
{
    enum status status = STATUS_OK;
    char *rest = copy;

    *disk = (struct disk_spec){.path = strsep(&rest, ","), .serial = ""};
    if (disk->path[0] == '\0') {
        log_error("--disk needs a file");
        return STATUS_INVALID;
    }
    while (rest && status == STATUS_OK)
        status = spec_take(disk, spec, strsep(&rest, ","));
    return status;
}

enum status vmm_disk_open(const char *spec, struct aio_engine *engine, struct block **block)
{
    struct disk_spec disk;
    char *copy = strdup(spec);
    enum status status;

    if (!copy) {
        log_error("no memory for disk %s", spec);
        return STATUS_NO_MEMORY;
    }
    status = spec_parse(&disk, spec, copy);
    disk.options.path = disk.path;
    disk.options.engine = engine;
    if (status == STATUS_OK)
        status = disk_open(&disk.options, block);
    free(copy);
    return status;
}

void vmm_disk_close(struct block *block)
{
    (void)disk_close(block); /* logged */
}

void vmm_disk_serial(const char *spec, char serial[DISK_SERIAL + 1])
{
    struct disk_spec disk;
    char *copy = strdup(spec);

    serial[0] = '\0';
    if (copy && spec_parse(&disk, spec, copy) == STATUS_OK)
        (void)snprintf(serial, DISK_SERIAL + 1, "%s", disk.serial);
    free(copy);
}
