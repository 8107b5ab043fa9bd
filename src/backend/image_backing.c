/*
 * The backing files that images name. An image may come from anywhere, and what it names is opened with our
 * rights and shown to a guest: so the rule (docs/images.md) decides, not the image.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/file_lock.h"
#include "backend/image_internal.h"

/* The folder of a file: "/a/b" of "/a/b/c", "." of "c". The caller frees it; NULL: no memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* What remains of an absolute path inside the folder, or NULL. */
static const char *path_inside(const char *folder, const char *path)
{
    static _Thread_local char real[PATH_MAX];
    size_t length;

    if (path[0] != '/')
        return path;
    if (!realpath(folder, real))
        return NULL;
    length = strlen(real);
    if (length == 1)
        return path + 1;
    return strncmp(path, real, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

/* Every symbolic link on the way is followed only as far as it stays below the folder; the kernel sees to it. */
static int open_beside(const char *folder, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    const char *inside = path_inside(folder, path);
    int at;
    int fd;

    if (!inside) {
        errno = EXDEV;
        return -1;
    }
    at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return -1;
    while (*inside == '/')
        inside++;
    fd = (int)syscall(SYS_openat2, at, inside, &how, sizeof(how));
    int error = errno;
    (void)close(at);
    errno = error;
    return fd;
}

static int open_anywhere(const char *folder, const char *path)
{
    int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (at < 0)
        return -1;
    int fd = openat(at, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int error = errno;
    (void)close(at);
    errno = error;
    return fd;
}

static enum status backing_refused(const struct image *image, const char *path, int error)
{
    if (error == EXDEV || error == ELOOP || error == ENOSYS) {
        log_error("%s names the backing file %s, which is not a file in its own folder; if you trust the image, give "
                  "backing=allow (lodge image: --backing-rule allow)",
                  image->file.path, path);
        return STATUS_DENIED;
    }
    log_error("cannot open %s, the backing file of %s: %s", path, image->file.path, strerror(error));
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_DENIED;
}

/* QEMU takes such names for something else than a file. */
static bool is_plain_name(const char *path)
{
    const char *colon = strchr(path, ':');
    const char *slash = strchr(path, '/');

    return !colon || (slash && slash < colon);
}

static enum status backing_check(const struct image *image, const struct backing_reference *reference,
                                 const struct image_options *options, unsigned depth)
{
    const char *path = reference->path;

    if (options->backing == BACKING_DENY) {
        log_error("%s has the backing file %s, and backing files are not allowed here", image->file.path, path);
        return STATUS_DENIED;
    }
    if (!is_plain_name(path) || path[0] == '\0') {
        log_error("%s names the backing '%s', which is not the plain name of a file", image->file.path, path);
        return STATUS_UNSUPPORTED;
    }
    if (depth + 1 >= IMAGE_CHAIN_MOST) {
        log_error("the chain of backing files is longer than %d, or has no end, at %s", (int)IMAGE_CHAIN_MOST,
                  image->file.path);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static enum status backing_open_file(struct file *file, const struct image *image, const char *path,
                                     const struct image_options *options)
{
    char *folder = folder_of(image->file.path);
    char *name = NULL;
    enum status status;

    if (!folder || asprintf(&name, "%s/%s", path[0] == '/' ? "" : folder, path[0] == '/' ? path + 1 : path) < 0) {
        free(folder);
        log_error("no memory to open the backing file of %s", image->file.path);
        return STATUS_NO_MEMORY;
    }
    int fd = options->backing == BACKING_ALLOW ? open_anywhere(folder, path) : open_beside(folder, path);
    if (fd < 0) {
        status = backing_refused(image, path, errno);
    } else {
        status = file_open_descriptor(file, fd, name, FILE_UNLOCKED | (options->direct ? FILE_DIRECT : 0u));
        if (status == STATUS_OK && options->backing != BACKING_ALLOW && file->is_block_device) {
            file_close(file);
            status = backing_refused(image, path, EXDEV);
        }
    }
    free(folder);
    free(name);
    return status;
}

/*
 * Without a word about its format a backing file is never guessed at: somebody may have written a qcow2
 * header into a raw disk from inside a guest. A qcow2 file that says it is raw is shown as the bytes it is.
 */
static enum status backing_format(const struct image *image, const struct backing_reference *reference,
                                  enum image_format *format)
{
    if (!reference->format) {
        log_error("%s does not say what format its backing file has; 'qemu-img rebase -u -F FORMAT -b FILE' adds it",
                  image->file.path);
        return STATUS_UNSUPPORTED;
    }
    if (image_format_parse(reference->format, format))
        return STATUS_OK;
    log_error("the backing file of %s has the format %s; Lodge reads raw and qcow2", image->file.path,
              reference->format);
    return STATUS_UNSUPPORTED;
}

enum status image_open_backing(struct image *image, const struct backing_reference *reference,
                               const struct image_options *options, unsigned depth)
{
    struct image_options below = *options;
    struct file file;
    enum status status = backing_check(image, reference, options, depth);

    below.read_only = true;
    if (status == STATUS_OK)
        status = backing_format(image, reference, &below.format);
    if (status == STATUS_OK)
        status = backing_open_file(&file, image, reference->path, options);
    if (status != STATUS_OK)
        return status;
    if (file_is_same(&file, &image->file)) {
        log_error("%s names itself as its backing file", image->file.path);
        file_close(&file);
        return STATUS_INVALID;
    }
    if (!options->unlocked)
        status = file_lock(&file, false);
    if (status != STATUS_OK) {
        file_close(&file);
        return status;
    }
    return image_open_file(&file, &below, depth + 1, &image->backing);
}
