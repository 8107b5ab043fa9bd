/*
 * The device contract.
 *
 * A model embeds struct device. Its regions are data; its io() gets a region-relative offset. No
 * vCPU, engine handle or file descriptor is in any signature: one bus_access() serves translated
 * code, KVM exits and bare metal. A model reaches outward only through interfaces given to it at
 * construction (interrupt line, MSI sink, guest memory, clock, timer queue, stream).
 *
 * Threads: everything below is called with the machine lock held, from any thread, except drain().
 */
#ifndef LODGE_CORE_DEVICE_H
#define LODGE_CORE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "state/schema.h"

struct device;

enum io_result {
    IO_DONE,      /* a read has set access->value */
    IO_UNCLAIMED, /* nobody there: reads give all ones, writes are dropped */
    IO_FAULT,     /* the model refuses: as unclaimed, and logged (rate-limited) */
};

struct io_access {
    uint64_t offset; /* in the region; a multiple of size, and all of the access is inside */
    uint64_t value;  /* zero-extended; written, or to be read */
    uint8_t size;    /* 1, 2, 4, 8 */
    bool write;
};

enum bus_space { BUS_PORT, BUS_MEMORY };

/* One window of a device on a bus. Accesses outside smallest..largest are split or widened by the bus. */
struct region {
    const char *name;
    enum bus_space space;
    uint64_t base;
    uint64_t size;
    uint8_t smallest; /* bytes; the bus widens smaller reads and drops smaller writes */
    uint8_t largest;  /* bytes; the bus splits larger accesses */
    bool doorbell;    /* a write only notifies, its value does not matter; KVM may turn it into an ioeventfd */
    uint32_t doorbell_stride; /* bytes between the addresses that notify of different things, */
    uint32_t doorbell_count;  /* and how many of these there are, from the region's start */
    bool enabled;     /* a disabled region is not there */
    struct device *device;
    unsigned index;   /* the model's own number for it */
};

struct device_type {
    const char *name;                    /* "uart16550" */
    const struct state_schema *schema;   /* NULL only for a device without state */
    size_t state_offset;                 /* of the state struct in the model's struct */
    enum io_result (*io)(struct device *device, unsigned region, struct io_access *access);
    void (*reset)(struct device *device);   /* power-on state */
    void (*quiesce)(struct device *device); /* before its state is read: settle timers; may be NULL */
    /*
     * After quiesce, and the one call without the machine lock: returns when none of its work is under way outside
     * of the machine; NULL: it has no such work.
     */
    void (*drain)(struct device *device);
    void (*resume)(struct device *device);  /* after its state was replaced: re-arm timers, lines; may be NULL */
};

/*
 * Somebody else does the device's work and has its state, as an engine with interrupt controllers of its own: this is
 * called instead of the type's quiesce and resume, and after its reset. fetch() fills in the state struct, put() takes
 * it; both log their errors.
 */
struct device_proxy {
    enum status (*fetch)(struct device *device) MUST_CHECK;
    enum status (*put)(struct device *device) MUST_CHECK;
};

struct device {
    const struct device_type *type;
    const char *path;       /* unique in the machine: "isa/uart0", "pci/00:1f.0" */
    struct device *next;    /* the machine's list */
    const struct device_proxy *proxy; /* NULL: the model does its work itself */
};

static inline void *device_state(struct device *device)
{
    return (char *)device + device->type->state_offset;
}

#endif
