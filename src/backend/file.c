#include "backend/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backend/file_lock.h"

enum { FILE_COMPLAINTS = 16, FILE_VECTORS = 64, FILE_ZEROES = 64 * 1024 };

/* --- open and close --- */

static enum status file_refuse(const char *path, int error)
{
    log_error("cannot open the disk image %s: %s", path, strerror(error));
    if (error == ENOENT || error == ENOTDIR)
        return STATUS_NOT_FOUND;
    return error == EACCES || error == EPERM || error == EROFS ? STATUS_DENIED : STATUS_IO;
}

static enum status file_measure(struct file *file)
{
    struct stat stat;
    uint64_t size;

    if (fstat(file->fd, &stat) != 0)
        return file_refuse(file->path, errno);
    file->is_block_device = S_ISBLK(stat.st_mode);
    file->device = file->is_block_device ? stat.st_rdev : stat.st_dev;
    file->inode = file->is_block_device ? 0 : stat.st_ino;
    if (!S_ISREG(stat.st_mode) && !file->is_block_device) {
        log_error("%s is neither a file nor a block device; a disk must be one of these", file->path);
        return STATUS_INVALID;
    }
    size = (uint64_t)stat.st_size;
    if (file->is_block_device && ioctl(file->fd, BLKGETSIZE64, &size) != 0)
        return file_refuse(file->path, errno);
    file->size = size;
    return STATUS_OK;
}

/* The alignment that O_DIRECT wants of offsets and memory; where the host does not say, a page's. */
static void file_open_direct(struct file *file)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
    file->direct_fd = open(name, (file->is_writable ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
    file->direct_alignment = 4096;
    if (file->direct_fd < 0)
        log_warning("%s: the host cannot bypass its page cache there (%s); going through it", file->path,
                    strerror(errno));
}

enum status file_adopt(struct file *file, int fd, const char *name, unsigned flags)
{
    *file = (struct file){
        .fd = fd, .direct_fd = -1, .is_writable = (flags & FILE_WRITE) != 0, .is_scratch = (flags & FILE_SCRATCH) != 0};
    file->path = strdup(name);
    if (!file->path) {
        (void)close(fd);
        return file_refuse(name, ENOMEM);
    }
    enum status status = file_measure(file);
    if (status != STATUS_OK)
        file_close(file);
    return status;
}

/*
 * A block device is ours alone: not mounted, and nobody else's who asks like this (open(2), O_EXCL), by
 * whatever name it is known.
 */
static enum status file_claim_device(struct file *file)
{
    char name[32];
    int fd;

    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
    fd = open(name, O_RDWR | O_EXCL | O_CLOEXEC);
    if (fd < 0 && errno == EBUSY) {
        log_error("the device %s is mounted or used by another program; end that first", file->path);
        return STATUS_BUSY;
    }
    if (fd < 0)
        return file_refuse(file->path, errno);
    (void)close(file->fd);
    file->fd = fd;
    return STATUS_OK;
}

/* O_NONBLOCK, so that a pipe is refused and not waited for; it means nothing for what is accepted. */
enum status file_open(struct file *file, const char *path, unsigned flags)
{
    int fd = open(path, (flags & FILE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    *file = (struct file){.fd = -1, .direct_fd = -1};
    if (fd < 0)
        return file_refuse(path, errno);
    return file_open_descriptor(file, fd, path, flags);
}

enum status file_open_descriptor(struct file *file, int fd, const char *path, unsigned flags)
{
    enum status status = file_adopt(file, fd, path, flags);

    if (status == STATUS_OK && file->is_block_device && file->is_writable && !(flags & FILE_UNLOCKED))
        status = file_claim_device(file);
    if (status == STATUS_OK && !(flags & FILE_UNLOCKED))
        status = file_lock(file, file->is_writable);
    if (status == STATUS_OK && (flags & FILE_DIRECT))
        file_open_direct(file);
    if (status != STATUS_OK)
        file_close(file);
    return status;
}

enum status file_copy(const struct file *file, struct file *copy)
{
    int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    enum status status;

    if (fd < 0)
        return file_refuse(file->path, errno);
    status = file_adopt(copy, fd, file->path,
                        (file->is_writable ? FILE_WRITE : 0u) | (file->is_scratch ? FILE_SCRATCH : 0u));
    if (status == STATUS_OK)
        copy->observer = file->observer;
    return status;
}

enum status file_refresh(struct file *file)
{
    return file_measure(file);
}

void file_close(struct file *file)
{
    if (file->path) {
        if (file->direct_fd >= 0)
            (void)close(file->direct_fd);
        (void)close(file->fd);
    }
    free(file->path);
    *file = (struct file){.fd = -1, .direct_fd = -1};
}

bool file_is_same(const struct file *left, const struct file *right)
{
    return left->is_block_device == right->is_block_device && left->device == right->device &&
           left->inode == right->inode;
}

uint64_t file_size(const struct file *file)
{
    return __atomic_load_n(&file->size, __ATOMIC_RELAXED);
}

static void file_set_size(struct file *file, uint64_t size)
{
    __atomic_store_n(&file->size, size, __ATOMIC_RELAXED);
}

/* --- failure --- */

enum block_result file_failed(struct file *file, const char *what, int error)
{
    bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;

    if (log_allowed(&file->complaints, FILE_COMPLAINTS)) {
        if (error == ENODATA)
            log_error("%s has become shorter while it is in use; %s failed", file->path, what);
        else
            log_error("%s: %s failed: %s%s", file->path, what, strerror(error), full ? "; make room on the host" : "");
    }
    return full ? BLOCK_NO_SPACE : BLOCK_ERROR;
}

bool file_was_cut(struct file *file, uint64_t end)
{
    struct stat stat;

    if (file->is_block_device || fstat(file->fd, &stat) != 0 || (uint64_t)stat.st_size >= end)
        return false;
    (void)file_failed(file, "a write", ENODATA);
    return true;
}

/* --- reads and writes --- */

/* One system call for the next part; *moved bytes of it are done. */
static int file_move(struct file *file, bool write, struct buffer buffer, size_t size, uint64_t offset, size_t *moved)
{
    struct iovec vectors[FILE_VECTORS];
    unsigned count;
    ssize_t result;

    *moved = 0;
    size = buffer_vectors(buffer, size, vectors, FILE_VECTORS, &count);
    if (offset > INT64_MAX - size)
        return EFBIG;
    do
        result = write ? pwritev(file->fd, vectors, (int)count, (off_t)offset)
                       : preadv(file->fd, vectors, (int)count, (off_t)offset);
    while (result < 0 && (errno == EINTR || errno == EAGAIN));
    if (result < 0)
        return errno;
    *moved = (size_t)result;
    return result == 0 && write ? EIO : 0;
}

enum block_result file_read_buffer(struct file *file, struct buffer buffer, size_t size, uint64_t offset)
{
    while (size > 0) {
        size_t moved;
        int error = file_move(file, false, buffer, size, offset, &moved);

        if (error == 0 && moved == 0) {
            if (offset < file_size(file))
                return file_failed(file, "a read", ENODATA);
            buffer_zero(buffer, size);
            return BLOCK_DONE;
        }
        if (error)
            return file_failed(file, "a read", error);
        buffer = buffer_advance(buffer, moved);
        size -= moved;
        offset += moved;
    }
    return BLOCK_DONE;
}

enum block_result file_read(struct file *file, void *bytes, size_t size, uint64_t offset)
{
    struct block_segment segment;

    return file_read_buffer(file, buffer_of_memory(&segment, bytes, size), size, offset);
}

enum block_result file_write_buffer(struct file *file, struct buffer buffer, size_t size, uint64_t offset)
{
    if (file->observer)
        file->observer->wrote(file->observer, offset, buffer, size);
    while (size > 0) {
        size_t moved;
        int error = file_move(file, true, buffer, size, offset, &moved);

        if (error)
            return file_failed(file, "a write", error);
        buffer = buffer_advance(buffer, moved);
        size -= moved;
        offset += moved;
    }
    if (offset > file_size(file))
        file_set_size(file, offset);
    return BLOCK_DONE;
}

enum block_result file_write(struct file *file, const void *bytes, size_t size, uint64_t offset)
{
    struct block_segment segment;

    return file_write_buffer(file, buffer_of_memory(&segment, (void *)(uintptr_t)bytes, size), size, offset);
}

/* --- space --- */

static int file_allocate(struct file *file, int mode, uint64_t offset, uint64_t size)
{
    int result;

    if (size > INT64_MAX || offset > INT64_MAX - size)
        return EFBIG;
    do
        result = fallocate(file->fd, mode, (off_t)offset, (off_t)size);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

static enum block_result file_write_zeroes(struct file *file, uint64_t offset, uint64_t size)
{
    static const char zeroes[FILE_ZEROES];
    enum block_result result = BLOCK_DONE;

    while (size > 0 && result == BLOCK_DONE) {
        size_t part = size < sizeof(zeroes) ? (size_t)size : sizeof(zeroes);

        result = file_write(file, zeroes, part, offset);
        offset += part;
        size -= part;
    }
    return result;
}

enum block_result file_zero(struct file *file, uint64_t offset, uint64_t size, bool unmap)
{
    int mode = unmap ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

    if (size == 0)
        return BLOCK_DONE;
    if (file->observer)
        file->observer->zeroed(file->observer, offset, size, unmap);
    int error = file_allocate(file, mode, offset, size);
    if (error == EOPNOTSUPP || error == ENOSYS || error == EINVAL) {
        struct file_observer *observer = file->observer;

        file->observer = NULL; /* it has been told */
        enum block_result result = file_write_zeroes(file, offset, size);
        file->observer = observer;
        return result;
    }
    return error ? file_failed(file, "writing zeroes", error) : BLOCK_DONE;
}

void file_discard(struct file *file, uint64_t offset, uint64_t size)
{
    if (file->observer)
        file->observer->zeroed(file->observer, offset, size, true);
    (void)file_allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
}

enum block_result file_resize(struct file *file, uint64_t size)
{
    int error = 0;

    if (file->observer)
        file->observer->resized(file->observer, size);
    if (file->is_block_device) {
        if (size > file_size(file))
            return file_failed(file, "growing", ENOSPC);
        return BLOCK_DONE;
    }
    if (size > INT64_MAX)
        error = EFBIG;
    else if (ftruncate(file->fd, (off_t)size) != 0)
        error = errno;
    if (error)
        return file_failed(file, "changing its size", error);
    file_set_size(file, size);
    return BLOCK_DONE;
}

enum block_result file_sync_failed(struct file *file, int error)
{
    __atomic_store_n(&file->has_lost_writes, true, __ATOMIC_RELAXED);
    return file_failed(file, "a flush", error);
}

enum block_result file_sync(struct file *file)
{
    if (file->observer)
        file->observer->synced(file->observer);
    if (file->is_scratch)
        return BLOCK_DONE;
    if (__atomic_load_n(&file->has_lost_writes, __ATOMIC_RELAXED))
        return file_failed(file, "a flush after one that failed", EIO);
    return fdatasync(file->fd) == 0 ? BLOCK_DONE : file_sync_failed(file, errno);
}

bool file_next_extent(const struct file *file, uint64_t offset, bool *is_data, uint64_t *end)
{
    if (file->is_block_device)
        return false;
    off_t data = lseek(file->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return false;
    *is_data = data >= 0 && (uint64_t)data == offset;
    if (!*is_data) {
        *end = data < 0 ? UINT64_MAX : (uint64_t)data;
        return true;
    }
    off_t hole = lseek(file->fd, (off_t)offset, SEEK_HOLE);
    if (hole < 0 || (uint64_t)hole <= offset)
        return false;
    *end = (uint64_t)hole;
    return true;
}
