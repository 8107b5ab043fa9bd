/* Guest RAM, and how much of it this host can give. */
#ifndef LODGE_HOST_MEMORY_H
#define LODGE_HOST_MEMORY_H

#include <stdint.h>

#include "base/status.h"
#include "port/memory.h"

/* The name of the memory file, by which /proc/PID/smaps shows guest RAM. */
#define HOST_MEMORY_NAME "lodge-guest-ram"

struct host_memory {
    void *host; /* NULL: none */
    uint64_t size;
    int fd;
    struct memory_releaser releaser; /* gives single pages back to the host */
};

/*
 * Reserves zeroed memory; pages are taken from the host as the guest touches them. Refuses, with
 * one log line, what the host could not give now: more than its available memory, the control
 * group's limit or the address-space limit. size: page-aligned.
 */
enum status host_memory_create(struct host_memory *memory, uint64_t size) MUST_CHECK;
void host_memory_destroy(struct host_memory *memory); /* accepts a zeroed one */

/* The first `size` bytes back to zeroes, and the pages back to the host. Nobody else uses it meanwhile. Page-aligned. */
enum status host_memory_clear(struct host_memory *memory, uint64_t size) MUST_CHECK;

/* How many bytes could be given now, and by whose word: a static string for a message. */
uint64_t host_memory_available(const char **limited_by);

#endif
