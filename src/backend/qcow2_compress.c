/* Compressed clusters: raw deflate (RFC 1951) with a window of 4 KiB, or one frame of Zstandard (RFC 8878). */
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "backend/qcow2_internal.h"

enum { PACKED_SECTOR = 512, PACKED_WINDOW = 12, PACKED_ZSTD_WINDOW = 23 };

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
