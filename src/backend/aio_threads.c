/* Asynchronous I/O by threads that do it synchronously. */
#include <errno.h>
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
    unsigned thread_count;
    pthread_t threads[POOL_THREADS];
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
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

enum status aio_threads_create(struct aio_engine **engine)
{
    struct pool *pool = calloc(1, sizeof(*pool));
    int error = ENOMEM;

    if (pool) {
        pool->engine = (struct aio_engine){.name = "threads", .submit = pool_submit, .destroy = pool_destroy};
        pool->last = &pool->first;
        pthread_mutex_init(&pool->lock, NULL);
        pthread_cond_init(&pool->work, NULL);
        for (error = 0; pool->thread_count < POOL_THREADS; pool->thread_count++) {
            error = backend_thread_start(&pool->threads[pool->thread_count], "lodge/disk-io", pool_thread, pool);
            if (error)
                break;
        }
    }
    if (!pool || pool->thread_count == 0) {
        log_error("cannot start threads for disk I/O: %s", strerror(error));
        if (pool)
            pool_destroy(&pool->engine);
        return STATUS_NO_MEMORY;
    }
    *engine = &pool->engine;
    return STATUS_OK;
}
