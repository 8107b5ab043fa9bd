/* The header of a qcow2 image, and what it leads to directly. Nothing in it is believed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"

bool qcow2_has_magic(const void *bytes)
{
    return load_be(bytes, 4) == QCOW2_MAGIC;
}

static enum status header_refuse(const struct qcow2 *qcow2, const char *what)
{
    log_error("%s is a damaged qcow2 image: %s", qcow2->image.file.path, what);
    return STATUS_CORRUPT;
}

static enum status header_unsupported(const struct qcow2 *qcow2, const char *what)
{
    log_error("%s: Lodge cannot use a qcow2 image with %s; 'qemu-img convert' makes one without",
              qcow2->image.file.path, what);
    return STATUS_UNSUPPORTED;
}

static enum status header_no_memory(const struct qcow2 *qcow2)
{
    log_error("no memory to open %s", qcow2->image.file.path);
    return STATUS_NO_MEMORY;
}

enum block_result qcow2_damaged(struct qcow2 *qcow2, const char *what, uint64_t offset)
{
    struct file *file = &qcow2->image.file;

    if (log_allowed(&file->complaints, QCOW2_COMPLAINTS))
        log_error("%s: damaged: %s at offset %#" PRIx64 "; look at it with 'lodge image check'", file->path, what,
                  offset);
    return BLOCK_ERROR;
}

enum block_result qcow2_header_write(struct qcow2 *qcow2, unsigned field, unsigned size, uint64_t value)
{
    uint8_t bytes[8];

    store_be(bytes, size, value);
    enum block_result result = file_write(&qcow2->image.file, bytes, size, field);
    return result == BLOCK_DONE ? file_sync(&qcow2->image.file) : result;
}

enum block_result qcow2_mark(struct qcow2 *qcow2, uint64_t bit, bool on)
{
    uint64_t features = on ? qcow2->incompatible | bit : qcow2->incompatible & ~bit;
    enum block_result result = BLOCK_DONE;

    if (qcow2->version >= 3 && features != qcow2->incompatible)
        result = qcow2_header_write(qcow2, QCOW2_INCOMPATIBLE_FEATURES, 8, features);
    if (result == BLOCK_DONE && qcow2->version >= 3)
        qcow2->incompatible = features;
    return result;
}

/* --- the fixed part --- */

static enum status header_features(struct qcow2 *qcow2, const uint8_t *header)
{
    const uint64_t known = QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION;

    qcow2->refcount_order = 4;
    qcow2->header_length = QCOW2_V2_LENGTH;
    if (qcow2->version == 2)
        return STATUS_OK;
    qcow2->incompatible = load_be(header + QCOW2_INCOMPATIBLE_FEATURES, 8);
    qcow2->compatible = load_be(header + QCOW2_COMPATIBLE_FEATURES, 8);
    qcow2->autoclear = load_be(header + QCOW2_AUTOCLEAR_FEATURES, 8);
    qcow2->refcount_order = (unsigned)load_be(header + QCOW2_REFCOUNT_ORDER, 4);
    qcow2->header_length = (uint32_t)load_be(header + QCOW2_HEADER_LENGTH, 4);
    if (qcow2->header_length < QCOW2_V3_LENGTH || qcow2->header_length > qcow2_cluster_size(qcow2))
        return header_refuse(qcow2, "its header has an impossible length");
    if (qcow2->incompatible & QCOW2_EXTERNAL_DATA)
        return header_unsupported(qcow2, "an external data file");
    if (qcow2->incompatible & QCOW2_EXTENDED_L2)
        return header_unsupported(qcow2, "subclusters (extended L2 entries)");
    if (qcow2->incompatible & ~known)
        return header_unsupported(qcow2, "a feature that it does not know");
    if (qcow2->refcount_order > 6)
        return header_refuse(qcow2, "its reference counts have more than 64 bits");
    if (qcow2->header_length > QCOW2_COMPRESSION_TYPE)
        qcow2->compression = header[QCOW2_COMPRESSION_TYPE];
    if (qcow2->compression > QCOW2_ZSTD)
        return header_unsupported(qcow2, "an unknown method of compression");
    if ((qcow2->compression != QCOW2_ZLIB) != ((qcow2->incompatible & QCOW2_COMPRESSION) != 0))
        return header_refuse(qcow2, "its header contradicts itself about compression");
    return STATUS_OK;
}

static enum status header_parse(struct qcow2 *qcow2, const uint8_t *header)
{
    if (!qcow2_has_magic(header)) {
        log_error("%s is not a qcow2 image", qcow2->image.file.path);
        return STATUS_INVALID;
    }
    qcow2->version = (unsigned)load_be(header + QCOW2_VERSION, 4);
    if (qcow2->version < 2 || qcow2->version > 3)
        return header_unsupported(qcow2, "a version other than 2 and 3");
    qcow2->cluster_bits = (unsigned)load_be(header + QCOW2_CLUSTER_BITS, 4);
    if (qcow2->cluster_bits < QCOW2_CLUSTER_BITS_LEAST || qcow2->cluster_bits > QCOW2_CLUSTER_BITS_MOST)
        return header_refuse(qcow2, "its cluster size is not between 512 bytes and 2 MiB");
    if (load_be(header + QCOW2_CRYPT_METHOD, 4) != 0)
        return header_unsupported(qcow2, "encryption");
    qcow2->image.size = load_be(header + QCOW2_SIZE, 8);
    qcow2->image.cluster_size = (uint32_t)qcow2_cluster_size(qcow2);
    return header_features(qcow2, header);
}

/* --- the tables --- */

static enum status table_read(struct qcow2 *qcow2, struct qcow2_table *table, const char *what)
{
    struct file *file = &qcow2->image.file;
    uint64_t bytes = (uint64_t)table->size * 8;

    if (qcow2_in_cluster(qcow2, table->offset) != 0 || (bytes > 0 && table->offset == 0) ||
        !range_inside(table->offset, bytes, align_up(file_size(file), 512)))
        return header_refuse(qcow2, what);
    table->entries = calloc(table->size + 1u, 8);
    if (!table->entries)
        return header_no_memory(qcow2);
    if (file_read(file, table->entries, bytes, table->offset) != BLOCK_DONE)
        return STATUS_IO;
    for (uint32_t i = 0; i < table->size; i++)
        table->entries[i] = load_be(&table->entries[i], 8);
    return STATUS_OK;
}

static enum status l1_read(struct qcow2 *qcow2, const uint8_t *header)
{
    unsigned covered_bits = 2 * qcow2->cluster_bits - 3; /* of one L1 entry */
    uint64_t size = load_be(header + QCOW2_L1_SIZE, 4);

    qcow2->l1.size = (uint32_t)size;
    qcow2->l1.offset = load_be(header + QCOW2_L1_TABLE_OFFSET, 8);
    if (size * 8 > QCOW2_L1_MOST)
        return header_refuse(qcow2, "its L1 table is larger than 32 MiB");
    if (qcow2->image.size > BIT64(62) || (qcow2->image.size + BIT64(covered_bits) - 1) >> covered_bits > size)
        return header_refuse(qcow2, "its L1 table is too small for its size");
    return table_read(qcow2, &qcow2->l1, "its L1 table is outside the file");
}

static enum status refcount_table_read(struct qcow2 *qcow2, const uint8_t *header)
{
    uint64_t clusters = load_be(header + QCOW2_REFCOUNT_TABLE_CLUSTERS, 4);

    if (clusters == 0)
        return header_refuse(qcow2, "it has no refcount table");
    if (clusters << qcow2->cluster_bits > QCOW2_REFCOUNT_TABLE_MOST)
        return header_refuse(qcow2, "its refcount table is larger than 8 MiB");
    qcow2->refcount_table.size = (uint32_t)(clusters << qcow2->cluster_bits >> 3);
    qcow2->refcount_table.offset = load_be(header + QCOW2_REFCOUNT_TABLE_OFFSET, 8);
    return table_read(qcow2, &qcow2->refcount_table, "its refcount table is outside the file");
}

static enum status snapshots_read(struct qcow2 *qcow2, const uint8_t *header)
{
    qcow2->snapshot_count = (uint32_t)load_be(header + QCOW2_NB_SNAPSHOTS, 4);
    qcow2->snapshots_offset = load_be(header + QCOW2_SNAPSHOTS_OFFSET, 8);
    if (qcow2->snapshot_count == 0)
        return STATUS_OK;
    if (qcow2->snapshot_count > QCOW2_SNAPSHOTS_MOST)
        return header_refuse(qcow2, "it has too many snapshots");
    if (qcow2_in_cluster(qcow2, qcow2->snapshots_offset) != 0 || qcow2->snapshots_offset == 0 ||
        !range_inside(qcow2->snapshots_offset, 40ull * qcow2->snapshot_count, file_size(&qcow2->image.file)))
        return header_refuse(qcow2, "its snapshot table is outside the file");
    qcow2->snapshots_size = 40ull * qcow2->snapshot_count; /* at least; the exact end is only known to a check */
    return STATUS_OK;
}

/* The clusters that a table leads to. Twice the same, or a place that cannot be, is damage. */
static enum status metadata_add(struct qcow2 *qcow2, const struct qcow2_table *table, const char *what)
{
    uint64_t end = file_size(&qcow2->image.file);

    for (uint32_t i = 0; i < table->size; i++) {
        uint64_t offset = table->entries[i] & QCOW2_OFFSET_MASK;
        bool is_new = true;

        if (offset == 0)
            continue;
        bool good = qcow2_in_cluster(qcow2, offset) == 0 && offset < end &&
                    !qcow2_is_metadata(qcow2, offset, qcow2_cluster_size(qcow2));
        if (good && !qcow2_set_add(&qcow2->metadata, offset >> qcow2->cluster_bits, &is_new))
            return header_no_memory(qcow2);
        if (good && is_new)
            continue;
        qcow2->is_damaged = true;
        if (!qcow2->image.read_only)
            return header_refuse(qcow2, what);
    }
    return STATUS_OK;
}

/* --- names --- */

static char *text_read(struct qcow2 *qcow2, uint64_t offset, uint64_t size, enum status *status)
{
    char *text = calloc(1, size + 1);

    if (!text)
        *status = header_no_memory(qcow2);
    else if (file_read(&qcow2->image.file, text, size, offset) != BLOCK_DONE)
        *status = STATUS_IO;
    else if (strlen(text) != size)
        *status = header_refuse(qcow2, "a name in its header holds a zero byte");
    if (*status != STATUS_OK) {
        free(text);
        return NULL;
    }
    return text;
}

static enum status extension_read(struct qcow2 *qcow2, uint64_t type, uint64_t at, uint64_t size)
{
    enum status status = STATUS_OK;

    if (type == QCOW2_EXTENSION_BITMAPS)
        qcow2->has_bitmaps = true;
    if (type == (uint32_t)QCOW2_EXTENSION_BACKING_FORMAT && !qcow2->backing_format) {
        if (size > 64)
            return header_refuse(qcow2, "the name of its backing's format is too long");
        qcow2->backing_format = text_read(qcow2, at, size, &status);
    }
    return status;
}

/* They lie between the header and the backing file's name, or the end of the first cluster. */
static enum status extensions_read(struct qcow2 *qcow2, uint64_t end)
{
    enum status status = STATUS_OK;
    uint64_t at = qcow2->header_length;

    while (status == STATUS_OK && end >= 8 && at <= end - 8) {
        uint8_t head[8];

        if (file_read(&qcow2->image.file, head, sizeof(head), at) != BLOCK_DONE)
            return STATUS_IO;
        uint64_t type = load_be(head, 4), size = load_be(head + 4, 4);
        at += 8;
        if (type == QCOW2_EXTENSION_END)
            break;
        if (size > end - at)
            return header_refuse(qcow2, "a header extension is too long");
        status = extension_read(qcow2, type, at, size);
        at += align_up(size, 8);
    }
    return status;
}

static enum status names_read(struct qcow2 *qcow2, const uint8_t *header)
{
    uint64_t offset = load_be(header + QCOW2_BACKING_FILE_OFFSET, 8);
    uint64_t size = load_be(header + QCOW2_BACKING_FILE_SIZE, 4);
    uint64_t end = offset ? offset : qcow2_cluster_size(qcow2);
    enum status status = STATUS_OK;

    if (offset && (size > QCOW2_BACKING_NAME_MOST || !range_inside(offset, size, qcow2_cluster_size(qcow2))))
        return header_refuse(qcow2, "the name of its backing file is outside its first cluster");
    if (offset && size > 0)
        qcow2->backing_path = text_read(qcow2, offset, size, &status);
    return status == STATUS_OK ? extensions_read(qcow2, end) : status;
}

enum status qcow2_header_read(struct qcow2 *qcow2)
{
    uint8_t header[QCOW2_FULL_LENGTH];

    if (file_read(&qcow2->image.file, header, sizeof(header), 0) != BLOCK_DONE)
        return STATUS_IO;
    enum status status = header_parse(qcow2, header);
    if (status == STATUS_OK)
        status = names_read(qcow2, header);
    if (status == STATUS_OK)
        status = l1_read(qcow2, header);
    if (status == STATUS_OK)
        status = refcount_table_read(qcow2, header);
    if (status == STATUS_OK)
        status = snapshots_read(qcow2, header);
    if (status == STATUS_OK)
        status = metadata_add(qcow2, &qcow2->l1, "its L1 table leads to a place where no L2 table can be");
    if (status == STATUS_OK)
        status = metadata_add(qcow2, &qcow2->refcount_table, "two of its tables are in the same place");
    return status;
}
