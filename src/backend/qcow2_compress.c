/* Compressed clusters: raw deflate (RFC 1951) with a window of 4 KiB, or one frame of Zstandard (RFC 8878). */
#include <zlib.h>
#include <zstd.h>

#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_compress.h"

enum { PACKED_SECTOR = 512, PACKED_WINDOW = 12, PACKED_MEMORY = 9, PACKED_ZSTD_WINDOW = 23 };

void qcow2_packed_place(const struct qcow2 *qcow2, uint64_t entry, uint64_t *offset, uint64_t *size)
{
    unsigned bits = 62 - (qcow2->cluster_bits - 8);

    *offset = entry & bits_mask(bits);
    uint64_t sectors = bits_get(entry, 61, bits) + 1;
    *size = sectors * PACKED_SECTOR - *offset % PACKED_SECTOR;
}

/* The packed bytes may be followed by others up to the end of their last sector. */
static bool unpack_zlib(uint8_t *to, size_t to_size, uint8_t *from, size_t from_size)
{
    z_stream stream = {.next_in = from, .avail_in = (uInt)from_size, .next_out = to, .avail_out = (uInt)to_size};

    if (inflateInit2(&stream, -PACKED_WINDOW) != Z_OK)
        return false;
    int result = inflate(&stream, Z_FINISH);
    bool good = stream.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR || result == Z_OK);
    (void)inflateEnd(&stream);
    return good;
}

static bool unpack_zstd(uint8_t *to, size_t to_size, const uint8_t *from, size_t from_size)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_outBuffer out = {.dst = to, .size = to_size};
    ZSTD_inBuffer in = {.src = from, .size = from_size};
    size_t before, result = 1;

    if (!context)
        return false;
    (void)ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, PACKED_ZSTD_WINDOW);
    do {
        before = in.pos + out.pos;
        result = ZSTD_decompressStream(context, &out, &in);
    } while (!ZSTD_isError(result) && out.pos < out.size && in.pos + out.pos != before);
    ZSTD_freeDCtx(context);
    return !ZSTD_isError(result) && out.pos == out.size;
}

enum block_result qcow2_unpack(struct qcow2 *qcow2, uint64_t entry)
{
    struct file *file = &qcow2->image.file;
    size_t cluster = (size_t)qcow2_cluster_size(qcow2);
    uint64_t offset, size;
    bool good;

    if (qcow2->unpacked_entry == entry)
        return BLOCK_DONE;
    qcow2->unpacked_entry = 0;
    qcow2_packed_place(qcow2, entry, &offset, &size);
    if (offset < cluster || offset >= file_size(file))
        return qcow2_damaged(qcow2, "a compressed cluster lies outside the file", offset);
    uint8_t *packed = malloc(size);
    if (!qcow2->unpacked)
        qcow2->unpacked = malloc(cluster);
    if (!packed || !qcow2->unpacked || file_read(file, packed, size, offset) != BLOCK_DONE) {
        free(packed);
        return BLOCK_ERROR;
    }
    if (qcow2->compression == QCOW2_ZSTD)
        good = unpack_zstd(qcow2->unpacked, cluster, packed, size);
    else
        good = unpack_zlib(qcow2->unpacked, cluster, packed, size);
    free(packed);
    if (!good)
        return qcow2_damaged(qcow2, "a compressed cluster does not unpack", offset);
    qcow2->unpacked_entry = entry;
    return BLOCK_DONE;
}

/* --- packing, for convert --- */

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
static enum block_result packed_room(struct qcow2 *qcow2, struct qcow2_packer *packer, size_t size)
{
    uint64_t room = align_up(packer->at, qcow2_cluster_size(qcow2)) - packer->at;
    uint64_t cluster, got;
    bool is_fresh;

    if (size <= room) {
        return qcow2_refcount_add(qcow2, packer->at >> qcow2->cluster_bits, 1, 1);
    }
    enum block_result result = qcow2_allocate(qcow2, 1, 1, &cluster, &got, &is_fresh);
    if (result != BLOCK_DONE)
        return result;
    /* Directly behind the last: one cluster's bytes may cross the border. */
    if (room > 0 && align_up(packer->at, qcow2_cluster_size(qcow2)) >> qcow2->cluster_bits == cluster)
        return qcow2_refcount_add(qcow2, packer->at >> qcow2->cluster_bits, 1, 1);
    packer->at = cluster << qcow2->cluster_bits;
    return BLOCK_DONE;
}

enum block_result qcow2_write_packed(struct image *image, struct qcow2_packer *packer, uint64_t offset,
                                     const void *bytes)
{
    struct qcow2 *qcow2 = qcow2_of(image);
    size_t cluster = (size_t)qcow2_cluster_size(qcow2);
    unsigned bits = 62 - (qcow2->cluster_bits - 8);
    uint8_t *packed = malloc(cluster);
    struct block_segment segment;
    enum block_result result = packed ? qcow2_begin(qcow2) : BLOCK_ERROR;
    size_t size = packed ? pack(qcow2, packed, cluster - 1, bytes, cluster) : 0;

    if (result == BLOCK_DONE && size == 0)
        result = qcow2_write(image, offset, cluster, buffer_of_memory(&segment, (void *)(uintptr_t)bytes, cluster));
    else if (result == BLOCK_DONE) {
        result = qcow2_table_own(qcow2, offset);
        if (result == BLOCK_DONE)
            result = packed_room(qcow2, packer, size);
        if (result == BLOCK_DONE)
            result = file_write(&qcow2->image.file, packed, size, packer->at);
        if (result == BLOCK_DONE) {
            uint64_t sectors = ((packer->at % PACKED_SECTOR) + size - 1) / PACKED_SECTOR;

            result = qcow2_table_set(qcow2, offset, 1, QCOW2_COMPRESSED | sectors << bits | packer->at, 0);
            packer->at += size;
        }
    }
    free(packed);
    return result;
}
