/* A disk's contents into a new image of its own: no backing file, no snapshots, no more space than needed. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/qcow2_writer.h"
#include "base/bits.h"
#include "cli/image.h"
#include "cli/image_output.h"

enum { CONVERT_PART = 2 << 20 /* bytes; the largest cluster */, CONVERT_GRAIN = 4096 /* of a raw file's holes */ };

struct convert {
    struct image *from, *to;
    struct qcow2_writer *writer; /* NULL: not compressed */
    uint8_t *bytes;
    size_t grain; /* zeroes of this size and alignment become a hole */
    bool shows_progress;
    int percent;
};

/* Only one conversion runs in a process: the handler's flag may be one. */
static volatile sig_atomic_t convert_signal;

static void convert_interrupted(int number)
{
    convert_signal = number;
}

static void convert_watch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = convert_interrupted, .sa_flags = SA_RESTART};

    for (size_t i = 0; i < ARRAY_LENGTH(signals); i++)
        (void)sigaction(signals[i], &action, NULL);
}

static void convert_progress(struct convert *convert, uint64_t done)
{
    uint64_t size = convert->from->size;
    int percent = size ? (int)(done / (size / 100 + 1)) : 100;

    if (done == size)
        percent = 100;
    if (!convert->shows_progress || percent == convert->percent)
        return;
    convert->percent = percent;
    (void)fprintf(stderr, "\r%3d %%%s", percent, done == size ? "\n" : "");
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Grains that hold anything, in rows. */
static enum block_result convert_write(struct convert *convert, uint64_t offset, size_t size)
{
    enum block_result result = BLOCK_DONE;
    size_t row = 0;

    for (size_t at = 0; at <= size && result == BLOCK_DONE; at += convert->grain) {
        size_t grain = size - at < convert->grain ? size - at : convert->grain;

        if (grain > 0 && !is_zero(convert->bytes + at, grain)) {
            row += grain;
            if (at + grain < size)
                continue;
            at += grain;
        }
        if (row > 0)
            result = image_write(convert->to, offset + at - row, convert->bytes + at - row, row);
        row = 0;
        if (at >= size)
            break;
    }
    return result;
}

static enum block_result convert_pack(struct convert *convert, uint64_t offset, size_t size)
{
    size_t cluster = convert->to->cluster_size;
    enum block_result result = BLOCK_DONE;

    memset(convert->bytes + size, 0, CONVERT_PART - size);
    for (size_t at = 0; at < size && result == BLOCK_DONE; at += cluster)
        if (!is_zero(convert->bytes + at, cluster))
            result = qcow2_writer_put(convert->writer, offset + at, convert->bytes + at);
    return result;
}

/* How much from offset on is known to be zero in the whole chain. */
static enum block_result convert_skip(struct convert *convert, uint64_t offset, uint64_t *skip)
{
    struct image *image = convert->from;
    uint64_t length = image->size - offset;

    *skip = 0;
    while (image) {
        enum extent_kind kind;
        bool unallocated;
        uint64_t known;

        if (offset >= image->size) {
            *skip = length;
            return BLOCK_DONE;
        }
        if (length > image->size - offset)
            length = image->size - offset;
        enum block_result result = image->type->status(image, offset, length, &kind, &unallocated, &known);
        if (result != BLOCK_DONE)
            return result;
        length = known < length ? known : length;
        if (kind == EXTENT_ZERO)
            *skip = length;
        if (kind == EXTENT_ZERO || !unallocated)
            return BLOCK_DONE;
        image = image->backing;
    }
    *skip = length;
    return BLOCK_DONE;
}

static enum block_result convert_part(struct convert *convert, uint64_t *offset)
{
    uint64_t skip, left;
    enum block_result result = convert_skip(convert, *offset, &skip);

    if (result != BLOCK_DONE)
        return result;
    if (*offset + skip < convert->from->size)
        skip = align_down(skip, CONVERT_PART);
    if (skip > 0) {
        *offset += skip;
        return BLOCK_DONE;
    }
    left = convert->from->size - *offset;
    size_t size = left < CONVERT_PART ? (size_t)left : CONVERT_PART;
    result = image_read(convert->from, *offset, convert->bytes, size);
    if (result == BLOCK_DONE)
        result = convert->writer ? convert_pack(convert, *offset, size) : convert_write(convert, *offset, size);
    *offset += size;
    return result;
}

static enum status convert_copy(struct convert *convert)
{
    uint64_t offset = 0;

    while (offset < convert->from->size && !convert_signal) {
        enum block_result result = convert_part(convert, &offset);

        if (result != BLOCK_DONE)
            return STATUS_IO;
        convert_progress(convert, offset);
    }
    return convert_signal ? STATUS_BUSY : STATUS_OK;
}

static enum status convert_open_output(struct convert *convert, struct image_output *output,
                                       const struct image_arguments *arguments)
{
    struct image_options options = {.format = arguments->output_format};
    struct qcow2_layout layout = {
        .size = convert->from->size,
        .version = 3,
        .cluster_bits = (unsigned)__builtin_ctzll(arguments->cluster_size),
        .zstd = arguments->zstd,
    };
    struct file copy;
    enum status status = STATUS_OK;

    if (arguments->output_format == IMAGE_QCOW2)
        status = qcow2_create(&output->file, &layout);
    else if (file_resize(&output->file, layout.size) != BLOCK_DONE)
        status = STATUS_IO;
    if (status == STATUS_OK)
        status = file_copy(&output->file, &copy);
    if (status == STATUS_OK)
        status = image_open_adopted(&copy, &options, &convert->to);
    if (status == STATUS_OK && arguments->compress)
        status = qcow2_writer_create(convert->to, &convert->writer);
    convert->grain = arguments->output_format == IMAGE_QCOW2 ? arguments->cluster_size : CONVERT_GRAIN;
    return status;
}

static enum status convert_into(struct convert *convert, const struct image_arguments *arguments)
{
    struct image_output output;
    enum status status = image_output_open(&output, arguments->names[1], true);

    if (status != STATUS_OK)
        return status;
    convert_watch_signals();
    convert_progress(convert, 0);
    status = convert_open_output(convert, &output, arguments);
    if (status == STATUS_OK)
        status = convert_copy(convert);
    qcow2_writer_destroy(convert->writer);
    if (image_close(convert->to) != BLOCK_DONE && status == STATUS_OK)
        status = STATUS_IO;
    if (status == STATUS_OK)
        return image_output_finish(&output);
    image_output_abandon(&output);
    return status;
}

int image_convert(const struct image_arguments *arguments)
{
    struct image_options options = {.format = arguments->format, .read_only = true, .backing = arguments->rule};
    struct convert convert = {.shows_progress = isatty(STDERR_FILENO) != 0, .percent = -1};
    enum status status = STATUS_NO_MEMORY;

    if (arguments->compress && arguments->output_format == IMAGE_RAW) {
        log_error("a raw image is not compressed; try 'lodge image convert --help'");
        return IMAGE_EXIT_USAGE;
    }
    if (image_open(arguments->names[0], &options, &convert.from) != STATUS_OK)
        return IMAGE_EXIT_FAILED;
    convert.bytes = malloc(CONVERT_PART);
    if (convert.bytes)
        status = convert_into(&convert, arguments);
    else
        log_error("no memory to convert %s", arguments->names[0]);
    free(convert.bytes);
    if (image_close(convert.from) != BLOCK_DONE && status == STATUS_OK)
        status = STATUS_IO;
    if (convert_signal) {
        (void)signal(convert_signal, SIG_DFL);
        (void)raise(convert_signal);
    }
    return status == STATUS_OK ? IMAGE_EXIT_OK : IMAGE_EXIT_FAILED;
}
