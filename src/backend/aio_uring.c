/*
 * Asynchronous I/O through io_uring. Whoever submits fills the queue and enters the kernel; one thread
 * waits for completions. No more is under way than the completion queue holds, the rest waits in a list.
 */
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/aio_internal.h"
#include "backend/thread.h"
#include "base/bits.h"
#include "port/log.h"

enum { URING_ENTRIES = 256, URING_ATTEMPTS = 100 };

struct uring {
    struct aio_engine engine;
    struct io_uring ring;
    pthread_mutex_t lock; /* of the submission side */
    unsigned under_way;
    struct aio_operation *first, **last; /* that wait for room */
    struct backend_thread thread;
};

static void uring_prepare(struct io_uring_sqe *sqe, struct aio_operation *operation)
{
    switch (operation->kind) {
    case AIO_READ:
        io_uring_prep_readv(sqe, operation->fd, operation->vectors, operation->vector_count, operation->offset);
        break;
    case AIO_WRITE:
        io_uring_prep_writev(sqe, operation->fd, operation->vectors, operation->vector_count, operation->offset);
        break;
    case AIO_SYNC:
        io_uring_prep_fsync(sqe, operation->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, operation);
}

/* As many as there is room for. The lock is held. */
static void uring_start_locked(struct uring *uring)
{
    bool any = false;

    while (uring->first && uring->under_way < URING_ENTRIES) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

        if (!sqe)
            break;
        uring_prepare(sqe, uring->first);
        uring->first = uring->first->next;
        if (!uring->first)
            uring->last = &uring->first;
        uring->under_way++;
        any = true;
    }
    if (!any && io_uring_sq_ready(&uring->ring) == 0)
        return;
    /* What the kernel does not take (it is out of memory) stays in the queue for the next call. */
    for (int attempt = 0; attempt < URING_ATTEMPTS && io_uring_submit(&uring->ring) < 0; attempt++)
        (void)sched_yield();
}

static void uring_enqueue_locked(struct uring *uring, struct aio_operation *operation)
{
    operation->next = NULL;
    *uring->last = operation;
    uring->last = &operation->next;
}

static void uring_submit(struct aio_engine *engine, struct aio_operation *operation)
{
    struct uring *uring = CONTAINER_OF(engine, struct uring, engine);

    pthread_mutex_lock(&uring->lock);
    uring_enqueue_locked(uring, operation);
    uring_start_locked(uring);
    pthread_mutex_unlock(&uring->lock);
}

static void uring_completed(struct uring *uring, struct aio_operation *operation, int result)
{
    int error = 0;
    bool over = aio_proceed(operation, result, &error);

    pthread_mutex_lock(&uring->lock);
    uring->under_way--;
    if (!over)
        uring_enqueue_locked(uring, operation);
    if (uring->first || io_uring_sq_ready(&uring->ring) > 0)
        uring_start_locked(uring);
    pthread_mutex_unlock(&uring->lock);
    if (over)
        operation->done(operation, error);
}

/* A completion without an operation is the request to stop. */
static void *uring_thread(void *argument)
{
    struct uring *uring = argument;

    for (;;) {
        struct io_uring_cqe *cqe;
        struct __kernel_timespec patience = {.tv_sec = 1};
        int error = io_uring_wait_cqe_timeout(&uring->ring, &cqe, &patience);

        if (error) {
            /* Nothing has come. If the kernel had refused a submission, it is tried again. */
            pthread_mutex_lock(&uring->lock);
            uring_start_locked(uring);
            pthread_mutex_unlock(&uring->lock);
            continue;
        }
        struct aio_operation *operation = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&uring->ring, cqe);
        if (!operation)
            return NULL;
        uring_completed(uring, operation, result);
    }
}

static enum status uring_start(struct aio_engine *engine, bool (*enter)(void))
{
    struct uring *uring = CONTAINER_OF(engine, struct uring, engine);

    return backend_thread_need(&uring->thread, "lodge/disk-io", "for disk I/O", enter, uring_thread, uring);
}

static void uring_stop(struct uring *uring)
{
    pthread_mutex_lock(&uring->lock);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring); /* there is room: nothing is under way */
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data(sqe, NULL);
    (void)io_uring_submit(&uring->ring);
    pthread_mutex_unlock(&uring->lock);
    backend_thread_join(&uring->thread);
}

static void uring_destroy(struct aio_engine *engine)
{
    struct uring *uring = CONTAINER_OF(engine, struct uring, engine);

    if (uring->thread.runs)
        uring_stop(uring);
    io_uring_queue_exit(&uring->ring);
    pthread_mutex_destroy(&uring->lock);
    free(uring);
}

/* Old kernels have io_uring without what is needed of it. */
static bool uring_suffices(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);

    if (!probe)
        return false;
    bool good = io_uring_opcode_supported(probe, IORING_OP_READV) &&
                io_uring_opcode_supported(probe, IORING_OP_WRITEV) &&
                io_uring_opcode_supported(probe, IORING_OP_FSYNC) && (ring->features & IORING_FEAT_NODROP) &&
                (ring->features & IORING_FEAT_EXT_ARG);
    io_uring_free_probe(probe);
    return good;
}

/* liburing 2.3 declares functions for these two requests, and its shared library does not have them. */
static bool uring_register(const struct io_uring *ring, unsigned request, void *argument, unsigned count)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, request, argument, count) == 0;
}

/*
 * Operations of a ring are no system calls, and pass by every list of these: so it takes what is done here and nothing
 * else, neither the opening of files nor sockets.
 */
static bool uring_restrict(struct io_uring *ring)
{
    static const uint8_t operations[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_NOP};
    struct io_uring_restriction restrictions[ARRAY_LENGTH(operations)] = {0};

    for (size_t i = 0; i < ARRAY_LENGTH(operations); i++) {
        restrictions[i].opcode = IORING_RESTRICTION_SQE_OP;
        restrictions[i].sqe_op = operations[i];
    }
    return uring_register(ring, IORING_REGISTER_RESTRICTIONS, restrictions, ARRAY_LENGTH(restrictions)) &&
           uring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

enum status aio_uring_create(struct aio_engine **engine)
{
    struct uring *uring = calloc(1, sizeof(*uring));

    if (!uring) {
        log_error("no memory for disk I/O");
        return STATUS_NO_MEMORY;
    }
    uring->engine =
        (struct aio_engine){.name = "io_uring", .start = uring_start, .submit = uring_submit, .destroy = uring_destroy};
    uring->last = &uring->first;
    if (io_uring_queue_init(URING_ENTRIES, &uring->ring, IORING_SETUP_R_DISABLED) != 0) {
        free(uring);
        return STATUS_UNSUPPORTED;
    }
    pthread_mutex_init(&uring->lock, NULL);
    if (!uring_suffices(&uring->ring) || !uring_restrict(&uring->ring)) {
        io_uring_queue_exit(&uring->ring);
        pthread_mutex_destroy(&uring->lock);
        free(uring);
        return STATUS_UNSUPPORTED;
    }
    *engine = &uring->engine;
    return STATUS_OK;
}
