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
    SANDBOX_MAIN,   /* the event loop; puts machines together and apart, so it has what threads have that it starts */
    SANDBOX_VCPU,   /* runs a processor; under KVM it may start the thread for doorbells, which inherits its list */
    SANDBOX_WRITER, /* console, trace: writes to what is open */
    SANDBOX_DISK,   /* reads and writes disk images */
    SANDBOX_VSOCK,  /* moves bytes between connected sockets and a guest */
    SANDBOX_SLIRP,  /* a user network: makes sockets of the Internet */
    SANDBOX_TAP,    /* moves frames between a tap interface and a guest */
    SANDBOX_OPENER, /* host/opener.c, a process of its own */
    SANDBOX_THREADS,
};

struct sandbox {
    bool strict;       /* what the host does not allow is an error, and not a warning */
    bool kvm;          /* the requests of KVM are needed */
    bool vsock;        /* and what a vCPU does with vsock connections, */
    bool slirp;        /* a user network's sockets, and the host's name servers, */
    bool tap;          /* the requests of a tap interface */
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
 * Enters, all but the lists of system calls. The main thread, before there are others and after everything has been
 * opened: no file can be opened any more. What the host refuses is one warning; with strict it is logged as an error and
 * answered with STATUS_UNSUPPORTED.
 *
 * Threads that have what the main thread has not are started next, and then it takes its list, which those that it
 * starts later inherit; nothing of the guest has run up to there.
 */
enum status sandbox_enter(const struct sandbox *sandbox) MUST_CHECK;

/*
 * By a thread, about itself: from now on it has only the list of its kind. Nothing outside, or where the host has no
 * such lists, of which sandbox_enter() has told. False (logged): it has what it had.
 */
bool sandbox_enter_thread(enum sandbox_thread kind);

/* A process that stays outside takes the list of SANDBOX_OPENER alone. False: the host refuses, errno says why. */
bool sandbox_enter_opener(void);

#endif
