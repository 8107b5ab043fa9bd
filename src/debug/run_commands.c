/* What makes the machine stop, go, and end; threads. */
#include <stdio.h>
#include <string.h>

#include "debug/debugger_internal.h"

/* ---- stops ---- */

/* What GDB is told of a breakpoint or watchpoint, if it has said that it understands. */
static void describe_point(struct debugger *debugger, const struct target_point *point)
{
    static const char *const names[] = {"swbreak", "hwbreak", "watch", "rwatch", "awatch"};
    bool known = point->type == '0' ? debugger->knows_swbreak : debugger->knows_hwbreak;
    const char *name = names[point->type - '0'];

    if (point->type >= '2')
        (void)snprintf(debugger->stop_detail, sizeof(debugger->stop_detail), "%s:%llx;", name,
                       (unsigned long long)point->point.address);
    else if (known)
        (void)snprintf(debugger->stop_detail, sizeof(debugger->stop_detail), "%s:;", name);
}

void debugger_note_stop(struct debugger *debugger, unsigned vcpu, uint8_t signal)
{
    const struct debug_target *target = &debugger->target;
    const struct debug_event *event = &target->machine->vcpus[vcpu]->debug_event;

    debugger->debt = debugger->debt == DEBT_STOP ? DEBT_NONE : debugger->debt;
    debugger->stopped_thread = debugger->general_thread = vcpu;
    debugger->continue_all = true;
    debugger->stop_signal = signal;
    debugger->stop_detail[0] = '\0';
    if (signal != SIGNAL_TRAP)
        return;
    if (event->reason == DEBUG_SHUTDOWN)
        debugger->stop_signal = SIGNAL_SEGMENT;
    if (event->reason == DEBUG_BREAKPOINT && debugger->knows_swbreak)
        memcpy(debugger->stop_detail, "swbreak:;", sizeof("swbreak:;"));
    else if (event->reason == DEBUG_POINT && event->point < target->point_count)
        describe_point(debugger, &target->points[event->point]);
}

void debugger_write_stop(struct debugger *debugger)
{
    struct packet_writer *writer = &debugger->writer;

    packet_text(writer, "T");
    packet_hex(writer, &debugger->stop_signal, 1);
    packet_text(writer, debugger->stop_detail);
    packet_text(writer, "thread:");
    packet_number(writer, debugger->stopped_thread + 1);
    packet_text(writer, ";");
}

enum answer command_why(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    debugger_write_stop(debugger);
    return ANSWER_NOW;
}

/* ---- going on ---- */

enum answer debugger_go(struct debugger *debugger)
{
    struct debug_target *target = &debugger->target;
    int vcpu;

    if (target_run(target)) {
        debugger->debt = DEBT_STOP;
        return ANSWER_LATER;
    }
    /* Another vCPU had stopped at the same time; its turn. */
    vcpu = target_event(target);
    debugger_note_stop(debugger, vcpu >= 0 ? (unsigned)vcpu : 0, SIGNAL_TRAP);
    debugger_write_stop(debugger);
    return ANSWER_NOW;
}

/* The old commands: one action, for the thread of Hc or for all. A step is one thread's in any case. */
static enum answer go(struct debugger *debugger, struct packet_text *text, enum target_action action)
{
    struct debug_target *target = &debugger->target;
    bool all = debugger->continue_all && action == TARGET_CONTINUE;
    unsigned one = debugger->continue_all ? debugger->stopped_thread : debugger->continue_thread;

    if (packet_left(text) > 0) /* from another address: GDB writes RIP instead */
        return debugger_fail(debugger, ERROR_INVALID);
    memset(target->action, all ? (int)action : TARGET_STAY, sizeof(target->action));
    memset(target->range, 0, sizeof(target->range));
    target->action[one] = (uint8_t)action;
    return debugger_go(debugger);
}

enum answer command_continue(struct debugger *debugger, struct packet_text *text)
{
    return go(debugger, text, TARGET_CONTINUE);
}

enum answer command_step(struct debugger *debugger, struct packet_text *text)
{
    return go(debugger, text, TARGET_STEP);
}

/* A processor has no signals: which one is to be passed on does not matter. */
static bool skip_signal(struct packet_text *text)
{
    uint8_t signal;

    return packet_take_hex(text, &signal, 1);
}

enum answer command_continue_signal(struct debugger *debugger, struct packet_text *text)
{
    return skip_signal(text) ? go(debugger, text, TARGET_CONTINUE) : debugger_fail(debugger, ERROR_INVALID);
}

enum answer command_step_signal(struct debugger *debugger, struct packet_text *text)
{
    return skip_signal(text) ? go(debugger, text, TARGET_STEP) : debugger_fail(debugger, ERROR_INVALID);
}

enum answer command_vcont_query(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    packet_text(&debugger->writer, "vCont;c;C;s;S;r");
    return ANSWER_NOW;
}

enum { ACTION_UNSET = 0xff };

/* "START,END": steps until RIP is not between them any more */
static bool take_step_range(struct packet_text *text, struct target_range *range)
{
    return packet_take_number(text, &range->start) && packet_match(text, ",") && packet_take_number(text, &range->end);
}

/* "c", "s", "C05", "S05", "rSTART,END" */
static bool take_action(struct packet_text *text, uint8_t *action, struct target_range *range)
{
    *range = (struct target_range){0};
    if (packet_match(text, "c"))
        *action = TARGET_CONTINUE;
    else if (packet_match(text, "s"))
        *action = TARGET_STEP;
    else if (packet_match(text, "C"))
        *action = skip_signal(text) ? TARGET_CONTINUE : ACTION_UNSET;
    else if (packet_match(text, "S"))
        *action = skip_signal(text) ? TARGET_STEP : ACTION_UNSET;
    else if (packet_match(text, "r"))
        *action = take_step_range(text, range) ? TARGET_STEP : ACTION_UNSET;
    else
        return false;
    return *action != ACTION_UNSET;
}

/* The leftmost action that fits a thread is its. */
static void set_action(struct debug_target *target, int vcpu, uint8_t action, const struct target_range *range)
{
    for (unsigned i = 0; i < target->machine->cpu_count; i++)
        if ((vcpu == THREAD_ALL || vcpu == (int)i) && target->action[i] == ACTION_UNSET) {
            target->action[i] = action;
            target->range[i] = *range;
        }
}

/* Is a vCPU to be stepped that can go on by itself? One that waits for others would wait for ever. */
static bool steps_alone(const struct debug_target *target)
{
    for (unsigned i = 0; i < target->machine->cpu_count; i++)
        if (target->action[i] == TARGET_STEP && target->machine->vcpus[i]->activity == CPU_RUNNING)
            return true;
    return false;
}

static bool take_actions(struct debugger *debugger, struct packet_text *text, uint8_t *others)
{
    struct target_range range;
    uint8_t action;
    int vcpu;

    do {
        vcpu = THREAD_ALL;
        if (!take_action(text, &action, &range) ||
            (packet_match(text, ":") && !debugger_take_thread(debugger, text, &vcpu)))
            return false;
        if (vcpu == THREAD_ANY)
            vcpu = (int)debugger->stopped_thread;
        if (vcpu != THREAD_ALL)
            set_action(&debugger->target, vcpu, action, &range);
        else if (*others == ACTION_UNSET)
            *others = action;
    } while (packet_match(text, ";"));
    return packet_left(text) == 0;
}

enum answer command_vcont(struct debugger *debugger, struct packet_text *text)
{
    struct debug_target *target = &debugger->target;
    uint8_t others = ACTION_UNSET;

    memset(target->action, ACTION_UNSET, sizeof(target->action));
    if (!take_actions(debugger, text, &others))
        return debugger_fail(debugger, ERROR_INVALID);
    if (others == ACTION_UNSET || (others == TARGET_CONTINUE && steps_alone(target)))
        others = TARGET_STAY;
    set_action(target, THREAD_ALL, others, &(struct target_range){0});
    return debugger_go(debugger);
}

/* ---- threads ---- */

bool debugger_take_thread(struct debugger *debugger, struct packet_text *text, int *vcpu)
{
    uint64_t number;

    if (packet_match(text, "-1")) {
        *vcpu = THREAD_ALL;
        return true;
    }
    if (!packet_take_number(text, &number) || number > debugger->target.machine->cpu_count)
        return false;
    *vcpu = number == 0 ? THREAD_ANY : (int)number - 1;
    return true;
}

/* "gID": for registers and memory; "cID": for c and s */
enum answer command_set_thread(struct debugger *debugger, struct packet_text *text)
{
    bool general = packet_match(text, "g");
    int vcpu;

    if ((!general && !packet_match(text, "c")) || !debugger_take_thread(debugger, text, &vcpu) || packet_left(text) > 0)
        return debugger_fail(debugger, ERROR_INVALID);
    if (general) {
        debugger->general_thread = vcpu >= 0 ? (unsigned)vcpu : debugger->stopped_thread;
    } else {
        debugger->continue_all = vcpu < 0;
        debugger->continue_thread = vcpu >= 0 ? (unsigned)vcpu : 0;
    }
    return debugger_ok(debugger);
}

enum answer command_thread_alive(struct debugger *debugger, struct packet_text *text)
{
    int vcpu;

    return debugger_take_thread(debugger, text, &vcpu) && vcpu >= 0 ? debugger_ok(debugger)
                                                                    : debugger_fail(debugger, ERROR_INVALID);
}

/* ---- ends ---- */

/* In extended mode `run` follows a kill, and needs a machine; whether it does, the end of the connection tells. */
static void kill_machine(struct debugger *debugger)
{
    debugger->debt = DEBT_NONE;
    if (debugger->extended && debugger->target.machine && target_stop(&debugger->target))
        debugger->killed = true;
    else
        debugger->ops->quit(debugger);
}

/* The machine goes on by itself. */
enum answer command_detach(struct debugger *debugger, struct packet_text *text)
{
    struct debug_target *target = &debugger->target;

    (void)text;
    if (target->machine) {
        target_let_go(target);
        if (!target->running) {
            memset(target->action, TARGET_CONTINUE, sizeof(target->action));
            (void)target_run(target);
        }
    }
    debugger->debt = DEBT_NONE;
    return debugger_ok(debugger);
}

enum answer command_kill(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    kill_machine(debugger);
    return ANSWER_LATER;
}

enum answer command_vkill(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    kill_machine(debugger);
    return debugger_ok(debugger);
}

enum answer command_restart(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    debugger->debt = DEBT_NONE;
    debugger->ops->restart(debugger);
    return ANSWER_LATER;
}

/* The program that is to run is the one that always runs. */
enum answer command_vrun(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    debugger->debt = DEBT_RESTART;
    debugger->ops->restart(debugger);
    return ANSWER_LATER;
}

enum answer command_extended(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    debugger->extended = true;
    return debugger_ok(debugger);
}
