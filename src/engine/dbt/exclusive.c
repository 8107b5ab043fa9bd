/*
 * Exclusive sections: one vCPU does what no other may see half done.
 *
 * Every vCPU publishes in `running` whether it may be in translated code. Whoever wants the section
 * takes the word `exclusive`, asks the others out, and waits until none is running; they wait at the door.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/dbt/engine.h"

/* As long as a vCPU usually takes to the next attention check, or a section lasts: sleeping costs more. */
enum { SPINS = 2000 };

static void wait_while(_Atomic uint32_t *word, uint32_t value)
{
    for (unsigned spins = 0; *word == value; spins++) {
        if (spins < SPINS)
            __builtin_ia32_pause();
        else
            syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    }
}

static void wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, MACHINE_CPUS, NULL, NULL, 0);
}

void exclusive_enter(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;
    uint32_t owner;

    for (;;) {
        dbt->running[c->vcpu.index] = 1;
        owner = dbt->exclusive;
        if (owner == 0 || owner == c->vcpu.index + 1)
            return;
        exclusive_leave(c);
        wait_while(&dbt->exclusive, owner);
    }
}

void exclusive_leave(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;

    dbt->running[c->vcpu.index] = 0;
    if (dbt->exclusive)
        wake(&dbt->running[c->vcpu.index]);
}

static void take(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;
    uint32_t nobody = 0;

    while (!atomic_compare_exchange_strong(&dbt->exclusive, &nobody, c->vcpu.index + 1)) {
        exclusive_leave(c); /* the one who has it waits for us */
        wait_while(&dbt->exclusive, nobody);
        nobody = 0;
        dbt->running[c->vcpu.index] = 1;
    }
}

void exclusive_begin(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;

    if (dbt->exclusive_depth[c->vcpu.index]++)
        return;
    take(c);
    for (unsigned i = 0; i < dbt->cpu_count; i++) {
        struct dbt_vcpu *other = dbt->vcpus[i];

        if (!other || other == c)
            continue;
        atomic_fetch_or(&other->vcpu.attention, ATTENTION_ENGINE);
        wait_while(&dbt->running[i], 1);
    }
}

void exclusive_end(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;

    if (--dbt->exclusive_depth[c->vcpu.index])
        return;
    dbt->exclusive = 0;
    wake(&dbt->exclusive);
}
