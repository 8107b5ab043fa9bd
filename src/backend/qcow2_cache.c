#include "backend/qcow2_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

enum { CACHE_LEAST = 8, CACHE_ROOM = 4 /* slices that one step of an operation may dirty */ };

bool qcow2_cache_init(struct qcow2_cache *cache, struct file *file, pthread_mutex_t *lock, uint32_t slice_size,
                      uint64_t memory)
{
    uint64_t count = memory / slice_size;

    if (count < CACHE_LEAST)
        count = CACHE_LEAST;
    *cache = (struct qcow2_cache){.file = file, .lock = lock, .slice_size = slice_size, .count = (unsigned)count};
    while ((1u << cache->bucket_bits) < cache->count)
        cache->bucket_bits++;
    cache->slices = calloc(cache->count, sizeof(*cache->slices));
    cache->buckets = calloc((size_t)1 << cache->bucket_bits, sizeof(struct qcow2_slice *));
    /* Not touched here: the host gives pages as slices come into use. */
    cache->memory = malloc((size_t)cache->count * slice_size);
    if (cache->slices && cache->buckets && cache->memory)
        return true;
    qcow2_cache_destroy(cache);
    return false;
}

void qcow2_cache_destroy(struct qcow2_cache *cache)
{
    free(cache->slices);
    free(cache->buckets);
    free(cache->memory);
    *cache = (struct qcow2_cache){0};
}

static struct qcow2_slice **cache_bucket(const struct qcow2_cache *cache, uint64_t offset)
{
    uint64_t number = offset / cache->slice_size;

    return &cache->buckets[(number * 0x9e3779b97f4a7c15ull) >> (64 - cache->bucket_bits)];
}

struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *cache, uint64_t offset)
{
    struct qcow2_slice *slice = *cache_bucket(cache, offset);

    while (slice && slice->offset != offset)
        slice = slice->next;
    if (slice)
        __atomic_store_n(&slice->is_used, true, __ATOMIC_RELAXED);
    return slice;
}

static void cache_unlink(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    struct qcow2_slice **at = cache_bucket(cache, slice->offset);

    while (*at != slice)
        at = &(*at)->next;
    *at = slice->next;
    slice->next = NULL;
    slice->offset = 0;
}

/* A slice that nobody will miss; NULL: all are dirty. */
static struct qcow2_slice *cache_victim(struct qcow2_cache *cache)
{
    if (cache->used < cache->count) {
        struct qcow2_slice *fresh = &cache->slices[cache->used];

        fresh->bytes = cache->memory + (size_t)cache->used * cache->slice_size;
        cache->used++;
        return fresh;
    }
    for (unsigned i = 0; i < 2 * cache->count + 1; i++) {
        struct qcow2_slice *slice = &cache->slices[cache->hand];

        cache->hand = (cache->hand + 1) % cache->count;
        if (slice->offset == 0 || (!slice->is_dirty && !__atomic_load_n(&slice->is_used, __ATOMIC_RELAXED)))
            return slice;
        __atomic_store_n(&slice->is_used, false, __ATOMIC_RELAXED);
    }
    return NULL;
}

struct qcow2_slice *qcow2_cache_load(struct qcow2_cache *cache, uint64_t offset, enum block_result *result)
{
    struct qcow2_slice *slice = qcow2_cache_find(cache, offset);

    *result = BLOCK_DONE;
    if (slice)
        return slice;
    slice = cache_victim(cache);
    if (!slice)
        return NULL;
    if (slice->offset != 0) {
        pthread_mutex_lock(cache->lock);
        cache_unlink(cache, slice);
        pthread_mutex_unlock(cache->lock);
    }
    *result = file_read(cache->file, slice->bytes, cache->slice_size, offset);
    if (*result != BLOCK_DONE)
        return NULL;
    pthread_mutex_lock(cache->lock);
    struct qcow2_slice **bucket = cache_bucket(cache, offset);
    slice->offset = offset;
    slice->next = *bucket;
    slice->is_used = true;
    *bucket = slice;
    pthread_mutex_unlock(cache->lock);
    return slice;
}

void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    cache->dirty_count += !slice->is_dirty;
    slice->is_dirty = true;
}

bool qcow2_cache_has_room(const struct qcow2_cache *cache)
{
    return cache->dirty_count + CACHE_ROOM <= cache->count;
}

static int cache_compare(const void *left, const void *right)
{
    const struct qcow2_slice *const *a = left;
    const struct qcow2_slice *const *b = right;

    return ((*a)->offset > (*b)->offset) - ((*a)->offset < (*b)->offset);
}

static enum block_result cache_write_slice(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    enum block_result result = file_write(cache->file, slice->bytes, cache->slice_size, slice->offset);

    if (result == BLOCK_DONE) {
        pthread_mutex_lock(cache->lock);
        slice->is_dirty = false;
        cache->dirty_count--;
        pthread_mutex_unlock(cache->lock);
    }
    return result;
}

/* In the order of the file where memory allows. */
enum block_result qcow2_cache_write(struct qcow2_cache *cache)
{
    struct qcow2_slice **order = cache->dirty_count ? malloc(cache->dirty_count * sizeof(*order)) : NULL;
    enum block_result result = BLOCK_DONE;
    unsigned count = 0;

    for (unsigned i = 0; i < cache->used && cache->dirty_count > 0 && result == BLOCK_DONE; i++) {
        if (!cache->slices[i].is_dirty)
            continue;
        if (order)
            order[count++] = &cache->slices[i];
        else
            result = cache_write_slice(cache, &cache->slices[i]);
    }
    if (order)
        qsort(order, count, sizeof(struct qcow2_slice *), cache_compare);
    for (unsigned i = 0; i < count && result == BLOCK_DONE; i++)
        result = cache_write_slice(cache, order[i]);
    free(order);
    return result;
}

void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset, uint64_t length)
{
    pthread_mutex_lock(cache->lock);
    for (uint64_t at = align_down(offset, cache->slice_size); at < offset + length; at += cache->slice_size) {
        struct qcow2_slice *slice = qcow2_cache_find(cache, at);

        if (!slice)
            continue;
        cache->dirty_count -= slice->is_dirty;
        slice->is_dirty = false;
        cache_unlink(cache, slice);
    }
    pthread_mutex_unlock(cache->lock);
}
