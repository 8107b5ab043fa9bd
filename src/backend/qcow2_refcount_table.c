/*
 * A larger refcount table. The new one is placed, together with the blocks that count it, where no count
 * exists yet; the header leads to it only when all of it is durable.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"

/* Clusters [first, first + blocks + tables): first the blocks that count this range, then the table. */
struct growth {
    uint64_t first, blocks, tables;
    uint64_t first_block; /* number of the first new block */
    uint64_t *entries;    /* of the new table, in the host's byte order */
    uint32_t size;
};

static unsigned block_bits(const struct qcow2 *qcow2)
{
    return qcow2->cluster_bits + 3 - qcow2->refcount_order;
}

/* More blocks may need more table, and the other way round. */
static bool growth_plan(const struct qcow2 *qcow2, uint64_t block, uint64_t cluster, struct growth *growth)
{
    uint64_t per_cluster = qcow2_cluster_size(qcow2) / 8;
    uint64_t entries = qcow2->refcount_table.size + qcow2->refcount_table.size / 2ull;

    *growth = (struct growth){.first = cluster, .first_block = block, .blocks = 1};
    for (;;) {
        uint64_t last = (growth->first + growth->blocks + growth->tables - 1) >> block_bits(qcow2);
        uint64_t blocks = last - block + 1;

        if (entries < last + 1)
            entries = last + 1;
        uint64_t tables = (entries + per_cluster - 1) / per_cluster;
        if (blocks == growth->blocks && tables == growth->tables)
            break;
        growth->blocks = blocks;
        growth->tables = tables;
        if (tables * per_cluster * 8 > QCOW2_REFCOUNT_TABLE_MOST)
            return false;
    }
    growth->size = (uint32_t)(growth->tables * per_cluster);
    return true;
}

/* Blocks whose counts are 1 for the new range and 0 besides. */
static enum block_result growth_write_blocks(struct qcow2 *qcow2, const struct growth *growth)
{
    uint64_t end = growth->first + growth->blocks + growth->tables;
    size_t size = (size_t)qcow2_cluster_size(qcow2);
    enum block_result result = BLOCK_DONE;

    for (uint64_t i = 0; i < growth->blocks && result == BLOCK_DONE; i++) {
        uint64_t base = (growth->first_block + i) << block_bits(qcow2);

        memset(qcow2->scratch, 0, size);
        for (uint64_t at = base; at < base + BIT64(block_bits(qcow2)); at++)
            if (at >= growth->first && at < end)
                qcow2_count_store(qcow2, qcow2->scratch, at - base, 1);
        qcow2_cache_forget(&qcow2->refcounts, (growth->first + i) << qcow2->cluster_bits, size);
        result = file_write(&qcow2->image.file, qcow2->scratch, size, (growth->first + i) << qcow2->cluster_bits);
    }
    return result;
}

static enum block_result growth_write_table(struct qcow2 *qcow2, const struct growth *growth)
{
    size_t size = (size_t)growth->size * 8;
    uint8_t *bytes = malloc(size);

    if (!bytes)
        return file_failed(&qcow2->image.file, "growing", ENOMEM);
    for (uint32_t i = 0; i < growth->size; i++)
        store_be(bytes + 8ull * i, 8, growth->entries[i]);
    enum block_result result =
        file_write(&qcow2->image.file, bytes, size, (growth->first + growth->blocks) << qcow2->cluster_bits);
    free(bytes);
    return result == BLOCK_DONE ? file_sync(&qcow2->image.file) : result;
}

/* Both fields at once: a header between the two would not be readable. */
static enum block_result growth_write_header(struct qcow2 *qcow2, const struct growth *growth)
{
    uint8_t bytes[12];

    store_be(bytes, 8, (growth->first + growth->blocks) << qcow2->cluster_bits);
    store_be(bytes + 8, 4, growth->tables);
    enum block_result result = file_write(&qcow2->image.file, bytes, sizeof(bytes), QCOW2_REFCOUNT_TABLE_OFFSET);
    return result == BLOCK_DONE ? file_sync(&qcow2->image.file) : result;
}

static enum block_result growth_write(struct qcow2 *qcow2, const struct growth *growth)
{
    uint64_t end = (growth->first + growth->blocks + growth->tables) << qcow2->cluster_bits;
    enum block_result result = BLOCK_DONE;

    if (qcow2_is_metadata(qcow2, growth->first << qcow2->cluster_bits,
                          (growth->blocks + growth->tables) << qcow2->cluster_bits))
        return qcow2_damaged(qcow2, "a table counts as free space", growth->first << qcow2->cluster_bits);
    if (end > file_size(&qcow2->image.file))
        result = file_resize(&qcow2->image.file, end);
    /* The new table tells of blocks that so far only memory knows. */
    if (result == BLOCK_DONE)
        result = qcow2_cache_write(&qcow2->refcounts);
    if (result == BLOCK_DONE)
        result = growth_write_blocks(qcow2, growth);
    if (result == BLOCK_DONE)
        result = growth_write_table(qcow2, growth);
    return result == BLOCK_DONE ? growth_write_header(qcow2, growth) : result;
}

static enum block_result growth_adopt(struct qcow2 *qcow2, struct growth *growth)
{
    struct qcow2_table old = qcow2->refcount_table;
    uint64_t end = growth->first + growth->blocks + growth->tables;
    bool is_new, added = true;

    pthread_mutex_lock(&qcow2->lock);
    for (uint64_t i = 0; i < growth->blocks; i++)
        added &= qcow2_set_add(&qcow2->metadata, growth->first + i, &is_new);
    qcow2->refcount_table = (struct qcow2_table){
        .entries = growth->entries,
        .size = growth->size,
        .offset = (growth->first + growth->blocks) << qcow2->cluster_bits,
    };
    pthread_mutex_unlock(&qcow2->lock);
    qcow2->has_new_block = false;
    if (end > qcow2->high_water)
        qcow2->high_water = end;
    free(old.entries);
    if (!added)
        qcow2->is_damaged = true; /* we no longer know all tables: change none */
    return qcow2_refcount_add(qcow2, old.offset >> qcow2->cluster_bits, ((uint64_t)old.size * 8) >> qcow2->cluster_bits,
                              -1);
}

enum block_result qcow2_refcount_table_grow(struct qcow2 *qcow2, uint64_t block, uint64_t cluster)
{
    const struct qcow2_table *table = &qcow2->refcount_table;
    struct growth growth;
    enum block_result result;

    if (!growth_plan(qcow2, block, cluster, &growth))
        return file_failed(&qcow2->image.file, "growing", EFBIG);
    growth.entries = calloc(growth.size, 8);
    if (!growth.entries)
        return file_failed(&qcow2->image.file, "growing", ENOMEM);
    memcpy(growth.entries, table->entries, (size_t)table->size * 8);
    for (uint64_t i = 0; i < growth.blocks; i++)
        growth.entries[block + i] = (growth.first + i) << qcow2->cluster_bits;
    result = growth_write(qcow2, &growth);
    if (result != BLOCK_DONE) {
        free(growth.entries);
        return result;
    }
    return growth_adopt(qcow2, &growth);
}
