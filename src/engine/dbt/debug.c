#include "engine/dbt/debug.h"

#include "engine/dbt/mmu.h"
#include "engine/dbt/run.h"
#include "port/log.h"

/* ---- while the guest runs ---- */

static bool tell(struct dbt_vcpu *c, enum debug_reason reason, unsigned point)
{
    c->vcpu.debug_event = (struct debug_event){.reason = (uint8_t)reason, .point = (uint8_t)point};
    return true;
}

/* An execute point of this vCPU at its next instruction, or -1. */
static int point_here(const struct dbt_vcpu *c)
{
    uint64_t linear = code_linear(c);

    for (unsigned i = 0; i < c->debug.point_count; i++)
        if ((c->execute_points >> i & 1) && c->debug.points[i].address == linear)
            return (int)i;
    return -1;
}

bool debug_stops(struct dbt_vcpu *c)
{
    int point;

    if (c->vcpu.debug_event.reason != DEBUG_NONE)
        return true;
    if (c->point_hits) {
        point = __builtin_ctz(c->point_hits);
        c->point_hits = 0;
        return tell(c, DEBUG_POINT, (unsigned)point);
    }
    if (c->debug.single_step && (c->stepped || c->delivered))
        return tell(c, DEBUG_STEPPED, 0);
    point = c->step_alone || c->halted ? -1 : point_here(c);
    return point >= 0 && tell(c, DEBUG_POINT, (unsigned)point);
}

void debug_ran(struct dbt_vcpu *c, bool alone, bool raised)
{
    if (raised)
        c->point_hits = 0; /* the instruction has not happened */
    if (alone) {
        c->step_alone = 0;
        c->stepped = c->vcpu.debug_event.reason == DEBUG_NONE;
    } else if (c->step_alone) {
        c->point_hits = 0; /* it will meet them again */
        mode_update(c);
    }
}

bool debug_takes_breakpoint(struct dbt_vcpu *c)
{
    if (c->debug.pass_breakpoint && c->rip == c->pass_rip) {
        c->debug.pass_breakpoint = false;
        return false;
    }
    return tell(c, DEBUG_BREAKPOINT, 0);
}

bool debug_watch(struct dbt_vcpu *c, uint64_t linear, unsigned size, bool write)
{
    uint8_t hits = 0;

    for (unsigned i = 0; i < c->debug.point_count; i++) {
        const struct debug_point *point = &c->debug.points[i];

        if ((c->data_points >> i & 1) && (write || point->kind == DEBUG_ACCESS) &&
            linear < point->address + point->length && point->address < linear + size)
            hits |= (uint8_t)(1u << i);
    }
    c->point_hits |= hits;
    return hits != 0;
}

bool debug_watches_page(const struct dbt_vcpu *c, uint64_t linear)
{
    for (unsigned i = 0; i < c->debug.point_count; i++)
        if ((c->data_points >> i & 1) && ((c->debug.points[i].address ^ linear) & ~(uint64_t)(PAGE_SIZE - 1)) == 0)
            return true;
    return false;
}

/* If the point is another vCPU's, this one goes on as if it were not there. */
void op_debug_stop(struct dbt_vcpu *c, const struct insn *insn)
{
    int point = point_here(c);

    (void)insn;
    if (point >= 0)
        (void)tell(c, DEBUG_POINT, (unsigned)point);
    else
        c->step_alone = 1;
    leave_now(c);
}

/* ---- what the debugger asks for ---- */

static bool point_is_valid(const struct debug_point *point)
{
    unsigned length = point->length;

    if (point->kind == DEBUG_EXECUTE)
        return length == 1;
    return (point->kind == DEBUG_WRITE || point->kind == DEBUG_ACCESS) &&
           (length == 1 || length == 2 || length == 4 || length == 8) && point->address % length == 0;
}

static bool control_is_valid(const struct debug_control *control)
{
    if (control->point_count > DEBUG_POINTS)
        return false;
    for (unsigned i = 0; i < control->point_count; i++)
        if (!point_is_valid(&control->points[i]))
            return false;
    return true;
}

/* The execute points of all vCPUs, each address once. */
static unsigned gather_stops(const struct dbt_engine *dbt, uint64_t *stops)
{
    unsigned count = 0;

    for (unsigned i = 0; i < dbt->cpu_count; i++) {
        const struct dbt_vcpu *c = dbt->vcpus[i];

        for (unsigned n = 0; c && n < c->debug.point_count; n++) {
            unsigned known = 0;

            while (known < count && stops[known] != c->debug.points[n].address)
                known++;
            if ((c->execute_points >> n & 1) && known == count)
                stops[count++] = c->debug.points[n].address;
        }
    }
    return count;
}

static bool is_among(uint64_t address, const uint64_t *stops, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (stops[i] == address)
            return true;
    return false;
}

/* Code that was made without a stop, or with one, is made anew. */
static void update_stops(struct dbt_engine *dbt)
{
    uint64_t stops[DBT_STOPS];
    unsigned count;

    lock_acquire(&dbt->lock);
    count = gather_stops(dbt, stops);
    for (unsigned i = 0; i < count; i++)
        if (!is_among(stops[i], dbt->stops, dbt->stop_count))
            cache_forget_linear(&dbt->cache, stops[i]);
    for (unsigned i = 0; i < dbt->stop_count; i++)
        if (!is_among(dbt->stops[i], stops, count))
            cache_forget_linear(&dbt->cache, dbt->stops[i]);
    for (unsigned i = 0; i < count; i++)
        dbt->stops[i] = stops[i];
    dbt->stop_count = count;
    lock_release(&dbt->lock);
}

static bool same_points(const struct debug_control *a, const struct debug_control *b)
{
    if (a->point_count != b->point_count)
        return false;
    for (unsigned i = 0; i < a->point_count; i++)
        if (a->points[i].address != b->points[i].address || a->points[i].length != b->points[i].length ||
            a->points[i].kind != b->points[i].kind)
            return false;
    return true;
}

enum status dbt_set_debug(struct vcpu *vcpu, const struct debug_control *control)
{
    struct dbt_vcpu *c = (struct dbt_vcpu *)vcpu;
    bool same = same_points(&c->debug, control);

    if (!control_is_valid(control)) {
        log_error("engine dbt: a breakpoint that no debug register can hold was asked for");
        return STATUS_INVALID;
    }
    c->debug = *control;
    c->execute_points = c->data_points = 0;
    for (unsigned i = 0; i < control->point_count; i++) {
        uint8_t bit = (uint8_t)(1u << i);

        if (control->points[i].kind == DEBUG_EXECUTE)
            c->execute_points |= bit;
        else
            c->data_points |= bit;
    }
    c->debugging = control->single_step || control->breakpoints || control->point_count != 0;
    c->pass_rip = c->rip;
    c->point_hits = c->step_alone = c->stepped = c->delivered = 0;
    c->vcpu.debug_event.reason = DEBUG_NONE;
    c->exit_chain = 0; /* it would be led to a block of another mode */
    if (!same) {
        update_stops(c->dbt);
        mmu_flush_all(c);
    }
    mode_update(c);
    return STATUS_OK;
}
