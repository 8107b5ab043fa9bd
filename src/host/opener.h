/*
 * A process that does with paths what this one no longer may: opens files, for reading, connects to sockets, removes
 * sockets. It keeps the user and the view of files that this process had when it was started, and ends with it.
 *
 * What it can be asked is a number in a list that it was started with, or that of a port; nothing that a program which
 * has been taken over could send makes it do more.
 */
#ifndef LODGE_HOST_OPENER_H
#define LODGE_HOST_OPENER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

enum { OPENER_FILES = 65, OPENER_SOCKETS = 2 };

/* What it may be asked for. Borrowed; relative paths are those of the folder in which it was started. */
struct opener_job {
    const char *paths[OPENER_FILES]; /* to read; they need not exist yet. NULL: none of this number */
    size_t count;
    const char *sockets[OPENER_SOCKETS]; /* to remove. NULL: none of this number */
    const char *ports;                   /* PREFIX: sockets named PREFIX_PORT are connected to. NULL: none is */
};

struct host_opener {
    int socket; /* valid if process is not 0 */
    pid_t process;
    pthread_mutex_t lock; /* from a request to its answer */
};

/* Before there are threads, and early, since the process is copied. Logs its errors. */
enum status host_opener_start(struct host_opener *opener, const struct opener_job *job) MUST_CHECK;

/* A new descriptor of paths[number] as it is now; -1: errno says why. Any thread. */
int host_opener_open(struct host_opener *opener, size_t number);

/* A new connection to the socket PREFIX_PORT, which does not block; -1: errno says why. Any thread. */
int host_opener_connect(struct host_opener *opener, uint32_t port);

/* Removes sockets[number]. Any thread. */
void host_opener_remove(struct host_opener *opener, size_t number);

/* Nobody asks any more. Accepts a zeroed one. */
void host_opener_stop(struct host_opener *opener);

#endif
