/* From an offset of the disk to a place in the file. */
#include <string.h>

#include "backend/qcow2_internal.h"

enum qcow2_kind qcow2_kind_of(const struct qcow2 *qcow2, uint64_t entry)
{
    uint64_t host = entry & QCOW2_OFFSET_MASK;

    if (entry & QCOW2_COMPRESSED)
        return QCOW2_PACKED;
    if (entry & ~(QCOW2_OFFSET_MASK | QCOW2_COPIED | QCOW2_ZERO) || qcow2_in_cluster(qcow2, host) != 0 ||
        ((entry & QCOW2_ZERO) && qcow2->version < 3))
        return QCOW2_INVALID;
    if (entry & QCOW2_ZERO)
        return host ? QCOW2_ZERO_ALLOCATED : QCOW2_ZERO_PLAIN;
    return host ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
}

/* The run that begins with the entry at `index` of a slice; at most `most` clusters. */
static void run_find(const struct qcow2 *qcow2, const uint8_t *slice, unsigned index, unsigned most,
                     struct qcow2_run *run)
{
    uint64_t entry = load_be64(slice + 8 * index);
    uint64_t step = 0;

    *run = (struct qcow2_run){.kind = qcow2_kind_of(qcow2, entry), .entry = entry, .clusters = 1};
    if (run->kind == QCOW2_PACKED || run->kind == QCOW2_INVALID)
        return;
    run->host = entry & QCOW2_OFFSET_MASK;
    run->is_copied = (entry & QCOW2_COPIED) != 0;
    if (run->host)
        step = qcow2_cluster_size(qcow2);
    while (run->clusters < most && load_be64(slice + 8 * (index + run->clusters)) == entry + step * run->clusters)
        run->clusters++;
}

/* How many clusters a range touches that begins at offset, up to the end of the slice that index is in. */
static unsigned run_most(const struct qcow2 *qcow2, uint64_t offset, uint64_t length, unsigned index)
{
    uint64_t touched =
        (qcow2_in_cluster(qcow2, offset) + length + qcow2_cluster_size(qcow2) - 1) >> qcow2->cluster_bits;
    uint64_t room = qcow2->l2.slice_size / 8 - index;

    return (unsigned)(touched < room ? touched : room);
}

struct place {
    uint64_t l1_index;
    uint64_t table; /* offset of the L2 table, 0: none */
    uint64_t slice; /* offset of the slice */
    unsigned index; /* in the slice */
};

static struct place place_of(const struct qcow2 *qcow2, uint64_t offset)
{
    uint64_t cluster = offset >> qcow2->cluster_bits;
    uint64_t in_table = (cluster & (BIT64(qcow2->cluster_bits - 3) - 1)) * 8;
    struct place place = {.l1_index = cluster >> (qcow2->cluster_bits - 3)};

    place.table = qcow2->l1.entries[place.l1_index] & QCOW2_OFFSET_MASK;
    place.slice = place.table + align_down(in_table, qcow2->l2.slice_size);
    place.index = (unsigned)(in_table & (qcow2->l2.slice_size - 1)) / 8;
    return place;
}

static bool table_is_possible(const struct qcow2 *qcow2, uint64_t table)
{
    return qcow2_in_cluster(qcow2, table) == 0 && table < file_size(&qcow2->image.file);
}

uint64_t qcow2_run_bytes(const struct qcow2 *qcow2, uint64_t offset, uint64_t length, const struct qcow2_run *run)
{
    uint64_t bytes = ((uint64_t)run->clusters << qcow2->cluster_bits) - qcow2_in_cluster(qcow2, offset);

    return bytes < length ? bytes : length;
}

/* What is in memory tells the run. The lock is held. */
static bool run_look(struct qcow2 *qcow2, uint64_t offset, uint64_t length, struct qcow2_run *run)
{
    struct place place = place_of(qcow2, offset);
    unsigned most = run_most(qcow2, offset, length, place.index);
    struct qcow2_slice *slice;

    *run = (struct qcow2_run){.kind = QCOW2_UNALLOCATED, .clusters = most};
    if (place.table == 0)
        return true;
    slice = qcow2_cache_find(&qcow2->l2, place.slice);
    if (slice)
        run_find(qcow2, slice->bytes, place.index, most, run);
    return slice != NULL;
}

static void map_data(struct qcow2 *qcow2, const struct qcow2_run *run, uint64_t offset, bool write,
                     struct extent *extent)
{
    uint64_t host = run->host + qcow2_in_cluster(qcow2, offset);
    uint64_t end = file_size(&qcow2->image.file);

    if (host >= end || extent->length > end - host)
        return; /* the last cluster may be cut short, and all else is for the owner to refuse */
    if (write && (!run->is_copied || qcow2_is_metadata(qcow2, host, extent->length)))
        return;
    extent->kind = EXTENT_DATA;
    extent->file = &qcow2->image.file;
    extent->offset = host;
}

static void map_backing(struct image *backing, uint64_t offset, struct extent *extent)
{
    uint64_t length = extent->length;

    if (!backing || offset >= backing->size) {
        extent->kind = EXTENT_ZERO;
        return;
    }
    if (length > backing->size - offset)
        length = backing->size - offset;
    backing->type->map(backing, offset, length, false, extent);
}

void qcow2_map(struct image *image, uint64_t offset, uint64_t length, bool write, struct extent *extent)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    struct qcow2_run run;

    *extent = (struct extent){.kind = EXTENT_UNKNOWN, .length = length};
    pthread_mutex_lock(&qcow2->lock);
    bool known = run_look(qcow2, offset, length, &run);
    if (known)
        extent->length = qcow2_run_bytes(qcow2, offset, length, &run);
    if (known && run.kind == QCOW2_NORMAL)
        map_data(qcow2, &run, offset, write, extent);
    pthread_mutex_unlock(&qcow2->lock);
    if (!known || write)
        return;
    if (run.kind == QCOW2_ZERO_PLAIN || run.kind == QCOW2_ZERO_ALLOCATED)
        extent->kind = EXTENT_ZERO;
    else if (run.kind == QCOW2_UNALLOCATED)
        map_backing(image->backing, offset, extent);
}

/* --- the owner --- */

enum block_result qcow2_table_slice(struct qcow2 *qcow2, uint64_t offset, struct qcow2_slice **slice, unsigned *index)
{
    struct place place = place_of(qcow2, offset);
    enum block_result result;

    *index = place.index;
    if (!table_is_possible(qcow2, place.table))
        return qcow2_damaged(qcow2, "an L1 entry leads outside the file", place.table);
    *slice = qcow2_cache_load(&qcow2->l2, place.slice, &result);
    if (!*slice && result == BLOCK_DONE) {
        result = qcow2_write_back(qcow2, false);
        if (result == BLOCK_DONE)
            *slice = qcow2_cache_load(&qcow2->l2, place.slice, &result);
    }
    return *slice ? BLOCK_DONE : result == BLOCK_DONE ? BLOCK_ERROR : result;
}

enum block_result qcow2_run_at(struct qcow2 *qcow2, uint64_t offset, uint64_t length, struct qcow2_run *run)
{
    struct qcow2_slice *slice;
    unsigned index;
    enum block_result result;

    if (run_look(qcow2, offset, length, run))
        return BLOCK_DONE;
    result = qcow2_table_slice(qcow2, offset, &slice, &index);
    if (result == BLOCK_DONE)
        run_find(qcow2, slice->bytes, index, run_most(qcow2, offset, length, index), run);
    return result;
}

enum block_result qcow2_load(struct image *image, uint64_t offset, uint64_t length)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    enum block_result result = BLOCK_DONE;

    while (length > 0 && result == BLOCK_DONE) {
        struct qcow2_run run;

        result = qcow2_run_at(qcow2, offset, length, &run);
        if (result != BLOCK_DONE)
            break;
        uint64_t part = qcow2_run_bytes(qcow2, offset, length, &run);
        struct image *backing = image->backing;
        if (run.kind == QCOW2_UNALLOCATED && backing && offset < backing->size) {
            uint64_t room = backing->size - offset;

            result = backing->type->load(backing, offset, part < room ? part : room);
        }
        offset += part;
        length -= part;
    }
    return result;
}

enum block_result qcow2_status(struct image *image, uint64_t offset, uint64_t length, enum extent_kind *kind,
                               bool *unallocated, uint64_t *known)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    struct qcow2_run run;
    enum block_result result = qcow2_run_at(qcow2, offset, length, &run);

    if (result != BLOCK_DONE)
        return result;
    *known = qcow2_run_bytes(qcow2, offset, length, &run);
    *unallocated = run.kind == QCOW2_UNALLOCATED;
    *kind = run.kind == QCOW2_ZERO_PLAIN || run.kind == QCOW2_ZERO_ALLOCATED ||
                    (run.kind == QCOW2_UNALLOCATED && !image->backing)
                ? EXTENT_ZERO
                : EXTENT_DATA;
    return BLOCK_DONE;
}
