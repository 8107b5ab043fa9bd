#include "host/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/file.h"

enum { STORE_MODE = 0644, STORE_FAILURES = 8, STORE_ORIGINAL_MAX = 16 << 20 };

static enum status store_failed(const char *what, const char *path, int error)
{
    log_error("cannot %s %s: %s", what, path, strerror(error));
    return host_file_status(error);
}

/* All of it, or false with errno set. */
static bool write_all(int fd, const void *bytes, size_t size, uint64_t offset)
{
    const char *at = bytes;

    while (size) {
        ssize_t count = pwrite(fd, at, size, (off_t)offset);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        at += count;
        offset += (uint64_t)count;
        size -= (size_t)count;
    }
    return true;
}

/* --- making a new one --- */

/* Under a name of its own until it is complete. link() does not replace what somebody else has made meanwhile. */
static enum status store_make(const char *path, const struct host_file *original)
{
    char name[PATH_MAX];
    int length = snprintf(name, sizeof(name), "%s.XXXXXX", path);
    enum status status = STATUS_OK;

    if (length < 0 || (size_t)length >= sizeof(name))
        return store_failed("create", path, ENAMETOOLONG);
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return store_failed("create", path, errno);
    if (fchmod(fd, STORE_MODE) != 0 || !write_all(fd, original->bytes, original->size, 0) || fsync(fd) != 0 ||
        (link(name, path) != 0 && errno != EEXIST))
        status = store_failed("create", path, errno);
    (void)unlink(name);
    close(fd);
    return status;
}

static enum status store_create(const char *path, const char *original)
{
    struct host_file file;
    enum status status = host_file_read(&file, "original of a variable store", original, STORE_ORIGINAL_MAX);

    if (status != STATUS_OK)
        return status;
    status = store_make(path, &file);
    host_file_destroy(&file);
    if (status == STATUS_OK)
        log_info("%s is new, a copy of %s", path, original);
    return status;
}

/* --- writing --- */

/* Any vCPU thread. */
static void store_write(struct store *store, uint64_t offset, const void *bytes, size_t size)
{
    struct host_store *host = CONTAINER_OF(store, struct host_store, store);

    if (!range_inside(offset, size, host->size))
        return;
    if (!write_all(host->fd, bytes, size, offset) && log_allowed(&host->failures, STORE_FAILURES))
        log_error("cannot write to %s: %s; what the firmware has stored there is lost", host->path, strerror(errno));
    if (host->written.raised)
        loop_notice_raise(&host->written);
}

static void store_sync(struct host_store *store)
{
    if (fdatasync(store->fd) != 0 && errno != EINVAL && errno != EROFS && log_allowed(&store->failures, STORE_FAILURES))
        log_error("cannot write to %s: %s", store->path, strerror(errno));
}

static void store_written(struct loop_notice *notice)
{
    store_sync(CONTAINER_OF(notice, struct host_store, written));
}

/* --- life --- */

/* OFD locks: with the descriptor they go, whatever else the process does with the file. */
static enum status store_lock(struct host_store *store, bool read_only)
{
    struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(store->fd, F_OFD_SETLK, &lock) == 0)
        return STATUS_OK;
    if (errno != EAGAIN && errno != EACCES)
        return store_failed("lock", store->path, errno);
    log_error("another machine uses %s; give this one a copy of its own", store->path);
    return STATUS_BUSY;
}

static enum status store_check(struct host_store *store, bool read_only)
{
    struct stat stat;

    if (fstat(store->fd, &stat) != 0)
        return store_failed("open", store->path, errno);
    if (!S_ISREG(stat.st_mode)) {
        log_error("%s is no plain file", store->path);
        return STATUS_INVALID;
    }
    store->size = (uint64_t)stat.st_size;
    return store_lock(store, read_only);
}

enum status host_store_open(struct host_store *store, const char *path, const char *original, bool read_only)
{
    int mode = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    enum status status = STATUS_OK;

    *store = (struct host_store){.store = {.write = store_write}, .path = path, .fd = open(path, mode)};
    if (store->fd < 0 && errno == ENOENT && original) {
        status = store_create(path, original);
        if (status == STATUS_OK)
            store->fd = open(path, mode);
    }
    if (status == STATUS_OK)
        status = store->fd < 0 ? store_failed("open", path, errno) : store_check(store, read_only);
    if (status != STATUS_OK)
        host_store_close(store);
    return status;
}

enum status host_store_attach(struct host_store *store, struct event_loop *loop)
{
    return loop_notice_init(&store->written, loop, store_written);
}

enum status host_store_read(struct host_store *store, void *to)
{
    for (uint64_t done = 0; done < store->size;) {
        ssize_t count = pread(store->fd, (char *)to + done, store->size - done, (off_t)done);

        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) /* 0: it has shrunk */
            return store_failed("read", store->path, count < 0 ? errno : EIO);
        done += (uint64_t)count;
    }
    return STATUS_OK;
}

void host_store_close(struct host_store *store)
{
    loop_notice_destroy(&store->written);
    if (store->fd >= 0) {
        store_sync(store);
        close(store->fd);
    }
    *store = (struct host_store){.fd = -1};
}
