#include "vmm/disks.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/disk.h"
#include "base/bits.h"
#include "port/log.h"

/* Points into a copy of the spec. */
struct disk_spec {
    struct disk_options options;
    const char *serial;
};

/* A word with one of several values. */
struct choice {
    const char *name;
    int value;
};

static const struct choice formats[] = {{"raw", IMAGE_RAW}, {"qcow2", IMAGE_QCOW2}, {NULL, 0}};
static const struct choice backings[] = {
    {"beside", BACKING_BESIDE}, {"allow", BACKING_ALLOW}, {"deny", BACKING_DENY}, {NULL, 0}};
static const struct choice caches[] = {
    {"writeback", DISK_CACHE_WRITEBACK}, {"direct", DISK_CACHE_DIRECT}, {"unsafe", DISK_CACHE_UNSAFE}, {NULL, 0}};

/* The value behind "name=" in word, or NULL. */
static const char *value_of(const char *word, const char *name)
{
    size_t length = strlen(name);

    return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static enum status choose(const char *spec, const char *name, const struct choice *choices, const char *value, int *to)
{
    for (; choices->name; choices++) {
        if (strcmp(choices->name, value) == 0) {
            *to = choices->value;
            return STATUS_OK;
        }
    }
    log_error("--disk %s: %s %s is not known; 'man lodge-run' lists them", spec, name, value);
    return STATUS_INVALID;
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
    int chosen = 0;
    enum status status = STATUS_OK;

    if (strcmp(word, "readonly") == 0) {
        options->read_only = true;
    } else if (strcmp(word, "discard-changes") == 0) {
        options->discard_changes = true;
    } else if ((value = value_of(word, "serial")) != NULL) {
        status = take_serial(disk, spec, value);
    } else if ((value = value_of(word, "format")) != NULL) {
        status = choose(spec, "format", formats, value, &chosen);
        options->format = (enum image_format)chosen;
    } else if ((value = value_of(word, "backing")) != NULL) {
        status = choose(spec, "backing", backings, value, &chosen);
        options->backing = (enum backing_rule)chosen;
    } else if ((value = value_of(word, "cache")) != NULL) {
        status = choose(spec, "cache", caches, value, &chosen);
        options->cache = (enum disk_cache)chosen;
    } else {
        log_error("--disk %s: '%s' is not known (there are: format=, readonly, discard-changes, serial=, backing=, "
                  "cache=)",
                  spec, word);
        status = STATUS_INVALID;
    }
    return status;
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
