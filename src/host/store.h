/* A small file behind a device's store (port/store.h): a firmware's variables. */
#ifndef LODGE_HOST_STORE_H
#define LODGE_HOST_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "host/loop.h"
#include "port/log.h"
#include "port/store.h"

struct host_store {
    struct store store;
    struct loop_notice written; /* asks the loop's thread for fdatasync() */
    const char *path;           /* borrowed */
    uint64_t size;              /* bytes of the file */
    struct log_limit failures;
    int fd; /* -1: none */
};

/*
 * Opens the file for the machine alone; one that does not exist becomes a copy of `original` first, in one step. original
 * NULL: it must exist. read_only: as it is, and the store is not to be written. Logs its errors. STATUS_NOT_FOUND,
 * STATUS_DENIED, STATUS_BUSY (another machine has it), STATUS_IO. Accepts no zeroed store.
 */
enum status host_store_open(struct host_store *store, const char *path, const char *original,
                            bool read_only) MUST_CHECK;

/* From now on what is written is made durable soon. Before the machine runs; the loop outlives the store. */
enum status host_store_attach(struct host_store *store, struct event_loop *loop) MUST_CHECK;

/* All `size` bytes. STATUS_IO (logged). */
enum status host_store_read(struct host_store *store, void *to) MUST_CHECK;

/* Everything is durable after it. Accepts what host_store_open() has failed on. */
void host_store_close(struct host_store *store);

#endif
