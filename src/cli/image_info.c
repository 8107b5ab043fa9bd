#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

#include "backend/qcow2.h"
#include "cli/image.h"
#include "cli/image_size.h"

static uint64_t space_taken(const struct image *image)
{
    struct stat stat;

    return fstat(image->file.fd, &stat) == 0 ? (uint64_t)stat.st_blocks * 512 : 0;
}

static void print_size(const char *what, uint64_t bytes)
{
    char text[32];

    printf("%s: %s (%" PRIu64 " bytes)\n", what, image_size_print(bytes, text, sizeof(text)), bytes);
}

static void print_text(struct image *image)
{
    struct qcow2_facts facts;

    printf("image: %s\n", image->file.path);
    printf("format: %s\n", image->type->name);
    print_size("size of the disk", image->size);
    print_size("space taken", space_taken(image));
    if (!image_is_qcow2(image))
        return;
    qcow2_describe(image, &facts);
    printf("version: %u\n", facts.version);
    printf("cluster size: %" PRIu32 "\n", image->cluster_size);
    printf("compression: %s\n", facts.compression);
    printf("reference counts: %u bits\n", facts.refcount_bits);
    if (facts.backing_path)
        printf("backing file: %s (%s)\n", facts.backing_path,
               facts.backing_format ? facts.backing_format : "of an unknown format");
    if (facts.snapshots)
        printf("snapshots: %" PRIu32 "\n", facts.snapshots);
    if (facts.is_dirty)
        printf("in use, or was not closed: yes\n");
    if (facts.is_corrupt)
        printf("marked as damaged: yes\n");
}

/* Text that is no UTF-8 is left out by jansson: the key is missing then. */
static void add_qcow2(json_t *report, struct image *image)
{
    struct qcow2_facts facts;

    qcow2_describe(image, &facts);
    json_object_set_new(report, "version", json_integer(facts.version));
    json_object_set_new(report, "cluster-size", json_integer(image->cluster_size));
    json_object_set_new(report, "compression", json_string(facts.compression));
    json_object_set_new(report, "refcount-bits", json_integer(facts.refcount_bits));
    json_object_set_new(report, "lazy-refcounts", json_boolean(facts.lazy_refcounts));
    json_object_set_new(report, "snapshots", json_integer(facts.snapshots));
    json_object_set_new(report, "dirty", json_boolean(facts.is_dirty));
    json_object_set_new(report, "corrupt", json_boolean(facts.is_corrupt));
    if (facts.backing_path)
        json_object_set_new(report, "backing-file", json_string(facts.backing_path));
    if (facts.backing_format)
        json_object_set_new(report, "backing-format", json_string(facts.backing_format));
}

static int print_json(struct image *image)
{
    json_t *report = json_object();
    int result;

    json_object_set_new(report, "image", json_string(image->file.path));
    json_object_set_new(report, "format", json_string(image->type->name));
    json_object_set_new(report, "size", json_integer((json_int_t)image->size));
    json_object_set_new(report, "space-taken", json_integer((json_int_t)space_taken(image)));
    if (image_is_qcow2(image))
        add_qcow2(report, image);
    result = json_dumpf(report, stdout, JSON_INDENT(4));
    printf("\n");
    json_decref(report);
    return result == 0 ? IMAGE_EXIT_OK : IMAGE_EXIT_FAILED;
}

/* Takes no lock: one may look at an image that a machine uses. */
int image_info(const struct image_arguments *arguments)
{
    struct image_options options = {.format = arguments->format,
                                    .read_only = true,
                                    .unlocked = true,
                                    .keep_damaged = true,
                                    .without_backing = true};
    struct image *image;
    int result = IMAGE_EXIT_OK;

    if (image_open(arguments->names[0], &options, &image) != STATUS_OK)
        return IMAGE_EXIT_FAILED;
    if (arguments->json)
        result = print_json(image);
    else
        print_text(image);
    return image_close(image) == BLOCK_DONE ? result : IMAGE_EXIT_FAILED;
}
