/*
 * Reads, writes and syncs of files that nobody waits for: through io_uring, or by a pool of threads
 * where the host refuses io_uring. One engine serves any number of disks.
 */
#ifndef LODGE_BACKEND_AIO_H
#define LODGE_BACKEND_AIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/status.h"

enum aio_mode {
    AIO_AUTO, /* io_uring if the host grants it, otherwise threads */
    AIO_URING,
    AIO_THREADS,
};

enum aio_kind { AIO_READ, AIO_WRITE, AIO_SYNC /* fdatasync */ };

/* The caller's, untouched by it from aio_submit() to done(). */
struct aio_operation {
    enum aio_kind kind;
    int fd;
    struct iovec *vectors; /* used up as the operation proceeds; at most AIO_VECTORS */
    unsigned vector_count;
    uint64_t offset;
    size_t size; /* bytes that are left; the sum of the vectors */

    /* By a thread of the engine, with no lock held. error: 0, or an errno; ENODATA: the file ended too early. */
    void (*done)(struct aio_operation *operation, int error);

    struct aio_operation *next; /* the engine's */
};

enum { AIO_VECTORS = 1024 };

struct aio_engine {
    const char *name; /* "io_uring" or "threads" */
    enum status (*start)(struct aio_engine *engine, bool (*enter)(void));
    void (*submit)(struct aio_engine *engine, struct aio_operation *operation);
    void (*destroy)(struct aio_engine *engine);
};

/* Has no threads yet. Logs why not. With AIO_URING a host without it is STATUS_UNSUPPORTED. */
enum status aio_create(enum aio_mode mode, struct aio_engine **engine) MUST_CHECK;

/* Starts its threads, of which enter() is the first thing that they do (backend/thread.h), or NULL. Once. Logged. */
enum status aio_start(struct aio_engine *engine, bool (*enter)(void)) MUST_CHECK;

/* Nothing is under way. NULL is accepted, and one that was not started. */
void aio_destroy(struct aio_engine *engine);

/* Any thread, any lock, after aio_start(). Starts the operation; done() is not called from inside. */
void aio_submit(struct aio_engine *engine, struct aio_operation *operation);

#endif
