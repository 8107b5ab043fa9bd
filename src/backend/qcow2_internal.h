/*
 * A qcow2 image in memory, and the calls between the files of the format.
 *
 * What is written when (docs/images.md has the reasons): an operation writes data, and changes tables only in
 * memory. qcow2_write_back() writes these in an order in which no reference reaches the disk before what it
 * refers to, with syncs between; what is freed waits ("limbo") until the last reference to it is gone from
 * the disk.
 */
#ifndef LODGE_BACKEND_QCOW2_INTERNAL_H
#define LODGE_BACKEND_QCOW2_INTERNAL_H

#include <pthread.h>

#include "backend/image_internal.h"
#include "backend/qcow2_cache.h"
#include "backend/qcow2_format.h"
#include "base/bits.h"

enum { QCOW2_LIMBO = 16384, QCOW2_COMPLAINTS = 16 };

/* A table that is in memory as a whole, in the host's byte order: L1, or the refcount table. */
struct qcow2_table {
    uint64_t *entries;
    uint32_t size;                   /* entries */
    uint64_t offset;                 /* in the file */
    uint32_t dirty_first, dirty_end; /* entries that the file does not have yet */
};

/* Clusters that hold L2 tables and refcount blocks: no data may be written there, whatever an L2 entry says. */
struct qcow2_set {
    uint64_t *slots; /* cluster numbers; 0: empty, all ones: removed */
    size_t capacity; /* a power of two */
    size_t used;     /* slots that are not empty */
};

struct qcow2_limbo {
    uint64_t cluster;
    uint64_t count;
};

struct qcow2 {
    struct image image;
    pthread_mutex_t lock; /* l1, metadata and the cache of L2 tables, between the owner and map() */

    unsigned version, cluster_bits, refcount_order;
    uint32_t header_length;
    uint64_t incompatible, compatible, autoclear;
    unsigned compression;
    uint32_t snapshot_count;
    uint64_t snapshots_offset, snapshots_size;
    bool has_bitmaps;
    char *backing_path, *backing_format;

    struct qcow2_table l1, refcount_table;
    bool has_new_block; /* the refcount table refers to a block that may not be durable */
    struct qcow2_cache l2, refcounts;
    struct qcow2_set metadata;

    uint64_t free_hint;  /* no cluster before it is free */
    uint64_t high_water; /* clusters from here on were never used: they read as zeroes */
    uint64_t limbo_count;
    struct qcow2_limbo *limbo;

    bool keep_damaged;
    bool is_repairing; /* what has no count may be in use: new blocks go behind all of it */
    bool is_damaged;   /* its tables contradict each other: they are not changed any more */
    bool is_marked;    /* the file says that it is in use: dirty */

    uint8_t *scratch;        /* one cluster, the owner's */
    uint8_t *unpacked;       /* one cluster, of compressed data */
    uint64_t unpacked_entry; /* the L2 entry that it is of; 0: none */
};

enum qcow2_kind {
    QCOW2_UNALLOCATED,
    QCOW2_NORMAL,
    QCOW2_ZERO_PLAIN,
    QCOW2_ZERO_ALLOCATED,
    QCOW2_PACKED, /* compressed */
    QCOW2_INVALID,
};

/* Clusters in a row that are alike, and one after another in the file. */
struct qcow2_run {
    enum qcow2_kind kind;
    uint64_t entry; /* of the first */
    uint64_t host;  /* offset of the first, if it has one */
    unsigned clusters;
    bool is_copied; /* nobody else refers to them */
};

static inline struct qcow2 *qcow2_of(struct image *image)
{
    return CONTAINER_OF(image, struct qcow2, image);
}

static inline uint64_t qcow2_cluster_size(const struct qcow2 *qcow2)
{
    return BIT64(qcow2->cluster_bits);
}

static inline uint64_t qcow2_in_cluster(const struct qcow2 *qcow2, uint64_t offset)
{
    return offset & (qcow2_cluster_size(qcow2) - 1);
}

/* --- qcow2_header.c --- */

/* Reads and checks the header and all that it leads to directly: L1, refcount table, extensions. */
enum status qcow2_header_read(struct qcow2 *qcow2) MUST_CHECK;

/* One field of the header, in the file; durable when it returns. */
enum block_result qcow2_header_write(struct qcow2 *qcow2, unsigned field, unsigned size, uint64_t value) MUST_CHECK;

/* Sets or clears a bit of incompatible_features; nothing in version 2. */
enum block_result qcow2_mark(struct qcow2 *qcow2, uint64_t bit, bool on) MUST_CHECK;

/* The tables contradict each other: says so, and no table is changed from now on. Answers BLOCK_ERROR. */
enum block_result qcow2_damaged(struct qcow2 *qcow2, const char *what, uint64_t offset);

/* --- qcow2_metadata.c --- */

bool qcow2_set_add(struct qcow2_set *set, uint64_t cluster, bool *is_new); /* false: no memory */
bool qcow2_set_has(const struct qcow2_set *set, uint64_t cluster);
void qcow2_set_remove(struct qcow2_set *set, uint64_t cluster);
void qcow2_set_destroy(struct qcow2_set *set);

/* Do these bytes of the file hold tables? The lock is held, or the owner asks. */
bool qcow2_is_metadata(const struct qcow2 *qcow2, uint64_t offset, uint64_t length);

/* --- qcow2_refcount.c --- */

/* One count in the bytes of a block or a part of one. */
uint64_t qcow2_count_load(const struct qcow2 *qcow2, const uint8_t *bytes, uint64_t index);
void qcow2_count_store(const struct qcow2 *qcow2, uint8_t *bytes, uint64_t index, uint64_t count);

enum block_result qcow2_refcount_get(struct qcow2 *qcow2, uint64_t cluster, uint64_t *count) MUST_CHECK;

/* Adds to the count of each; the blocks that hold the counts exist, or are made where something is added. */
enum block_result qcow2_refcount_add(struct qcow2 *qcow2, uint64_t first, uint64_t clusters, int add) MUST_CHECK;
enum block_result qcow2_refcount_set(struct qcow2 *qcow2, uint64_t cluster, uint64_t count) MUST_CHECK;

/*
 * Clusters in a row, at least `least` and at most `most`, with count 1 from now on. *is_fresh: they read as
 * zeroes.
 */
enum block_result qcow2_allocate(struct qcow2 *qcow2, uint64_t least, uint64_t most, uint64_t *first, uint64_t *got,
                                 bool *is_fresh) MUST_CHECK;

/* Takes an allocation back that nothing refers to, not even in memory. */
void qcow2_unallocate(struct qcow2 *qcow2, uint64_t first, uint64_t clusters);

/* The owner gives up a reference that the file may still have. There is room: qcow2_begin(). */
void qcow2_release(struct qcow2 *qcow2, uint64_t first, uint64_t clusters);

/* --- qcow2_refcount_table.c --- */

/* Makes the refcount table reach the block that has this number; places what that takes at `cluster`. */
enum block_result qcow2_refcount_table_grow(struct qcow2 *qcow2, uint64_t block, uint64_t cluster) MUST_CHECK;

/* --- qcow2_flush.c --- */

/* Before each step that changes tables: marks the image as in use, and makes room in caches and limbo. */
enum block_result qcow2_begin(struct qcow2 *qcow2) MUST_CHECK;

/* Writes all tables in a safe order; durable when it returns if `sync`. */
enum block_result qcow2_write_back(struct qcow2 *qcow2, bool sync) MUST_CHECK;
bool qcow2_needs_flush(struct image *image);
enum block_result qcow2_flush(struct image *image);
enum block_result qcow2_close(struct image *image);

/* --- qcow2_map.c --- */

enum qcow2_kind qcow2_kind_of(const struct qcow2 *qcow2, uint64_t entry);
void qcow2_map(struct image *image, uint64_t offset, uint64_t length, bool write, struct extent *extent);

/* The run at offset, at most as many clusters as length touches. */
enum block_result qcow2_run_at(struct qcow2 *qcow2, uint64_t offset, uint64_t length, struct qcow2_run *run) MUST_CHECK;
/* How many bytes of the run are from offset on, at most `length`. */
uint64_t qcow2_run_bytes(const struct qcow2 *qcow2, uint64_t offset, uint64_t length, const struct qcow2_run *run);
enum block_result qcow2_load(struct image *image, uint64_t offset, uint64_t length);
enum block_result qcow2_status(struct image *image, uint64_t offset, uint64_t length, enum extent_kind *kind,
                               bool *unallocated, uint64_t *known);

/* --- qcow2_table.c --- */

/* In memory; the file gets it with the next write back. For L1 the lock is held. */
void qcow2_entry_set(struct qcow2_table *table, uint32_t index, uint64_t entry);

/* Makes sure that offset has an L2 table of its own. */
enum block_result qcow2_table_own(struct qcow2 *qcow2, uint64_t offset) MUST_CHECK;

/* The L2 slice of offset and the index in it; offset has a table. */
enum block_result qcow2_table_slice(struct qcow2 *qcow2, uint64_t offset, struct qcow2_slice **slice,
                                    unsigned *index) MUST_CHECK;

/* Changes the L2 entries of `clusters` clusters, all in one slice: entry, then entry + step and so on. */
enum block_result qcow2_table_set(struct qcow2 *qcow2, uint64_t offset, unsigned clusters, uint64_t entry,
                                  uint64_t step) MUST_CHECK;

/* Gives up what the entry refers to; `clusters` of them for a run. */
void qcow2_release_run(struct qcow2 *qcow2, const struct qcow2_run *run);

/* --- qcow2_read.c, qcow2_write.c, qcow2_zero.c, qcow2_compress.c --- */

enum block_result qcow2_read(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer);
enum block_result qcow2_write(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer);
enum block_result qcow2_write_zeroes(struct image *image, uint64_t offset, uint64_t length, bool unmap);
enum block_result qcow2_discard(struct image *image, uint64_t offset, uint64_t length);

/* Where a compressed cluster's bytes are in the file. */
void qcow2_packed_place(const struct qcow2 *qcow2, uint64_t entry, uint64_t *offset, uint64_t *size);

/* The cluster that a compressed entry stands for, in qcow2->unpacked. */
enum block_result qcow2_unpack(struct qcow2 *qcow2, uint64_t entry) MUST_CHECK;

#endif
