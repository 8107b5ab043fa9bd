/* What the two engines share. */
#ifndef LODGE_BACKEND_AIO_INTERNAL_H
#define LODGE_BACKEND_AIO_INTERNAL_H

#include <sys/types.h>

#include "backend/aio.h"

/* Unlogged STATUS_UNSUPPORTED: the host does not grant it. */
enum status aio_uring_create(struct aio_engine **engine) MUST_CHECK;
enum status aio_threads_create(struct aio_engine **engine) MUST_CHECK;

/*
 * Takes the result of one system call into account: a count of bytes, or a negative errno. True: the
 * operation is over, with *error. False: the rest is to be submitted again.
 */
bool aio_proceed(struct aio_operation *operation, ssize_t result, int *error);

#endif
