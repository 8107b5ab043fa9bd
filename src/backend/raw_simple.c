#include "backend/raw_simple.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bits.h"
#include "port/log.h"

enum { WORKERS = 4, PIECES = 256, ERRORS_LOGGED = 8, WORKER_STACK = 256 << 10 };

struct raw {
    struct block block;
    char *path;
    int fd;
    struct log_limit errors;
    pthread_t workers[WORKERS];
    unsigned worker_count;
    pthread_mutex_t mutex; /* protects what follows */
    pthread_cond_t work, idle;
    struct block_request *first, **last;
    unsigned under_way; /* from submit() to the end of done() */
    bool closing;
};

static struct raw *raw_of(struct block *block)
{
    return CONTAINER_OF(block, struct raw, block);
}

static enum block_result raw_failed(struct raw *raw, const char *what)
{
    int error = errno;

    if (log_allowed(&raw->errors, ERRORS_LOGGED))
        log_error("disk %s: cannot %s: %s", raw->path, what, error ? strerror(error) : "the file has become shorter");
    return error == ENOSPC ? BLOCK_NO_SPACE : BLOCK_ERROR;
}

/* Reads or writes some segments at an offset, to the last byte. */
static enum block_result raw_move(struct raw *raw, bool write, struct iovec *pieces, int count, off_t offset)
{
    while (count > 0) {
        ssize_t moved = write ? pwritev(raw->fd, pieces, count, offset) : preadv(raw->fd, pieces, count, offset);

        if (moved < 0 && errno == EINTR)
            continue;
        if (moved == 0)
            errno = 0;
        if (moved <= 0)
            return raw_failed(raw, write ? "write" : "read");
        offset += moved;
        for (; count > 0 && (size_t)moved >= pieces->iov_len; pieces++, count--)
            moved -= (ssize_t)pieces->iov_len;
        if (count > 0) {
            pieces->iov_base = (char *)pieces->iov_base + moved;
            pieces->iov_len -= (size_t)moved;
        }
    }
    return BLOCK_DONE;
}

static enum block_result raw_transfer(struct raw *raw, const struct block_request *request)
{
    enum block_result result = BLOCK_DONE;
    off_t offset = (off_t)request->offset;

    for (unsigned at = 0; at < request->segment_count && result == BLOCK_DONE;) {
        struct iovec pieces[PIECES];
        int count = 0;
        off_t size = 0;

        for (; at < request->segment_count && count < PIECES; at++) {
            const struct block_segment *segment = &request->segments[at];

            pieces[count++] = (struct iovec){.iov_base = segment->bytes, .iov_len = segment->size};
            size += (off_t)segment->size;
        }
        result = raw_move(raw, request->operation == BLOCK_WRITE, pieces, count, offset);
        offset += size;
    }
    return result;
}

static enum block_result raw_clear(struct raw *raw, const struct block_request *request)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    if (fallocate(raw->fd, punch, (off_t)request->offset, (off_t)request->length) == 0)
        return BLOCK_DONE;
    return errno == EOPNOTSUPP ? BLOCK_UNSUPPORTED : raw_failed(raw, "give up space");
}

static enum block_result raw_do(struct raw *raw, const struct block_request *request)
{
    switch (request->operation) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return raw_transfer(raw, request);
    case BLOCK_FLUSH:
        return fdatasync(raw->fd) == 0 ? BLOCK_DONE : raw_failed(raw, "make writes durable");
    case BLOCK_DISCARD:
    case BLOCK_WRITE_ZEROES:
        return raw_clear(raw, request);
    }
    return BLOCK_UNSUPPORTED;
}

/* The next request; NULL: the disk closes. Mutex held. */
static struct block_request *raw_next(struct raw *raw)
{
    struct block_request *request;

    while (!raw->first && !raw->closing)
        pthread_cond_wait(&raw->work, &raw->mutex);
    request = raw->first;
    if (request) {
        raw->first = request->next;
        if (!raw->first)
            raw->last = &raw->first;
    }
    return request;
}

static void *raw_worker(void *argument)
{
    struct raw *raw = argument;
    struct block_request *request;

    pthread_mutex_lock(&raw->mutex);
    while ((request = raw_next(raw)) != NULL) {
        pthread_mutex_unlock(&raw->mutex);
        request->done(request, raw_do(raw, request));
        pthread_mutex_lock(&raw->mutex);
        if (--raw->under_way == 0)
            pthread_cond_broadcast(&raw->idle);
    }
    pthread_mutex_unlock(&raw->mutex);
    return NULL;
}

static void raw_submit(struct block *block, struct block_request *request)
{
    struct raw *raw = raw_of(block);

    request->next = NULL;
    pthread_mutex_lock(&raw->mutex);
    *raw->last = request;
    raw->last = &request->next;
    raw->under_way++;
    pthread_cond_signal(&raw->work);
    pthread_mutex_unlock(&raw->mutex);
}

static void raw_drain(struct block *block)
{
    struct raw *raw = raw_of(block);

    pthread_mutex_lock(&raw->mutex);
    while (raw->under_way > 0)
        pthread_cond_wait(&raw->idle, &raw->mutex);
    pthread_mutex_unlock(&raw->mutex);
}

static enum status raw_check(struct raw *raw, bool read_only)
{
    struct stat info;

    if (fstat(raw->fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        log_error("disk %s is not a plain file", raw->path);
        return STATUS_INVALID;
    }
    if (info.st_size == 0 || info.st_size % BLOCK_SECTOR != 0) {
        log_error("disk %s has %lld bytes; a disk is a multiple of %d", raw->path, (long long)info.st_size,
                  (int)BLOCK_SECTOR);
        return STATUS_INVALID;
    }
    raw->block.limits = (struct block_limits){
        .size = (uint64_t)info.st_size,
        .physical_block = 4096,
        .discard_granularity = 4096,
        .read_only = read_only,
        .write_zeroes = true,
    };
    return STATUS_OK;
}

static enum status raw_start(struct raw *raw)
{
    pthread_attr_t attributes;
    int error = 0;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK);
    while (raw->worker_count < WORKERS && error == 0) {
        error = pthread_create(&raw->workers[raw->worker_count], &attributes, raw_worker, raw);
        if (error == 0)
            (void)pthread_setname_np(raw->workers[raw->worker_count++], "disk");
    }
    pthread_attr_destroy(&attributes);
    if (error == 0)
        return STATUS_OK;
    log_error("cannot start a thread for disk %s: %s", raw->path, strerror(error));
    return STATUS_NO_MEMORY;
}

enum status raw_simple_open(const char *path, bool read_only, struct block **block)
{
    struct raw *raw = calloc(1, sizeof(*raw));
    enum status status;

    *block = NULL;
    if (!raw || !(raw->path = strdup(path))) {
        log_error("no memory for disk %s", path);
        free(raw);
        return STATUS_NO_MEMORY;
    }
    pthread_mutex_init(&raw->mutex, NULL);
    pthread_cond_init(&raw->work, NULL);
    pthread_cond_init(&raw->idle, NULL);
    raw->block.submit = raw_submit;
    raw->block.drain = raw_drain;
    raw->last = &raw->first;
    raw->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (raw->fd < 0) {
        log_error("cannot open disk %s: %s", path, strerror(errno));
        status = errno == ENOENT ? STATUS_NOT_FOUND : STATUS_DENIED;
    } else {
        status = raw_check(raw, read_only);
    }
    if (status == STATUS_OK)
        status = raw_start(raw);
    if (status == STATUS_OK)
        *block = &raw->block;
    else
        raw_simple_close(&raw->block);
    return status;
}

void raw_simple_close(struct block *block)
{
    struct raw *raw = block ? raw_of(block) : NULL;

    if (!raw)
        return;
    pthread_mutex_lock(&raw->mutex);
    raw->closing = true;
    pthread_cond_broadcast(&raw->work);
    pthread_mutex_unlock(&raw->mutex);
    for (unsigned i = 0; i < raw->worker_count; i++)
        pthread_join(raw->workers[i], NULL);
    if (raw->fd >= 0)
        close(raw->fd);
    pthread_mutex_destroy(&raw->mutex);
    pthread_cond_destroy(&raw->work);
    pthread_cond_destroy(&raw->idle);
    free(raw->path);
    free(raw);
}
