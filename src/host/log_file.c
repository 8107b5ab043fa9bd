#include "host/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/file.h"
#include "port/log.h"

enum { LOG_FILE_MODE = 0644 };

/* What does not fit on the disk is gone: it is a log, and the guest is not to wait for it. */
static void log_file_flush(struct host_log_file *file)
{
    size_t done = 0;

    while (done < file->used) {
        ssize_t count = write(file->fd, file->line + done, file->used - done);

        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    file->used = 0;
}

static void log_file_write(struct stream *stream, const void *bytes, size_t size)
{
    struct host_log_file *file = CONTAINER_OF(stream, struct host_log_file, stream);
    const char *at = bytes;

    for (size_t i = 0; i < size; i++) {
        file->line[file->used++] = at[i];
        if (at[i] == '\n' || file->used == sizeof(file->line))
            log_file_flush(file);
    }
}

enum status host_log_file_open(struct host_log_file *file, const char *path)
{
    file->stream = (struct stream){.write = log_file_write};
    file->used = 0;
    file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, LOG_FILE_MODE);
    if (file->fd >= 0)
        return STATUS_OK;
    int error = errno;
    log_error("cannot write the firmware's log to %s: %s", path, strerror(error));
    return host_file_status(error);
}

void host_log_file_close(struct host_log_file *file)
{
    if (file->fd < 0)
        return;
    log_file_flush(file);
    close(file->fd);
    file->fd = -1;
}
