/* Changing L1 and L2 entries, in memory. */
#include <errno.h>
#include <string.h>

#include "backend/qcow2_internal.h"

void qcow2_release_run(struct qcow2 *qcow2, const struct qcow2_run *run)
{
    if (run->kind == QCOW2_PACKED) {
        uint64_t offset, size;

        qcow2_packed_place(qcow2, run->entry, &offset, &size);
        uint64_t first = offset >> qcow2->cluster_bits;
        qcow2_release(qcow2, first, ((offset + size - 1) >> qcow2->cluster_bits) - first + 1);
    } else if (run->host) {
        qcow2_release(qcow2, run->host >> qcow2->cluster_bits, run->clusters);
    }
}

/* --- L2 tables --- */

/* Fills the new table's cluster in the file: with the old table, or with zeroes. */
static enum block_result table_fill(struct qcow2 *qcow2, uint64_t new_table, uint64_t old_table)
{
    struct file *file = &qcow2->image.file;
    size_t size = (size_t)qcow2_cluster_size(qcow2);
    enum block_result result = BLOCK_DONE;

    memset(qcow2->scratch, 0, size);
    if (old_table)
        result = file_read(file, qcow2->scratch, size, old_table);
    for (uint64_t at = 0; old_table && at < size && result == BLOCK_DONE; at += qcow2->l2.slice_size) {
        struct qcow2_slice *slice = qcow2_cache_find(&qcow2->l2, old_table + at);

        if (slice)
            memcpy(qcow2->scratch + at, slice->bytes, qcow2->l2.slice_size);
    }
    return result == BLOCK_DONE ? file_write(file, qcow2->scratch, size, new_table) : result;
}

void qcow2_entry_set(struct qcow2_table *table, uint32_t index, uint64_t entry)
{
    table->entries[index] = entry;
    if (table->dirty_end == 0 || index < table->dirty_first)
        table->dirty_first = index;
    if (index >= table->dirty_end)
        table->dirty_end = index + 1;
}

static enum block_result table_install(struct qcow2 *qcow2, uint32_t index, uint64_t table)
{
    bool is_new;

    pthread_mutex_lock(&qcow2->lock);
    bool added = qcow2_set_add(&qcow2->metadata, table >> qcow2->cluster_bits, &is_new);
    if (added)
        qcow2_entry_set(&qcow2->l1, index, table | QCOW2_COPIED);
    pthread_mutex_unlock(&qcow2->lock);
    if (added)
        return BLOCK_DONE;
    return file_failed(&qcow2->image.file, "a write", ENOMEM);
}

/*
 * A table that a snapshot refers to as well is copied. What it refers to gets no further references: they
 * are counted for the snapshot and for us already.
 */
enum block_result qcow2_table_own(struct qcow2 *qcow2, uint64_t offset)
{
    uint32_t index = (uint32_t)(offset >> (2 * qcow2->cluster_bits - 3));
    uint64_t entry = qcow2->l1.entries[index];
    uint64_t old_table = entry & QCOW2_OFFSET_MASK;
    uint64_t cluster, got;
    bool is_fresh;

    if (old_table && (entry & QCOW2_COPIED))
        return BLOCK_DONE;
    if (qcow2_in_cluster(qcow2, old_table) != 0 || old_table >= file_size(&qcow2->image.file))
        return qcow2_damaged(qcow2, "an L1 entry leads outside the file", old_table);
    enum block_result result = qcow2_allocate(qcow2, 1, 1, &cluster, &got, &is_fresh);
    if (result != BLOCK_DONE)
        return result;
    uint64_t table = cluster << qcow2->cluster_bits;
    qcow2_cache_forget(&qcow2->l2, table, qcow2_cluster_size(qcow2));
    result = table_fill(qcow2, table, old_table);
    if (result == BLOCK_DONE)
        result = table_install(qcow2, index, table);
    if (result != BLOCK_DONE) {
        qcow2_unallocate(qcow2, cluster, 1);
    } else if (old_table) {
        qcow2_cache_forget(&qcow2->l2, old_table, qcow2_cluster_size(qcow2));
        qcow2_release(qcow2, old_table >> qcow2->cluster_bits, 1);
    }
    return result;
}

/* --- L2 entries --- */

enum block_result qcow2_table_set(struct qcow2 *qcow2, uint64_t offset, unsigned clusters, uint64_t entry,
                                  uint64_t step)
{
    struct qcow2_slice *slice;
    unsigned index;
    enum block_result result = qcow2_table_slice(qcow2, offset, &slice, &index);

    if (result != BLOCK_DONE)
        return result;
    pthread_mutex_lock(&qcow2->lock);
    for (unsigned i = 0; i < clusters; i++)
        store_be(slice->bytes + 8 * (index + i), 8, entry + i * step);
    qcow2_cache_dirty(&qcow2->l2, slice);
    pthread_mutex_unlock(&qcow2->lock);
    return BLOCK_DONE;
}
