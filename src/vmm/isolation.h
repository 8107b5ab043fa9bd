/* What keeps the guest in: this process's sandbox, and who opens files for it from outside. */
#ifndef LODGE_VMM_ISOLATION_H
#define LODGE_VMM_ISOLATION_H

#include <stdbool.h>

#include "backend/vsock.h"
#include "base/status.h"
#include "core/engine.h"
#include "host/opener.h"
#include "host/sandbox.h"
#include "vmm/devices.h"
#include "vmm/options.h"

/* The opener's sockets, by number. */
enum { ISOLATION_GDB_SOCKET, ISOLATION_VSOCK_SOCKET };

struct isolation {
    bool wanted, entered;
    struct sandbox sandbox;
    struct host_opener opener;
    struct vsock_outside vsock;
};

/* As early as possible. Logs its errors. */
enum status isolation_open(struct isolation *isolation, const struct vmm_options *options) MUST_CHECK;

/* Who connects the vsock device to sockets of the host; NULL: it can do that itself. After isolation_open(). */
struct vsock_outside *isolation_vsock(struct isolation *isolation);

/*
 * Everything is open, and no thread has been started. Enters, and starts the threads of the back ends, which cannot
 * have the main thread's list of system calls, before that thread takes it. Logs its errors.
 */
enum status isolation_enter(struct isolation *isolation, const struct engine_ops *engine,
                            struct backends *backends) MUST_CHECK;

/* NULL: not inside, files can be opened as usual. */
struct host_opener *isolation_opener(struct isolation *isolation);

void isolation_close(struct isolation *isolation); /* accepts a zeroed one; there is no way out of the sandbox */

#endif
