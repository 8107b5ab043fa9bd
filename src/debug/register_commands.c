/* g, G, p, P. */
#include "core/engine.h"
#include "debug/debugger_internal.h"

static void get_state(struct debugger *debugger, struct cpu_state *state)
{
    target_state(&debugger->target, debugger->general_thread, state);
}

static bool set_state(struct debugger *debugger, struct cpu_state *state)
{
    struct vcpu *vcpu = debugger->target.machine->vcpus[debugger->general_thread];
    const struct engine_ops *ops = debugger->target.machine->engine->ops;

    if (ops->tsc)
        state->tsc = ops->tsc(vcpu); /* as late as can be: it has gone on since the state was read */
    return cpu_state_schema.valid(state) && vcpu_set_state(vcpu, state) == STATUS_OK;
}

static void answer_set(struct debugger *debugger, bool done)
{
    if (done)
        packet_text(&debugger->writer, "OK");
    else
        packet_error(&debugger->writer, ERROR_INVALID);
}

enum answer command_get_registers(struct debugger *debugger, struct packet_text *text)
{
    const struct register_view view = debugger_view(debugger);
    struct register_info info;
    struct cpu_state state;
    uint8_t bytes[REGISTER_SIZE_MAX];

    (void)text;
    get_state(debugger, &state);
    for (unsigned number = 0; register_describe(view, number, &info); number++) {
        register_get(&state, &info, bytes);
        packet_hex(&debugger->writer, bytes, info.size);
    }
    return ANSWER_NOW;
}

/* All of them, or as many as are given. */
enum answer command_set_registers(struct debugger *debugger, struct packet_text *text)
{
    const struct register_view view = debugger_view(debugger);
    struct register_info info;
    struct cpu_state state;
    uint8_t bytes[REGISTER_SIZE_MAX];
    bool good = packet_left(text) > 0;

    get_state(debugger, &state);
    for (unsigned number = 0; good && packet_left(text) > 0 && register_describe(view, number, &info); number++)
        good = packet_take_hex(text, bytes, info.size) && register_set(&state, &info, bytes);
    answer_set(debugger, good && packet_left(text) == 0 && set_state(debugger, &state));
    return ANSWER_NOW;
}

static bool take_register(struct debugger *debugger, struct packet_text *text, struct register_info *info)
{
    uint64_t number;

    return packet_take_number(text, &number) && number <= UINT16_MAX &&
           register_describe(debugger_view(debugger), (unsigned)number, info);
}

enum answer command_get_register(struct debugger *debugger, struct packet_text *text)
{
    struct register_info info;
    struct cpu_state state;
    uint8_t bytes[REGISTER_SIZE_MAX];

    if (!take_register(debugger, text, &info))
        return debugger_fail(debugger, ERROR_INVALID);
    get_state(debugger, &state);
    register_get(&state, &info, bytes);
    packet_hex(&debugger->writer, bytes, info.size);
    return ANSWER_NOW;
}

enum answer command_set_register(struct debugger *debugger, struct packet_text *text)
{
    struct register_info info;
    struct cpu_state state;
    uint8_t bytes[REGISTER_SIZE_MAX];
    bool good = take_register(debugger, text, &info) && packet_match(text, "=") &&
                packet_take_hex(text, bytes, info.size) && packet_left(text) == 0;

    get_state(debugger, &state);
    answer_set(debugger, good && register_set(&state, &info, bytes) && set_state(debugger, &state));
    return ANSWER_NOW;
}
