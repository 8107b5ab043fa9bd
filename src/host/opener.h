/*
 * A process that opens files for one that no longer may: a fixed list of them, for reading. It keeps the user and the
 * view of files that this process had when it was started, and ends with it.
 *
 * What it can be asked is a number in the list, or to remove the one file that it was told of; nothing that a program
 * which has been taken over could send makes it do more.
 */
#ifndef LODGE_HOST_OPENER_H
#define LODGE_HOST_OPENER_H

#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"

enum { OPENER_FILES = 65 };

struct host_opener {
    int socket; /* valid if process is not 0 */
    pid_t process;
};

/*
 * Before there are threads, and early, since the process is copied. paths: up to OPENER_FILES, which need not exist
 * yet; removable: a path, or NULL. Logs its errors.
 */
enum status host_opener_start(struct host_opener *opener, const char *const *paths, size_t count,
                              const char *removable) MUST_CHECK;

/* A new descriptor of paths[number] as it is now; -1: errno says why. The main thread. */
int host_opener_open(struct host_opener *opener, size_t number);

/* Removes the removable file. */
void host_opener_remove(struct host_opener *opener);

void host_opener_stop(struct host_opener *opener); /* accepts a zeroed one */

#endif
