/*
 * What all virtio devices are made of: the PCI transport and the queues (VIRTIO 1.2, chapters 2 and 4.1).
 *
 * A model embeds a struct virtio first and, first in its state struct, a struct virtio_state that it describes with
 * VIRTIO_STATE_FIELDS. It calls virtio_init() with what it is; the board calls virtio_attach(). From then on
 * notify() is called when the driver has made buffers available; the model takes them with virtio_queue_pop(), gives
 * each back with virtio_queue_push(), and after some of those calls virtio_queue_flush(), which shows them to the
 * driver and interrupts it if it wants that.
 *
 * A driver that breaks the rules (rings or buffers outside of memory, loops) makes the device go DEVICE_NEEDS_RESET:
 * one line in the log, limited in number, and nothing is taken from its queues until it resets the device.
 *
 * A buffer that was taken may be held for as long as some work outside of the machine lasts. A driver that resets
 * the device or a queue meanwhile sees the reset come to its end only with the last of them.
 *
 * Threads: everything with the machine lock held, except construction, which is before the machine runs.
 */
#ifndef LODGE_DEV_VIRTIO_VIRTIO_H
#define LODGE_DEV_VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "core/device.h"
#include "core/machine.h"
#include "core/timer.h"
#include "dev/pci/bus.h"
#include "dev/pci/function.h"
#include "dev/pci/msix.h"
#include "dev/virtio/chain.h"
#include "dev/virtio/registers.h"
#include "port/log.h"

enum {
    VIRTIO_QUEUES = 33,      /* the most that a device here has: 16 pairs and a control queue */
    VIRTIO_QUEUE_SIZE = 256, /* descriptors, the most that a driver may choose */
    VIRTIO_CONFIG_SIZE = 64, /* bytes of device configuration, the most that a device here has */
};

/* What the guest can see of a queue. */
struct virtio_queue_state {
    uint64_t descriptors, driver, device; /* guest addresses of the three areas */
    uint16_t size;
    uint16_t vector;
    uint16_t next_available; /* split: ring index; packed: position, bit 15 the wrap counter */
    uint16_t next_used;
    uint16_t signalled; /* next_used when the last interrupt was considered */
    uint8_t signalled_valid;
    uint8_t enabled;
};

struct virtio_state {
    struct pci_state pci;
    struct pci_msix_state msix;
    uint32_t device_feature_select, driver_feature_select;
    uint64_t driver_features;
    uint16_t config_vector;
    uint16_t queue_select;
    uint8_t status;
    uint8_t isr;
    uint8_t config_generation;
    struct virtio_queue_state queues[VIRTIO_QUEUES];
};

#define VIRTIO_STATE_FIELDS(type, member, version)                                                                     \
    PCI_STATE_FIELDS(type, member.pci, version), PCI_MSIX_STATE_FIELDS(type, member.msix, version),                    \
        STATE_SCALAR(type, member.device_feature_select, version),                                                     \
        STATE_SCALAR(type, member.driver_feature_select, version),                                                     \
        STATE_SCALAR(type, member.driver_features, version), STATE_SCALAR(type, member.config_vector, version),        \
        STATE_SCALAR(type, member.queue_select, version), STATE_SCALAR(type, member.status, version),                  \
        STATE_SCALAR(type, member.isr, version), STATE_SCALAR(type, member.config_generation, version),                \
        STATE_MEMBERS(type, member.queues, descriptors, version), STATE_MEMBERS(type, member.queues, driver, version), \
        STATE_MEMBERS(type, member.queues, device, version), STATE_MEMBERS(type, member.queues, size, version),        \
        STATE_MEMBERS(type, member.queues, vector, version),                                                           \
        STATE_MEMBERS(type, member.queues, next_available, version),                                                   \
        STATE_MEMBERS(type, member.queues, next_used, version),                                                        \
        STATE_MEMBERS(type, member.queues, signalled, version),                                                        \
        STATE_MEMBERS(type, member.queues, signalled_valid, version),                                                  \
        STATE_MEMBERS(type, member.queues, enabled, version)

/* For a model's valid(): could a guest have brought it about? */
bool virtio_state_valid(const struct virtio_state *state);

/* What follows from the state, and what is under way. */
struct virtio_queue {
    uint8_t *descriptors, *driver, *device; /* host addresses of the areas; NULL while not enabled */
    uint16_t in_flight;                     /* descriptors (packed) or chains (split) that the device holds */
    uint16_t chains;                        /* that the device holds */
    uint32_t generation;                    /* counts resets: chains from before one are void */
    bool resetting;                         /* the driver reset it; the device still holds chains */
    bool pushed;                            /* since the last flush */
};

struct virtio;

/* What a model does. Members may be NULL, except notify. */
struct virtio_ops {
    void (*notify)(struct virtio *virtio, unsigned queue);
    /* Do these features go together? */
    bool (*accepts)(const struct virtio *virtio, uint64_t features);
    /* The driver is ready; before any notify(). Also after a saved machine goes on. */
    void (*driver_ok)(struct virtio *virtio);
    /* By the driver, or at power-on. */
    void (*reset)(struct virtio *virtio);
    /* Fills in the device configuration: VIRTIO_CONFIG_SIZE zeroed bytes. */
    void (*config_read)(struct virtio *virtio, uint8_t *config);
    void (*config_write)(struct virtio *virtio, unsigned offset, unsigned size, uint32_t value);
};

/* What a model is. */
struct virtio_kind {
    uint16_t type; /* VIRTIO_TYPE_... */
    uint32_t class_code;
    unsigned config_size;
    const struct virtio_ops *ops;
};

struct virtio {
    struct device device;
    struct pci_function function;
    struct pci_msix msix;
    const struct virtio_kind *kind;
    struct virtio_state *state;
    struct machine *machine; /* NULL until attached */
    char path[16];
    uint64_t features; /* offered */
    unsigned queue_count;
    bool stopped;       /* between quiesce and resume: nothing is taken from queues */
    bool resetting;     /* the driver reset the device, which still holds chains */
    uint32_t held;      /* chains that the device holds, of all queues */
    uint32_t budget;    /* chains that may still be taken in this notify() */
    uint64_t postponed; /* bit n: queue n was not emptied for lack of budget */
    struct timer again; /* for those */
    struct log_limit broken;
    struct virtio_queue queues[VIRTIO_QUEUES];
};

/*
 * Starts a model; kind and state are borrowed, features are those of the model alone: the transport adds its own.
 * device.type is the model's, with the four functions below as its io, reset, quiesce and resume.
 */
void virtio_init(struct virtio *virtio, const struct device_type *type, const struct virtio_kind *kind,
                 struct virtio_state *state, uint64_t features, unsigned queue_count);

/* Puts it into a slot of the bus, and its device (path "pci/00:SS.0") to power-on state. Errors as bus_add(). */
enum status virtio_attach(struct virtio *virtio, struct machine *machine, struct pci_bus *bus,
                          unsigned slot) MUST_CHECK;

enum io_result virtio_io(struct device *device, unsigned region, struct io_access *access);
void virtio_reset(struct device *device);
void virtio_quiesce(struct device *device);
void virtio_resume(struct device *device);

static inline bool virtio_has(const struct virtio *virtio, uint64_t feature)
{
    return virtio->state->driver_features & feature;
}

/* May buffers be taken? The driver is ready, and nobody has broken or stopped anything. */
bool virtio_running(const struct virtio *virtio);

/* The same, of a queue. */
bool virtio_queue_running(const struct virtio *virtio, unsigned queue);

/* The device's configuration has changed: tells the driver. */
void virtio_config_changed(struct virtio *virtio);

/* The driver broke the rules: the device needs a reset. what says which, for the log. */
void virtio_break(struct virtio *virtio, unsigned queue, const char *what);

/* Calls notify(), as if the driver had notified the queue. */
void virtio_queue_run(struct virtio *virtio, unsigned queue);

/*
 * Takes the next available buffer. False: there is none (the driver will notify when there is), or the device is
 * broken, stopped or not ready.
 */
bool virtio_queue_pop(struct virtio *virtio, unsigned queue, struct virtio_chain *chain);

/* Puts back the buffer that was taken last; it is the next one again. */
void virtio_queue_unpop(struct virtio *virtio, const struct virtio_ticket *ticket);

/*
 * Gives a buffer back; the device has written the first `written` bytes of its writable part. Buffers of a queue
 * that was reset since are dropped.
 */
void virtio_queue_push(struct virtio *virtio, const struct virtio_chain *chain, uint32_t written);

/* The same for a buffer of which only the ticket was kept; who wrote to it has called virtio_chain_wrote(). */
void virtio_queue_return(struct virtio *virtio, const struct virtio_ticket *ticket, uint32_t written);

/* Shows the driver what was pushed, and interrupts it if it wants that. */
void virtio_queue_flush(struct virtio *virtio, unsigned queue);

#endif
