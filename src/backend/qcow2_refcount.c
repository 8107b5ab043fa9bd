/* Reference counts of the clusters of the file, and who gets which cluster. */
#include <errno.h>
#include <string.h>

#include "backend/qcow2_internal.h"

/* Clusters that one refcount block counts, as a power of two. */
static unsigned block_bits(const struct qcow2 *qcow2)
{
    return qcow2->cluster_bits + 3 - qcow2->refcount_order;
}

static uint64_t count_most(const struct qcow2 *qcow2)
{
    return bits_mask(1u << qcow2->refcount_order);
}

/* --- one count in a slice; counts of less than a byte are in the low bits first --- */

uint64_t qcow2_count_load(const struct qcow2 *qcow2, const uint8_t *slice, uint64_t index)
{
    unsigned bits = 1u << qcow2->refcount_order;

    if (bits >= 8)
        return load_be(slice + index * (bits / 8), bits / 8);
    uint64_t bit = index * bits;
    return (uint64_t)slice[bit / 8] >> (bit % 8) & bits_mask(bits);
}

void qcow2_count_store(const struct qcow2 *qcow2, uint8_t *slice, uint64_t index, uint64_t count)
{
    unsigned bits = 1u << qcow2->refcount_order;

    if (bits >= 8) {
        store_be(slice + index * (bits / 8), bits / 8, count);
        return;
    }
    uint64_t bit = index * bits;
    unsigned shift = (unsigned)(bit % 8);
    unsigned mask = (unsigned)bits_mask(bits) << shift;
    slice[bit / 8] = (uint8_t)((slice[bit / 8] & ~mask) | ((unsigned)count << shift & mask));
}

/* --- blocks --- */

/* Where a cluster's count is. */
struct counter {
    struct qcow2_slice *slice; /* NULL: there is no block, the count is 0 */
    uint64_t index;            /* in the slice */
    uint64_t room;             /* counts from there to the end of the slice */
};

static enum block_result slice_load(struct qcow2 *qcow2, uint64_t offset, struct qcow2_slice **slice)
{
    enum block_result result;

    *slice = qcow2_cache_load(&qcow2->refcounts, offset, &result);
    if (!*slice && result == BLOCK_DONE) {
        result = qcow2_cache_write(&qcow2->refcounts); /* counts alone may be written at any time */
        if (result == BLOCK_DONE)
            *slice = qcow2_cache_load(&qcow2->refcounts, offset, &result);
    }
    return *slice ? BLOCK_DONE : result == BLOCK_DONE ? BLOCK_ERROR : result;
}

static enum block_result counter_find(struct qcow2 *qcow2, uint64_t cluster, struct counter *counter)
{
    uint64_t block = cluster >> block_bits(qcow2);
    uint64_t in_block = cluster & (BIT64(block_bits(qcow2)) - 1);
    unsigned slice_counts = (unsigned)((uint64_t)qcow2->refcounts.slice_size * 8 >> qcow2->refcount_order);
    uint64_t offset = block < qcow2->refcount_table.size ? qcow2->refcount_table.entries[block] : 0;

    *counter = (struct counter){.index = in_block & (slice_counts - 1)};
    if (offset == 0) {
        counter->room = BIT64(block_bits(qcow2)) - in_block;
        return BLOCK_DONE;
    }
    counter->room = slice_counts - counter->index;
    if (qcow2_in_cluster(qcow2, offset) != 0 || offset >= file_size(&qcow2->image.file))
        return qcow2_damaged(qcow2, "a refcount table entry leads outside the file", offset);
    return slice_load(qcow2, offset + in_block / slice_counts * qcow2->refcounts.slice_size, &counter->slice);
}

enum block_result qcow2_refcount_get(struct qcow2 *qcow2, uint64_t cluster, uint64_t *count)
{
    struct counter counter;
    enum block_result result = counter_find(qcow2, cluster, &counter);

    *count = result == BLOCK_DONE && counter.slice ? qcow2_count_load(qcow2, counter.slice->bytes, counter.index) : 0;
    return result;
}

static void counter_set(struct qcow2 *qcow2, const struct counter *counter, uint64_t count)
{
    qcow2_count_store(qcow2, counter->slice->bytes, counter->index, count);
    qcow2_cache_dirty(&qcow2->refcounts, counter->slice);
}

static void reach(struct qcow2 *qcow2, uint64_t end)
{
    if (end > qcow2->high_water)
        qcow2->high_water = end;
}

/* The file is made longer in steps, which costs the host fewer changes of its size. The rest is cut at the end. */
static enum block_result file_reach(struct qcow2 *qcow2, uint64_t clusters)
{
    const uint64_t step = 4 << 20;
    uint64_t end = clusters << qcow2->cluster_bits;

    if (end <= file_size(&qcow2->image.file))
        return BLOCK_DONE;
    return file_resize(&qcow2->image.file, align_up(end, step));
}

/* Takes the cluster for a block that counts nothing yet. */
static enum block_result block_write(struct qcow2 *qcow2, uint64_t home)
{
    size_t size = (size_t)qcow2_cluster_size(qcow2);
    uint64_t offset = home << qcow2->cluster_bits;
    bool is_new;

    if (qcow2_is_metadata(qcow2, offset, size))
        return qcow2_damaged(qcow2, "a table counts as free space", offset);
    enum block_result result = file_reach(qcow2, home + 1);
    if (result != BLOCK_DONE)
        return result;
    memset(qcow2->scratch, 0, size);
    result = file_write(&qcow2->image.file, qcow2->scratch, size, offset);
    if (result != BLOCK_DONE)
        return result;
    qcow2_cache_forget(&qcow2->refcounts, offset, size);
    pthread_mutex_lock(&qcow2->lock);
    bool added = qcow2_set_add(&qcow2->metadata, home, &is_new);
    pthread_mutex_unlock(&qcow2->lock);
    return added ? BLOCK_DONE : file_failed(&qcow2->image.file, "growing", ENOMEM);
}

/*
 * A new block for the counts around `cluster`, which all are zero so far. It takes `cluster` itself, which
 * is free like all that it counts; in a repair, where that may not be true, one behind everything.
 */
static enum block_result block_create(struct qcow2 *qcow2, uint64_t cluster)
{
    uint64_t block = cluster >> block_bits(qcow2);
    uint64_t home = qcow2->is_repairing ? qcow2->high_water : cluster;

    if (block >= qcow2->refcount_table.size)
        return qcow2_refcount_table_grow(qcow2, home >> block_bits(qcow2), home);
    enum block_result result = block_write(qcow2, home);
    if (result != BLOCK_DONE)
        return result;
    qcow2_entry_set(&qcow2->refcount_table, (uint32_t)block, home << qcow2->cluster_bits);
    qcow2->has_new_block = true;
    reach(qcow2, home + 1);
    return qcow2_refcount_set(qcow2, home, 1);
}

static enum block_result counter_make(struct qcow2 *qcow2, uint64_t cluster, struct counter *counter)
{
    enum block_result result = counter_find(qcow2, cluster, counter);

    while (result == BLOCK_DONE && !counter->slice) { /* a table that had to grow first may still lack the block */
        result = block_create(qcow2, cluster);
        if (result == BLOCK_DONE)
            result = counter_find(qcow2, cluster, counter);
    }
    return result;
}

enum block_result qcow2_refcount_set(struct qcow2 *qcow2, uint64_t cluster, uint64_t count)
{
    struct counter counter;
    enum block_result result;

    if (count > count_most(qcow2))
        return qcow2_damaged(qcow2, "a cluster has too many references", cluster << qcow2->cluster_bits);
    result = count ? counter_make(qcow2, cluster, &counter) : counter_find(qcow2, cluster, &counter);
    if (result == BLOCK_DONE && counter.slice)
        counter_set(qcow2, &counter, count);
    return result;
}

enum block_result qcow2_refcount_add(struct qcow2 *qcow2, uint64_t first, uint64_t clusters, int add)
{
    enum block_result result = BLOCK_DONE;

    for (uint64_t cluster = first; cluster < first + clusters && result == BLOCK_DONE; cluster++) {
        uint64_t count;

        result = qcow2_refcount_get(qcow2, cluster, &count);
        if (result != BLOCK_DONE)
            break;
        if (add < 0 && count == 0)
            return qcow2_damaged(qcow2, "a cluster in use counts as free", cluster << qcow2->cluster_bits);
        result = qcow2_refcount_set(qcow2, cluster, count + (uint64_t)(int64_t)add);
        if (result == BLOCK_DONE && count + (uint64_t)(int64_t)add == 0 && cluster < qcow2->free_hint)
            qcow2->free_hint = cluster;
    }
    return result;
}

/* --- allocation --- */

/* Clusters from `cluster` on that are free, at most `most`; looks no further than one slice. */
static uint64_t free_run(const struct qcow2 *qcow2, const struct counter *counter, uint64_t most)
{
    uint64_t room = counter->room < most ? counter->room : most;
    uint64_t run = 0;

    while (run < room && qcow2_count_load(qcow2, counter->slice->bytes, counter->index + run) == 0)
        run++;
    return run;
}

/* The next row of at least `least` free clusters. What is not counted yet gets its block on the way. */
static enum block_result free_find(struct qcow2 *qcow2, uint64_t least, uint64_t most, uint64_t *first, uint64_t *got)
{
    uint64_t cluster = qcow2->free_hint;
    bool skipped = false;

    *got = 0;
    *first = cluster;
    while (*got < most) {
        struct counter counter;
        enum block_result result = BLOCK_DONE;

        result = counter_make(qcow2, cluster, &counter);
        if (result != BLOCK_DONE)
            return result;
        uint64_t run = free_run(qcow2, &counter, most - *got);
        *got += run;
        cluster += run;
        if (*got >= most || run == counter.room)
            continue;
        if (*got >= least)
            break;
        skipped |= *got > 0;
        if (!skipped)
            qcow2->free_hint = cluster; /* nothing before it is free */
        *got = 0;
        while (run < counter.room && qcow2_count_load(qcow2, counter.slice->bytes, counter.index + run) != 0) {
            run++;
            cluster++;
        }
        *first = cluster;
    }
    if (!skipped)
        qcow2->free_hint = *first + *got;
    return BLOCK_DONE;
}

enum block_result qcow2_allocate(struct qcow2 *qcow2, uint64_t least, uint64_t most, uint64_t *first, uint64_t *got,
                                 bool *is_fresh)
{
    enum block_result result;

    if (qcow2->is_damaged)
        return BLOCK_ERROR;
    result = free_find(qcow2, least, most, first, got);
    if (result != BLOCK_DONE)
        return result;
    uint64_t offset = *first << qcow2->cluster_bits;
    if ((*first + *got) >> (55 - qcow2->cluster_bits) != 0)
        return file_failed(&qcow2->image.file, "growing", EFBIG);
    if (qcow2_is_metadata(qcow2, offset, *got << qcow2->cluster_bits)) {
        qcow2->is_damaged = true;
        result = qcow2_damaged(qcow2, "a table counts as free space", offset);
        if (qcow2_mark(qcow2, QCOW2_CORRUPT, true) != BLOCK_DONE)
            result = BLOCK_ERROR;
        return result;
    }
    result = file_reach(qcow2, *first + *got);
    if (result == BLOCK_DONE)
        result = qcow2_refcount_add(qcow2, *first, *got, 1);
    if (result != BLOCK_DONE) {
        if (*first < qcow2->free_hint)
            qcow2->free_hint = *first;
        return result;
    }
    *is_fresh = *first >= qcow2->high_water && !qcow2->image.file.is_block_device;
    reach(qcow2, *first + *got);
    return BLOCK_DONE;
}

void qcow2_unallocate(struct qcow2 *qcow2, uint64_t first, uint64_t clusters)
{
    enum block_result result = qcow2_refcount_add(qcow2, first, clusters, -1);
    (void)result; /* at worst they stay lost */
}

void qcow2_release(struct qcow2 *qcow2, uint64_t first, uint64_t clusters)
{
    struct qcow2_limbo *last = qcow2->limbo_count ? &qcow2->limbo[qcow2->limbo_count - 1] : NULL;

    if (last && last->cluster + last->count == first)
        last->count += clusters;
    else if (qcow2->limbo_count < QCOW2_LIMBO) {
        qcow2->limbo[qcow2->limbo_count] = (struct qcow2_limbo){.cluster = first, .count = clusters};
        __atomic_store_n(&qcow2->limbo_count, qcow2->limbo_count + 1, __ATOMIC_RELAXED);
    }
}
