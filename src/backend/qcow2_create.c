/*
 * New images. The file begins with a disk of no size: a cluster each for header, refcount table and refcount
 * block. Then it grows like any other.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2.h"
#include "backend/qcow2_internal.h"

static size_t put_extension(uint8_t *at, uint32_t type, const void *bytes, size_t size)
{
    store_be(at, 4, type);
    store_be(at + 4, 4, size);
    memcpy(at + 8, bytes, size);
    return 8 + align_up(size, 8);
}

/* A program that lacks a feature can say which: type (0: incompatible, 1: compatible), bit, name. */
static size_t put_feature_names(uint8_t *at)
{
    static const struct {
        uint8_t type, bit;
        char name[46];
    } names[] = {
        {0, 0, "dirty bit"},
        {0, 1, "corrupt bit"},
        {0, 3, "compression type"},
        {1, 0, "lazy refcounts"},
    };

    return put_extension(at, QCOW2_EXTENSION_FEATURE_NAMES, names, sizeof(names));
}

static void put_header(uint8_t *header, const struct qcow2_layout *layout)
{
    uint64_t cluster = BIT64(layout->cluster_bits);
    size_t at = layout->version >= 3 ? QCOW2_FULL_LENGTH : QCOW2_V2_LENGTH;

    store_be(header, 4, QCOW2_MAGIC);
    store_be(header + QCOW2_VERSION, 4, layout->version);
    store_be(header + QCOW2_CLUSTER_BITS, 4, layout->cluster_bits);
    store_be(header + QCOW2_REFCOUNT_TABLE_OFFSET, 8, cluster);
    store_be(header + QCOW2_REFCOUNT_TABLE_CLUSTERS, 4, 1);
    if (layout->version >= 3) {
        store_be(header + QCOW2_REFCOUNT_ORDER, 4, 4);
        store_be(header + QCOW2_HEADER_LENGTH, 4, QCOW2_FULL_LENGTH);
        store_be(header + QCOW2_INCOMPATIBLE_FEATURES, 8, layout->zstd ? QCOW2_COMPRESSION : 0);
        header[QCOW2_COMPRESSION_TYPE] = layout->zstd ? QCOW2_ZSTD : QCOW2_ZLIB;
    }
    if (layout->backing_format)
        at += put_extension(header + at, (uint32_t)QCOW2_EXTENSION_BACKING_FORMAT, layout->backing_format,
                            strlen(layout->backing_format));
    /* The names are a service; with the smallest clusters there may be no room for them. */
    if (layout->version >= 3 && at + 256 + 8 + QCOW2_BACKING_NAME_MOST < cluster)
        at += put_feature_names(header + at);
    at += put_extension(header + at, QCOW2_EXTENSION_END, "", 0);
    if (layout->backing_path) {
        size_t length = strlen(layout->backing_path);

        memcpy(header + at, layout->backing_path, length);
        store_be(header + QCOW2_BACKING_FILE_OFFSET, 8, at);
        store_be(header + QCOW2_BACKING_FILE_SIZE, 4, length);
    }
}

static enum status create_check(const struct file *file, const struct qcow2_layout *layout)
{
    size_t header = QCOW2_FULL_LENGTH + 32 + (layout->backing_path ? strlen(layout->backing_path) : 0);

    if (layout->backing_path &&
        (strlen(layout->backing_path) > QCOW2_BACKING_NAME_MOST || header > BIT64(layout->cluster_bits))) {
        log_error("%s: the name of the backing file is too long", file->path);
        return STATUS_INVALID;
    }
    if ((layout->size >> (2 * layout->cluster_bits - 3)) >= QCOW2_L1_MOST / 8) {
        log_error("%s: too large for clusters of %u bytes; choose larger clusters", file->path,
                  1u << layout->cluster_bits);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static enum status create_write(struct file *file, const struct qcow2_layout *layout)
{
    size_t cluster = (size_t)BIT64(layout->cluster_bits);
    uint8_t *bytes = calloc(3, cluster);

    if (!bytes) {
        log_error("no memory to make %s", file->path);
        return STATUS_NO_MEMORY;
    }
    put_header(bytes, layout);
    store_be(bytes + cluster, 8, 2 * cluster); /* the refcount table's only entry */
    for (size_t i = 0; i < 3; i++)
        store_be(bytes + 2 * cluster + 2 * i, 2, 1);
    enum block_result result = file_write(file, bytes, 3 * cluster, 0);
    free(bytes);
    return result == BLOCK_DONE ? STATUS_OK : STATUS_IO;
}

/* The file is opened a second time, over a copy of its descriptor, which the image closes. */
enum status qcow2_create(struct file *file, const struct qcow2_layout *layout)
{
    struct image_options options = {.format = IMAGE_QCOW2};
    struct backing_reference unused;
    struct file again;
    struct image *image;
    enum status status = create_check(file, layout);

    if (status == STATUS_OK)
        status = create_write(file, layout);
    if (status == STATUS_OK)
        status = file_copy(file, &again);
    if (status == STATUS_OK)
        status = qcow2_open(&again, &options, &image, &unused);
    if (status != STATUS_OK)
        return status;
    status = qcow2_resize(image, layout->size);
    if (image_close(image) != BLOCK_DONE && status == STATUS_OK)
        status = STATUS_IO;
    return status == STATUS_OK ? file_refresh(file) : status;
}
