/* Between image.c and the formats. */
#ifndef LODGE_BACKEND_IMAGE_INTERNAL_H
#define LODGE_BACKEND_IMAGE_INTERNAL_H

#include "backend/image.h"

enum { IMAGE_CHAIN_MOST = 64 };

/* What an image's header says of its backing; the strings are the format's, valid as long as the image. */
struct backing_reference {
    const char *path;   /* NULL: none */
    const char *format; /* NULL: it does not say */
};

/* Takes the file over, also on failure. */
enum status raw_open(struct file *file, const struct image_options *options, struct image **image) MUST_CHECK;
enum status qcow2_open(struct file *file, const struct image_options *options, struct image **image,
                       struct backing_reference *backing) MUST_CHECK;

/* Called when the backing has been opened: what can be repaired or has to be marked in the file is. */
enum status qcow2_start(struct image *image) MUST_CHECK;

bool qcow2_has_magic(const void *bytes);

/* The file that the image names, opened by the rule; `depth` images are above it. */
enum status image_open_backing(struct image *image, const struct backing_reference *reference,
                               const struct image_options *options, unsigned depth) MUST_CHECK;

/* Opens what is in the file; takes it over, also on failure. */
enum status image_open_file(struct file *file, const struct image_options *options, unsigned depth,
                            struct image **image) MUST_CHECK;

#endif
