#include "backend/aio.h"

#include <errno.h>

#include "backend/aio_internal.h"
#include "port/log.h"

/* The first `size` bytes are behind us. */
static void aio_advance(struct aio_operation *operation, size_t size)
{
    operation->offset += size;
    operation->size -= size;
    while (size > 0) {
        struct iovec *vector = operation->vectors;
        size_t part = size < vector->iov_len ? size : vector->iov_len;

        vector->iov_base = (char *)vector->iov_base + part;
        vector->iov_len -= part;
        size -= part;
        if (vector->iov_len == 0) {
            operation->vectors++;
            operation->vector_count--;
        }
    }
}

bool aio_proceed(struct aio_operation *operation, ssize_t result, int *error)
{
    if (result == -EINTR || result == -EAGAIN)
        return false;
    *error = result < 0 ? (int)-result : 0;
    if (result < 0 || operation->kind == AIO_SYNC)
        return true;
    if (result == 0 && operation->size > 0) {
        *error = operation->kind == AIO_READ ? ENODATA : EIO;
        return true;
    }
    aio_advance(operation, (size_t)result);
    return operation->size == 0;
}

enum status aio_create(enum aio_mode mode, struct aio_engine **engine)
{
    enum status status = STATUS_UNSUPPORTED;

    if (mode != AIO_THREADS)
        status = aio_uring_create(engine);
    if (status == STATUS_UNSUPPORTED && mode == AIO_URING)
        log_error("the host does not grant io_uring; use threads for disks");
    if (status == STATUS_UNSUPPORTED && mode != AIO_URING)
        status = aio_threads_create(engine);
    return status;
}

enum status aio_start(struct aio_engine *engine, bool (*enter)(void))
{
    return engine->start(engine, enter);
}

void aio_destroy(struct aio_engine *engine)
{
    if (engine)
        engine->destroy(engine);
}

void aio_submit(struct aio_engine *engine, struct aio_operation *operation)
{
    engine->submit(engine, operation);
}
