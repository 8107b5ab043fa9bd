/*
 * A debugger outside of the guest (core/debug.h). Its points are its own: the guest's debug registers are untouched.
 *
 * Execute points are known to the translator: a block begins at each, and is a stop. Data points keep their page out of
 * the TLBs; whoever touches one runs its instruction again, alone. So the guest runs at its speed until something is met.
 */
#ifndef LODGE_ENGINE_DBT_DEBUG_H
#define LODGE_ENGINE_DBT_DEBUG_H

#include "engine/dbt/engine.h"

/* engine_ops.set_debug. No vCPU of the machine runs. */
enum status dbt_set_debug(struct vcpu *vcpu, const struct debug_control *control) MUST_CHECK;

/* For the run loop, when it begins: nothing has happened yet. */
static inline void debug_begins(struct dbt_vcpu *c)
{
    c->vcpu.debug_event.reason = DEBUG_NONE;
    c->stepped = c->delivered = 0;
}

/* For the run loop: is it to leave for the debugger? Sets vcpu->debug_event. */
bool debug_stops(struct dbt_vcpu *c);

/* Are interrupts to wait until the debugger's step is over? */
static inline bool debug_holds_interrupts(const struct dbt_vcpu *c)
{
    return c->debug.single_step && c->debug.hold_interrupts && !c->halted;
}

/* And after a stretch of code, before an exception that it raised is delivered. alone: it was one instruction. */
void debug_ran(struct dbt_vcpu *c, bool alone, bool raised);

/* INT3, with debug.breakpoints set: true if it is the debugger's, and then the event is set. */
bool debug_takes_breakpoint(struct dbt_vcpu *c);

/* An access of [linear, linear + size): notes the data points that it meets; true if there were any. */
bool debug_watch(struct dbt_vcpu *c, uint64_t linear, unsigned size, bool write);
bool debug_watches_page(const struct dbt_vcpu *c, uint64_t linear);

/* The helper behind a stop. */
helper_fn op_debug_stop;

static inline bool debug_stop_at(const struct dbt_engine *dbt, uint64_t linear)
{
    for (unsigned i = 0; i < dbt->stop_count; i++)
        if (dbt->stops[i] == linear)
            return true;
    return false;
}

#endif
