/* Asynchronous I/O by threads that do it synchronously. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/aio_internal.h"
#include "backend/thread.h"
#include "base/bits.h"
#include "port/log.h"

enum { POOL_THREADS = 8 };

struct pool {
    struct aio_engine engine;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct aio_operation *first, **last;
    bool stopping;
    struct backend_thread threads[POOL_THREADS];
};

static ssize_t pool_try(const struct aio_operation *operation)
{
    ssize_t result;

    if (operation->kind == AIO_READ)
        result = preadv(operation->fd, operation->vectors, (int)operation->vector_count, (off_t)operation->offset);
    else if (operation->kind == AIO_WRITE)
        result = pwritev(operation->fd, operation->vectors, (int)operation->vector_count, (off_t)operation->offset);
    else
        result = fdatasync(operation->fd);
    return result < 0 ? -errno : result;
}

static void pool_perform(struct aio_operation *operation)
{
    int error;

    while (!aio_proceed(operation, pool_try(operation), &error))
        continue;
    operation->done(operation, error);
}

static struct aio_operation *pool_next(struct pool *pool)
{
    struct aio_operation *operation;

    pthread_mutex_lock(&pool->lock);
    while (!pool->first && !pool->stopping)
        pthread_cond_wait(&pool->work, &pool->lock);
    operation = pool->first;
    if (operation) {
        pool->first = operation->next;
        if (!pool->first)
            pool->last = &pool->first;
    }
    pthread_mutex_unlock(&pool->lock);
    return operation;
}

static void *pool_thread(void *argument)
{
    struct aio_operation *operation;

    while ((operation = pool_next(argument)))
        pool_perform(operation);
    return NULL;
}

static void pool_submit(struct aio_engine *engine, struct aio_operation *operation)
{
    struct pool *pool = CONTAINER_OF(engine, struct pool, engine);

    operation->next = NULL;
    pthread_mutex_lock(&pool->lock);
    *pool->last = operation;
    pool->last = &operation->next;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_signal(&pool->work);
}

static void pool_destroy(struct aio_engine *engine)
{
    struct pool *pool = CONTAINER_OF(engine, struct pool, engine);

    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->work);
    for (unsigned i = 0; i < POOL_THREADS; i++)
        backend_thread_join(&pool->threads[i]);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* A few are better than none. */
static enum status pool_start(struct aio_engine *engine, bool (*enter)(void))
{
    struct pool *pool = CONTAINER_OF(engine, struct pool, engine);
    unsigned count = 0;
    int error = 0;

    while (count < POOL_THREADS && error == 0) {
        error = backend_thread_start(&pool->threads[count], "lodge/disk-io", enter, pool_thread, pool);
        count += error == 0;
    }
    if (count > 0)
        return STATUS_OK;
    log_error("cannot start threads for disk I/O: %s", strerror(error));
    return STATUS_NO_MEMORY;
}

enum status aio_threads_create(struct aio_engine **engine)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (!pool) {
        log_error("no memory for disk I/O");
        return STATUS_NO_MEMORY;
    }
    pool->engine =
        (struct aio_engine){.name = "threads", .start = pool_start, .submit = pool_submit, .destroy = pool_destroy};
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    *engine = &pool->engine;
    return STATUS_OK;
}
