/*
 * A virtio device on a PCI bus, and a driver for it: negotiation through the registers, split and packed rings in the
 * memory of a fake machine, interrupts that are counted.
 */
#ifndef LODGE_TESTS_UNIT_VIRTIO_BENCH_H
#define LODGE_TESTS_UNIT_VIRTIO_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev/pci/host.h"
#include "dev/virtio/virtio.h"
#include "fake_machine.h"

enum {
    BENCH_RAM = 4 << 20,
    BENCH_QUEUES = VIRTIO_QUEUES,
    BENCH_AREA = 0x10000,  /* the first queue's rings; each has BENCH_STRIDE bytes */
    BENCH_STRIDE = 0x6000, /* descriptors, driver area, device area, indirect tables */
    BENCH_DATA = 0x100000, /* free for buffers from here on */
    BENCH_SLOT = 3,
};

/* The common configuration, ISR and device configuration in BAR 0. */
enum { BENCH_COMMON = 0, BENCH_ISR = 0x1000, BENCH_CONFIG = 0x2000 };

struct bench_buffer {
    uint64_t address;
    uint32_t size;
    bool write;
};

/* What the driver knows of a queue. */
struct bench_queue {
    unsigned size;
    bool indirect;           /* put buffers into indirect tables */
    uint16_t next_available; /* split: index; packed: position with the wrap counter in bit 15 */
    uint16_t next_used;
    unsigned free;                     /* split: the next descriptor to use */
    uint16_t taken[VIRTIO_QUEUE_SIZE]; /* packed: descriptors of each identifier */
};

struct bench {
    struct fake_machine fake;
    struct pci_host host;
    struct virtio *virtio;
    uint64_t registers, notify, msix; /* where BARs are */
    bool packed;
    struct bench_queue queues[BENCH_QUEUES];
    unsigned messages[PCI_MSIX_VECTORS]; /* that came, by vector */
    bool pin;                            /* the interrupt wire */
};

/* Attaches the device, which was started; BARs are placed. */
void bench_init(struct bench *bench, struct virtio *virtio);

/* Registers of BAR 0, through the bus. */
uint64_t bench_read(struct bench *bench, unsigned offset, unsigned size);
void bench_write(struct bench *bench, unsigned offset, unsigned size, uint64_t value);
uint8_t bench_status(struct bench *bench);

/* MSI-X on, vector 0 for the configuration, n + 1 for queue n; each message's data is its vector. */
void bench_use_msix(struct bench *bench);

/* From reset up to FEATURES_OK, with those features and VERSION_1; false: the device refuses. */
bool bench_negotiate(struct bench *bench, uint64_t features);
uint64_t bench_features(struct bench *bench);

/* Sets up and enables a queue at its place in memory. */
void bench_add_queue(struct bench *bench, unsigned queue, unsigned size);
void bench_driver_ok(struct bench *bench);

/* All of it: negotiates, enables all queues, DRIVER_OK. */
void bench_start(struct bench *bench, uint64_t features, unsigned size);

/* Makes a buffer available without a notification; answers its identifier. */
uint16_t bench_add(struct bench *bench, unsigned queue, const struct bench_buffer *buffers, unsigned count);
void bench_kick(struct bench *bench, unsigned queue);

/* Takes the next used buffer; false: there is none. */
bool bench_used(struct bench *bench, unsigned queue, uint16_t *id, uint32_t *length);

/* The machine's devices to rest, with nothing under way outside; and on again. */
void bench_rest(struct bench *bench);
void bench_resume(struct bench *bench);

/* Guest memory. */
void *bench_at(struct bench *bench, uint64_t address);
uint64_t bench_area(unsigned queue, unsigned area); /* 0 descriptors, 1 driver, 2 device, 3 indirect tables */
void bench_descriptor(struct bench *bench, uint64_t table, unsigned index, const struct bench_buffer *buffer,
                      unsigned flags, unsigned link);

#endif
