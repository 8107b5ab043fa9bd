/* Which engine runs the machine. */
#ifndef LODGE_VMM_ENGINE_CHOICE_H
#define LODGE_VMM_ENGINE_CHOICE_H

#include <stdint.h>

#include "base/status.h"

struct engine_ops;

enum { ENGINE_REASON = 200 };

struct engine_choice {
    const struct engine_ops *ops;
    uint32_t tsc_khz;           /* of the time stamp counter, as the engine knows it; 0: nobody has said */
    char reason[ENGINE_REASON]; /* why "auto" came to it; empty when it was named */
};

/*
 * name: "auto", or an engine of vmm_engine_names(). auto takes KVM only where it is shown to work, which
 * may take up to 0.4 s. STATUS_UNSUPPORTED (logged): that engine does not run here. Before threads.
 */
enum status engine_choose(const char *name, struct engine_choice *choice) MUST_CHECK;

#endif
