/* Another size for the disk. */
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2.h"
#include "backend/qcow2_internal.h"

static enum status resize_failed(const struct qcow2 *qcow2)
{
    log_error("%s could not be resized; it is as it was", qcow2->image.file.path);
    return STATUS_IO;
}

/* size, crypt_method, l1_size, l1_table_offset: in one sector, so there is no state between. */
static enum block_result resize_header(struct qcow2 *qcow2, uint64_t size, uint32_t l1_size, uint64_t l1_offset)
{
    uint8_t bytes[QCOW2_REFCOUNT_TABLE_OFFSET - QCOW2_SIZE] = {0};

    store_be(bytes, 8, size);
    store_be(bytes + QCOW2_L1_SIZE - QCOW2_SIZE, 4, l1_size);
    store_be(bytes + QCOW2_L1_TABLE_OFFSET - QCOW2_SIZE, 8, l1_offset);
    enum block_result result = file_write(&qcow2->image.file, bytes, sizeof(bytes), QCOW2_SIZE);
    return result == BLOCK_DONE ? file_sync(&qcow2->image.file) : result;
}

static enum block_result l1_write(struct qcow2 *qcow2, const struct qcow2_table *table)
{
    uint64_t bytes = align_up((uint64_t)table->size * 8, qcow2_cluster_size(qcow2));
    uint8_t *image = calloc(1, bytes);
    enum block_result result = BLOCK_ERROR;

    if (!image)
        return BLOCK_ERROR;
    for (uint32_t i = 0; i < table->size; i++)
        store_be(image + 8ull * i, 8, table->entries[i]);
    result = file_write(&qcow2->image.file, image, bytes, table->offset);
    free(image);
    return result == BLOCK_DONE ? qcow2_write_back(qcow2, true) : result;
}

/* A larger L1 table in a new place; the header leads to it with the new size. */
static enum block_result l1_grow(struct qcow2 *qcow2, uint64_t size, uint32_t entries)
{
    uint64_t per_cluster = qcow2_cluster_size(qcow2) / 8;
    uint64_t clusters = (entries + per_cluster - 1) / per_cluster, first, got;
    struct qcow2_table old = qcow2->l1, grown = {.size = entries};
    bool is_fresh;
    enum block_result result = qcow2_write_back(qcow2, false); /* the old one has no changes that wait */

    if (result == BLOCK_DONE)
        result = qcow2_allocate(qcow2, clusters, clusters, &first, &got, &is_fresh);
    if (result != BLOCK_DONE)
        return result;
    grown.offset = first << qcow2->cluster_bits;
    grown.entries = calloc(entries + 1u, 8);
    if (grown.entries && old.size > 0)
        memcpy(grown.entries, old.entries, (size_t)old.size * 8);
    result = grown.entries ? l1_write(qcow2, &grown) : BLOCK_ERROR;
    if (result == BLOCK_DONE)
        result = resize_header(qcow2, size, entries, grown.offset);
    if (result != BLOCK_DONE) {
        free(grown.entries);
        qcow2_unallocate(qcow2, first, got);
        return result;
    }
    pthread_mutex_lock(&qcow2->lock);
    qcow2->l1 = grown;
    pthread_mutex_unlock(&qcow2->lock);
    free(old.entries);
    if (old.size > 0)
        qcow2_release(qcow2, old.offset >> qcow2->cluster_bits, (old.size + per_cluster - 1) / per_cluster);
    return BLOCK_DONE;
}

static enum status resize_grow(struct qcow2 *qcow2, uint64_t size)
{
    unsigned covered_bits = 2 * qcow2->cluster_bits - 3;
    uint64_t entries = (size + BIT64(covered_bits) - 1) >> covered_bits, before = qcow2->image.size;
    struct image *backing = qcow2->image.backing;
    enum block_result result;

    if (size > BIT64(61) || entries > QCOW2_L1_MOST / 8) {
        log_error("%s: too large for clusters of %u bytes", qcow2->image.file.path, 1u << qcow2->cluster_bits);
        return STATUS_INVALID;
    }
    if (entries > qcow2->l1.size)
        result = l1_grow(qcow2, size, (uint32_t)entries);
    else
        result = resize_header(qcow2, size, qcow2->l1.size, qcow2->l1.offset);
    if (result != BLOCK_DONE)
        return resize_failed(qcow2);
    qcow2->image.size = size;
    /* What the backing has behind the old end must not come to light. */
    if (backing && backing->size > before) {
        uint64_t end = size < backing->size ? size : backing->size;

        result = qcow2_write_zeroes(&qcow2->image, before, end - before, true);
    }
    return result == BLOCK_DONE ? STATUS_OK : resize_failed(qcow2);
}

static enum status resize_shrink(struct qcow2 *qcow2, uint64_t size)
{
    enum block_result result = qcow2_write_zeroes(&qcow2->image, size, qcow2->image.size - size, true);

    if (result == BLOCK_DONE)
        result = qcow2_write_back(qcow2, true);
    if (result == BLOCK_DONE)
        result = resize_header(qcow2, size, qcow2->l1.size, qcow2->l1.offset);
    if (result != BLOCK_DONE) {
        log_error("%s could not be made smaller; what is behind its new end is lost in part", qcow2->image.file.path);
        return STATUS_IO;
    }
    qcow2->image.size = size;
    return STATUS_OK;
}

enum status qcow2_resize(struct image *image, uint64_t size)
{
    struct qcow2 *qcow2 = qcow2_of(image);

    if (size == image->size)
        return STATUS_OK;
    if (qcow2->snapshot_count > 0) {
        log_error("%s has snapshots, which are of its present size; delete them first", image->file.path);
        return STATUS_UNSUPPORTED;
    }
    if (qcow2_begin(qcow2) != BLOCK_DONE)
        return resize_failed(qcow2);
    return size > image->size ? resize_grow(qcow2, size) : resize_shrink(qcow2, size);
}
