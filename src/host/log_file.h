/* A file that a device's text goes to, line by line: a firmware's log. */
#ifndef LODGE_HOST_LOG_FILE_H
#define LODGE_HOST_LOG_FILE_H

#include <stddef.h>

#include "base/status.h"
#include "port/stream.h"

enum { LOG_FILE_LINE = 4096 };

struct host_log_file {
    struct stream stream; /* nothing comes from it */
    int fd;               /* -1: none */
    size_t used;
    char line[LOG_FILE_LINE];
};

/* Creates or empties the file. Logs its errors: STATUS_NOT_FOUND, STATUS_DENIED, STATUS_IO. */
enum status host_log_file_open(struct host_log_file *file, const char *path) MUST_CHECK;

/* Writes the last, unfinished line. Accepts what was not opened but set to {.fd = -1}. */
void host_log_file_close(struct host_log_file *file);

#endif
