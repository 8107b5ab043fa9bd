/* A character stream: the far end of a serial port or a debug console. */
#ifndef LODGE_PORT_STREAM_H
#define LODGE_PORT_STREAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Towards the world: write() is called by a device with the machine lock held, takes all it is
 * given and never blocks for long. Towards the machine: the world calls receive() with the
 * machine lock held; it answers how many bytes the device had room for. When the device has room
 * again it calls drained(), and the world offers the rest.
 */
struct stream {
    void (*write)(struct stream *stream, const void *bytes, size_t size);
    void (*drained)(struct stream *stream);
    size_t (*receive)(void *device, const void *bytes, size_t size);
    void *device;
};

#endif
