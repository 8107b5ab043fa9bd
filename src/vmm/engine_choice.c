#include "vmm/engine_choice.h"

#include <stdio.h>
#include <string.h>

#include "core/engine.h"
#include "engine/dbt/dbt.h"
#include "engine/kvm/kvm.h"
#include "port/log.h"
#include "vmm/options.h"
#include "vmm/probe.h"

static const char *const engine_names[] = {"auto", "kvm", "dbt", NULL};

const char *const *vmm_engine_names(void)
{
    return engine_names;
}

#define KVM_DEVICE "/dev/kvm"

/* The translator runs everywhere; KVM is faster where it runs at all. */
static void choose_by_probe(struct engine_choice *choice)
{
    choice->ops = &dbt_engine_ops;
    if (!probe_kvm(KVM_DEVICE, &choice->tsc_khz, choice->reason, sizeof(choice->reason)))
        return;
    choice->ops = &kvm_engine_ops;
    (void)snprintf(choice->reason, sizeof(choice->reason), KVM_DEVICE " runs a 64-bit guest");
}

/* Asked for by name, it must not hang either: it is probed too, and refused with what the probe found. */
static enum status choose_kvm(struct engine_choice *choice)
{
    char reason[ENGINE_REASON];

    choice->ops = &kvm_engine_ops;
    if (probe_kvm(KVM_DEVICE, &choice->tsc_khz, reason, sizeof(reason)))
        return STATUS_OK;
    log_error("engine kvm cannot be used: %s; use --engine dbt", reason);
    return STATUS_UNSUPPORTED;
}

enum status engine_choose(const char *name, struct engine_choice *choice)
{
    *choice = (struct engine_choice){0};
    if (strcmp(name, "kvm") == 0)
        return choose_kvm(choice);
    if (strcmp(name, "dbt") == 0)
        choice->ops = &dbt_engine_ops;
    else
        choose_by_probe(choice);
    return STATUS_OK;
}
