#include "backend/qcow2.h"

#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"

enum { CACHE_SLICE = 4096 };
static const uint64_t cache_l2_most = 32 << 20, cache_counts_most = 4 << 20;

static const struct image_type qcow2_type = {
    .name = "qcow2",
    .map = qcow2_map,
    .needs_flush = qcow2_needs_flush,
    .load = qcow2_load,
    .read = qcow2_read,
    .write = qcow2_write,
    .write_zeroes = qcow2_write_zeroes,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .status = qcow2_status,
    .close = qcow2_close,
};

bool image_is_qcow2(const struct image *image)
{
    return image->type == &qcow2_type;
}

static uint64_t least_of(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

/* Enough slices of L2 tables and of counts for all of the disk, where that is within bounds. */
static bool qcow2_allocate_memory(struct qcow2 *qcow2)
{
    uint32_t cluster = (uint32_t)qcow2_cluster_size(qcow2);
    uint32_t slice = cluster < CACHE_SLICE ? cluster : CACHE_SLICE;
    uint64_t clusters = (qcow2->image.size >> qcow2->cluster_bits) + 1, some = 16 * (uint64_t)slice;
    uint64_t l2 = least_of(clusters * 8 + some, cache_l2_most);
    uint64_t counts = least_of((clusters << qcow2->refcount_order >> 3) + some, cache_counts_most);

    qcow2->scratch = malloc(cluster);
    qcow2->limbo = malloc(QCOW2_LIMBO * sizeof(*qcow2->limbo));
    return qcow2->scratch && qcow2->limbo &&
           qcow2_cache_init(&qcow2->l2, &qcow2->image.file, &qcow2->lock, slice, l2) &&
           qcow2_cache_init(&qcow2->refcounts, &qcow2->image.file, &qcow2->lock, slice, counts);
}

enum status qcow2_open(struct file *file, const struct image_options *options, struct image **image,
                       struct backing_reference *backing)
{
    struct qcow2 *qcow2 = calloc(1, sizeof(*qcow2));
    enum status status = STATUS_NO_MEMORY;

    if (!qcow2) {
        log_error("no memory to open %s", file->path);
        file_close(file);
        return STATUS_NO_MEMORY;
    }
    qcow2->image = (struct image){.type = &qcow2_type, .file = *file, .read_only = options->read_only};
    qcow2->keep_damaged = options->keep_damaged;
    pthread_mutex_init(&qcow2->lock, NULL);
    status = qcow2_header_read(qcow2);
    if (status == STATUS_OK && !qcow2_allocate_memory(qcow2)) {
        log_error("no memory to open %s", file->path);
        status = STATUS_NO_MEMORY;
    }
    if (status != STATUS_OK) {
        (void)image_close(&qcow2->image);
        return status;
    }
    qcow2->high_water = (file_size(&qcow2->image.file) + qcow2_cluster_size(qcow2) - 1) >> qcow2->cluster_bits;
    *backing = (struct backing_reference){.path = qcow2->backing_path, .format = qcow2->backing_format};
    *image = &qcow2->image;
    return STATUS_OK;
}

enum status qcow2_vouch(struct image *image)
{
    struct qcow2 *qcow2 = qcow2_of(image);

    if (qcow2_mark(qcow2, QCOW2_DIRTY | QCOW2_CORRUPT, false) != BLOCK_DONE)
        return STATUS_IO;
    qcow2->is_marked = false;
    return STATUS_OK;
}

/* Somebody was interrupted while he wrote: counts may be too high. They are found and made right. */
static enum status qcow2_recover(struct qcow2 *qcow2)
{
    struct qcow2_report report;
    const char *path = qcow2->image.file.path;
    enum status status;

    log_info("%s was not closed; looking for lost space", path);
    status = qcow2_check(&qcow2->image, true, &report);
    if (status != STATUS_OK)
        return status;
    if (report.errors + report.leaks > report.repaired) {
        log_error("%s is damaged; look at it with 'lodge image check'", path);
        return STATUS_CORRUPT;
    }
    return qcow2_vouch(&qcow2->image);
}

enum status qcow2_start(struct image *image)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    uint64_t end = qcow2->high_water << qcow2->cluster_bits;

    if (image->read_only || qcow2->keep_damaged)
        return STATUS_OK;
    if (qcow2->incompatible & QCOW2_CORRUPT) {
        log_error("%s is marked as damaged; 'lodge image check --repair' may help", image->file.path);
        return STATUS_CORRUPT;
    }
    if (!image->file.is_block_device && file_size(&image->file) < end && file_resize(&image->file, end) != BLOCK_DONE)
        return STATUS_IO;
    /* What we do not keep up to date must not be believed by others. */
    if (qcow2->version >= 3 && qcow2->autoclear != 0 &&
        qcow2_header_write(qcow2, QCOW2_AUTOCLEAR_FEATURES, 8, 0) != BLOCK_DONE)
        return STATUS_IO;
    qcow2->autoclear = 0;
    return qcow2->incompatible & QCOW2_DIRTY ? qcow2_recover(qcow2) : STATUS_OK;
}

void qcow2_describe(struct image *image, struct qcow2_facts *facts)
{
    const struct qcow2 *qcow2 = qcow2_of(image);

    *facts = (struct qcow2_facts){
        .version = qcow2->version,
        .backing_path = qcow2->backing_path,
        .backing_format = qcow2->backing_format,
        .compression = qcow2->compression == QCOW2_ZSTD ? "zstd" : "zlib",
        .refcount_bits = 1u << qcow2->refcount_order,
        .snapshots = qcow2->snapshot_count,
        .is_dirty = (qcow2->incompatible & QCOW2_DIRTY) != 0,
        .is_corrupt = (qcow2->incompatible & QCOW2_CORRUPT) != 0,
        .lazy_refcounts = (qcow2->compatible & QCOW2_LAZY_REFCOUNTS) != 0,
    };
}
