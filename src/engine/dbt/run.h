/* The run loop of a vCPU (run.c) and what it calls of its surroundings. */
#ifndef LODGE_ENGINE_DBT_RUN_H
#define LODGE_ENGINE_DBT_RUN_H

#include "engine/dbt/state.h"

/* engine_ops.run */
enum vcpu_exit dbt_run(struct vcpu *vcpu);

/*
 * In a memory thunk: the registers are in the vCPU, but which instruction it was only thunk_return tells. Sets rip to it,
 * or with `after` to the next, and the flags.
 */
void settle(struct dbt_vcpu *c, bool after);

/* A helper leaves translated code at c->rip, which may be its own instruction again (an interrupted REP). */
_Noreturn void leave_now(struct dbt_vcpu *c);

/* Point GS at the vCPU and take the host signals that its code can cause; the vCPU's own thread. (signal.c) */
void thread_enter(struct dbt_vcpu *c);

#endif
