#include "backend/image.h"

#include <stdlib.h>
#include <string.h>

#include "backend/image_internal.h"
#include "base/bits.h"

bool image_format_parse(const char *name, enum image_format *format)
{
    if (strcmp(name, "raw") == 0)
        *format = IMAGE_RAW;
    else if (strcmp(name, "qcow2") == 0)
        *format = IMAGE_QCOW2;
    else
        return false;
    return true;
}

bool backing_rule_parse(const char *name, enum backing_rule *rule)
{
    static const char *const names[] = {
        [BACKING_BESIDE] = "beside", [BACKING_ALLOW] = "allow", [BACKING_DENY] = "deny"};

    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (strcmp(names[i], name) == 0) {
            *rule = (enum backing_rule)i;
            return true;
        }
    }
    return false;
}

static enum status image_probe(struct file *file, enum image_format *format)
{
    char start[4] = {0};

    if (file_read(file, start, sizeof(start), 0) != BLOCK_DONE)
        return STATUS_IO;
    *format = qcow2_has_magic(start) ? IMAGE_QCOW2 : IMAGE_RAW;
    return STATUS_OK;
}

static enum status image_open_qcow2(struct file *file, const struct image_options *options, unsigned depth,
                                    struct image **image)
{
    struct backing_reference reference = {0};
    enum status status = qcow2_open(file, options, image, &reference);

    if (status != STATUS_OK)
        return status;
    if (reference.path && !options->without_backing)
        status = image_open_backing(*image, &reference, options, depth);
    if (status == STATUS_OK)
        status = qcow2_start(*image);
    if (status != STATUS_OK) {
        (void)image_close(*image);
        *image = NULL;
    }
    return status;
}

enum status image_open_file(struct file *file, const struct image_options *options, unsigned depth,
                            struct image **image)
{
    enum image_format format = options->format;

    *image = NULL;
    if (format == IMAGE_AUTO) {
        enum status status = image_probe(file, &format);

        if (status != STATUS_OK) {
            file_close(file);
            return status;
        }
    }
    if (format == IMAGE_RAW)
        return raw_open(file, options, image);
    return image_open_qcow2(file, options, depth, image);
}

enum status image_open(const char *path, const struct image_options *options, struct image **image)
{
    unsigned flags = (options->read_only ? 0u : FILE_WRITE) | (options->direct ? FILE_DIRECT : 0u) |
                     (options->unlocked ? FILE_UNLOCKED : 0u);
    struct file file;
    enum status status = file_open(&file, path, flags);

    *image = NULL;
    if (status != STATUS_OK)
        return status;
    return image_open_file(&file, options, 0, image);
}

enum status image_open_adopted(struct file *file, const struct image_options *options, struct image **image)
{
    return image_open_file(file, options, 0, image);
}

/* The chain is a list, and may be long: not by recursion. */
enum block_result image_close(struct image *image)
{
    enum block_result result = BLOCK_DONE;

    while (image) {
        struct image *backing = image->backing;
        enum block_result closed = image->type->close(image);

        if (closed != BLOCK_DONE)
            result = closed;
        file_close(&image->file);
        free(image);
        image = backing;
    }
    return result;
}

static enum block_result image_beyond(struct image *image)
{
    log_error("%s: an access beyond the end of the disk", image->file.path);
    return BLOCK_ERROR;
}

enum block_result image_read(struct image *image, uint64_t offset, void *bytes, size_t size)
{
    struct block_segment segment;

    if (!range_inside(offset, size, image->size))
        return image_beyond(image);
    return size ? image->type->read(image, offset, size, buffer_of_memory(&segment, bytes, size)) : BLOCK_DONE;
}

enum block_result image_write(struct image *image, uint64_t offset, const void *bytes, size_t size)
{
    struct block_segment segment;
    struct buffer buffer = buffer_of_memory(&segment, (void *)(uintptr_t)bytes, size);

    if (!range_inside(offset, size, image->size))
        return image_beyond(image);
    return size ? image->type->write(image, offset, size, buffer) : BLOCK_DONE;
}
