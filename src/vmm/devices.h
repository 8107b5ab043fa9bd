/*
 * The virtio devices of a machine. Backends (disks) stay over a restart of the machine, models
 * are made anew with it. The main thread.
 */
#ifndef LODGE_VMM_DEVICES_H
#define LODGE_VMM_DEVICES_H

#include "base/status.h"
#include "board/q35.h"
#include "port/block.h"
#include "vmm/options.h"

/* What devices are connected to. */
struct backends {
    struct block *disks[VMM_DISKS];
};

/* Opens what the options ask for. Logs its errors; backends_close() puts away what was opened. */
enum status backends_open(struct backends *backends, const struct vmm_options *options) MUST_CHECK;
void backends_close(struct backends *backends); /* accepts zeroed ones */

/* One machine's: in the order of slots, for struct q35_config. */
struct devices {
    struct virtio *virtio[Q35_VIRTIO_SLOTS];
    unsigned count;
    void *models[Q35_VIRTIO_SLOTS]; /* what to free, beside each */
};

/* Makes all models, not attached yet. Logs its errors; devices_destroy() puts away what was made. */
enum status devices_create(struct devices *devices, struct backends *backends,
                           const struct vmm_options *options) MUST_CHECK;

/* They are at rest: machine_quiesce_devices(). Accepts zeroed ones. */
void devices_destroy(struct devices *devices);

#endif
