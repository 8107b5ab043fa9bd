#include "vmm/devices.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/aio.h"
#include "backend/disk.h"
#include "backend/vsock.h"
#include "base/bits.h"
#include "dev/virtio/block.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/vsock.h"
#include "host/entropy.h"
#include "host/tty.h"
#include "port/log.h"
#include "vmm/spec.h"

/* The slots of the board's contract (docs/machine.md). */
enum { SLOT_RNG = 1, SLOT_BALLOON = 2, SLOT_CONSOLE = 3, SLOT_VSOCK = 4, SLOT_NETS = 5, SLOT_DISKS = 9 };

_Static_assert(SLOT_NETS + VMM_NETS <= SLOT_DISKS, "every network card has its slot");
_Static_assert(SLOT_DISKS + VMM_DISKS <= Q35_VIRTIO_SLOT + Q35_VIRTIO_SLOTS, "every disk has its slot");

/* PATH[,cid=N] */
static enum status backends_open_vsock(struct backends *backends, const char *spec, struct vsock_outside *outside)
{
    char *path = strdup(spec), *rest = path, *end = NULL;
    const char *cid;
    enum status status = STATUS_OK;

    if (!path) {
        log_error("no memory for the vsock socket %s", spec);
        return STATUS_NO_MEMORY;
    }
    (void)strsep(&rest, ",");
    backends->vsock_cid = VIRTIO_VSOCK_FIRST_GUEST;
    cid = rest ? spec_value(rest, "cid") : NULL;
    if (cid)
        backends->vsock_cid = strtoull(cid, &end, 10);
    if (path[0] == '\0' || (rest && (!end || *end != '\0')) || backends->vsock_cid < VIRTIO_VSOCK_FIRST_GUEST ||
        backends->vsock_cid >= UINT32_MAX) {
        log_error("--vsock takes PATH[,cid=N], with N from 3 to 4294967294, not '%s'", spec);
        status = STATUS_INVALID;
    }
    if (status == STATUS_OK)
        status = vsock_host_open(path, outside, &backends->vsock);
    free(path);
    return status;
}

bool backends_vsock_path(const struct vmm_options *options, char *path, size_t room)
{
    size_t length = options->vsock ? strcspn(options->vsock, ",") : 0;

    if (length == 0 || length >= room)
        return false;
    memcpy(path, options->vsock, length);
    path[length] = '\0';
    return true;
}

enum status backends_open(struct backends *backends, const struct vmm_options *options, struct vsock_outside *outside)
{
    enum status status = STATUS_OK;

    host_entropy_init(&backends->entropy);
    if (options->disk_count > 0)
        status = aio_create(AIO_AUTO, &backends->aio);
    for (unsigned i = 0; i < options->disk_count && status == STATUS_OK; i++)
        status = vmm_disk_open(options->disks[i], backends->aio, &backends->disks[i]);
    for (unsigned i = 0; i < options->net_count && status == STATUS_OK; i++)
        status = vmm_net_open(options->nets[i], options->name, i, options->cpus, &backends->nets[i]);
    if (status == STATUS_OK && options->vsock)
        status = backends_open_vsock(backends, options->vsock, outside);
    return status;
}

enum status backends_start(struct backends *backends, const struct backends_enter *enter)
{
    enum status status = backends->aio ? aio_start(backends->aio, enter->disk) : STATUS_OK;

    for (unsigned i = 0; i < VMM_DISKS && status == STATUS_OK; i++)
        if (backends->disks[i].block)
            status = disk_start(backends->disks[i].block, enter->disk);
    for (unsigned i = 0; i < VMM_NETS && status == STATUS_OK; i++)
        status = vmm_net_start(&backends->nets[i], enter->slirp, enter->tap);
    if (status == STATUS_OK && backends->vsock)
        status = vsock_host_start(backends->vsock, enter->vsock);
    return status;
}

void backends_attach(struct backends *backends, struct lock *machine_lock)
{
    for (unsigned i = 0; i < VMM_NETS; i++)
        vmm_net_attach(&backends->nets[i], machine_lock);
    if (backends->vsock)
        vsock_host_attach(backends->vsock, machine_lock);
}

void backends_close(struct backends *backends)
{
    for (unsigned i = 0; i < VMM_DISKS; i++)
        vmm_disk_close(&backends->disks[i]);
    aio_destroy(backends->aio);
    for (unsigned i = 0; i < VMM_NETS; i++)
        vmm_net_close(&backends->nets[i]);
    vsock_host_close(backends->vsock);
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

static enum status devices_add_balloon(struct devices *devices, uint64_t bytes)
{
    devices->balloon = devices_add(devices, SLOT_BALLOON, sizeof(*devices->balloon));
    if (!devices->balloon)
        return STATUS_NO_MEMORY;
    virtio_balloon_init(devices->balloon);
    virtio_balloon_set_target(devices->balloon, (uint32_t)(bytes >> PAGE_SHIFT));
    return STATUS_OK;
}

static enum status devices_add_console(struct devices *devices, struct stream *stream)
{
    devices->console = devices_add(devices, SLOT_CONSOLE, sizeof(*devices->console));
    if (!devices->console)
        return STATUS_NO_MEMORY;
    virtio_console_init(devices->console, stream);
    devices_resize_console(devices);
    return STATUS_OK;
}

static enum status devices_add_vsock(struct devices *devices, struct vsock_host *host, uint64_t cid)
{
    struct virtio_vsock *vsock = devices_add(devices, SLOT_VSOCK, sizeof(*vsock));

    if (!vsock)
        return STATUS_NO_MEMORY;
    virtio_vsock_init(vsock, vsock_host_world(host), cid);
    return STATUS_OK;
}

static enum status devices_add_net(struct devices *devices, unsigned number, struct vmm_net *net, unsigned cpus)
{
    struct virtio_net *card = devices_add(devices, SLOT_NETS + number, sizeof(*card));

    if (!card)
        return STATUS_NO_MEMORY;
    devices->nets[number] = card;
    virtio_net_init(card, net->network, net->mac, cpus);
    return STATUS_OK;
}

static enum status devices_add_disk(struct devices *devices, unsigned number, struct vmm_disk *disk, unsigned cpus)
{
    struct virtio_block *model = devices_add(devices, SLOT_DISKS + number, sizeof(*model));

    if (!model)
        return STATUS_NO_MEMORY;
    virtio_block_init(model, disk->block, disk->serial, cpus);
    return STATUS_OK;
}

enum status devices_create(struct devices *devices, struct backends *backends, const struct vmm_options *options)
{
    enum status status = devices_add_rng(devices, &backends->entropy);

    if (status == STATUS_OK)
        status = devices_add_balloon(devices, options->balloon);
    if (status == STATUS_OK && options->virtio_console)
        status = devices_add_console(devices, backends->console);
    if (status == STATUS_OK && backends->vsock)
        status = devices_add_vsock(devices, backends->vsock, backends->vsock_cid);
    for (unsigned i = 0; i < options->net_count && status == STATUS_OK; i++)
        if (backends->nets[i].network)
            status = devices_add_net(devices, i, &backends->nets[i], options->cpus);
    for (unsigned i = 0; i < options->disk_count && status == STATUS_OK; i++)
        status = devices_add_disk(devices, i, &backends->disks[i], options->cpus);
    return status;
}

/* The lock of the machine that a device is in; before it is in one, nobody else has it. */
static void device_lock(struct virtio *virtio)
{
    if (virtio->machine)
        lock_acquire(&virtio->machine->lock);
}

static void device_unlock(struct virtio *virtio)
{
    if (virtio->machine)
        lock_release(&virtio->machine->lock);
}

void devices_resize_console(struct devices *devices)
{
    struct virtio_console *console = devices->console;
    uint16_t columns, rows;

    if (!console || !host_tty_size(&columns, &rows))
        return;
    device_lock(&console->virtio);
    virtio_console_resize(console, columns, rows);
    device_unlock(&console->virtio);
}

void devices_print(struct devices *devices)
{
    static const struct {
        enum virtio_balloon_statistic statistic;
        const char *name;
    } lines[] = {
        {BALLOON_TOTAL, "guest's memory, KiB"},
        {BALLOON_AVAILABLE, "guest's available, KiB"},
        {BALLOON_FREE, "guest's unused, KiB"},
    };
    struct virtio_balloon *balloon = devices->balloon;

    if (!balloon || !balloon->virtio.machine)
        return;
    device_lock(&balloon->virtio);
    log_info("  %-28s %12" PRIu64, "balloon, KiB", (uint64_t)balloon->state.actual << (PAGE_SHIFT - 10));
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++)
        if (balloon->statistics[lines[i].statistic] != BALLOON_UNKNOWN)
            log_info("  %-28s %12" PRIu64, lines[i].name, balloon->statistics[lines[i].statistic] >> 10);
    (void)virtio_balloon_poll(balloon);
    device_unlock(&balloon->virtio);
}

bool devices_set_link(struct devices *devices, unsigned number, bool up)
{
    struct virtio_net *card = devices->nets[number];

    if (!card)
        return false;
    device_lock(&card->virtio);
    virtio_net_set_link(card, up);
    device_unlock(&card->virtio);
    return true;
}

void devices_destroy(struct devices *devices)
{
    for (unsigned i = 0; i < Q35_VIRTIO_SLOTS; i++)
        free(devices->virtio[i]);
    memset(devices, 0, sizeof(*devices));
}
