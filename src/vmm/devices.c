#include "vmm/devices.h"

#include <stdlib.h>
#include <string.h>

#include "dev/virtio/block.h"
#include "dev/virtio/rng.h"
#include "host/entropy.h"
#include "port/log.h"
#include "vmm/disks.h"

/* The slots of the board's contract (docs/machine.md). */
enum { SLOT_RNG = 1, SLOT_BALLOON = 2, SLOT_DISKS = 9 };

_Static_assert(SLOT_DISKS + VMM_DISKS <= Q35_VIRTIO_SLOT + Q35_VIRTIO_SLOTS, "every disk has its slot");

enum status backends_open(struct backends *backends, const struct vmm_options *options)
{
    enum status status = STATUS_OK;

    host_entropy_init(&backends->entropy);
    for (unsigned i = 0; i < options->disk_count && status == STATUS_OK; i++)
        status = vmm_disk_open(options->disks[i], &backends->disks[i]);
    return status;
}

void backends_close(struct backends *backends)
{
    for (unsigned i = 0; i < VMM_DISKS; i++)
        vmm_disk_close(backends->disks[i]);
    memset(backends, 0, sizeof(*backends));
}

/* Room for a model of this size in a slot; NULL (logged): none. */
static void *devices_add(struct devices *devices, unsigned slot, size_t size)
{
    void *model = calloc(1, size);

    if (!model)
        log_error("no memory for the virtio device in slot %u", slot);
    devices->virtio[slot - Q35_VIRTIO_SLOT] = model;
    return model;
}

static enum status devices_add_rng(struct devices *devices, struct entropy *entropy)
{
    struct virtio_rng *rng = devices_add(devices, SLOT_RNG, sizeof(*rng));

    if (!rng)
        return STATUS_NO_MEMORY;
    virtio_rng_init(rng, entropy);
    return STATUS_OK;
}

static enum status devices_add_balloon(struct devices *devices)
{
    devices->balloon = devices_add(devices, SLOT_BALLOON, sizeof(*devices->balloon));
    if (!devices->balloon)
        return STATUS_NO_MEMORY;
    virtio_balloon_init(devices->balloon);
    return STATUS_OK;
}

static enum status devices_add_disk(struct devices *devices, unsigned slot, struct block *block, const char *spec,
                                    unsigned cpus)
{
    struct virtio_block *disk = devices_add(devices, slot, sizeof(*disk));
    char serial[DISK_SERIAL + 1];

    if (!disk)
        return STATUS_NO_MEMORY;
    vmm_disk_serial(spec, serial);
    virtio_block_init(disk, block, serial, cpus);
    return STATUS_OK;
}

enum status devices_create(struct devices *devices, struct backends *backends, const struct vmm_options *options)
{
    enum status status = devices_add_rng(devices, &backends->entropy);

    if (status == STATUS_OK)
        status = devices_add_balloon(devices);
    for (unsigned i = 0; i < options->disk_count && status == STATUS_OK; i++)
        status = devices_add_disk(devices, SLOT_DISKS + i, backends->disks[i], options->disks[i], options->cpus);
    return status;
}

void devices_destroy(struct devices *devices)
{
    for (unsigned i = 0; i < Q35_VIRTIO_SLOTS; i++)
        free(devices->virtio[i]);
    memset(devices, 0, sizeof(*devices));
}
