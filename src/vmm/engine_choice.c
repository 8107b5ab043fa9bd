#include "vmm/engine_choice.h"

#include <stdio.h>
#include <string.h>

#include "core/engine.h"
#include "engine/dbt/dbt.h"
#include "port/log.h"
#include "vmm/options.h"
#include "vmm/probe.h"

static const char *const engine_names[] = {"auto", "kvm", "dbt", NULL};

const char *const *vmm_engine_names(void)
{
    return engine_names;
}

/*
 * The translator runs everywhere. The probe is made although KVM cannot be chosen yet, because what
 * the user can do about it differs: a missing permission is theirs to fix.
 */
static void choose_by_probe(struct engine_choice *choice)
{
    choice->ops = &dbt_engine_ops;
    if (probe_kvm(choice->reason, sizeof(choice->reason)))
        (void)snprintf(choice->reason, sizeof(choice->reason),
                       "/dev/kvm works, but the KVM engine is not in this build");
}

enum status engine_choose(const char *name, struct engine_choice *choice)
{
    *choice = (struct engine_choice){0};
    if (strcmp(name, "kvm") == 0) {
        log_error("the KVM engine is not in this build; use --engine dbt");
        return STATUS_UNSUPPORTED;
    }
    if (strcmp(name, "dbt") == 0)
        choice->ops = &dbt_engine_ops;
    else
        choose_by_probe(choice);
    return STATUS_OK;
}
