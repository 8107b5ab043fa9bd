/* m, M, X, and Z, z. */
#include "debug/debugger_internal.h"

enum { READ_MOST = PACKET_PAYLOAD / 2 };

/* "ADDRESS,LENGTH" */
static bool take_range(struct packet_text *text, uint64_t *address, uint64_t *length)
{
    return packet_take_number(text, address) && packet_match(text, ",") && packet_take_number(text, length);
}

/* Memory through the eyes of the thread that GDB has chosen. */
static struct debug_target *memory_target(struct debugger *debugger)
{
    debugger->target.current = debugger->general_thread;
    return &debugger->target;
}

enum answer command_read_memory(struct debugger *debugger, struct packet_text *text)
{
    uint8_t bytes[READ_MOST];
    uint64_t address, length;

    if (!take_range(text, &address, &length) || packet_left(text) > 0)
        return debugger_fail(debugger, ERROR_INVALID);
    if (length > sizeof(bytes))
        length = sizeof(bytes); /* less than was asked for is allowed */
    size_t done = target_read(memory_target(debugger), address, bytes, (size_t)length);
    if (done == 0 && length > 0)
        return debugger_fail(debugger, ERROR_ADDRESS);
    packet_hex(&debugger->writer, bytes, done);
    return ANSWER_NOW;
}

static enum answer write_memory(struct debugger *debugger, uint64_t address, const void *bytes, size_t size)
{
    if (!target_write(memory_target(debugger), address, bytes, size))
        return debugger_fail(debugger, ERROR_ADDRESS);
    return debugger_ok(debugger);
}

enum answer command_write_memory(struct debugger *debugger, struct packet_text *text)
{
    uint8_t bytes[READ_MOST];
    uint64_t address, length;

    if (!take_range(text, &address, &length) || !packet_match(text, ":") || length > sizeof(bytes) ||
        packet_left(text) != 2 * length || !packet_take_hex(text, bytes, (size_t)length))
        return debugger_fail(debugger, ERROR_INVALID);
    return write_memory(debugger, address, bytes, (size_t)length);
}

enum answer command_write_binary(struct debugger *debugger, struct packet_text *text)
{
    uint64_t address, length;

    if (!take_range(text, &address, &length) || !packet_match(text, ":") || packet_left(text) != length)
        return debugger_fail(debugger, ERROR_INVALID);
    return write_memory(debugger, address, text->at, (size_t)length);
}

/* "TYPE,ADDRESS,LENGTH"; conditions and commands behind it were not offered. */
static bool take_point(struct packet_text *text, char *type, uint64_t *address, uint64_t *length)
{
    if (packet_left(text) == 0)
        return false;
    *type = *text->at++;
    return packet_match(text, ",") && take_range(text, address, length) && packet_left(text) == 0;
}

enum answer command_insert(struct debugger *debugger, struct packet_text *text)
{
    uint64_t address, length;
    char type;

    if (!take_point(text, &type, &address, &length))
        return debugger_fail(debugger, ERROR_INVALID);
    switch (target_insert(memory_target(debugger), type, address, length)) {
    case STATUS_OK:
        return debugger_ok(debugger);
    case STATUS_UNSUPPORTED:
        return ANSWER_NOW;
    default:
        return debugger_fail(debugger, ERROR_NO_SPACE);
    }
}

/* Of one that we do not know any more, too: the machine may have been put together again. */
enum answer command_remove(struct debugger *debugger, struct packet_text *text)
{
    uint64_t address, length;
    char type;

    if (!take_point(text, &type, &address, &length))
        return debugger_fail(debugger, ERROR_INVALID);
    target_remove(&debugger->target, type, address, length);
    return debugger_ok(debugger);
}
