#include "debug/target.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "core/engine.h"
#include "core/linear.h"
#include "debug/breakpoints.h"
#include "port/log.h"
#include "x86/regs.h"

enum { STOP_NAP_NS = 20000, STOP_PATIENCE_NAPS = 100000 /* some seconds */ };

void target_state(const struct debug_target *target, unsigned index, struct cpu_state *state)
{
    vcpu_get_state(target->machine->vcpus[index], state);
}

uint64_t target_code_address(const struct cpu_state *state)
{
    bool code64 = (state->efer & EFER_LMA) && (state->segment[SEG_CS].attributes & SEGMENT_L);

    return code64 ? state->rip : (uint32_t)(state->segment[SEG_CS].base + state->rip);
}

/* ---- stop and go ---- */

static bool wait_paused(const struct vcpu *vcpu)
{
    const struct timespec nap = {.tv_nsec = STOP_NAP_NS};

    for (unsigned naps = 0; !vcpu->paused; naps++) {
        if (naps == STOP_PATIENCE_NAPS || (vcpu->attention & ATTENTION_STOP)) {
            if (naps == STOP_PATIENCE_NAPS)
                log_warning("gdb: vCPU %u does not stop", vcpu->index);
            return false;
        }
        (void)nanosleep(&nap, NULL);
    }
    return true;
}

/* All vCPUs out of the guest. The machine may be running again right after, so its time goes on. */
static bool pause_all(struct debug_target *target)
{
    struct machine *machine = target->machine;
    bool all = true;

    for (unsigned i = 0; i < machine->cpu_count; i++)
        vcpu_attend(machine->vcpus[i], ATTENTION_PAUSE);
    for (unsigned i = 0; i < machine->cpu_count; i++)
        all = wait_paused(machine->vcpus[i]) && all;
    return all;
}

/* Is the INT3 that this vCPU has met none of ours? */
static bool is_guests_breakpoint(struct debug_target *target, unsigned index)
{
    const struct vcpu *vcpu = target->machine->vcpus[index];
    struct cpu_state state;
    uint64_t physical;

    if (vcpu->debug_event.reason != DEBUG_BREAKPOINT)
        return false;
    target_state(target, index, &state);
    return !linear_to_physical(&state, &target->machine->memory, target_code_address(&state), &physical) ||
           !breakpoint_at(target, physical);
}

/* Has it made one of the steps that nobody wants to be told of? */
static bool is_within_range(struct debug_target *target, unsigned index)
{
    const struct target_range *range = &target->range[index];
    struct cpu_state state;

    if (target->machine->vcpus[index]->debug_event.reason != DEBUG_STEPPED || range->start >= range->end)
        return false;
    target_state(target, index, &state);
    return state.rip >= range->start && state.rip < range->end;
}

/* Has it stopped by itself, for something that is the debugger's business? */
static bool has_event(struct debug_target *target, unsigned index)
{
    return target->action[index] != TARGET_STAY && target->machine->vcpus[index]->debug_event.reason != DEBUG_NONE &&
           !is_guests_breakpoint(target, index) && !is_within_range(target, index);
}

static void now_stopped(struct debug_target *target)
{
    target->running = false;
    for (unsigned i = 0; i < target->machine->cpu_count; i++)
        target->unreported[i] = has_event(target, i);
    if (target->stood_still)
        target->stood_still(target);
}

bool target_stop(struct debug_target *target)
{
    if (!target->running)
        return true;
    if (!pause_all(target))
        return false;
    now_stopped(target);
    return true;
}

static void describe(const struct debug_target *target, unsigned index, bool pass, struct debug_control *control)
{
    *control = (struct debug_control){
        .single_step = target->action[index] == TARGET_STEP,
        .hold_interrupts = !target->step_interrupts,
        .breakpoints = target->breakpoint_count != 0,
        .pass_breakpoint = pass,
        .point_count = (uint8_t)target->point_count,
    };
    for (unsigned i = 0; i < target->point_count; i++)
        control->points[i] = target->points[i].point;
}

/* pass: INT3s that were met and are the guest's own. */
static void start(struct debug_target *target, bool pass)
{
    struct machine *machine = target->machine;
    struct debug_control control;

    for (unsigned i = 0; i < machine->cpu_count; i++) {
        if (target->action[i] == TARGET_STAY)
            continue;
        describe(target, i, pass && is_guests_breakpoint(target, i), &control);
        machine->vcpus[i]->debug_event.reason = DEBUG_NONE;
        if (machine->engine->ops->set_debug(machine->vcpus[i], &control) != STATUS_OK)
            log_warning("gdb: vCPU %u runs without the debugger's breakpoints", i);
    }
    for (unsigned i = 0; i < machine->cpu_count; i++)
        if (target->action[i] != TARGET_STAY)
            vcpu_resume(machine->vcpus[i]);
}

static int first_unreported(const struct debug_target *target)
{
    for (unsigned i = 0; i < target->machine->cpu_count; i++)
        if (target->unreported[i])
            return (int)i;
    return -1;
}

/* What would happen again by itself need not be kept: the instruction is still to come. */
static void drop_repeatable(struct debug_target *target)
{
    for (unsigned i = 0; i < target->machine->cpu_count; i++) {
        const struct debug_event *event = &target->machine->vcpus[i]->debug_event;

        if (event->reason == DEBUG_BREAKPOINT ||
            (event->reason == DEBUG_POINT &&
             (event->point >= target->point_count || target->points[event->point].point.kind == DEBUG_EXECUTE)))
            target->unreported[i] = false;
    }
}

/* A vCPU that has shut down does not go on: the machine ends as it would have without us. */
static bool ends_by_shutdown(struct debug_target *target)
{
    for (unsigned i = 0; i < target->machine->cpu_count; i++)
        if (target->action[i] != TARGET_STAY && target->machine->vcpus[i]->activity == CPU_SHUTDOWN) {
            machine_end(target->machine, MACHINE_TRIPLE_FAULT, 0);
            return true;
        }
    return false;
}

bool target_run(struct debug_target *target)
{
    drop_repeatable(target);
    if (first_unreported(target) >= 0)
        return false;
    if (target->goes_on)
        target->goes_on(target);
    target->running = true;
    if (!ends_by_shutdown(target))
        start(target, false);
    return true;
}

int target_event(struct debug_target *target)
{
    bool any = false;
    int index;

    if (target->running) {
        if (!pause_all(target))
            return -1;
        for (unsigned i = 0; i < target->machine->cpu_count; i++)
            any = any || has_event(target, i);
        if (!any) {
            start(target, true);
            return -1;
        }
        now_stopped(target);
    }
    index = first_unreported(target);
    if (index >= 0)
        target->unreported[index] = false;
    return index;
}

/* ---- life ---- */

void target_attach(struct debug_target *target, struct machine *machine)
{
    target->machine = machine;
    target->running = false;
    target->current = 0;
    target->breakpoint_count = 0;
    target->point_count = 0;
    memset(target->unreported, 0, sizeof(target->unreported));
}

void target_let_go(struct debug_target *target)
{
    static const struct debug_control nothing;
    bool was_running = target->running;

    target->machine->debug_shutdown = false;
    if (pause_all(target)) {
        target_remove_all(target);
        for (unsigned i = 0; i < target->machine->cpu_count; i++)
            if (target->machine->engine->ops->set_debug(target->machine->vcpus[i], &nothing) != STATUS_OK)
                log_warning("gdb: vCPU %u keeps the debugger's breakpoints", i);
        memset(target->unreported, 0, sizeof(target->unreported));
        for (unsigned i = 0; was_running && i < target->machine->cpu_count; i++)
            if (target->action[i] != TARGET_STAY)
                vcpu_resume(target->machine->vcpus[i]);
    }
}
