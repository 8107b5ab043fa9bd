#include "debug/debugger.h"

#include <string.h>

#include "base/bits.h"
#include "debug/debugger_internal.h"
#include "x86/cpuid.h"
#include "x86/regs.h"

struct register_view debugger_view(const struct debugger *debugger)
{
    const struct machine *machine = debugger->target.machine;
    bool avx = machine && (cpuid_query(&machine->cpuid, 1, 0, 0, 0, XCR0_X87).ecx & BIT(28)) != 0;

    return (struct register_view){.wide = !debugger->narrow, .avx = avx};
}

/* ---- packets ---- */

struct command {
    const char *name;
    command_fn *run;
    bool without_machine; /* makes sense while there is none */
    bool while_running;   /* and while it runs */
};

/* The first whose name the packet begins with; longer names stand before shorter ones. */
static const struct command commands[] = {
    {"?", command_why, false, false},
    {"!", command_extended, true, true},
    {"g", command_get_registers, false, false},
    {"G", command_set_registers, false, false},
    {"p", command_get_register, false, false},
    {"P", command_set_register, false, false},
    {"m", command_read_memory, false, false},
    {"M", command_write_memory, false, false},
    {"X", command_write_binary, false, false},
    {"Z", command_insert, false, false},
    {"z", command_remove, false, false},
    {"c", command_continue, false, false},
    {"C", command_continue_signal, false, false},
    {"s", command_step, false, false},
    {"S", command_step_signal, false, false},
    {"vCont?", command_vcont_query, true, true},
    {"vCont;", command_vcont, false, false},
    {"vKill;", command_vkill, true, true},
    {"vRun;", command_vrun, false, false},
    {"H", command_set_thread, false, false},
    {"T", command_thread_alive, false, true},
    {"D", command_detach, true, true},
    {"k", command_kill, true, true},
    {"R", command_restart, false, false},
    {"qSupported", command_supported, true, true},
    {"qXfer:features:read:target.xml:", command_features, true, true},
    {"qAttached", command_attached, true, true},
    {"qC", command_current_thread, false, true},
    {"qfThreadInfo", command_first_threads, false, true},
    {"qsThreadInfo", command_more_threads, true, true},
    {"qThreadExtraInfo,", command_thread_information, false, false},
    {"qSymbol::", command_symbol, true, true},
    {"qRcmd,", command_monitor, false, false},
    {"QStartNoAckMode", command_no_acknowledgement, true, true},
};

void debugger_send(struct debugger *debugger)
{
    packet_end(&debugger->writer);
    debugger->ops->send(debugger, debugger->writer.bytes, debugger->writer.size);
}

enum answer debugger_fail(struct debugger *debugger, unsigned number)
{
    packet_error(&debugger->writer, number);
    return ANSWER_NOW;
}

enum answer debugger_ok(struct debugger *debugger)
{
    packet_text(&debugger->writer, "OK");
    return ANSWER_NOW;
}

static enum answer run_command(struct debugger *debugger, const struct command *command, struct packet_text *text)
{
    const struct debug_target *target = &debugger->target;

    if ((!target->machine && !command->without_machine) || (target->running && !command->while_running))
        return debugger_fail(debugger, ERROR_INVALID);
    return command->run(debugger, text);
}

/* An empty answer to what we do not know, as the protocol has it (vMustReplyEmpty asks for just that). */
static void take_packet(struct debugger *debugger)
{
    struct packet_text text = {debugger->reader.data, debugger->reader.data + debugger->reader.size};
    enum answer answer = ANSWER_NOW;

    packet_begin(&debugger->writer);
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        if (packet_match(&text, commands[i].name)) {
            answer = run_command(debugger, &commands[i], &text);
            break;
        }
    if (answer == ANSWER_NOW)
        debugger_send(debugger);
}

static void take_interrupt(struct debugger *debugger)
{
    struct debug_target *target = &debugger->target;
    int vcpu;

    if (!target->machine || !target->running || !target_stop(target))
        return;
    vcpu = target_event(target);
    debugger_note_stop(debugger, vcpu >= 0 ? (unsigned)vcpu : debugger->general_thread,
                       vcpu >= 0 ? SIGNAL_TRAP : SIGNAL_INTERRUPT);
    packet_begin(&debugger->writer);
    debugger_write_stop(debugger);
    debugger_send(debugger);
}

static void acknowledge(struct debugger *debugger, const char *how)
{
    if (debugger->acknowledges)
        debugger->ops->send(debugger, how, 1);
}

void debugger_receive(struct debugger *debugger, const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;

    for (; size > 0 && debugger->connected; size--, byte++) {
        switch (packet_take(&debugger->reader, *byte)) {
        case PACKET_COMPLETE:
            acknowledge(debugger, "+");
            take_packet(debugger);
            break;
        case PACKET_BAD:
            acknowledge(debugger, "-");
            break;
        case PACKET_INTERRUPT:
            take_interrupt(debugger);
            break;
        case PACKET_REFUSED:
            if (debugger->acknowledges && debugger->writer.size > 0)
                debugger->ops->send(debugger, debugger->writer.bytes, debugger->writer.size);
            break;
        case PACKET_NONE:
            break;
        }
    }
}

/* ---- the machine comes and goes ---- */

static void stood_still(struct debug_target *target)
{
    struct debugger *debugger = CONTAINER_OF(target, struct debugger, target);

    debugger->ops->stood_still(debugger);
}

static void goes_on(struct debug_target *target)
{
    struct debugger *debugger = CONTAINER_OF(target, struct debugger, target);

    debugger->ops->goes_on(debugger);
}

static void run_all(struct debugger *debugger)
{
    struct debug_target *target = &debugger->target;

    memset(target->action, TARGET_CONTINUE, sizeof(target->action));
    (void)target_run(target);
}

/* The machine is there again: whoever waits for something hears so. */
static void pay_restart(struct debugger *debugger, uint8_t debt)
{
    debugger->debt = DEBT_NONE;
    if (!debugger->connected || debt == DEBT_NONE)
        return;
    packet_begin(&debugger->writer);
    if (debt == DEBT_MONITOR) {
        static const char said[] =
            "the machine starts again and is stopped; 'maintenance flush register-cache' shows it\n";

        packet_hex(&debugger->writer, said, sizeof(said) - 1);
    } else {
        debugger_write_stop(debugger);
    }
    debugger_send(debugger);
}

void debugger_machine(struct debugger *debugger, struct machine *machine, bool run)
{
    struct debug_target *target = &debugger->target;
    uint8_t debt = debugger->debt;

    target->stood_still = stood_still;
    target->goes_on = goes_on;
    target_attach(target, machine);
    machine->debug_shutdown = debugger->connected;
    debugger->killed = false;
    stood_still(target);
    debugger_note_stop(debugger, 0, SIGNAL_TRAP);
    debugger->description_size = description_write(debugger_view(debugger), debugger->description);
    if (run && !debugger->connected)
        run_all(debugger);
    else
        pay_restart(debugger, debt);
}

void debugger_machine_gone(struct debugger *debugger, int exit_status)
{
    struct debug_target *target = &debugger->target;
    uint8_t number = (uint8_t)(exit_status < 0 ? -exit_status : exit_status);

    target->machine = NULL;
    target->running = false;
    if (exit_status == -1)
        return;
    if (debugger->connected && debugger->debt != DEBT_NONE) {
        packet_begin(&debugger->writer);
        packet_text(&debugger->writer, exit_status < 0 ? "X" : "W");
        packet_hex(&debugger->writer, &number, 1);
        debugger_send(debugger);
    }
    debugger->debt = DEBT_NONE;
}

void debugger_connect(struct debugger *debugger)
{
    memset(&debugger->reader, 0, sizeof(debugger->reader));
    debugger->writer.size = 0;
    debugger->connected = debugger->acknowledges = true;
    debugger->extended = debugger->knows_swbreak = debugger->knows_hwbreak = false;
    debugger->continue_all = true;
    debugger->target.physical_memory = debugger->target.step_interrupts = false;
    debugger->debt = DEBT_NONE;
    if (debugger->target.machine)
        debugger->target.machine->debug_shutdown = true;
    if (debugger->target.machine && target_stop(&debugger->target))
        debugger_note_stop(debugger, 0, SIGNAL_TRAP);
}

void debugger_disconnect(struct debugger *debugger)
{
    debugger->connected = false;
    debugger->debt = DEBT_NONE;
    if (debugger->killed)
        debugger->ops->quit(debugger);
    else if (debugger->target.machine)
        target_let_go(&debugger->target);
}

void debugger_stopped(struct debugger *debugger)
{
    struct debug_target *target = &debugger->target;
    int vcpu;

    if (!target->machine || !target->running)
        return;
    vcpu = target_event(target);
    if (vcpu < 0)
        return;
    debugger_note_stop(debugger, (unsigned)vcpu, SIGNAL_TRAP);
    if (!debugger->connected) {
        run_all(debugger); /* it had met a breakpoint when the connection went */
        return;
    }
    packet_begin(&debugger->writer);
    debugger_write_stop(debugger);
    debugger_send(debugger);
}
