/*
 * Locks on image files, so that two machines never write one disk. They are open-file-description locks
 * (fcntl(2)) on the bytes that QEMU uses for its permissions, so that Lodge and QEMU exclude each other.
 */
#ifndef LODGE_BACKEND_FILE_LOCK_H
#define LODGE_BACKEND_FILE_LOCK_H

#include "backend/file.h"

/*
 * Any number of readers, or one writer. Held until the descriptor is closed. STATUS_BUSY: somebody else has
 * it; logged with what to do.
 */
enum status file_lock(struct file *file, bool exclusive) MUST_CHECK;

/* file_open() for a descriptor that is already open; closes it on failure. */
enum status file_open_descriptor(struct file *file, int fd, const char *path, unsigned flags) MUST_CHECK;

#endif
