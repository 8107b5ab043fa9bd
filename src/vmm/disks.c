#include "vmm/disks.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/raw_simple.h"
#include "port/log.h"

#define FORMAT "format="
#define SERIAL "serial="

/* Points into a copy of the spec. */
struct disk_spec {
    char *path;
    const char *serial;
    bool read_only;
};

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum status spec_take(struct disk_spec *disk, const char *spec, const char *word)
{
    if (strcmp(word, "readonly") == 0) {
        disk->read_only = true;
    } else if (starts_with(word, FORMAT)) {
        if (strcmp(word + strlen(FORMAT), "raw") != 0) {
            log_error("--disk %s: format %s is not known (there is: raw)", spec, word + strlen(FORMAT));
            return STATUS_INVALID;
        }
    } else if (starts_with(word, SERIAL)) {
        disk->serial = word + strlen(SERIAL);
        if (strlen(disk->serial) > DISK_SERIAL) {
            log_error("--disk %s: a serial number has at most %d bytes", spec, (int)DISK_SERIAL);
            return STATUS_INVALID;
        }
    } else {
        log_error("--disk %s: '%s' is not known (there are: format=raw, readonly, serial=TEXT)", spec, word);
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

enum status vmm_disk_open(const char *spec, struct block **block)
{
    struct disk_spec disk;
    char *copy = strdup(spec);
    enum status status;

    if (!copy) {
        log_error("no memory for disk %s", spec);
        return STATUS_NO_MEMORY;
    }
    status = spec_parse(&disk, spec, copy);
    if (status == STATUS_OK)
        status = raw_simple_open(disk.path, disk.read_only, block);
    free(copy);
    return status;
}

void vmm_disk_close(struct block *block)
{
    raw_simple_close(block);
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
