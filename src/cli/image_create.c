#include <string.h>

#include "cli/image.h"
#include "cli/image_output.h"
#include "cli/image_size.h"

/* The backing is opened as a machine would, by the image's own rule: an image that nobody can open is no use. */
static enum status create_look_at_backing(const struct image_arguments *arguments, const struct file *file,
                                          uint64_t *size)
{
    struct image_options options = {.format = IMAGE_QCOW2, .read_only = true, .backing = arguments->rule};
    struct file copy;
    struct image *image;
    enum status status = file_copy(file, &copy);

    if (status == STATUS_OK)
        status = image_open_adopted(&copy, &options, &image);
    if (status == STATUS_OK) {
        *size = image->backing->size;
        if (image_close(image) != BLOCK_DONE)
            status = STATUS_IO;
    }
    return status;
}

static enum status create_qcow2(const struct image_arguments *arguments, struct file *file, uint64_t size)
{
    struct qcow2_layout layout = {
        .size = size,
        .version = 3,
        .cluster_bits = (unsigned)__builtin_ctzll(arguments->cluster_size),
        .zstd = arguments->zstd,
        .backing_path = arguments->backing,
        .backing_format = arguments->backing_format == IMAGE_RAW ? "raw" : "qcow2",
    };
    enum status status;

    if (!arguments->backing)
        layout.backing_format = NULL;
    status = qcow2_create(file, &layout);
    if (!arguments->backing)
        return status;
    if (status == STATUS_OK)
        status = create_look_at_backing(arguments, file, &size);
    if (status != STATUS_OK || arguments->name_count == 2)
        return status;
    layout.size = size;
    if (file_resize(file, 0) != BLOCK_DONE)
        return STATUS_IO;
    return qcow2_create(file, &layout);
}

static int create_check(const struct image_arguments *arguments, uint64_t *size)
{
    *size = 0;
    if (arguments->name_count == 2 && !image_size_parse(arguments->names[1], size))
        return IMAGE_EXIT_USAGE;
    if (arguments->name_count < 2 && !arguments->backing) {
        log_error("'lodge image create' needs a SIZE, unless there is a backing file; try 'lodge image create --help'");
        return IMAGE_EXIT_USAGE;
    }
    if (arguments->backing && !arguments->has_backing_format) {
        log_error("-b needs the format of the backing file: -F raw or -F qcow2; try 'lodge image create --help'");
        return IMAGE_EXIT_USAGE;
    }
    if (arguments->format == IMAGE_RAW && arguments->backing) {
        log_error("a raw image has no backing file; try 'lodge image create --help'");
        return IMAGE_EXIT_USAGE;
    }
    return IMAGE_EXIT_OK;
}

int image_create(const struct image_arguments *arguments)
{
    struct image_output output;
    uint64_t size;
    int wrong = create_check(arguments, &size);
    enum status status;

    if (wrong)
        return wrong;
    status = image_output_open(&output, arguments->names[0], false);
    if (status != STATUS_OK)
        return IMAGE_EXIT_FAILED;
    if (arguments->format != IMAGE_RAW)
        status = create_qcow2(arguments, &output.file, size);
    else if (file_resize(&output.file, size) != BLOCK_DONE)
        status = STATUS_IO;
    if (status == STATUS_OK)
        return image_output_finish(&output) == STATUS_OK ? IMAGE_EXIT_OK : IMAGE_EXIT_FAILED;
    image_output_abandon(&output);
    return IMAGE_EXIT_FAILED;
}
