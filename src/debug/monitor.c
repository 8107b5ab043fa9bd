/* GDB's `monitor` commands (qRcmd): what the protocol has no packet for. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "core/engine.h"
#include "debug/debugger_internal.h"

enum { LINE_MOST = 256, EXAMINE_MOST = 256 };

/* Text for GDB's terminal goes out as the answer, in hexadecimal digits. */
static void __attribute__((format(printf, 2, 3))) say(struct debugger *debugger, const char *format, ...)
{
    char text[LINE_MOST];
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size > 0)
        packet_hex(&debugger->writer, text, (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1);
}

static enum answer monitor_help(struct debugger *debugger, char *rest);

static enum answer monitor_reset(struct debugger *debugger, char *rest)
{
    (void)rest;
    debugger->debt = DEBT_MONITOR;
    debugger->ops->restart(debugger);
    return ANSWER_LATER;
}

static enum answer monitor_quit(struct debugger *debugger, char *rest)
{
    (void)rest;
    say(debugger, "the machine ends\n");
    debugger->ops->quit(debugger);
    return ANSWER_NOW;
}

static enum answer monitor_info(struct debugger *debugger, char *rest)
{
    const struct machine *machine = debugger->target.machine;
    struct cpu_state state;

    (void)rest;
    say(debugger, "engine %s, %u vCPUs, %" PRIu64 " MiB\n", machine->engine->ops->name, machine->cpu_count,
        machine->memory.size >> 20);
    say(debugger, "memory commands take %s addresses\n", debugger->target.physical_memory ? "physical" : "virtual");
    say(debugger, "%u breakpoints, %u of %d hardware breakpoints and watchpoints\n", debugger->target.breakpoint_count,
        debugger->target.point_count, (int)DEBUG_POINTS);
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        target_state(&debugger->target, i, &state);
        say(debugger, "CPU %u: rip %016" PRIx64 " cr3 %016" PRIx64 " tsc %" PRIu64 "\n", i, state.rip, state.cr3,
            state.tsc);
    }
    return ANSWER_NOW;
}

static void say_segments(struct debugger *debugger, const struct cpu_state *state)
{
    static const char *const names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

    for (unsigned i = 0; i < SEG_COUNT; i++)
        say(debugger, "%-4s %04x base %016" PRIx64 " limit %08x attributes %04x\n", names[i],
            state->segment[i].selector, state->segment[i].base, state->segment[i].limit, state->segment[i].attributes);
    say(debugger, "gdt  base %016" PRIx64 " limit %04x    idt  base %016" PRIx64 " limit %04x\n", state->gdt_base,
        state->gdt_limit, state->idt_base, state->idt_limit);
}

/* What GDB's own `info registers` does not show. */
static enum answer monitor_registers(struct debugger *debugger, char *rest)
{
    struct cpu_state state;

    (void)rest;
    target_state(&debugger->target, debugger->general_thread, &state);
    say(debugger, "CPU %u, ring %d\n", debugger->general_thread, state.segment[SEG_CS].selector & 3);
    say_segments(debugger, &state);
    for (unsigned i = 0; i < 8; i++)
        if (i != 4 && i != 5)
            say(debugger, "dr%u  %016" PRIx64 "%s", i, state.dr[i], i == 1 || i == 3 || i == 7 ? "\n" : "    ");
    say(debugger, "star %016" PRIx64 "    lstar %016" PRIx64 "    sfmask %016" PRIx64 "\n", state.star, state.lstar,
        state.sfmask);
    say(debugger, "kernel_gs_base %016" PRIx64 "    xcr0 %016" PRIx64 "    pat %016" PRIx64 "\n", state.kernel_gs_base,
        state.xcr0, state.pat);
    say(debugger, "interrupt shadow %u, NMI %s%s\n", state.interrupt_shadow, state.nmi_blocked ? "blocked" : "open",
        state.exception_pending ? ", an exception is pending" : "");
    return ANSWER_NOW;
}

static enum answer monitor_physical(struct debugger *debugger, char *rest)
{
    if (strcmp(rest, "on") == 0 || strcmp(rest, "off") == 0)
        debugger->target.physical_memory = rest[1] == 'n';
    else if (*rest)
        say(debugger, "phys takes on or off\n");
    say(debugger, "memory commands take %s addresses; 'maintenance flush dcache' after a change\n",
        debugger->target.physical_memory ? "physical" : "virtual");
    return ANSWER_NOW;
}

static enum answer monitor_interrupts(struct debugger *debugger, char *rest)
{
    if (strcmp(rest, "on") == 0 || strcmp(rest, "off") == 0)
        debugger->target.step_interrupts = rest[1] == 'n';
    else if (*rest)
        say(debugger, "irq takes on or off\n");
    say(debugger, debugger->target.step_interrupts ? "a step may lead into an interrupt's handler\n"
                                                   : "interrupts wait while a processor is stepped\n");
    return ANSWER_NOW;
}

/* ---- xp ---- */

struct examine {
    unsigned count, size;
    char format;
};

/* "4xg": count, letters of format and size in any order. */
static bool take_format(const char *text, struct examine *examine)
{
    char *end;
    unsigned long count = strtoul(text, &end, 10);

    if (end != text)
        examine->count = count > EXAMINE_MOST ? EXAMINE_MOST : (unsigned)count;
    for (; *end; end++) {
        if (strchr("xduc", *end)) {
            examine->format = *end;
            examine->size = *end == 'c' ? 1 : examine->size;
        } else if (strchr("bhwg", *end)) {
            examine->size = *end == 'b' ? 1 : *end == 'h' ? 2 : *end == 'w' ? 4 : 8;
        } else {
            return false;
        }
    }
    return true;
}

static void say_value(struct debugger *debugger, const struct examine *examine, uint64_t value)
{
    unsigned shift = 64 - 8 * examine->size;

    if (examine->format == 'x')
        say(debugger, " 0x%0*" PRIx64, (int)(2 * examine->size), value);
    else if (examine->format == 'u')
        say(debugger, " %" PRIu64, value);
    else if (examine->format == 'd')
        say(debugger, " %" PRId64, (int64_t)(value << shift) >> shift);
    else
        say(debugger, " %c", (value & 0xff) >= ' ' && (value & 0xff) < 0x7f ? (int)(value & 0xff) : '.');
}

static enum answer say_memory(struct debugger *debugger, const struct examine *examine, uint64_t address)
{
    const unsigned in_line = examine->format == 'c' ? 16 : 16 / examine->size;
    uint8_t bytes[8];

    for (unsigned i = 0; i < examine->count; i++, address += examine->size) {
        if (i % in_line == 0)
            say(debugger, "%016" PRIx64 ":", address);
        if (target_read_physical(&debugger->target, address, bytes, examine->size) < examine->size) {
            say(debugger, " (no RAM)\n");
            return ANSWER_NOW;
        }
        say_value(debugger, examine, load_le(bytes, examine->size));
        if (i % in_line == in_line - 1 || i == examine->count - 1)
            say(debugger, "\n");
    }
    return ANSWER_NOW;
}

/* "/FORMAT ADDRESS" */
static enum answer monitor_examine(struct debugger *debugger, char *rest)
{
    struct examine examine = {.count = 1, .size = 4, .format = 'x'};
    char *address_text = rest, *end;

    if (*rest == '/') {
        address_text = rest + strcspn(rest, " ");
        if (*address_text)
            *address_text++ = '\0';
        if (!take_format(rest + 1, &examine)) {
            say(debugger, "xp takes a count, a format of x, d, u, c, and a size of b, h, w, g\n");
            return ANSWER_NOW;
        }
    }
    uint64_t address = strtoull(address_text, &end, 0);
    if (end == address_text || *end) {
        say(debugger, "xp takes a physical address: xp/4xg 0x1000\n");
        return ANSWER_NOW;
    }
    return say_memory(debugger, &examine, address);
}

/* ---- which one ---- */

static const struct monitor_command {
    const char *name;
    enum answer (*run)(struct debugger *debugger, char *rest);
    const char *help;
} commands[] = {
    {"help", monitor_help, "this list"},
    {"info", monitor_info, "the machine and its vCPUs"},
    {"regs", monitor_registers, "segments, tables, debug registers and MSRs of the current thread"},
    {"xp", monitor_examine, "/COUNT FORMAT SIZE ADDRESS: physical memory, as in xp/4xg 0x1000"},
    {"phys", monitor_physical, "on|off: whether GDB's memory commands take physical addresses"},
    {"irq", monitor_interrupts, "on|off: whether a step may lead into an interrupt's handler"},
    {"reset", monitor_reset, "put the machine together again, stopped at its first instruction"},
    {"quit", monitor_quit, "end the machine"},
};

static enum answer monitor_help(struct debugger *debugger, char *rest)
{
    (void)rest;
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        say(debugger, "%-6s %s\n", commands[i].name, commands[i].help);
    return ANSWER_NOW;
}

static enum answer run_line(struct debugger *debugger, char *line)
{
    size_t length = strspn(line, "abcdefghijklmnopqrstuvwxyz");

    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        if (strlen(commands[i].name) == length && memcmp(commands[i].name, line, length) == 0) {
            char *rest = line + length;

            return commands[i].run(debugger, rest + strspn(rest, " "));
        }
    say(debugger, "there is no such command; 'monitor help' lists them\n");
    return ANSWER_NOW;
}

enum answer command_monitor(struct debugger *debugger, struct packet_text *text)
{
    char line[LINE_MOST] = "";
    size_t size = packet_left(text) / 2;

    if (size >= sizeof(line) || packet_left(text) % 2 || !packet_take_hex(text, line, size))
        return debugger_fail(debugger, ERROR_INVALID);
    enum answer answer = run_line(debugger, line + strspn(line, " "));
    if (answer == ANSWER_NOW && debugger->writer.size == 1)
        packet_text(&debugger->writer, "OK");
    return answer;
}
