#include "vmm/devices.h"

#include <stdlib.h>
#include <string.h>

#include "dev/virtio/block.h"
#include "port/log.h"
#include "vmm/disks.h"

enum status backends_open(struct backends *backends, const struct vmm_options *options)
{
    enum status status = STATUS_OK;

    for (unsigned i = 0; i < options->disk_count && status == STATUS_OK; i++)
        status = disk_open(options->disks[i], &backends->disks[i]);
    return status;
}

void backends_close(struct backends *backends)
{
    for (unsigned i = 0; i < VMM_DISKS; i++)
        disk_close(backends->disks[i]);
    memset(backends, 0, sizeof(*backends));
}

/* Room for a model of this size, whose struct virtio is first in it; NULL (logged): none. */
static void *devices_add(struct devices *devices, size_t size)
{
    void *model = devices->count < Q35_VIRTIO_SLOTS ? calloc(1, size) : NULL;

    if (!model) {
        log_error("no room for another virtio device; a machine can have %u", (unsigned)Q35_VIRTIO_SLOTS);
        return NULL;
    }
    devices->models[devices->count] = model;
    devices->virtio[devices->count++] = model;
    return model;
}

static enum status devices_add_disk(struct devices *devices, struct block *block, const char *spec, unsigned cpus)
{
    struct virtio_block *disk = devices_add(devices, sizeof(*disk));
    char serial[DISK_SERIAL + 1];

    if (!disk)
        return STATUS_NO_MEMORY;
    disk_serial(spec, serial);
    virtio_block_init(disk, block, serial, cpus);
    return STATUS_OK;
}

enum status devices_create(struct devices *devices, struct backends *backends, const struct vmm_options *options)
{
    enum status status = STATUS_OK;

    for (unsigned i = 0; i < options->disk_count && status == STATUS_OK; i++)
        status = devices_add_disk(devices, backends->disks[i], options->disks[i], options->cpus);
    return status;
}

void devices_destroy(struct devices *devices)
{
    for (unsigned i = 0; i < devices->count; i++)
        free(devices->models[i]);
    memset(devices, 0, sizeof(*devices));
}
