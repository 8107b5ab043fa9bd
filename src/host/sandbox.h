/*
 * What this process gives up before a guest runs: privileges, files, and all system calls but a few. docs/security.md
 * tells the whole.
 *
 * A process has one sandbox, and there is no way out of it.
 */
#ifndef LODGE_HOST_SANDBOX_H
#define LODGE_HOST_SANDBOX_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

/* Threads by what they do; each has its own list of system calls (sandbox_filter.c). */
enum sandbox_thread {
    SANDBOX_MAIN,   /* the event loop; puts machines together and apart, so it has what any of its threads has */
    SANDBOX_VCPU,   /* runs a processor; under KVM it may start the thread for doorbells, which inherits its list */
    SANDBOX_WRITER, /* console, trace: writes to what is open */
    SANDBOX_OPENER, /* host/opener.c, a process of its own */
    SANDBOX_THREADS,
};

struct sandbox {
    bool strict;       /* what the host does not allow is an error, and not a warning */
    bool kvm;          /* the requests of KVM are needed */
    bool changes_user; /* to these: */
    bool user_named;   /* by the caller, so it must succeed */
    uid_t uid;
    gid_t gid;
};

/*
 * user: a name, a number, "keep", or NULL for nobody if this is root, and no change otherwise. Logs what is wrong with
 * it: STATUS_NOT_FOUND, STATUS_DENIED. The other members are the caller's.
 */
enum status sandbox_choose_user(struct sandbox *sandbox, const char *user) MUST_CHECK;

/*
 * Enters. The main thread, before there are others and after everything has been opened: no file can be opened any
 * more. What the host refuses is one warning; with strict it is logged as an error and answered with
 * STATUS_UNSUPPORTED.
 */
enum status sandbox_enter(const struct sandbox *sandbox) MUST_CHECK;

/* First thing in a thread that was started inside: from now on it has only the list of its kind. Nothing outside. */
void sandbox_enter_thread(enum sandbox_thread kind);

/* A process that stays outside takes the list of SANDBOX_OPENER alone. False: the host refuses, errno says why. */
bool sandbox_enter_opener(void);

#endif
