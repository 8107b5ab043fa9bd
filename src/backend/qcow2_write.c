/*
 * Writing, by the owner. Clusters that are ours alone are written in place. For others new ones are
 * allocated; data goes there, and around it what the old ones held, before an L2 entry changes.
 */
#include <string.h>

#include "backend/qcow2_internal.h"

/* A write into a row of clusters that are alike, all in one L2 slice. */
struct step {
    uint64_t offset, length;
    struct buffer buffer;
    struct qcow2_run run;
};

static bool run_is_ours(const struct qcow2_run *run)
{
    return run->kind == QCOW2_NORMAL && run->is_copied;
}

static enum block_result write_in_place(struct qcow2 *qcow2, const struct step *step)
{
    uint64_t host = step->run.host + qcow2_in_cluster(qcow2, step->offset);

    if (host + step->length > align_up(file_size(&qcow2->image.file), qcow2_cluster_size(qcow2)))
        return qcow2_damaged(qcow2, "data lies outside the file", host);
    if (qcow2_is_metadata(qcow2, host, step->length))
        return qcow2_damaged(qcow2, "data lies where tables are", host);
    return file_write_buffer(&qcow2->image.file, step->buffer, step->length, host);
}

/* What the disk holds in a part of one cluster, at the same part of its new cluster. Zeroes only if need be. */
static enum block_result write_old(struct qcow2 *qcow2, const struct step *step, uint64_t offset, uint64_t length,
                                   uint64_t host, bool is_fresh)
{
    struct block_segment segment;
    bool is_zero =
        step->run.kind == QCOW2_ZERO_PLAIN || step->run.kind == QCOW2_ZERO_ALLOCATED ||
        (step->run.kind == QCOW2_UNALLOCATED && (!qcow2->image.backing || offset >= qcow2->image.backing->size));
    uint64_t at = qcow2_in_cluster(qcow2, offset);
    enum block_result result;

    if (length == 0 || (is_zero && is_fresh))
        return BLOCK_DONE;
    result = qcow2_read(&qcow2->image, offset, length, buffer_of_memory(&segment, qcow2->scratch, length));
    if (result == BLOCK_DONE)
        result = file_write(&qcow2->image.file, qcow2->scratch, length, host + at);
    return result;
}

/*
 * All of the clusters at `host` is written: the new data, and before and behind it the old. The disk's size
 * need not be a multiple of the cluster size.
 */
static enum block_result write_clusters(struct qcow2 *qcow2, const struct step *step, uint64_t host, bool is_fresh)
{
    uint64_t head = qcow2_in_cluster(qcow2, step->offset);
    uint64_t end = step->offset + step->length;
    uint64_t tail = align_up(end, qcow2_cluster_size(qcow2)) - end;
    uint64_t last = (head + step->length - 1) >> qcow2->cluster_bits << qcow2->cluster_bits;
    uint64_t outside = end + tail > qcow2->image.size ? end + tail - qcow2->image.size : 0;
    enum block_result result;

    result = write_old(qcow2, step, step->offset - head, head, host, is_fresh);
    if (result == BLOCK_DONE)
        result = write_old(qcow2, step, end, tail - outside, host + last, is_fresh);
    if (result == BLOCK_DONE)
        result = file_write_buffer(&qcow2->image.file, step->buffer, step->length, host + head);
    if (result == BLOCK_DONE && outside > 0 && !is_fresh)
        result = file_zero(&qcow2->image.file, host + last + qcow2_cluster_size(qcow2) - outside, outside, false);
    return result;
}

/* The step shrinks to what lies in the first `clusters` clusters. */
static void step_shrink(const struct qcow2 *qcow2, struct step *step, uint64_t clusters)
{
    uint64_t most = (clusters << qcow2->cluster_bits) - qcow2_in_cluster(qcow2, step->offset);

    step->run.clusters = (unsigned)clusters;
    if (step->length > most)
        step->length = most;
}

static enum block_result write_into_new(struct qcow2 *qcow2, struct step *step)
{
    uint64_t first, got;
    bool is_fresh;
    enum block_result result;

    if (step->run.kind == QCOW2_INVALID)
        return qcow2_damaged(qcow2, "an impossible L2 entry for the disk", step->offset);
    result = qcow2_table_own(qcow2, step->offset);
    if (result == BLOCK_DONE)
        result = qcow2_allocate(qcow2, 1, step->run.clusters, &first, &got, &is_fresh);
    if (result != BLOCK_DONE)
        return result;
    step_shrink(qcow2, step, got);
    result = write_clusters(qcow2, step, first << qcow2->cluster_bits, is_fresh);
    if (result == BLOCK_DONE)
        result = qcow2_table_set(qcow2, step->offset, step->run.clusters, first << qcow2->cluster_bits | QCOW2_COPIED,
                                 qcow2_cluster_size(qcow2));
    if (result == BLOCK_DONE)
        qcow2_release_run(qcow2, &step->run);
    else
        qcow2_unallocate(qcow2, first, got);
    return result;
}

/* A cluster that reads as zeroes but has its place already. */
static enum block_result write_into_zero(struct qcow2 *qcow2, struct step *step)
{
    uint64_t size = (uint64_t)step->run.clusters << qcow2->cluster_bits;
    enum block_result result;

    if (step->run.host + size > align_up(file_size(&qcow2->image.file), qcow2_cluster_size(qcow2)) ||
        qcow2_is_metadata(qcow2, step->run.host, size))
        return qcow2_damaged(qcow2, "data lies where it cannot be", step->run.host);
    result = write_clusters(qcow2, step, step->run.host, false);
    if (result == BLOCK_DONE)
        result = qcow2_table_set(qcow2, step->offset, step->run.clusters, step->run.host | QCOW2_COPIED,
                                 qcow2_cluster_size(qcow2));
    return result;
}

static enum block_result write_step(struct qcow2 *qcow2, struct step *step)
{
    uint64_t length = step->length;
    enum block_result result = qcow2_run_at(qcow2, step->offset, length, &step->run);

    if (result != BLOCK_DONE)
        return result;
    step_shrink(qcow2, step, step->run.clusters);
    if (run_is_ours(&step->run))
        return file_was_cut(&qcow2->image.file, file_size(&qcow2->image.file)) ? BLOCK_ERROR
                                                                               : write_in_place(qcow2, step);
    result = qcow2_begin(qcow2);
    if (result != BLOCK_DONE)
        return result;
    if (step->run.kind == QCOW2_ZERO_ALLOCATED && step->run.is_copied)
        return write_into_zero(qcow2, step);
    return write_into_new(qcow2, step);
}

enum block_result qcow2_write(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    enum block_result result = BLOCK_DONE;

    while (length > 0 && result == BLOCK_DONE) {
        struct step step = {.offset = offset, .length = length, .buffer = buffer};

        result = write_step(qcow2, &step);
        buffer = buffer_advance(buffer, step.length);
        offset += step.length;
        length -= step.length;
    }
    return result;
}
