/*
 * The virtio console (VIRTIO 1.2, 5.3): one port, whose far end is a struct stream, and the size of the
 * terminal there. Threads: as virtio.h.
 */
#ifndef LODGE_DEV_VIRTIO_CONSOLE_H
#define LODGE_DEV_VIRTIO_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/virtio/virtio.h"
#include "port/stream.h"

struct virtio_console_state {
    struct virtio_state virtio;
    uint16_t columns, rows;
};

struct virtio_console {
    struct virtio virtio;
    struct virtio_console_state state;
    struct stream *stream;
    uint16_t columns, rows; /* of the terminal, whatever the state says */
    bool refused;           /* the stream has more than there was room for */
    bool announced;         /* the driver was told of the size that it started with */
    struct virtio_chain chain;
};

/* stream is borrowed; NULL: nothing is plugged in. */
void virtio_console_init(struct virtio_console *console, struct stream *stream);

/* The terminal's size, in characters. Before the machine runs, or with the machine lock held. */
void virtio_console_resize(struct virtio_console *console, uint16_t columns, uint16_t rows);

#endif
