/* What needs nothing but the host: requests whose bytes lie where memory tells. */
#include <stdlib.h>
#include <sys/uio.h>

#include "backend/disk_internal.h"
#include "base/bits.h"

enum {
    DISK_EXTENTS = 16,        /* that one request may take in the fast way */
    DISK_CACHED_MOST = 65536, /* bytes that whoever submits copies itself: less work than two threads that wake up */
};

/* One request in the fast way: an operation for each extent. */
struct fast {
    struct disk *disk;
    struct block_request *request;
    unsigned phase;
    unsigned left; /* operations; atomic */
    int error;     /* the first; atomic */
    struct part {
        struct aio_operation operation;
        struct fast *fast;
    } parts[];
};

static enum block_result fast_result(struct fast *fast)
{
    struct file *file = &fast->disk->image->file;

    if (fast->error == 0)
        return BLOCK_DONE;
    if (fast->request->operation == BLOCK_FLUSH)
        return file_sync_failed(file, fast->error);
    return file_failed(file, fast->request->operation == BLOCK_READ ? "a read" : "a write", fast->error);
}

static void fast_end(struct fast *fast)
{
    struct disk *disk = fast->disk;
    struct block_request *request = fast->request;
    enum block_result result = fast_result(fast);

    disk_leave(disk, fast->phase);
    free(fast);
    disk_complete(disk, request, result);
}

/* A thread of the engine. */
static void fast_part_done(struct aio_operation *operation, int error)
{
    struct fast *fast = CONTAINER_OF(operation, struct part, operation)->fast;
    int none = 0;

    if (error)
        (void)__atomic_compare_exchange_n(&fast->error, &none, error, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    if (__atomic_sub_fetch(&fast->left, 1, __ATOMIC_ACQ_REL) == 0)
        fast_end(fast);
}

/* O_DIRECT takes only what is aligned, in the file and in memory. */
static int fast_descriptor(const struct file *file, const struct aio_operation *operation)
{
    uint64_t all = operation->offset | operation->size;

    if (file->direct_fd < 0)
        return file->fd;
    for (unsigned i = 0; i < operation->vector_count; i++)
        all |= (uintptr_t)operation->vectors[i].iov_base | operation->vectors[i].iov_len;
    return all & (file->direct_alignment - 1) ? file->fd : file->direct_fd;
}

struct plan {
    struct extent extents[DISK_EXTENTS];
    unsigned count, data_count;
};

/* Where all of the request's bytes are. False: not known, or in too many places. */
static bool plan_make(struct disk *disk, const struct block_request *request, struct plan *plan)
{
    uint64_t offset = request->offset, left = request->length;

    plan->count = plan->data_count = 0;
    while (left > 0) {
        struct extent *extent = &plan->extents[plan->count];

        if (plan->count == DISK_EXTENTS)
            return false;
        disk->image->type->map(disk->image, offset, left, request->operation == BLOCK_WRITE, extent);
        if (extent->kind == EXTENT_UNKNOWN)
            return false;
        plan->data_count += extent->kind == EXTENT_DATA;
        plan->count++;
        offset += extent->length;
        left -= extent->length;
    }
    return plan->data_count > 0;
}

/* A file that somebody cuts would be made longer again by a write, with a hole where data was. */
static bool plan_is_cut(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->count; i++)
        if (plan->extents[i].kind == EXTENT_DATA &&
            file_was_cut(plan->extents[i].file, plan->extents[i].offset + plan->extents[i].length))
            return true;
    return false;
}

static struct fast *fast_create(struct disk *disk, struct block_request *request, unsigned parts, size_t vectors)
{
    size_t size = sizeof(struct fast) + parts * sizeof(struct part) + vectors * sizeof(struct iovec);
    struct fast *fast = malloc(size);

    if (fast)
        *fast = (struct fast){.disk = disk, .request = request, .left = parts};
    return fast;
}

/* Fills the operations; zeroes what reads as zeroes. */
static void fast_prepare(struct fast *fast, const struct plan *plan)
{
    struct buffer buffer = buffer_of_request(fast->request);
    struct iovec *vectors = (struct iovec *)(void *)&fast->parts[plan->data_count];
    struct part *part = fast->parts;

    for (unsigned i = 0; i < plan->count; i++) {
        const struct extent *extent = &plan->extents[i];
        size_t size = (size_t)extent->length;

        if (extent->kind == EXTENT_ZERO) {
            buffer_zero(buffer, size);
        } else {
            *part = (struct part){.fast = fast};
            part->operation = (struct aio_operation){
                .kind = fast->request->operation == BLOCK_WRITE ? AIO_WRITE : AIO_READ,
                .vectors = vectors,
                .offset = extent->offset,
                .size = size,
                .done = fast_part_done,
            };
            (void)buffer_vectors(buffer, size, vectors, AIO_VECTORS, &part->operation.vector_count);
            part->operation.fd = fast_descriptor(extent->file, &part->operation);
            vectors += part->operation.vector_count;
            part++;
        }
        buffer = buffer_advance(buffer, size);
    }
}

static bool extent_read_cached(const struct extent *extent, struct buffer buffer)
{
    struct iovec vectors[AIO_VECTORS];
    size_t size = (size_t)extent->length;
    unsigned count;

    if (extent->kind == EXTENT_ZERO) {
        buffer_zero(buffer, size);
        return true;
    }
    if (extent->file->direct_fd >= 0)
        return false;
    return buffer_vectors(buffer, size, vectors, AIO_VECTORS, &count) == size &&
           preadv2(extent->file->fd, vectors, (int)count, (off_t)extent->offset, RWF_NOWAIT) == (ssize_t)size;
}

/*
 * Without it, a thread of the engine wakes up for a copy that the host has made before submission ends, and then wakes
 * up the vCPU.
 */
bool disk_fast_read_cached(struct disk *disk, struct block_request *request)
{
    struct buffer buffer = buffer_of_request(request);
    struct plan plan;

    if (request->length > DISK_CACHED_MOST)
        return false;
    unsigned phase = disk_enter(disk);
    bool done = plan_make(disk, request, &plan);
    for (unsigned i = 0; i < plan.count && done; i++) {
        done = extent_read_cached(&plan.extents[i], buffer);
        buffer = buffer_advance(buffer, (size_t)plan.extents[i].length);
    }
    disk_leave(disk, phase);
    return done;
}

bool disk_fast_transfer(struct disk *disk, struct block_request *request)
{
    struct plan plan;
    struct fast *fast = NULL;
    unsigned phase = disk_enter(disk);

    if (request->segment_count <= AIO_VECTORS && plan_make(disk, request, &plan) &&
        !(request->operation == BLOCK_WRITE && plan_is_cut(&plan)))
        fast = fast_create(disk, request, plan.data_count, request->segment_count + plan.data_count);
    if (!fast) {
        disk_leave(disk, phase);
        return false;
    }
    fast->phase = phase;
    fast_prepare(fast, &plan);
    /* The last one that is submitted may end before the next line; fast is gone then. */
    for (unsigned i = 0, count = plan.data_count; i < count; i++)
        aio_submit(disk->engine, &fast->parts[i].operation);
    return true;
}

bool disk_fast_flush(struct disk *disk, struct block_request *request)
{
    struct fast *fast;

    struct file *file = &disk->image->file;

    if (disk->image->type->needs_flush(disk->image) || file->is_scratch || disk->unsafe ||
        __atomic_load_n(&file->has_lost_writes, __ATOMIC_RELAXED))
        return false; /* the disk's thread tells */
    fast = fast_create(disk, request, 1, 0);
    if (!fast)
        return false;
    fast->phase = disk_enter(disk);
    fast->parts[0] = (struct part){.fast = fast};
    fast->parts[0].operation =
        (struct aio_operation){.kind = AIO_SYNC, .fd = disk->image->file.fd, .done = fast_part_done};
    aio_submit(disk->engine, &fast->parts[0].operation);
    return true;
}
