/*
 * The order of writes. A reference to a cluster reaches the disk only after the cluster and its count are
 * durable, and a count falls only after the last reference is durably gone: so whenever the power fails,
 * the worst that is left are clusters that count as used and are not. The dirty bit says that there may be
 * some, and the next one who writes finds them.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"

bool qcow2_needs_flush(struct image *image)
{
    struct qcow2 *qcow2 = qcow2_of(image);

    pthread_mutex_lock(&qcow2->lock);
    bool needed = qcow2->l2.dirty_count > 0 || qcow2->l1.dirty_end > 0 ||
                  __atomic_load_n(&qcow2->limbo_count, __ATOMIC_RELAXED) > 0;
    pthread_mutex_unlock(&qcow2->lock);
    return needed;
}

/* The entries that the file does not have, in whole sectors. */
static enum block_result table_write(struct qcow2 *qcow2, struct qcow2_table *table)
{
    uint32_t first = (uint32_t)align_down(table->dirty_first, 64);
    uint32_t end = (uint32_t)align_up(table->dirty_end, 64);
    uint8_t sector[BLOCK_SECTOR];
    enum block_result result = BLOCK_DONE;

    for (uint32_t at = first; at < end && result == BLOCK_DONE; at += 64) {
        uint32_t count = table->size - at < 64 ? table->size - at : 64;

        for (uint32_t i = 0; i < count; i++)
            store_be(sector + 8ull * i, 8, table->entries[at + i]);
        result = file_write(&qcow2->image.file, sector, 8ull * count, table->offset + 8ull * at);
    }
    if (result == BLOCK_DONE) {
        pthread_mutex_lock(&qcow2->lock);
        table->dirty_first = table->dirty_end = 0;
        pthread_mutex_unlock(&qcow2->lock);
    }
    return result;
}

/* Counts that have grown; and the table that leads to them, once they are durable. */
static enum block_result counts_write(struct qcow2 *qcow2)
{
    enum block_result result = qcow2_cache_write(&qcow2->refcounts);

    if (result != BLOCK_DONE || qcow2->refcount_table.dirty_end == 0)
        return result;
    if (qcow2->has_new_block)
        result = file_sync(&qcow2->image.file);
    if (result == BLOCK_DONE)
        result = table_write(qcow2, &qcow2->refcount_table);
    if (result == BLOCK_DONE)
        qcow2->has_new_block = false;
    return result;
}

static enum block_result references_write(struct qcow2 *qcow2)
{
    enum block_result result = qcow2_cache_write(&qcow2->l2);

    if (result == BLOCK_DONE && qcow2->l1.dirty_end > 0)
        result = table_write(qcow2, &qcow2->l1);
    return result;
}

/* What was cluster N's is free now: nobody on the disk or on the way to it refers to it any more. */
static enum block_result limbo_free(struct qcow2 *qcow2, const struct qcow2_limbo *freed)
{
    enum block_result result = qcow2_refcount_add(qcow2, freed->cluster, freed->count, -1);
    uint64_t row = 0;

    for (uint64_t i = 0; i <= freed->count && result == BLOCK_DONE; i++) {
        uint64_t count = 1;

        if (i < freed->count)
            result = qcow2_refcount_get(qcow2, freed->cluster + i, &count);
        if (count == 0) {
            row++;
        } else if (row > 0) {
            file_discard(&qcow2->image.file, (freed->cluster + i - row) << qcow2->cluster_bits,
                         row << qcow2->cluster_bits);
            row = 0;
        }
    }
    return result;
}

static enum block_result limbo_empty(struct qcow2 *qcow2)
{
    enum block_result result = BLOCK_DONE;

    if (qcow2->image.barrier)
        qcow2->image.barrier(qcow2->image.barrier_context);
    qcow2->unpacked_entry = 0;
    for (uint64_t i = 0; i < qcow2->limbo_count && result == BLOCK_DONE; i++)
        result = limbo_free(qcow2, &qcow2->limbo[i]);
    __atomic_store_n(&qcow2->limbo_count, 0, __ATOMIC_RELAXED);
    /* No sync: should these counts be lost, space is. */
    return result == BLOCK_DONE ? qcow2_cache_write(&qcow2->refcounts) : result;
}

enum block_result qcow2_write_back(struct qcow2 *qcow2, bool sync)
{
    struct file *file = &qcow2->image.file;
    bool has_references = qcow2->l2.dirty_count > 0 || qcow2->l1.dirty_end > 0;
    enum block_result result = counts_write(qcow2);

    if (result == BLOCK_DONE && has_references)
        result = file_sync(file); /* data and counts, before what refers to them */
    if (result == BLOCK_DONE && has_references)
        result = references_write(qcow2);
    if (result == BLOCK_DONE && (sync || qcow2->limbo_count > 0))
        result = file_sync(file);
    if (result == BLOCK_DONE && qcow2->limbo_count > 0)
        result = limbo_empty(qcow2);
    return result;
}

enum block_result qcow2_begin(struct qcow2 *qcow2)
{
    uint64_t step = 4ull * (qcow2->l2.slice_size / 8);
    enum block_result result = BLOCK_DONE;

    if (qcow2->is_damaged || qcow2->image.read_only)
        return BLOCK_ERROR;
    if (file_was_cut(&qcow2->image.file, file_size(&qcow2->image.file)))
        return BLOCK_ERROR;
    if (!qcow2->is_marked) {
        result = qcow2_mark(qcow2, QCOW2_DIRTY, true);
        qcow2->is_marked = result == BLOCK_DONE;
    }
    if (result == BLOCK_DONE && (!qcow2_cache_has_room(&qcow2->l2) || !qcow2_cache_has_room(&qcow2->refcounts) ||
                                 qcow2->limbo_count + step > QCOW2_LIMBO))
        result = qcow2_write_back(qcow2, false);
    return result;
}

enum block_result qcow2_flush(struct image *image)
{
    return qcow2_write_back(qcow2_of(image), true);
}

/* The file's tail that was made in advance is cut; only then is the file clean. */
static enum block_result qcow2_finish(struct qcow2 *qcow2)
{
    struct file *file = &qcow2->image.file;
    uint64_t end = qcow2->high_water << qcow2->cluster_bits;
    enum block_result result = qcow2_write_back(qcow2, true);

    if (result == BLOCK_DONE && !file->is_block_device && file_size(file) > end)
        result = file_resize(file, end);
    if (result == BLOCK_DONE)
        result = file_sync(file);
    if (result == BLOCK_DONE && !qcow2->is_damaged)
        result = qcow2_mark(qcow2, QCOW2_DIRTY, false);
    return result;
}

enum block_result qcow2_close(struct image *image)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    enum block_result result = BLOCK_DONE;

    if (qcow2->is_marked && !qcow2->image.file.is_scratch)
        result = qcow2_finish(qcow2);
    qcow2_cache_destroy(&qcow2->l2);
    qcow2_cache_destroy(&qcow2->refcounts);
    qcow2_set_destroy(&qcow2->metadata);
    free(qcow2->l1.entries);
    free(qcow2->refcount_table.entries);
    free(qcow2->limbo);
    free(qcow2->scratch);
    free(qcow2->unpacked);
    free(qcow2->backing_path);
    free(qcow2->backing_format);
    pthread_mutex_destroy(&qcow2->lock);
    return result;
}
