/* A raw image: the disk's bytes are the file's. */
#include <stdlib.h>
#include <string.h>

#include "backend/image_internal.h"
#include "base/bits.h"

struct raw {
    struct image image;
};

/* All that is inside the file; what is behind it, in the last sector of an odd size, the owner sees to. */
static void raw_map(struct image *image, uint64_t offset, uint64_t length, bool write, struct extent *extent)
{
    uint64_t end = file_size(&image->file);

    *extent = (struct extent){.kind = EXTENT_UNKNOWN, .length = length};
    if (offset >= end || (write && image->guards_header && offset < BLOCK_SECTOR))
        return;
    extent->kind = EXTENT_DATA;
    extent->file = &image->file;
    extent->offset = offset;
    extent->length = length < end - offset ? length : end - offset;
}

static bool raw_needs_flush(struct image *image)
{
    (void)image;
    return false;
}

static enum block_result raw_load(struct image *image, uint64_t offset, uint64_t length)
{
    (void)image, (void)offset, (void)length;
    return BLOCK_DONE;
}

static enum block_result raw_read(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer)
{
    return file_read_buffer(&image->file, buffer, length, offset);
}

/*
 * The first sector of a disk that is raw only because nobody said so. It is written from a copy: the
 * guest could change its memory between our look and the write.
 */
static enum block_result raw_write_header(struct image *image, uint64_t offset, size_t size, struct buffer buffer)
{
    char sector[BLOCK_SECTOR];

    if (file_read(&image->file, sector, sizeof(sector), 0) != BLOCK_DONE)
        return BLOCK_ERROR;
    buffer_copy_from(buffer, sector + offset, size);
    if (qcow2_has_magic(sector)) {
        if (log_allowed(&image->file.complaints, 16))
            log_error("%s: the guest tried to turn its raw disk into a qcow2 image; give format=raw if it may",
                      image->file.path);
        return BLOCK_ERROR;
    }
    return file_write(&image->file, sector + offset, size, offset);
}

static enum block_result raw_write(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer)
{
    enum block_result result = BLOCK_DONE;

    if (file_was_cut(&image->file, file_size(&image->file)))
        return BLOCK_ERROR;
    if (image->guards_header && offset < BLOCK_SECTOR) {
        size_t head = BLOCK_SECTOR - offset < length ? (size_t)(BLOCK_SECTOR - offset) : (size_t)length;

        result = raw_write_header(image, offset, head, buffer);
        buffer = buffer_advance(buffer, head);
        offset += head;
        length -= head;
    }
    if (result == BLOCK_DONE && length > 0)
        result = file_write_buffer(&image->file, buffer, length, offset);
    return result;
}

/* The part of a range that is inside the file. */
static uint64_t raw_inside(const struct image *image, uint64_t offset, uint64_t length)
{
    uint64_t end = file_size(&image->file);

    if (offset >= end)
        return 0;
    return length < end - offset ? length : end - offset;
}

static enum block_result raw_write_zeroes(struct image *image, uint64_t offset, uint64_t length, bool unmap)
{
    if (file_was_cut(&image->file, file_size(&image->file)))
        return BLOCK_ERROR;
    return file_zero(&image->file, offset, raw_inside(image, offset, length), unmap);
}

/* A hole reads as zeroes, also where the guest must not rely on it. */
static enum block_result raw_discard(struct image *image, uint64_t offset, uint64_t length)
{
    length = raw_inside(image, offset, length);
    if (length > 0)
        file_discard(&image->file, offset, length);
    return BLOCK_DONE;
}

static enum block_result raw_flush(struct image *image)
{
    return file_sync(&image->file);
}

static enum block_result raw_status(struct image *image, uint64_t offset, uint64_t length, enum extent_kind *kind,
                                    bool *unallocated, uint64_t *known)
{
    bool is_data = true;
    uint64_t end = UINT64_MAX;

    (void)file_next_extent(&image->file, offset, &is_data, &end);
    *kind = is_data ? EXTENT_DATA : EXTENT_ZERO;
    *unallocated = false;
    *known = end - offset < length ? end - offset : length;
    return BLOCK_DONE;
}

static enum block_result raw_close(struct image *image)
{
    (void)image;
    return BLOCK_DONE;
}

static const struct image_type raw_type = {
    .name = "raw",
    .map = raw_map,
    .needs_flush = raw_needs_flush,
    .load = raw_load,
    .read = raw_read,
    .write = raw_write,
    .write_zeroes = raw_write_zeroes,
    .discard = raw_discard,
    .flush = raw_flush,
    .status = raw_status,
    .close = raw_close,
};

enum status raw_open(struct file *file, const struct image_options *options, struct image **image)
{
    struct raw *raw = calloc(1, sizeof(*raw));

    if (!raw) {
        log_error("no memory to open %s", file->path);
        file_close(file);
        return STATUS_NO_MEMORY;
    }
    raw->image = (struct image){
        .type = &raw_type,
        .file = *file,
        .size = align_up(file_size(file), BLOCK_SECTOR),
        .cluster_size = 4096,
        .read_only = options->read_only,
        .guards_header = options->format == IMAGE_AUTO,
    };
    *image = &raw->image;
    return STATUS_OK;
}
