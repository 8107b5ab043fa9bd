/* What keeps the guest in: this process's sandbox, and who opens files for it from outside. */
#ifndef LODGE_VMM_ISOLATION_H
#define LODGE_VMM_ISOLATION_H

#include <stdbool.h>

#include "base/status.h"
#include "core/engine.h"
#include "host/opener.h"
#include "host/sandbox.h"
#include "vmm/options.h"

struct isolation {
    bool wanted, entered;
    struct sandbox sandbox;
    struct host_opener opener;
};

/* As early as possible. Logs its errors. */
enum status isolation_open(struct isolation *isolation, const struct vmm_options *options) MUST_CHECK;

/* Everything is open, and no thread has been started. Logs its errors. */
enum status isolation_enter(struct isolation *isolation, const struct engine_ops *engine) MUST_CHECK;

/* NULL: not inside, files can be opened as usual. */
struct host_opener *isolation_opener(struct isolation *isolation);

void isolation_close(struct isolation *isolation); /* accepts a zeroed one; there is no way out of the sandbox */

#endif
