#include "backend/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/image_internal.h"
#include "backend/qcow2.h"

/* A nameless file; where the file system has none, one whose name is taken away at once. */
static int temporary_file(const char *folder)
{
    char name[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        return fd;
    if (snprintf(name, sizeof(name), "%s/lodge-XXXXXX", folder) >= (int)sizeof(name)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(name);
    return fd;
}

static enum status overlay_open(struct image *below, struct file *file, struct image **image)
{
    struct qcow2_layout layout = {.size = below->size, .version = 3, .cluster_bits = 16};
    struct image_options options = {.format = IMAGE_QCOW2};
    struct backing_reference unused;
    enum status status = qcow2_create(file, &layout);

    if (status != STATUS_OK) {
        file_close(file);
        return status;
    }
    status = qcow2_open(file, &options, image, &unused);
    if (status == STATUS_OK)
        (*image)->backing = below;
    return status;
}

enum status temporary_overlay(struct image **image)
{
    const char *folder = getenv("TMPDIR");
    struct image *below = *image;
    struct file file;
    enum status status;

    if (!folder || !folder[0])
        folder = "/var/tmp";
    int fd = temporary_file(folder);
    if (fd < 0) {
        log_error("cannot make a file in %s for what is to be discarded: %s; set TMPDIR to another folder", folder,
                  strerror(errno));
        status = STATUS_IO;
    } else {
        status = file_adopt(&file, fd, "the file for discarded changes", FILE_WRITE | FILE_SCRATCH);
        if (status == STATUS_OK)
            status = overlay_open(below, &file, image);
    }
    if (status != STATUS_OK) {
        (void)image_close(below);
        *image = NULL;
    }
    return status;
}
