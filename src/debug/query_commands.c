/* q and Q packets. */
#include <stdio.h>
#include <string.h>

#include "debug/debugger_internal.h"

/* "swbreak+" among what GDB says that it can do */
static bool has_feature(const struct packet_text *text, const char *feature)
{
    size_t length = strlen(feature);

    for (const char *at = text->at; (size_t)(text->end - at) >= length; at++)
        if (memcmp(at, feature, length) == 0)
            return true;
    return false;
}

enum answer command_supported(struct debugger *debugger, struct packet_text *text)
{
    struct packet_writer *writer = &debugger->writer;

    debugger->knows_swbreak = has_feature(text, "swbreak+");
    debugger->knows_hwbreak = has_feature(text, "hwbreak+");
    packet_text(writer, "PacketSize=");
    packet_number(writer, PACKET_PAYLOAD);
    packet_text(writer, ";qXfer:features:read+;QStartNoAckMode+;vContSupported+");
    packet_text(writer, debugger->knows_swbreak ? ";swbreak+" : "");
    packet_text(writer, debugger->knows_hwbreak ? ";hwbreak+" : "");
    return ANSWER_NOW;
}

/* "OFFSET,LENGTH"; m: there is more, l: that was all. */
enum answer command_features(struct debugger *debugger, struct packet_text *text)
{
    uint64_t offset, length;

    if (!packet_take_number(text, &offset) || !packet_match(text, ",") || !packet_take_number(text, &length) ||
        packet_left(text) > 0 || offset > debugger->description_size)
        return debugger_fail(debugger, ERROR_INVALID);
    uint64_t left = debugger->description_size - offset;
    if (length > PACKET_PAYLOAD / 2) /* each byte may need an escape */
        length = PACKET_PAYLOAD / 2 - 1;
    packet_text(&debugger->writer, length < left ? "m" : "l");
    packet_binary(&debugger->writer, debugger->description + offset, (size_t)(length < left ? length : left));
    return ANSWER_NOW;
}

/* Not made by GDB: so it detaches from the machine at its end, and does not kill it. */
enum answer command_attached(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    packet_text(&debugger->writer, "1");
    return ANSWER_NOW;
}

enum answer command_current_thread(struct debugger *debugger, struct packet_text *text)
{
    if (packet_left(text) > 0) /* qCRC and others that we do not know */
        return ANSWER_NOW;
    packet_text(&debugger->writer, "QC");
    packet_number(&debugger->writer, debugger->general_thread + 1);
    return ANSWER_NOW;
}

enum answer command_first_threads(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    for (unsigned i = 0; i < debugger->target.machine->cpu_count; i++) {
        packet_text(&debugger->writer, i == 0 ? "m" : ",");
        packet_number(&debugger->writer, i + 1);
    }
    return ANSWER_NOW;
}

enum answer command_more_threads(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    packet_text(&debugger->writer, "l");
    return ANSWER_NOW;
}

static const char *activity_name(const struct cpu_state *state)
{
    switch ((enum cpu_activity)state->activity) {
    case CPU_RUNNING:
        return "running";
    case CPU_HALTED:
        return "halted";
    case CPU_WAIT_FOR_SIPI:
        return "waiting to be started";
    default:
        return "shut down";
    }
}

/* "CPU 1, halted, ring 0" */
enum answer command_thread_information(struct debugger *debugger, struct packet_text *text)
{
    struct cpu_state state;
    char line[80];
    int vcpu;

    if (!debugger_take_thread(debugger, text, &vcpu) || vcpu < 0)
        return debugger_fail(debugger, ERROR_INVALID);
    target_state(&debugger->target, (unsigned)vcpu, &state);
    int size = snprintf(line, sizeof(line), "CPU %d, %s, ring %d", vcpu, activity_name(&state),
                        state.segment[SEG_CS].selector & 3);
    packet_hex(&debugger->writer, line, (size_t)size);
    return ANSWER_NOW;
}

/* This answer itself is the first that nobody acknowledges. */
enum answer command_no_acknowledgement(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    debugger->acknowledges = false;
    return debugger_ok(debugger);
}

/* We have no symbols to ask for. */
enum answer command_symbol(struct debugger *debugger, struct packet_text *text)
{
    (void)text;
    return debugger_ok(debugger);
}
