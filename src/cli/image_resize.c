#include <string.h>

#include "base/bits.h"
#include "backend/qcow2.h"
#include "cli/image.h"
#include "cli/image_size.h"

static enum status resize_raw(struct image *image, uint64_t size)
{
    return file_resize(&image->file, size) == BLOCK_DONE ? STATUS_OK : STATUS_IO;
}

static enum status resize(struct image *image, uint64_t size, const struct image_arguments *arguments)
{
    const char *path = image->file.path;

    if (image->file.is_block_device) {
        log_error("%s is a block device; its size is not a file's", path);
        return STATUS_UNSUPPORTED;
    }
    if (size < image->size && !arguments->shrink) {
        log_error("%s would become smaller, and what is behind its new end would be lost; give --shrink if that is "
                  "meant",
                  path);
        return STATUS_INVALID;
    }
    return image_is_qcow2(image) ? qcow2_resize(image, size) : resize_raw(image, size);
}

int image_resize(const struct image_arguments *arguments)
{
    struct image_options options = {.format = arguments->format, .backing = arguments->rule};
    bool is_more = arguments->names[1][0] == '+';
    struct image *image;
    uint64_t size;

    if (!image_size_parse(arguments->names[1] + is_more, &size))
        return IMAGE_EXIT_USAGE;
    if (image_open(arguments->names[0], &options, &image) != STATUS_OK)
        return IMAGE_EXIT_FAILED;
    if (is_more)
        size += image->size; /* each is less than 2^63 */
    enum status status = resize(image, size, arguments);
    if (image_close(image) != BLOCK_DONE)
        status = STATUS_IO;
    return status == STATUS_OK ? IMAGE_EXIT_OK : IMAGE_EXIT_FAILED;
}
