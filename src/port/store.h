/* A small piece of storage that keeps what a device remembers without power: a flash chip's bytes. */
#ifndef LODGE_PORT_STORE_H
#define LODGE_PORT_STORE_H

#include <stddef.h>
#include <stdint.h>

/*
 * write() is called by a device with the machine lock held, in the order in which the guest's writes take
 * effect, and inside the store's size. When it returns the bytes survive the end of this process; that
 * they survive the host's too follows soon. It may fail: the store then logs why, and the machine goes on.
 */
struct store {
    void (*write)(struct store *store, uint64_t offset, const void *bytes, size_t size);
};

#endif
