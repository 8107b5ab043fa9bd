/* A whole file in memory: kernels and their modules. */
#ifndef LODGE_HOST_FILE_H
#define LODGE_HOST_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* What an errno of a file means: STATUS_NOT_FOUND, STATUS_DENIED, or else STATUS_IO. */
enum status host_file_status(int error);

struct host_file {
    void *bytes; /* NULL only for an empty file */
    size_t size;
    size_t mapped;   /* bytes of address space, >= size */
    bool is_regular; /* it can be read again */
};

/*
 * Reads a file. It is read and not mapped, because a mapping of a file that shrinks meanwhile (a
 * kernel being built) is a fatal signal. Logs "cannot read the KIND PATH: ...". STATUS_INVALID: larger
 * than limit, STATUS_NOT_FOUND, STATUS_DENIED, STATUS_IO.
 */
enum status host_file_read(struct host_file *file, const char *kind, const char *path, uint64_t limit) MUST_CHECK;

/* The same of a descriptor, which is closed; or of -1, if errno says why there is none. path: for messages. */
enum status host_file_read_open(struct host_file *file, int fd, const char *kind, const char *path,
                                uint64_t limit) MUST_CHECK;
void host_file_destroy(struct host_file *file); /* accepts a zeroed one */

#endif
