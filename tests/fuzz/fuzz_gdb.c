/*
 * Fuzzes GDB's server (src/debug): whatever comes over the connection, and whatever the guest's page tables and registers
 * are, every packet is answered by at most one packet, and no memory but the guest's is touched. The sanitizers watch.
 *
 *     fuzz_gdb [RUNS [SEED]]    mutates conversations; prints the seed of the run that fails
 *     fuzz_gdb -f FILE...       replays files
 *
 * A file is a conversation: lines become packets with the right checksum; a line that begins with a NUL goes out as it is,
 * one that begins with 0x01 makes a vCPU stop. With clang -fsanitize=fuzzer -DFUZZ_LIBFUZZER it has no main().
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "core/machine.h"
#include "debug/debugger.h"
#include "fuzz.h"
#include "port/lock.h"
#include "port/log.h"
#include "port/park.h"
#include "x86/regs.h"

enum { RAM = 64 << 10, CPUS = 2, CONVERSATION = 8192, LINE = 4096 };

static uint8_t *ram; /* of the exact size, so that the sanitizer sees one byte too many */
static struct machine machine;
static struct vcpu vcpus[CPUS];
static struct cpu_state states[CPUS];
static struct engine engine;
static struct debugger debugger;
static unsigned packets_sent;
static bool machine_ends;

const char *fuzz_command = "fuzz_gdb";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- what is around ---- */

void log_emit(enum log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
}

void lock_acquire(struct lock *lock)
{
    (void)lock;
}

void lock_release(struct lock *lock)
{
    (void)lock;
}

void park(const uint32_t *word, uint32_t expected)
{
    (void)word;
    (void)expected;
}

void unpark(const uint32_t *word)
{
    (void)word;
}

static void engine_kick(struct vcpu *vcpu)
{
    (void)vcpu;
}

static void engine_get_state(struct vcpu *vcpu, struct cpu_state *state)
{
    *state = states[vcpu->index];
}

static enum status engine_set_state(struct vcpu *vcpu, const struct cpu_state *state)
{
    fuzz_check(cpu_state_schema.valid(state), "a state that is not valid reaches the engine");
    states[vcpu->index] = *state;
    return STATUS_OK;
}

static enum status engine_set_debug(struct vcpu *vcpu, const struct debug_control *control)
{
    (void)vcpu;
    fuzz_check(control->point_count <= DEBUG_POINTS, "too many points");
    for (unsigned i = 0; i < control->point_count; i++) {
        const struct debug_point *point = &control->points[i];

        fuzz_check((point->length & (point->length - 1)) == 0 && point->length >= 1 && point->length <= 8 &&
                       point->address % point->length == 0,
                   "a point that no debug register can hold");
    }
    return STATUS_OK;
}

static const struct engine_ops engine_ops = {
    .name = "none",
    .kick = engine_kick,
    .get_state = engine_get_state,
    .set_state = engine_set_state,
    .set_debug = engine_set_debug,
};

static void on_send(struct debugger *d, const void *bytes, size_t size)
{
    const char *text = bytes;

    (void)d;
    if (size == 1)
        return;
    fuzz_check(size >= 4 && size <= PACKET_PAYLOAD + 4 && text[0] == '$' && text[size - 3] == '#', "not a packet");
    packets_sent++;
}

static void on_end(struct debugger *d)
{
    (void)d;
    machine_ends = true;
}

static void on_time(struct debugger *d)
{
    (void)d;
}

static const struct debugger_ops ops = {on_send, on_end, on_end, on_time, on_time};

/* ---- one conversation ---- */

/* RAM is full of page-table entries that lead to each other, and to where nothing is. */
static void fill_ram(uint64_t seed)
{
    for (unsigned at = 0; at < RAM; at += 8) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        /* Present mostly, large now and then, an address within RAM mostly. */
        store_le(ram + at, 8,
                 (seed >> 60 ? seed >> 20 & 0xf000 : seed >> 4) | (seed >> 40 & 0x86) | (seed >> 50 & 7 ? 1 : 0));
    }
}

static void begin_machine(uint8_t how)
{
    memset(&machine, 0, sizeof(machine));
    fuzz_check(memory_init(&machine.memory, ram, -1, RAM) == STATUS_OK, "no memory");
    engine = (struct engine){.ops = &engine_ops, .machine = &machine};
    machine.engine = &engine;
    machine.cpu_count = CPUS;
    for (unsigned i = 0; i < CPUS; i++) {
        vcpus[i] = (struct vcpu){.index = i, .machine = &machine, .engine = &engine, .paused = 1};
        machine.vcpus[i] = &vcpus[i];
        cpu_state_reset(&states[i], 0);
        if (how & 1)
            states[i].cr0 |= CR0_PE | CR0_PG;
        if (how & 2)
            states[i].cr4 |= CR4_PAE;
        if ((how & 7) == 7)
            states[i].efer = EFER_LME | EFER_LMA;
        if (how & 8)
            states[i].cr4 |= CR4_PSE;
    }
    debugger_machine(&debugger, &machine, how & 16);
}

static void send_packet(const uint8_t *payload, size_t size)
{
    static uint8_t packet[LINE + 4];
    uint8_t sum = 0;

    packet[0] = '$';
    memcpy(packet + 1, payload, size);
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + payload[i]);
    (void)snprintf((char *)packet + 1 + size, 4, "#%02x", sum);
    packets_sent = 0;
    debugger_receive(&debugger, packet, size + 4);
}

static void stop_vcpu(const uint8_t *how, size_t size)
{
    struct vcpu *vcpu = &vcpus[size > 0 ? how[0] % CPUS : 0];

    vcpu->debug_event.reason = size > 1 ? how[1] % 4 : DEBUG_STEPPED;
    vcpu->debug_event.point = size > 2 ? how[2] : 0;
    packets_sent = 0;
    debugger_stopped(&debugger);
    fuzz_check(packets_sent <= 1, "two stops for one");
}

static void take_line(const uint8_t *line, size_t size)
{
    if (size > 0 && line[0] == 0) {
        debugger_receive(&debugger, line + 1, size - 1);
    } else if (size > 0 && line[0] == 1) {
        stop_vcpu(line + 1, size - 1);
    } else {
        send_packet(line, size);
        fuzz_check(packets_sent <= 2, "more answers than questions"); /* one packet may have been begun before */
    }
    if (machine_ends) {
        machine_ends = false;
        debugger_machine_gone(&debugger, size % 2 ? -1 : 3);
        begin_machine((uint8_t)size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    ram = malloc(RAM);
    fuzz_check(ram != NULL, "out of memory");
    memset(&debugger, 0, sizeof(debugger));
    debugger.ops = &ops;
    debugger.narrow = data[0] & 32;
    fill_ram(data[1]);
    begin_machine(data[0]);
    debugger_connect(&debugger);
    for (size_t at = 2; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t length = end ? (size_t)(end - data) - at : size - at;

        take_line(data + at, length < LINE ? length : LINE - 1);
        at += length + 1;
    }
    debugger_disconnect(&debugger);
    debugger_machine_gone(&debugger, 0);
    free(ram);
    return 0;
}

#ifndef FUZZ_LIBFUZZER

/* What GDB says, more or less. %x is a number of some kind, %b some digits. */
static const char *const phrases[] = {
    "?",
    "!",
    "g",
    "G%b%b%b%b",
    "p%x",
    "P%x=%b",
    "m%x,%x",
    "M%x,2:%b",
    "X%x,3:abc",
    "Z0,%x,1",
    "Z1,%x,1",
    "Z2,%x,%x",
    "Z3,%x,%x",
    "Z4,%x,8",
    "z0,%x,1",
    "z1,%x,1",
    "z2,%x,%x",
    "z3,%x,%x",
    "c",
    "C05",
    "s",
    "S05",
    "vCont?",
    "vCont;r%x,%x:1",
    "vCont;c",
    "vCont;s:%x;c",
    "vCont;s:1;c:-1",
    "vCont;C05:2;S06",
    "Hg%x",
    "Hc-1",
    "T%x",
    "D;1",
    "k",
    "vKill;1",
    "vRun;",
    "R00",
    "qSupported:swbreak+;hwbreak+",
    "qXfer:features:read:target.xml:%x,%x",
    "qAttached",
    "qC",
    "qfThreadInfo",
    "qsThreadInfo",
    "qThreadExtraInfo,%x",
    "qSymbol::",
    "QStartNoAckMode",
    "vMustReplyEmpty",
    "qRcmd,68656c70",
    "qRcmd,696e666f",
    "qRcmd,72656773",
    "qRcmd,7265736574",
    "qRcmd,71756974",
    "qRcmd,70687973206f6e",
    "qRcmd,70687973206f6666",
    "qRcmd,78702f323536786720307831303030",
    "qRcmd,78702f%b",
    "qRcmd,%b",
    "\x01%b",
    "\x01"
    "a",
};

static char *add_number(char *at)
{
    static const uint64_t edges[] = {0,          1,         2, 8, 0xfff, 0x1000, RAM - 1, RAM, 0x7fffffffffffffff,
                                     UINT64_MAX, 0xffffffff};
    uint64_t value = fuzz_below(2) ? edges[fuzz_below(ARRAY_LENGTH(edges))] : fuzz_next() >> fuzz_below(64);

    return at + sprintf(at, "%llx", (unsigned long long)value);
}

static char *add_phrase(char *at)
{
    for (const char *from = phrases[fuzz_below(ARRAY_LENGTH(phrases))]; *from; from++) {
        if (from[0] == '%' && from[1] == 'x') {
            at = add_number(at);
            from++;
        } else if (from[0] == '%' && from[1] == 'b') {
            for (uint64_t pairs = fuzz_below(12); pairs > 0; pairs--)
                at += sprintf(at, "%02x", (unsigned)fuzz_below(256));
            from++;
        } else {
            *at++ = *from;
        }
    }
    return at;
}

static size_t make_conversation(char *text)
{
    char *at = text + 2;

    text[0] = (char)fuzz_next();
    text[1] = (char)fuzz_next();
    for (uint64_t lines = 1 + fuzz_below(24); lines > 0 && at < text + CONVERSATION / 2; lines--) {
        at = add_phrase(at);
        if (fuzz_below(3) == 0)
            at += sprintf(at, "\n%c\x03", 0); /* Ctrl-C, so that what runs is asked again */
        *at++ = '\n';
    }
    return (size_t)(at - text);
}

static void run_one(void)
{
    static char text[CONVERSATION];

    size_t size = make_conversation(text);
    for (uint64_t changes = fuzz_below(6); changes > 0; changes--)
        text[fuzz_below(size)] = fuzz_below(2) ? (char)fuzz_next() : "0123456789abcdef,:;-\n"[fuzz_below(21)];
    uint8_t *input = malloc(size);
    fuzz_check(input != NULL, "out of memory");
    memcpy(input, text, size);
    (void)LLVMFuzzerTestOneInput(input, size);
    free(input);
}

int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, run_one, LLVMFuzzerTestOneInput);
}

#endif
