/* Guest memory that goes back to whoever gave it. */
#ifndef LODGE_PORT_MEMORY_H
#define LODGE_PORT_MEMORY_H

#include <stdint.h>

/*
 * Takes pages that the guest has given up back from it: they read as zeroes until written, and cost nothing.
 * offset and size are of the memory's backing, page aligned. Called with the machine lock held.
 */
struct memory_releaser {
    void (*release)(struct memory_releaser *releaser, uint64_t offset, uint64_t size);
};

#endif
