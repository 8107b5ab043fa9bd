/*
 * The virtio devices of a machine. What they are connected to (disks) stays over a restart of the
 * machine, models are made anew with it. The main thread.
 */
#ifndef LODGE_VMM_DEVICES_H
#define LODGE_VMM_DEVICES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "board/q35.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/console.h"
#include "dev/virtio/net.h"
#include "port/entropy.h"
#include "vmm/disks.h"
#include "vmm/nets.h"
#include "vmm/options.h"

struct stream;
struct vsock_host;
struct vsock_outside;

enum { VSOCK_PATH = 108 }; /* of a Unix socket's address */

/* What devices are connected to. */
struct backends {
    struct aio_engine *aio; /* NULL: there are no disks */
    struct vmm_disk disks[VMM_DISKS];
    struct vmm_net nets[VMM_NETS];
    struct entropy entropy;
    struct stream *console;   /* borrowed */
    struct vsock_host *vsock; /* NULL: none */
    uint64_t vsock_cid;
};

/*
 * Opens what the options ask for, without threads. outside: connects vsock to sockets of the host, or NULL
 * (backend/vsock.h). Logs its errors; backends_close() puts away what was opened.
 */
enum status backends_open(struct backends *backends, const struct vmm_options *options,
                          struct vsock_outside *outside) MUST_CHECK;

/* The path of the socket that --vsock names, if it does. */
bool backends_vsock_path(const struct vmm_options *options, char *path, size_t room);

/* What the threads of each kind do first (backend/thread.h). */
struct backends_enter {
    bool (*disk)(void);
    bool (*vsock)(void);
    bool (*slirp)(void);
    bool (*tap)(void);
};

/* Starts their threads. Once. Logs its errors; backends_close() ends what was started. */
enum status backends_start(struct backends *backends, const struct backends_enter *enter) MUST_CHECK;

/* The machine runs, with this lock; or (NULL) it is about to go, and no vCPU runs any more. The lock is not held. */
void backends_attach(struct backends *backends, struct lock *machine_lock);

void backends_close(struct backends *backends); /* accepts zeroed ones */

/* One machine's: at their slots, for struct q35_config. What each is made of begins with its struct virtio. */
struct devices {
    struct virtio *virtio[Q35_VIRTIO_SLOTS];
    struct virtio_balloon *balloon;
    struct virtio_console *console;    /* NULL: the terminal is the serial port's */
    struct virtio_net *nets[VMM_NETS]; /* NULL: no card of this number */
};

/* Makes all models, not attached yet. Logs its errors; devices_destroy() puts away what was made. */
enum status devices_create(struct devices *devices, struct backends *backends,
                           const struct vmm_options *options) MUST_CHECK;

/* The terminal's size may have changed. Takes the machine's lock. */
void devices_resize_console(struct devices *devices);

/* What the guest says of its memory, to the log, and asks it for newer figures. Takes the machine's lock. */
void devices_print(struct devices *devices);
/* The cable of the card of this number, below VMM_NETS; false: there is none. Takes the machine's lock. */
bool devices_set_link(struct devices *devices, unsigned number, bool up);

/* They are at rest: machine_drain_devices(). Accepts zeroed ones. */
void devices_destroy(struct devices *devices);

#endif
