/* Packing clusters; qcow2_compress.c tells the formats. */
#include "backend/qcow2_writer.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "backend/qcow2_internal.h"

enum { PACKED_SECTOR = 512, PACKED_WINDOW = 12, PACKED_MEMORY = 9 };

struct qcow2_writer {
    struct qcow2 *qcow2;
    uint64_t at;     /* where in the file the next packed cluster may go */
    uint8_t *packed; /* one cluster */
};

static size_t pack_zlib(uint8_t *to, size_t room, const uint8_t *from, size_t size)
{
    z_stream stream = {
        .next_in = (Bytef *)(uintptr_t)from, .avail_in = (uInt)size, .next_out = to, .avail_out = (uInt)room};

    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -PACKED_WINDOW, PACKED_MEMORY, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return 0;
    int result = deflate(&stream, Z_FINISH);
    (void)deflateEnd(&stream);
    return result == Z_STREAM_END ? room - stream.avail_out : 0;
}

static size_t pack(const struct qcow2 *qcow2, uint8_t *to, size_t room, const uint8_t *from, size_t size)
{
    if (qcow2->compression == QCOW2_ZLIB)
        return pack_zlib(to, room, from, size);
    size_t packed = ZSTD_compress(to, room, from, size, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(packed) ? 0 : packed;
}

/* Bytes in the file for a packed cluster: behind the previous one if that still has room in its cluster. */
static enum block_result packed_room(struct qcow2 *qcow2, struct qcow2_writer *writer, size_t size)
{
    uint64_t room = align_up(writer->at, qcow2_cluster_size(qcow2)) - writer->at;
    uint64_t cluster, got;
    bool is_fresh;

    if (size <= room) {
        return qcow2_refcount_add(qcow2, writer->at >> qcow2->cluster_bits, 1, 1);
    }
    enum block_result result = qcow2_allocate(qcow2, 1, 1, &cluster, &got, &is_fresh);
    if (result != BLOCK_DONE)
        return result;
    /* Directly behind the last: one cluster's bytes may cross the border. */
    if (room > 0 && align_up(writer->at, qcow2_cluster_size(qcow2)) >> qcow2->cluster_bits == cluster)
        return qcow2_refcount_add(qcow2, writer->at >> qcow2->cluster_bits, 1, 1);
    writer->at = cluster << qcow2->cluster_bits;
    return BLOCK_DONE;
}

/* The packed bytes into the file, and the entry that leads to them. */
static enum block_result writer_put_packed(struct qcow2_writer *writer, uint64_t offset, size_t size)
{
    struct qcow2 *qcow2 = writer->qcow2;
    unsigned bits = 62 - (qcow2->cluster_bits - 8);
    enum block_result result = qcow2_table_own(qcow2, offset);

    if (result == BLOCK_DONE)
        result = packed_room(qcow2, writer, size);
    if (result == BLOCK_DONE)
        result = file_write(&qcow2->image.file, writer->packed, size, writer->at);
    if (result != BLOCK_DONE)
        return result;
    uint64_t sectors = (writer->at % PACKED_SECTOR + size - 1) / PACKED_SECTOR;
    result = qcow2_table_set(qcow2, offset, 1, QCOW2_COMPRESSED | sectors << bits | writer->at, 0);
    writer->at += size;
    return result;
}

enum block_result qcow2_writer_put(struct qcow2_writer *writer, uint64_t offset, const void *bytes)
{
    struct qcow2 *qcow2 = writer->qcow2;
    size_t cluster = (size_t)qcow2_cluster_size(qcow2);
    size_t size = pack(qcow2, writer->packed, cluster - 1, bytes, cluster);
    enum block_result result = qcow2_begin(qcow2);

    if (result != BLOCK_DONE)
        return result;
    if (size > 0)
        return writer_put_packed(writer, offset, size);
    uint64_t room = qcow2->image.size - offset;
    return image_write(&qcow2->image, offset, bytes, room < cluster ? (size_t)room : cluster);
}

enum status qcow2_writer_create(struct image *image, struct qcow2_writer **writer)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    uint8_t *packed = malloc((size_t)qcow2_cluster_size(qcow2));

    *writer = malloc(sizeof(**writer));
    if (!*writer || !packed) {
        log_error("no memory to compress %s", image->file.path);
        free(*writer);
        free(packed);
        *writer = NULL;
        return STATUS_NO_MEMORY;
    }
    **writer = (struct qcow2_writer){.qcow2 = qcow2, .packed = packed};
    return STATUS_OK;
}

void qcow2_writer_destroy(struct qcow2_writer *writer)
{
    if (writer)
        free(writer->packed);
    free(writer);
}
