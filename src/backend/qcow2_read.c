/* Reading, by the owner: whatever map() cannot tell. */
#include <string.h>

#include "backend/qcow2_internal.h"

static enum block_result read_backing(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer)
{
    struct image *backing = image->backing;
    uint64_t room = backing && offset < backing->size ? backing->size - offset : 0;
    uint64_t part = length < room ? length : room;
    enum block_result result = BLOCK_DONE;

    if (part > 0)
        result = backing->type->read(backing, offset, part, buffer);
    if (result == BLOCK_DONE)
        buffer_zero(buffer_advance(buffer, part), length - part);
    return result;
}

static enum block_result read_data(struct qcow2 *qcow2, const struct qcow2_run *run, uint64_t offset, uint64_t length,
                                   struct buffer buffer)
{
    uint64_t host = run->host + qcow2_in_cluster(qcow2, offset);
    uint64_t last = (host + length - 1) & ~(qcow2_cluster_size(qcow2) - 1);

    if (last >= file_size(&qcow2->image.file))
        return qcow2_damaged(qcow2, "data lies outside the file", host);
    return file_read_buffer(&qcow2->image.file, buffer, length, host);
}

static enum block_result read_packed(struct qcow2 *qcow2, const struct qcow2_run *run, uint64_t offset, uint64_t length,
                                     struct buffer buffer)
{
    enum block_result result = qcow2_unpack(qcow2, run->entry);

    if (result == BLOCK_DONE)
        buffer_copy_to(buffer, qcow2->unpacked + qcow2_in_cluster(qcow2, offset), length);
    return result;
}

static enum block_result read_run(struct qcow2 *qcow2, const struct qcow2_run *run, uint64_t offset, uint64_t length,
                                  struct buffer buffer)
{
    switch (run->kind) {
    case QCOW2_NORMAL:
        return read_data(qcow2, run, offset, length, buffer);
    case QCOW2_PACKED:
        return read_packed(qcow2, run, offset, length, buffer);
    case QCOW2_UNALLOCATED:
        return read_backing(&qcow2->image, offset, length, buffer);
    case QCOW2_ZERO_PLAIN:
    case QCOW2_ZERO_ALLOCATED:
        buffer_zero(buffer, length);
        return BLOCK_DONE;
    case QCOW2_INVALID:
        break;
    }
    return qcow2_damaged(qcow2, "an impossible L2 entry for the disk", offset);
}

enum block_result qcow2_read(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    enum block_result result = BLOCK_DONE;

    while (length > 0 && result == BLOCK_DONE) {
        struct qcow2_run run;

        result = qcow2_run_at(qcow2, offset, length, &run);
        if (result != BLOCK_DONE)
            break;
        uint64_t part = qcow2_run_bytes(qcow2, offset, length, &run);
        result = read_run(qcow2, &run, offset, part, buffer);
        buffer = buffer_advance(buffer, part);
        offset += part;
        length -= part;
    }
    return result;
}
