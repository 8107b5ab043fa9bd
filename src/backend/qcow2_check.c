/*
 * What refers to which cluster, counted anew from all tables, and compared with the counts in the file.
 *
 * Memory: four bytes for each cluster of the file, given by the host only where something refers to it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/qcow2.h"
#include "backend/qcow2_internal.h"

enum { CHECK_LINES = 32, SNAPSHOT_HEAD = 40 };
static const uint64_t check_clusters_most = 1ull << 30;

struct check {
    struct qcow2 *qcow2;
    struct qcow2_report *report;
    uint32_t *counts;
    uint64_t clusters; /* of the file */
    uint64_t mapped;   /* bytes of address space of counts */
    uint8_t *table;    /* one L2 table */
    struct log_limit lines;
    bool repair;
    bool is_active;  /* what is walked is the disk itself and not a snapshot */
    bool has_beyond; /* something leads nowhere: counts alone do not make it right */
    enum status status;
};

static void check_error(struct check *check, const char *what, uint64_t offset)
{
    check->report->errors++;
    if (log_allowed(&check->lines, CHECK_LINES))
        log_warning("%s: %s at offset %#" PRIx64, check->qcow2->image.file.path, what, offset);
}

/* Bytes of the file that are referred to once more. False: they are not in it. */
static bool check_count(struct check *check, uint64_t offset, uint64_t length, const char *what)
{
    unsigned bits = check->qcow2->cluster_bits;

    if (length == 0)
        return true;
    if (offset > UINT64_MAX - length || (offset + length - 1) >> bits >= check->clusters) {
        check_error(check, what, offset);
        check->has_beyond = true;
        return false;
    }
    for (uint64_t cluster = offset >> bits; cluster <= (offset + length - 1) >> bits; cluster++)
        check->counts[cluster] += check->counts[cluster] < UINT32_MAX;
    return true;
}

static bool check_read(struct check *check, void *bytes, size_t size, uint64_t offset)
{
    if (file_read(&check->qcow2->image.file, bytes, size, offset) == BLOCK_DONE)
        return true;
    check->status = STATUS_IO;
    return false;
}

/* --- L2 and L1 --- */

static void check_l2_entry(struct check *check, uint64_t entry)
{
    struct qcow2 *qcow2 = check->qcow2;
    uint64_t offset = entry & QCOW2_OFFSET_MASK, size = qcow2_cluster_size(qcow2);
    bool used = true;

    switch (qcow2_kind_of(qcow2, entry)) {
    case QCOW2_PACKED:
        qcow2_packed_place(qcow2, entry, &offset, &size);
        (void)check_count(check, offset, size, "a compressed cluster lies outside the file");
        check->report->compressed += check->is_active;
        break;
    case QCOW2_NORMAL:
    case QCOW2_ZERO_ALLOCATED:
        (void)check_count(check, offset, size, "data lies outside the file");
        break;
    case QCOW2_INVALID:
        check_error(check, "an impossible L2 entry", offset);
        check->has_beyond = true;
        break;
    case QCOW2_UNALLOCATED:
    case QCOW2_ZERO_PLAIN:
        used = false;
        break;
    }
    check->report->allocated += used && check->is_active;
}

static void check_l2(struct check *check, uint64_t table)
{
    struct qcow2 *qcow2 = check->qcow2;
    size_t size = (size_t)qcow2_cluster_size(qcow2);

    if (qcow2_in_cluster(qcow2, table) != 0) {
        check_error(check, "an L2 table is not at the start of a cluster", table);
        check->has_beyond = true;
        return;
    }
    if (!check_count(check, table, size, "an L2 table lies outside the file") ||
        !check_read(check, check->table, size, table))
        return;
    for (size_t i = 0; i < size / 8; i++)
        check_l2_entry(check, load_be(check->table + 8 * i, 8));
}

static void check_l1(struct check *check, uint64_t offset, const uint64_t *entries, uint32_t count)
{
    if (!check_count(check, offset, 8ull * count, "an L1 table lies outside the file"))
        return;
    for (uint32_t i = 0; i < count && check->status == STATUS_OK; i++)
        if (entries[i] & QCOW2_OFFSET_MASK)
            check_l2(check, entries[i] & QCOW2_OFFSET_MASK);
}

/* --- snapshots --- */

static void check_snapshot_l1(struct check *check, uint64_t offset, uint32_t count)
{
    uint64_t *entries = NULL;

    if (8ull * count > QCOW2_L1_MOST || !range_inside(offset, 8ull * count, file_size(&check->qcow2->image.file))) {
        check_error(check, "a snapshot's L1 table lies outside the file", offset);
        check->has_beyond = true;
        return;
    }
    entries = calloc(count + 1u, 8);
    if (!entries) {
        check->status = STATUS_NO_MEMORY;
    } else if (check_read(check, entries, 8ull * count, offset)) {
        for (uint32_t i = 0; i < count; i++)
            entries[i] = load_be(&entries[i], 8);
        check_l1(check, offset, entries, count);
    }
    free(entries);
}

static void check_snapshots(struct check *check)
{
    const struct qcow2 *qcow2 = check->qcow2;
    uint64_t at = qcow2->snapshots_offset;

    for (uint32_t i = 0; i < qcow2->snapshot_count && check->status == STATUS_OK; i++) {
        uint8_t head[SNAPSHOT_HEAD];

        if (!check_read(check, head, sizeof(head), at))
            return;
        check_snapshot_l1(check, load_be(head, 8), (uint32_t)load_be(head + 8, 4));
        at += SNAPSHOT_HEAD + load_be(head + 36, 4) + load_be(head + 12, 2) + load_be(head + 14, 2);
        at = align_up(at, 8);
        if (at - qcow2->snapshots_offset > QCOW2_SNAPSHOT_TABLE_MOST)
            break;
    }
    if (qcow2->snapshot_count > 0)
        (void)check_count(check, qcow2->snapshots_offset, at - qcow2->snapshots_offset,
                          "the snapshot table lies outside the file");
}

/* --- the counts --- */

static void check_refcount_table(struct check *check)
{
    const struct qcow2 *qcow2 = check->qcow2;
    const struct qcow2_table *table = &qcow2->refcount_table;

    (void)check_count(check, table->offset, 8ull * table->size, "the refcount table lies outside the file");
    for (uint32_t i = 0; i < table->size; i++) {
        uint64_t offset = table->entries[i];

        if (offset == 0)
            continue;
        if (qcow2_in_cluster(qcow2, offset) != 0) {
            check_error(check, "a refcount block is not at the start of a cluster", offset);
            check->has_beyond = true;
        } else {
            (void)check_count(check, offset, qcow2_cluster_size(qcow2), "a refcount block lies outside the file");
        }
    }
}

static void check_compare_cluster(struct check *check, uint64_t cluster)
{
    uint64_t counted = cluster < check->clusters ? check->counts[cluster] : 0;
    uint64_t stored;

    if (qcow2_refcount_get(check->qcow2, cluster, &stored) != BLOCK_DONE) {
        check->status = STATUS_IO;
        return;
    }
    if (stored == counted)
        return;
    if (stored > counted)
        check->report->leaks++;
    else
        check_error(check, "a cluster has more references than are counted", cluster << check->qcow2->cluster_bits);
    if (!check->repair || check->has_beyond)
        return;
    if (qcow2_refcount_set(check->qcow2, cluster, counted) == BLOCK_DONE)
        check->report->repaired++;
    else
        check->status = STATUS_IO;
}

/* Is there a block of counts, and is it only there once? A table may name one block a million times. */
static bool check_block_counts(const struct check *check, uint64_t offset)
{
    uint64_t cluster = offset >> check->qcow2->cluster_bits;

    return offset != 0 && cluster < check->clusters && check->counts[cluster] == 1;
}

/* The host may have lost a new size of the file, and kept counts of what is behind its end. */
static void check_compare_behind(struct check *check)
{
    const struct qcow2_table *table = &check->qcow2->refcount_table;
    unsigned block_bits = check->qcow2->cluster_bits + 3 - check->qcow2->refcount_order;
    uint64_t cluster = check->clusters;

    while (cluster >> block_bits < table->size && check->status == STATUS_OK) {
        if (check_block_counts(check, table->entries[cluster >> block_bits]))
            check_compare_cluster(check, cluster++);
        else
            cluster = ((cluster >> block_bits) + 1) << block_bits;
    }
}

/* Behind the end first: new blocks, should a repair need some, are placed there. */
static void check_compare(struct check *check)
{
    check->qcow2->is_repairing = check->repair;
    check_compare_behind(check);
    for (uint64_t cluster = 0; cluster < check->clusters && check->status == STATUS_OK; cluster++)
        check_compare_cluster(check, cluster);
    check->qcow2->is_repairing = false;
}

/* --- the copied bits, of the disk itself: set where the count is 1 --- */

static bool copied_differs(struct check *check, uint64_t entry, uint64_t *right)
{
    uint64_t offset = entry & QCOW2_OFFSET_MASK;

    if (offset == 0 || (entry & QCOW2_COMPRESSED) || offset >> check->qcow2->cluster_bits >= check->clusters)
        return false;
    bool alone = check->counts[offset >> check->qcow2->cluster_bits] == 1;
    *right = alone ? entry | QCOW2_COPIED : entry & ~QCOW2_COPIED;
    return *right != entry;
}

/* An entry in the file. What refers to more than it should is worse than what does not. */
static void copied_mend(struct check *check, uint64_t at, uint64_t right)
{
    uint8_t bytes[8];

    check_error(check, "a wrong copied bit in the table", at);
    if (!check->repair || check->has_beyond)
        return;
    store_be(bytes, 8, right);
    if (file_write(&check->qcow2->image.file, bytes, 8, at) == BLOCK_DONE)
        check->report->repaired++;
    else
        check->status = STATUS_IO;
}

static void copied_check_l2(struct check *check, uint64_t table)
{
    size_t size = (size_t)qcow2_cluster_size(check->qcow2);
    uint64_t right;

    if (table >> check->qcow2->cluster_bits >= check->clusters || qcow2_in_cluster(check->qcow2, table) != 0 ||
        !check_read(check, check->table, size, table))
        return;
    for (size_t i = 0; i < size / 8; i++)
        if (copied_differs(check, load_be(check->table + 8 * i, 8), &right))
            copied_mend(check, table + 8 * i, right);
}

static void copied_check(struct check *check)
{
    struct qcow2_table *l1 = &check->qcow2->l1;

    for (uint32_t i = 0; i < l1->size && check->status == STATUS_OK; i++) {
        uint64_t right;

        if (copied_differs(check, l1->entries[i], &right)) {
            copied_mend(check, l1->offset + 8ull * i, right);
            if (check->repair && !check->has_beyond)
                l1->entries[i] = right;
        }
        if (l1->entries[i] & QCOW2_OFFSET_MASK)
            copied_check_l2(check, l1->entries[i] & QCOW2_OFFSET_MASK);
    }
}

/* --- all of it --- */

static void check_all(struct check *check)
{
    struct qcow2 *qcow2 = check->qcow2;

    (void)check_count(check, 0, qcow2_cluster_size(qcow2), "the header");
    check->is_active = true;
    check_l1(check, qcow2->l1.offset, qcow2->l1.entries, qcow2->l1.size);
    check->is_active = false;
    check_snapshots(check);
    check_refcount_table(check);
    if (check->status == STATUS_OK)
        check_compare(check);
    if (check->status == STATUS_OK)
        copied_check(check);
}

static enum status check_finish(struct check *check)
{
    struct qcow2 *qcow2 = check->qcow2;

    /* L2 entries may have been mended in the file, behind the cache. */
    for (uint32_t i = 0; i < qcow2->l1.size && check->repair; i++)
        qcow2_cache_forget(&qcow2->l2, qcow2->l1.entries[i] & QCOW2_OFFSET_MASK, qcow2_cluster_size(qcow2));
    qcow2->free_hint = 0;
    if (check->status == STATUS_OK && check->repair && qcow2_write_back(qcow2, true) != BLOCK_DONE)
        check->status = STATUS_IO;
    return check->status;
}

static enum status check_refuse(const struct qcow2 *qcow2, bool repair)
{
    if (qcow2->has_bitmaps && repair) {
        log_error("%s has dirty bitmaps, which Lodge cannot count; repair it with 'qemu-img check -r leaks'",
                  qcow2->image.file.path);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

enum status qcow2_check(struct image *image, bool repair, struct qcow2_report *report)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    uint64_t size = qcow2_cluster_size(qcow2);
    struct check check = {.qcow2 = qcow2, .report = report, .repair = repair};
    enum status status = check_refuse(qcow2, repair);

    *report = (struct qcow2_report){.total = (image->size + size - 1) >> qcow2->cluster_bits};
    check.clusters = (file_size(&image->file) + size - 1) >> qcow2->cluster_bits;
    if (status != STATUS_OK)
        return status;
    if (check.clusters > check_clusters_most) {
        log_error("%s is too large to be checked", image->file.path);
        return STATUS_UNSUPPORTED;
    }
    check.mapped = (check.clusters + 1) * sizeof(*check.counts);
    check.counts = mmap(NULL, check.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check.table = malloc(size);
    if (check.counts == MAP_FAILED || !check.table) {
        log_error("no memory to check %s", image->file.path);
        status = STATUS_NO_MEMORY;
    } else {
        check_all(&check);
        status = check_finish(&check);
    }
    if (check.counts != MAP_FAILED)
        (void)munmap(check.counts, check.mapped);
    free(check.table);
    return status;
}
