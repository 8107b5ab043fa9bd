#include "host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "port/log.h"

enum { FILE_FIRST_ROOM = 1 << 20 };

enum status host_file_status(int error)
{
    if (error == ENOENT || error == ENOTDIR)
        return STATUS_NOT_FOUND;
    return error == EACCES || error == EPERM || error == EROFS ? STATUS_DENIED : STATUS_IO;
}

static enum status file_failed(const char *kind, const char *path, int error)
{
    log_error("cannot read the %s %s: %s", kind, path, strerror(error));
    return host_file_status(error);
}

static enum status file_too_large(const char *kind, const char *path, uint64_t limit)
{
    log_error("the %s %s does not fit into the machine's %" PRIu64 " MiB of memory; choose a larger -m", kind, path,
              limit >> 20);
    return STATUS_INVALID;
}

/* Room for more, in a mapping of its own, so that what is freed goes back to the host. */
static bool file_grow(struct host_file *file, size_t wanted)
{
    void *bytes = file->bytes ? mremap(file->bytes, file->mapped, wanted, MREMAP_MAYMOVE)
                              : mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (bytes == MAP_FAILED)
        return false;
    file->bytes = bytes;
    file->mapped = wanted;
    return true;
}

/* Until the end, whatever fstat() said: pipes have no size and files change. */
static enum status file_read_all(struct host_file *file, int fd, size_t expected, const char *kind, const char *path,
                                 uint64_t limit)
{
    for (;;) {
        if (file->size == file->mapped && !file_grow(file, file->mapped ? file->mapped * 2 : expected + 1))
            return file_failed(kind, path, ENOMEM);
        ssize_t count = read(fd, (char *)file->bytes + file->size, file->mapped - file->size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return file_failed(kind, path, errno);
        if (count == 0)
            return STATUS_OK;
        file->size += (size_t)count;
        if (file->size > limit)
            return file_too_large(kind, path, limit);
    }
}

enum status host_file_read(struct host_file *file, const char *kind, const char *path, uint64_t limit)
{
    return host_file_read_open(file, open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), kind, path, limit);
}

enum status host_file_read_open(struct host_file *file, int fd, const char *kind, const char *path, uint64_t limit)
{
    struct stat stat;
    enum status status;

    *file = (struct host_file){0};
    if (fd < 0)
        return file_failed(kind, path, errno);
    if (fstat(fd, &stat) != 0)
        status = file_failed(kind, path, errno);
    else if (S_ISREG(stat.st_mode) && (uint64_t)stat.st_size > limit)
        status = file_too_large(kind, path, limit);
    else {
        file->is_regular = S_ISREG(stat.st_mode);
        status = file_read_all(file, fd, file->is_regular ? (size_t)stat.st_size : FILE_FIRST_ROOM, kind, path, limit);
    }
    close(fd);
    if (status != STATUS_OK)
        host_file_destroy(file);
    return status;
}

void host_file_destroy(struct host_file *file)
{
    if (file->bytes)
        (void)munmap(file->bytes, file->mapped);
    *file = (struct host_file){0};
}
