/* The layers of the sandbox, for sandbox.c. */
#ifndef LODGE_HOST_SANDBOX_INTERNAL_H
#define LODGE_HOST_SANDBOX_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "host/sandbox.h"

/*
 * The list of system calls for a kind of thread, for the calling thread and those it will start; added to what it has.
 * False: errno says why. (sandbox_filter.c)
 */
bool sandbox_filter_install(enum sandbox_thread kind, const struct sandbox *sandbox);

/* Does the host have such lists? False: errno says why not. */
bool sandbox_filter_exists(void);

/* A call outside of the list is reported, and ends the process by SIGSYS. (sandbox_trap.c) */
void sandbox_trap_install(void);

/*
 * No path leads to a file any more, by Landlock; slirp: but to the host's list of name servers, and TCP is not
 * restricted. False: errno says why. The calling thread, and those it will start. (sandbox_files.c)
 */
bool sandbox_landlock(bool slirp);

/* The same without Landlock: the root is an empty file system. Needs a process without threads. (sandbox_files.c) */
bool sandbox_private_root(void);

/* All capabilities and the way back to them. keep: a mask of those to keep. (sandbox_privileges.c) */
bool sandbox_drop_capabilities(uint64_t keep);
bool sandbox_change_user(uid_t uid, gid_t gid);

#endif
