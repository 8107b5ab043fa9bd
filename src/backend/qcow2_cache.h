/*
 * Pieces ("slices") of tables of a qcow2 file in memory, a bounded number of them: of L2 tables, or of
 * refcount blocks.
 *
 * The owner's, except that any thread may look with the image's lock held; so the owner changes what is
 * looked at with the lock held too, and reads without.
 */
#ifndef LODGE_BACKEND_QCOW2_CACHE_H
#define LODGE_BACKEND_QCOW2_CACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/file.h"

struct qcow2_slice {
    uint64_t offset; /* in the file; 0: empty */
    uint8_t *bytes;
    struct qcow2_slice *next; /* of the same bucket */
    bool is_dirty;
    bool is_used; /* since the hand last came by */
};

struct qcow2_cache {
    struct file *file;
    pthread_mutex_t *lock;
    struct qcow2_slice *slices;
    struct qcow2_slice **buckets;
    uint8_t *memory;
    uint32_t slice_size; /* bytes, a power of two */
    unsigned count, bucket_bits;
    unsigned used; /* slices that ever held something */
    unsigned hand;
    unsigned dirty_count;
};

/* memory: bytes at most, though at least eight slices. */
bool qcow2_cache_init(struct qcow2_cache *cache, struct file *file, pthread_mutex_t *lock, uint32_t slice_size,
                      uint64_t memory);
void qcow2_cache_destroy(struct qcow2_cache *cache); /* accepts a zeroed one */

/* The slice that begins at offset, or NULL. The lock is held, or the owner asks. */
struct qcow2_slice *qcow2_cache_find(struct qcow2_cache *cache, uint64_t offset);

/*
 * The same, read from the file if need be. NULL with *result: BLOCK_ERROR, or BLOCK_DONE where every slice is
 * dirty: these have to be written first (qcow2_write_back).
 */
struct qcow2_slice *qcow2_cache_load(struct qcow2_cache *cache, uint64_t offset, enum block_result *result);

/* A slice's bytes are about to change. The lock is held. */
void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice);

/* Are there few enough dirty slices that an operation may start? */
bool qcow2_cache_has_room(const struct qcow2_cache *cache);

/* Writes all that are dirty. */
enum block_result qcow2_cache_write(struct qcow2_cache *cache);

/* Forgets what it holds of a range of the file, dirty or not: it has become free, or was written past the cache. */
void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset, uint64_t length);

#endif
