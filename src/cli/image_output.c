#include "cli/image_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status output_failed(const char *name, int error)
{
    log_error("cannot write %s: %s", name, strerror(error));
    return error == EACCES || error == EPERM ? STATUS_DENIED : STATUS_IO;
}

/* Whoever uses the file that is there now would go on with one that has no name any more. */
static enum status output_look(const char *name, bool replace)
{
    struct stat stat;
    struct file file;

    if (lstat(name, &stat) != 0)
        return errno == ENOENT ? STATUS_OK : output_failed(name, errno);
    if (!replace) {
        log_error("%s exists; remove it, or choose another name", name);
        return STATUS_EXISTS;
    }
    if (!S_ISREG(stat.st_mode)) {
        log_error("%s exists and is not a plain file; choose another name", name);
        return STATUS_EXISTS;
    }
    enum status status = file_open(&file, name, FILE_WRITE);
    if (status == STATUS_OK)
        file_close(&file);
    return status;
}

enum status image_output_open(struct image_output *output, const char *name, bool replace)
{
    enum status status = output_look(name, replace);
    mode_t mask = umask(0);

    (void)umask(mask);
    *output = (struct image_output){.name = name};
    if (status != STATUS_OK)
        return status;
    if (asprintf(&output->temporary, "%s.XXXXXX", name) < 0)
        return output_failed(name, ENOMEM);
    int fd = mkostemp(output->temporary, O_CLOEXEC);
    if (fd < 0) {
        status = output_failed(name, errno);
        free(output->temporary);
        return status;
    }
    (void)fchmod(fd, 0666 & ~mask);
    status = file_adopt(&output->file, fd, output->temporary, FILE_WRITE);
    if (status != STATUS_OK) {
        (void)unlink(output->temporary);
        free(output->temporary);
    }
    return status;
}

void image_output_abandon(struct image_output *output)
{
    file_close(&output->file);
    (void)unlink(output->temporary);
    free(output->temporary);
}

/* The name is durable too when this returns. */
static int output_sync_folder(const char *name)
{
    const char *slash = strrchr(name, '/');
    char *folder = slash ? strndup(name, (size_t)(slash - name) + 1) : strdup(".");
    int error = ENOMEM;

    if (folder) {
        int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        error = fd < 0 || fsync(fd) != 0 ? errno : 0;
        if (fd >= 0)
            (void)close(fd);
    }
    free(folder);
    return error == EINVAL ? 0 : error; /* not every file system syncs folders */
}

enum status image_output_finish(struct image_output *output)
{
    int error = 0;

    if (file_sync(&output->file) != BLOCK_DONE) {
        image_output_abandon(output);
        return STATUS_IO;
    }
    if (rename(output->temporary, output->name) != 0)
        error = errno;
    else
        error = output_sync_folder(output->name);
    if (error) {
        enum status status = output_failed(output->name, error);

        image_output_abandon(output);
        return status;
    }
    file_close(&output->file);
    free(output->temporary);
    return STATUS_OK;
}
