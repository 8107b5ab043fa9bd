/* Discard and write-zeroes: whole clusters by their L2 entries, the rest by writing zeroes. */
#include <string.h>

#include "backend/qcow2_internal.h"

/* Whole clusters in a range; none if first >= end. */
static void whole_clusters(const struct qcow2 *qcow2, uint64_t offset, uint64_t length, uint64_t *first, uint64_t *end)
{
    *first = align_up(offset, qcow2_cluster_size(qcow2));
    *end = align_down(offset + length, qcow2_cluster_size(qcow2));
    /* The last cluster of the disk may stand out of it. */
    if (offset + length == qcow2->image.size)
        *end = align_up(offset + length, qcow2_cluster_size(qcow2));
}

static bool reads_as_zero(const struct qcow2 *qcow2, const struct qcow2_run *run)
{
    return run->kind == QCOW2_ZERO_PLAIN || run->kind == QCOW2_ZERO_ALLOCATED ||
           (run->kind == QCOW2_UNALLOCATED && !qcow2->image.backing);
}

/* The entries of a run become `entry`, and what they referred to is given up. */
static enum block_result run_replace(struct qcow2 *qcow2, uint64_t offset, const struct qcow2_run *run, uint64_t entry)
{
    enum block_result result = qcow2_begin(qcow2);

    if (result == BLOCK_DONE)
        result = qcow2_table_own(qcow2, offset);
    if (result == BLOCK_DONE)
        result = qcow2_table_set(qcow2, offset, run->clusters, entry, 0);
    if (result == BLOCK_DONE)
        qcow2_release_run(qcow2, run);
    return result;
}

/* The clusters stay where they are, and read as zeroes. */
static enum block_result run_mark(struct qcow2 *qcow2, uint64_t offset, const struct qcow2_run *run)
{
    enum block_result result = qcow2_begin(qcow2);

    if (result == BLOCK_DONE)
        result = qcow2_table_set(qcow2, offset, run->clusters, run->host | QCOW2_COPIED | QCOW2_ZERO,
                                 qcow2_cluster_size(qcow2));
    return result;
}

static enum block_result write_zero_bytes(struct qcow2 *qcow2, uint64_t offset, uint64_t length)
{
    static char zeroes[64 * 1024];
    enum block_result result = BLOCK_DONE;

    while (length > 0 && result == BLOCK_DONE) {
        struct block_segment segment;
        size_t part = length < sizeof(zeroes) ? (size_t)length : sizeof(zeroes);

        result = qcow2_write(&qcow2->image, offset, part, buffer_of_memory(&segment, zeroes, part));
        offset += part;
        length -= part;
    }
    return result;
}

/* `length` bytes inside one run of clusters. */
static enum block_result zero_part(struct qcow2 *qcow2, uint64_t offset, uint64_t length)
{
    struct qcow2_run run;
    enum block_result result = qcow2_run_at(qcow2, offset, length, &run);

    if (result != BLOCK_DONE || reads_as_zero(qcow2, &run))
        return result;
    return write_zero_bytes(qcow2, offset, length);
}

static enum block_result zero_run(struct qcow2 *qcow2, uint64_t offset, const struct qcow2_run *run, bool unmap)
{
    bool is_ours = run->kind == QCOW2_NORMAL && run->is_copied;
    uint64_t size = (uint64_t)run->clusters << qcow2->cluster_bits;

    if (run->kind == QCOW2_INVALID)
        return qcow2_damaged(qcow2, "an impossible L2 entry for the disk", offset);
    if (reads_as_zero(qcow2, run) && !(unmap && run->kind == QCOW2_ZERO_ALLOCATED))
        return BLOCK_DONE;
    if (qcow2->version >= 3 && is_ours && !unmap)
        return run_mark(qcow2, offset, run);
    if (qcow2->version >= 3)
        return run_replace(qcow2, offset, run, qcow2->image.backing ? QCOW2_ZERO : 0);
    if (unmap && !qcow2->image.backing)
        return run_replace(qcow2, offset, run, 0);
    size = size < qcow2->image.size - offset ? size : qcow2->image.size - offset;
    return write_zero_bytes(qcow2, offset, size);
}

static enum block_result zero_clusters(struct qcow2 *qcow2, uint64_t first, uint64_t end, bool unmap)
{
    enum block_result result = BLOCK_DONE;

    while (first < end && result == BLOCK_DONE) {
        struct qcow2_run run;

        result = qcow2_run_at(qcow2, first, end - first, &run);
        if (result == BLOCK_DONE)
            result = zero_run(qcow2, first, &run, unmap);
        first += (uint64_t)run.clusters << qcow2->cluster_bits;
    }
    return result;
}

enum block_result qcow2_write_zeroes(struct image *image, uint64_t offset, uint64_t length, bool unmap)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    uint64_t first, end;
    enum block_result result = BLOCK_DONE;

    if (length == 0)
        return BLOCK_DONE;
    if (file_was_cut(&image->file, file_size(&image->file)))
        return BLOCK_ERROR;
    whole_clusters(qcow2, offset, length, &first, &end);
    if (first >= end) { /* in one cluster, or across one border */
        uint64_t head = first - offset < length ? first - offset : length;

        result = head ? zero_part(qcow2, offset, head) : BLOCK_DONE;
        if (result == BLOCK_DONE && length > head)
            result = zero_part(qcow2, offset + head, length - head);
        return result;
    }
    if (first > offset)
        result = zero_part(qcow2, offset, first - offset);
    if (result == BLOCK_DONE)
        result = zero_clusters(qcow2, first, end, unmap);
    if (result == BLOCK_DONE && offset + length > end)
        result = zero_part(qcow2, end, offset + length - end);
    return result;
}

/* What a discarded cluster's entry becomes. False: it stays, since giving it up would uncover the backing. */
static bool discarded_entry(const struct qcow2 *qcow2, const struct qcow2_run *run, uint64_t *entry)
{
    *entry = qcow2->image.backing ? QCOW2_ZERO : 0;
    if (qcow2->image.backing && qcow2->version < 3)
        return false;
    return run->kind == QCOW2_NORMAL || run->kind == QCOW2_PACKED || run->kind == QCOW2_ZERO_ALLOCATED;
}

enum block_result qcow2_discard(struct image *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    uint64_t first, end;
    enum block_result result = BLOCK_DONE;

    whole_clusters(qcow2, offset, length, &first, &end);
    while (first < end && result == BLOCK_DONE) {
        struct qcow2_run run;
        uint64_t entry;

        result = qcow2_run_at(qcow2, first, end - first, &run);
        if (result == BLOCK_DONE && discarded_entry(qcow2, &run, &entry))
            result = run_replace(qcow2, first, &run, entry);
        first += (uint64_t)run.clusters << qcow2->cluster_bits;
    }
    return result;
}
