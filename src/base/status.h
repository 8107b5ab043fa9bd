/* What a function that can fail answers. */
#ifndef LODGE_BASE_STATUS_H
#define LODGE_BASE_STATUS_H

/*
 * The place where an error is born logs it (port/log.h, log_error) with what, where and what to
 * do; callers only pass the status on. STATUS_OK is zero.
 */
enum status {
    STATUS_OK = 0,
    STATUS_INVALID,     /* an argument or a field is outside what its format allows */
    STATUS_NO_MEMORY,   /* the host, or a fixed table, has no room */
    STATUS_NOT_FOUND,   /* no such file, device, section */
    STATUS_DENIED,      /* the host refuses permission */
    STATUS_UNSUPPORTED, /* well formed, but not something this build or host can do */
    STATUS_IO,          /* the host failed to read or write */
    STATUS_BUSY,        /* somebody else holds it */
    STATUS_CORRUPT,     /* data that contradicts itself */
    STATUS_EXISTS,      /* already there */
};

/* A short English name, "corrupt" for example; never NULL. */
const char *status_name(enum status status);

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
