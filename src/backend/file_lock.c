/*
 * Who uses a permission holds a shared lock on byte 100 + permission; who does not let others use it holds
 * one on byte 200 + permission. One takes one's own locks first and then looks whether anybody else holds
 * one that contradicts: of two that start at the same time at least one sees the other.
 */
#include "backend/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

enum { LOCK_PATIENCE_MS = 1000, LOCK_PAUSE_MS = 20 };
enum { BYTES_USED = 100, BYTES_UNSHARED = 200 };
enum {
    PERMISSION_READ = 0,
    PERMISSION_WRITE = 1,
    PERMISSION_WRITE_UNCHANGED = 2,
    PERMISSION_RESIZE = 3,
    PERMISSIONS = 4
};

/* As bits 1 << permission. */
struct permissions {
    unsigned used, unshared;
};

static const struct permissions permissions_reader = {
    .used = 1 << PERMISSION_READ,
    .unshared = 1 << PERMISSION_WRITE | 1 << PERMISSION_RESIZE,
};
static const struct permissions permissions_writer = {
    .used = 1 << PERMISSION_READ | 1 << PERMISSION_WRITE | 1 << PERMISSION_RESIZE,
    .unshared = 1 << PERMISSION_WRITE | 1 << PERMISSION_RESIZE,
};

static int lock_call(int fd, int command, short type, off_t byte, struct flock *lock)
{
    *lock = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, command, lock) == 0 ? 0 : errno;
}

/* Shared locks on base + each permission. */
static int lock_take(int fd, unsigned permissions, off_t base)
{
    struct flock lock;
    int error = 0;

    for (int i = 0; i < PERMISSIONS && error == 0; i++)
        if (permissions & (1u << i))
            error = lock_call(fd, F_OFD_SETLK, F_RDLCK, base + i, &lock);
    return error;
}

/* EAGAIN: somebody else holds one of them. */
static int lock_look(int fd, unsigned permissions, off_t base)
{
    struct flock lock;

    for (int i = 0; i < PERMISSIONS; i++) {
        if (!(permissions & (1u << i)))
            continue;
        int error = lock_call(fd, F_OFD_GETLK, F_WRLCK, base + i, &lock);
        if (error)
            return error;
        if (lock.l_type != F_UNLCK)
            return EAGAIN;
    }
    return 0;
}

/* What is held while one waits would keep others out too. */
static void lock_release_all(int fd)
{
    struct flock lock = {.l_type = F_UNLCK,
                         .l_whence = SEEK_SET,
                         .l_start = BYTES_USED,
                         .l_len = BYTES_UNSHARED + PERMISSIONS - BYTES_USED};

    (void)fcntl(fd, F_OFD_SETLK, &lock);
}

static int lock_try(struct file *file, struct permissions permissions)
{
    int error = lock_take(file->fd, permissions.used, BYTES_USED);

    if (error == 0)
        error = lock_take(file->fd, permissions.unshared, BYTES_UNSHARED);
    if (error == 0)
        error = lock_look(file->fd, permissions.unshared, BYTES_USED);
    if (error == 0)
        error = lock_look(file->fd, permissions.used, BYTES_UNSHARED);
    if (error)
        lock_release_all(file->fd);
    return error == EACCES ? EAGAIN : error;
}

/*
 * The kernel may still be at the last writes of a process that was killed, and holds its locks until these
 * are over: so somebody who has it is asked again for a while.
 */
enum status file_lock(struct file *file, bool exclusive)
{
    struct permissions permissions = exclusive ? permissions_writer : permissions_reader;
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000l};
    int error = lock_try(file, permissions);

    for (int i = 0; error == EAGAIN && i < LOCK_PATIENCE_MS / LOCK_PAUSE_MS; i++) {
        (void)nanosleep(&pause, NULL);
        error = lock_try(file, permissions);
    }
    if (error == 0)
        return STATUS_OK;
    if (error == EAGAIN) {
        log_error("the disk image %s is in use by another machine or program%s; end that first", file->path,
                  exclusive ? "" : " that writes it");
        return STATUS_BUSY;
    }
    log_error("cannot lock the disk image %s: %s; move it to a file system that has locks", file->path,
              strerror(error));
    return STATUS_UNSUPPORTED;
}
