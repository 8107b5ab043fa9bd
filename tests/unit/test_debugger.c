/*
 * GDB's protocol, packet by packet, over a machine of cardboard: two vCPUs with threads of their own, whose every
 * instruction is one byte. 0xcc is INT3, 0xeb starts over at CODE, 0xa3 stores to DATA, 0xf4 halts,
 * 0x0f is a triple fault; all else does nothing.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "unit.h"

#include "base/bits.h"
#include "core/machine.h"
#include "debug/debugger.h"
#include "fake_engine.h"
#include "x86/regs.h"

enum { RAM = 1 << 20, CODE = 0x1000, DATA = 0x2000, PATIENCE_MS = 10000 };

static struct fake_engine fake;
static struct machine machine;
static uint8_t ram[RAM];
static pthread_t threads[FAKE_CPUS];
static struct debugger debugger;
static atomic_uint stops; /* told by vCPUs, and not passed on yet */
static unsigned quits, restarts, stood_still, went_on;
static char sent[4 * PACKET_PAYLOAD];
static size_t sent_size;

/* ---- the processor ---- */

static enum vcpu_exit leave(struct vcpu *vcpu, enum debug_reason reason, unsigned point)
{
    vcpu->debug_event = (struct debug_event){(uint8_t)reason, (uint8_t)point};
    return VCPU_EXIT_DEBUG;
}

static int find_point(const struct debug_control *control, uint64_t address, bool execute)
{
    for (unsigned i = 0; i < control->point_count; i++)
        if ((control->points[i].kind == DEBUG_EXECUTE) == execute && control->points[i].address == address)
            return (int)i;
    return -1;
}

static enum vcpu_exit guest(struct vcpu *vcpu)
{
    struct cpu_state *cpu = &fake.states[vcpu->index];
    struct debug_control *control = &fake.controls[vcpu->index];

    for (;;) {
        uint8_t opcode = ram[cpu->rip];
        int point = find_point(control, cpu->rip, true);

        if (vcpu->attention & (ATTENTION_PAUSE | ATTENTION_STOP))
            return VCPU_EXIT_ATTENTION;
        if (point >= 0)
            return leave(vcpu, DEBUG_POINT, (unsigned)point);
        if (opcode == 0x0f)
            return VCPU_EXIT_SHUTDOWN;
        if (opcode == 0xcc && control->breakpoints && !control->pass_breakpoint)
            return leave(vcpu, DEBUG_BREAKPOINT, 0);
        control->pass_breakpoint = false;
        cpu->gpr[GPR_RCX] += opcode == 0xcc; /* what #BP does here */
        cpu->rip = opcode == 0xeb ? CODE : cpu->rip + 1;
        __atomic_fetch_add(&cpu->gpr[GPR_RAX], 1, __ATOMIC_RELAXED);
        point = opcode == 0xa3 ? find_point(control, DATA, false) : -1;
        if (opcode == 0xa3)
            __atomic_fetch_add(&ram[DATA], 1, __ATOMIC_SEQ_CST);
        if (point >= 0)
            return leave(vcpu, DEBUG_POINT, (unsigned)point);
        if (control->single_step)
            return leave(vcpu, DEBUG_STEPPED, 0);
        if (opcode == 0xf4)
            return VCPU_EXIT_HALT;
    }
}

static void on_debug_stop(struct vcpu *vcpu)
{
    (void)vcpu;
    stops++;
}

static void *thread_main(void *vcpu)
{
    vcpu_loop(vcpu);
    return NULL;
}

/* ---- the owner ---- */

static void on_send(struct debugger *d, const void *bytes, size_t size)
{
    assert_ptr_equal(d, &debugger);
    assert_true(sent_size + size < sizeof(sent));
    memcpy(sent + sent_size, bytes, size);
    sent_size += size;
    sent[sent_size] = '\0';
}

static void on_quit(struct debugger *d)
{
    (void)d;
    quits++;
}

static void on_restart(struct debugger *d)
{
    (void)d;
    restarts++;
}

static void on_stood_still(struct debugger *d)
{
    (void)d;
    stood_still++;
}

static void on_goes_on(struct debugger *d)
{
    (void)d;
    went_on++;
}

static const struct debugger_ops ops = {on_send, on_quit, on_restart, on_stood_still, on_goes_on};

static void begin_machine(bool run)
{
    fake_engine_init(&fake, &machine, guest);
    assert_int_equal(memory_init(&machine.memory, ram, -1, RAM), STATUS_OK);
    machine.debug_stopped = on_debug_stop;
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        fake.states[i].segment[SEG_CS].base = 0;
        fake.states[i].rip = CODE;
        fake.states[i].activity = CPU_RUNNING;
        fake.vcpus[i].activity = CPU_RUNNING;
        fake.vcpus[i].attention |= ATTENTION_PAUSE;
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &fake.vcpus[i]), 0);
    }
    debugger_machine(&debugger, &machine, run);
}

static void end_machine(int exit_status)
{
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        vcpu_attend(&fake.vcpus[i], ATTENTION_STOP);
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        pthread_join(threads[i], NULL);
    debugger_machine_gone(&debugger, exit_status);
}

static int setup_as(bool run, bool connect)
{
    memset(&debugger, 0, sizeof(debugger));
    memset(ram, 0x90, sizeof(ram));
    ram[CODE + 0x100] = 0xeb;
    sent_size = 0;
    stops = quits = restarts = stood_still = went_on = 0;
    debugger.ops = &ops;
    begin_machine(run);
    if (connect)
        debugger_connect(&debugger);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_as(false, true);
}

static int teardown(void **state)
{
    (void)state;
    if (debugger.target.machine)
        end_machine(0);
    return 0;
}

/* ---- a conversation ---- */

static void nap(void)
{
    const struct timespec ms = {.tv_nsec = 1000000};

    nanosleep(&ms, NULL);
}

static uint8_t sum_of(const char *payload, size_t size)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + (uint8_t)payload[i]);
    return sum;
}

static void say(const char *payload)
{
    char packet[2048];
    int size = snprintf(packet, sizeof(packet), "$%s#%02x", payload, sum_of(payload, strlen(payload)));

    debugger_receive(&debugger, packet, (size_t)size);
}

/* The next packet that comes; acknowledgements are dropped. Empty: none within the time. */
static const char *heard(void)
{
    static char payload[PACKET_PAYLOAD + 1];

    for (unsigned naps = 0; naps < PATIENCE_MS; naps++) {
        const char *start = memchr(sent, '$', sent_size);
        const char *end = start ? strchr(start, '#') : NULL;

        if (end) {
            size_t size = (size_t)(end - start) - 1;
            char sum[3];

            memcpy(payload, start + 1, size);
            payload[size] = '\0';
            (void)snprintf(sum, sizeof(sum), "%02x", sum_of(payload, size));
            assert_memory_equal(end + 1, sum, 2);
            sent_size -= (size_t)(end + 3 - sent);
            memmove(sent, end + 3, sent_size + 1);
            return payload;
        }
        if (stops) {
            stops = 0;
            debugger_stopped(&debugger);
        } else {
            nap();
        }
    }
    return "";
}

static void expect(const char *payload)
{
    assert_string_equal(heard(), payload);
}

static void ask(const char *question, const char *answer)
{
    say(question);
    expect(answer);
}

static void expect_silence(void)
{
    nap();
    if (stops) {
        stops = 0;
        debugger_stopped(&debugger);
    }
    assert_null(memchr(sent, '$', sent_size));
}

static void expect_progress(unsigned index)
{
    const uint64_t *counter = &fake.states[index].gpr[GPR_RAX];
    uint64_t before = __atomic_load_n(counter, __ATOMIC_RELAXED);

    for (unsigned naps = 0; naps < PATIENCE_MS && __atomic_load_n(counter, __ATOMIC_RELAXED) == before; naps++)
        nap();
    assert_int_not_equal(__atomic_load_n(counter, __ATOMIC_RELAXED), before);
}

static void ask_for_support(void)
{
    ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+",
        "PacketSize=4000;qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+");
}

static void introductions(void **state)
{
    (void)state;
    debugger_receive(&debugger, "+", 1);
    ask("qSupported:xmlRegisters=i386", "PacketSize=4000;qXfer:features:read+;QStartNoAckMode+;vContSupported+");
    ask_for_support();
    ask("vMustReplyEmpty", "");
    ask("QStartNoAckMode", "OK");
    say("?");
    assert_int_equal(sent[0], '$'); /* no + before it */
    expect("T05thread:1;");
    ask("!", "OK");
    ask("qAttached", "1");
    ask("qC", "QC1");
    ask("qfThreadInfo", "m1,2");
    ask("qsThreadInfo", "l");
    ask("vCont?", "vCont;c;C;s;S;r");
    ask("qThreadExtraInfo,2", "435055"
                              "20312c2072756e6e696e672c2072696e672030"); /* CPU 1, running, ring 0 */
    ask("qThreadExtraInfo,3", "E16");
    ask("T2", "OK");
    ask("T3", "E16");
    ask("qSymbol::", "OK");
    ask("qCRC:1000,10", "");
}

static void acknowledgements(void **state)
{
    (void)state;
    debugger_receive(&debugger, "$?#00", 5);
    assert_int_equal(sent_size, 1);
    assert_int_equal(sent[0], '-');
    sent_size = 0;
    ask("?", "T05thread:1;");
    debugger_receive(&debugger, "-", 1); /* once more */
    expect("T05thread:1;");
}

static void description(void **state)
{
    const char *answer;

    (void)state;
    say("qXfer:features:read:target.xml:0,40");
    answer = heard();
    assert_int_equal(strlen(answer), 1 + 0x40);
    assert_memory_equal(answer, "m<?xml version=\"1.0\"?>", 22);
    say("qXfer:features:read:target.xml:0,ffff");
    assert_int_equal(heard()[0], 'm');
    say("qXfer:features:read:target.xml:1ff0,ffff");
    answer = heard();
    assert_int_equal(answer[0], 'l');
    ask("qXfer:features:read:target.xml:ffffff,10", "E16");
    ask("qXfer:features:read:other.xml:0,10", "");
}

static void registers(void **state)
{
    const char *all;
    static char given[PACKET_PAYLOAD];

    (void)state;
    ask("p10", "0010000000000000");
    ask("P0=8877665544332211", "OK");
    assert_int_equal(fake.states[0].gpr[GPR_RAX], 0x1122334455667788);
    say("g");
    all = heard();
    assert_memory_equal(all, "8877665544332211", 16);
    (void)snprintf(given, sizeof(given), "G%s", all);
    given[1] = '0';
    ask(given, "OK");
    assert_int_equal(fake.states[0].gpr[GPR_RAX], 0x1122334455667708);
    /* The other vCPU's. */
    ask("Hg2", "OK");
    ask("P0=0100000000000000", "OK");
    assert_int_equal(fake.states[1].gpr[GPR_RAX], 1);
    /* Nothing that cannot be. */
    ask("P4c=ffffffffffffffff", "E16"); /* CR0 */
    ask("pffff", "E16");
    ask("p", "E16");
    ask("P0=00", "E16");
    ask("P0", "E16");
    ask("G00", "E16");
    ask("G", "E16");
    ask("Hg3", "E16");
    ask("Hx1", "E16");
}

static void memory(void **state)
{
    (void)state;
    ask("m2000,4", "90909090");
    ask("M2000,3:010203", "OK");
    ask("m2000,4", "01020390");
    ask("X2001,2:ab", "OK");
    ask("m2000,4", "01616290");
    ask("X2000,0:", "OK");
    ask("mffffe,10", "9090"); /* RAM ends */
    ask("m100000,1", "E0e");
    ask("M100000,1:00", "E0e");
    ask("Mfffff,2:0000", "E0e");
    ask("m2000", "E16");
    ask("m2000,zz", "E16");
    ask("M2000,2:00", "E16");
    ask("M2000,1:0g", "E16");
    ask("X2000,3:ab", "E16");
    ask("m11111111111111111,1", "E16");
    assert_int_equal(ram[DATA], 1);
}

static void steps(void **state)
{
    (void)state;
    ask("vCont;s:1;c", "T05thread:1;");
    assert_int_equal(fake.states[0].rip, CODE + 1);
    assert_int_equal(fake.states[1].rip, CODE); /* it stayed */
    ask("vCont;s:2", "T05thread:2;");
    assert_int_equal(fake.states[1].rip, CODE + 1);
    ask("qC", "QC2");
    ask("s", "T05thread:2;");
    ask("S05", "T05thread:2;");
    ask("Hc1", "OK");
    ask("s", "T05thread:1;");
    ask("vCont;S05:1", "T05thread:1;");
    assert_int_equal(fake.states[0].rip, CODE + 3);
    assert_int_equal(fake.states[1].rip, CODE + 3);
    assert_int_equal(went_on, stood_still - 1);
    /* A range: one stop for many steps; what is met on the way is told. */
    ask("vCont;r1003,1008:1", "T05thread:1;");
    assert_int_equal(fake.states[0].rip, CODE + 8);
    ask("vCont;r1003,1008:1", "T05thread:1;"); /* at least one */
    assert_int_equal(fake.states[0].rip, CODE + 9);
    ask("Z1,100c,1", "OK");
    ask("vCont;r1008,1010:1;c", "T05thread:1;");
    assert_int_equal(fake.states[0].rip, CODE + 12);
    ask("vCont;r1008", "E16");
    ask("vCont;x", "E16");
    ask("vCont;s:3", "E16");
    ask("vCont;", "E16");
    ask("vCont;c:1;", "E16");
    ask("sff", "E16");
    ask("Cz", "E16");
}

static void breakpoints(void **state)
{
    (void)state;
    ask_for_support();
    ask("Z0,1008,1", "OK");
    ask("Z0,1008,1", "OK");
    assert_int_equal(ram[CODE + 8], 0xcc);
    ask("m1007,3", "909090"); /* nobody sees it */
    ask("vCont;c:1", "T05swbreak:;thread:1;");
    assert_int_equal(fake.states[0].rip, CODE + 8);
    /* What is written there is under it. */
    ask("M1007,3:f1f2f3", "OK");
    assert_int_equal(ram[CODE + 8], 0xcc);
    ask("m1007,3", "f1f2f3");
    ask("z0,1008,1", "OK");
    assert_int_equal(ram[CODE + 8], 0xf2);
    ask("z0,1008,1", "OK");
    /* What the guest has written meanwhile stays. */
    ask("Z0,1009,1", "OK");
    ram[CODE + 9] = 0x77;
    ask("m1009,1", "77");
    ask("z0,1009,1", "OK");
    assert_int_equal(ram[CODE + 9], 0x77);
    ask("Z0,1009", "E16");
    ask("Z9,1009,1", "");
    ask("Zz", "E16");
}

/* A breakpoint where no memory is yet takes a debug register; and the second at one address leaves with the last. */
static void breakpoints_without_memory(void **state)
{
    (void)state;
    ask("Z0,100000,1", "OK");
    assert_int_equal(debugger.target.point_count, 1);
    ask("z0,100000,1", "OK");
    assert_int_equal(debugger.target.point_count, 0);
}

static void hardware_points(void **state)
{
    (void)state;
    ask_for_support();
    ram[CODE + 4] = 0xa3;
    ask("Z1,1002,1", "OK");
    ask("Z2,2000,4", "OK");
    ask("vCont;c:2", "T05hwbreak:;thread:2;");
    assert_int_equal(fake.states[1].rip, CODE + 2);
    ask("z1,1002,1", "OK");
    ask("vCont;c:2", "T05watch:2000;thread:2;");
    assert_int_equal(fake.states[1].rip, CODE + 5);
    ask("z2,2000,4", "OK");
    /* Pieces of an unaligned range: 1 + 2 + 4 + 1. */
    ask("Z3,2001,8", "OK");
    assert_int_equal(debugger.target.point_count, 4);
    ask("Z4,3000,1", "E1c");
    ask("z3,2001,8", "OK");
    assert_int_equal(debugger.target.point_count, 0);
    ask("Z4,2000,1", "OK");
    ask("vCont;c:2", "T05awatch:2000;thread:2;");
    ask("z4,2000,1", "OK");
    ask("Z2,2000,0", "");
    ask("Z2,ffffffffffffffff,8", "");
    ask("Z2,2000,ffffffffffff", "E1c");
}

/* The guest's own INT3 goes to the guest, and the machine goes on. */
static void guests_own_breakpoints(void **state)
{
    (void)state;
    ram[CODE + 3] = 0xcc;
    ask("Z0,1008,1", "OK");
    ask("vCont;c:1", "T05thread:1;");
    assert_int_equal(fake.states[0].rip, CODE + 8);
    assert_int_equal(fake.states[0].gpr[GPR_RCX], 1);
}

/* Whoever stops first is told of; the others have their turns, and no hit is lost. */
static void several_stop_at_once(void **state)
{
    bool seen[FAKE_CPUS] = {false};
    unsigned hits = 0;

    (void)state;
    ram[CODE + 4] = 0xa3;
    ask("Z2,2000,1", "OK");
    while (!seen[0] || !seen[1]) {
        say("vCont;c");
        const char *answer = heard();
        assert_memory_equal(answer, "T05watch:2000;thread:", 21);
        seen[answer[21] - '1'] = true;
        hits++;
    }
    hits += debugger.target.unreported[0] + debugger.target.unreported[1];
    assert_int_equal(ram[DATA], (uint8_t)(0x90 + hits));
}

static void interrupts(void **state)
{
    (void)state;
    say("c");
    expect_silence();
    assert_true(debugger.target.running);
    ask("g", "E16"); /* not now */
    debugger_receive(&debugger, "\x03", 1);
    expect("T02thread:1;");
    assert_true(fake.vcpus[0].paused && fake.vcpus[1].paused);
    debugger_receive(&debugger, "\x03", 1); /* it stands still already */
    expect_silence();
    ask("?", "T02thread:1;");
}

/* A vCPU that sleeps is stepped by what wakes it: the others run meanwhile. */
static void steps_of_a_halted_vcpu(void **state)
{
    (void)state;
    fake.vcpus[1].activity = CPU_HALTED;
    say("vCont;s:2;c");
    expect_silence();
    expect_progress(0);
    vcpu_attend(&fake.vcpus[1], ATTENTION_INTERRUPT);
    expect("T05thread:2;");
}

static void detaching(void **state)
{
    (void)state;
    ask("Z0,1008,1", "OK");
    ask("Z1,1009,1", "OK");
    ask("D", "OK");
    assert_int_equal(ram[CODE + 8], 0x90);
    assert_int_equal(fake.controls[0].point_count, 0);
    assert_false(fake.controls[0].breakpoints);
    assert_true(debugger.target.running);
    debugger_disconnect(&debugger);
    expect_silence();
    /* And back. */
    debugger_connect(&debugger);
    assert_false(debugger.target.running);
    ask("?", "T05thread:1;");
}

/* Without a word: what stood still does so, what ran goes on, and no breakpoint is left. */
static void lost_connections(void **state)
{
    (void)state;
    ask("Z0,1008,1", "OK");
    debugger_disconnect(&debugger);
    assert_false(debugger.target.running);
    assert_int_equal(ram[CODE + 8], 0x90);
    debugger_connect(&debugger);
    ask("Z0,1200,1", "OK");
    say("c");
    debugger_disconnect(&debugger);
    assert_true(debugger.target.running);
    assert_int_equal(ram[0x1200], 0x90);
    expect_progress(1);
}

static void ends(void **state)
{
    (void)state;
    say("k");
    expect_silence();
    assert_int_equal(quits, 1);
    ask("vKill;1", "OK");
    assert_int_equal(quits, 2);
    say("c");
    expect_silence();
    end_machine(33);
    expect("W21");
    ask("g", "E16"); /* there is none */
    ask("vKill;1", "OK");
    ask("D", "OK");
}

static void ends_badly(void **state)
{
    (void)state;
    say("c");
    expect_silence();
    end_machine(-6);
    expect("X06");
}

/* Somebody looks: the machine ends when he has seen it. */
static void triple_faults_stop(void **state)
{
    (void)state;
    ram[CODE + 2] = 0x0f;
    ask("vCont;c:1", "T0bthread:1;");
    assert_int_equal(fake.states[0].rip, CODE + 2);
    assert_int_equal(machine.end, MACHINE_RUNNING);
    ask("?", "T0bthread:1;");
    say("c");
    expect_silence();
    assert_int_equal(machine.end, MACHINE_TRIPLE_FAULT);
    end_machine(3);
    expect("W03");
    /* Nobody does. */
    memset(ram, 0x0f, RAM);
    begin_machine(false);
    ask("D", "OK");
    for (unsigned naps = 0; naps < PATIENCE_MS && machine.end == MACHINE_RUNNING; naps++)
        nap();
    assert_int_equal(machine.end, MACHINE_TRIPLE_FAULT);
}

static void restarts_stay_attached(void **state)
{
    (void)state;
    ask("Z0,1008,1", "OK");
    say("qRcmd,7265736574"); /* reset */
    expect_silence();
    assert_int_equal(restarts, 1);
    end_machine(-1);
    memset(ram, 0x90, sizeof(ram));
    ram[CODE + 0x100] = 0xeb;
    begin_machine(true);
    assert_memory_equal(heard(), "746865206d616368696e65", 22); /* the machine */
    assert_false(debugger.target.running);
    ask("z0,1008,1", "OK");
    ask("?", "T05thread:1;");
    /* The guest does it, while GDB waits for a stop. */
    say("c");
    expect_silence();
    end_machine(-1);
    begin_machine(true);
    expect("T05thread:1;");
    /* As extended mode has it: killed, it waits for what follows. */
    ask("!", "OK");
    ask("vKill;1", "OK");
    assert_int_equal(quits, 0);
    say("vRun;");
    end_machine(-1);
    begin_machine(true);
    expect("T05thread:1;");
    say("R00");
    end_machine(-1);
    begin_machine(true);
    expect_silence();
    ask("?", "T05thread:1;");
    assert_int_equal(restarts, 3);
    ask("vKill;1", "OK");
    assert_int_equal(quits, 0);
    debugger_disconnect(&debugger);
    assert_int_equal(quits, 1);
}

static void starts_by_itself(void **state)
{
    (void)state;
    (void)setup_as(true, false);
    assert_true(debugger.target.running);
    debugger_connect(&debugger);
    assert_false(debugger.target.running);
    ask("?", "T05thread:1;");
}

static const char *monitor(const char *line)
{
    static char text[PACKET_PAYLOAD / 2 + 1];
    char packet[256] = "qRcmd,";
    const char *answer;
    size_t size = 0;

    for (const char *at = line; *at; at++)
        (void)snprintf(packet + strlen(packet), 3, "%02x", (uint8_t)*at);
    say(packet);
    answer = heard();
    if (strcmp(answer, "OK") == 0)
        return answer;
    for (unsigned byte; sscanf(answer + 2 * size, "%2x", &byte) == 1; size++)
        text[size] = (char)byte;
    text[size] = '\0';
    return text;
}

static void monitor_commands(void **state)
{
    (void)state;
    assert_non_null(strstr(monitor("help"), "\nreset "));
    assert_non_null(strstr(monitor("info"), "engine fake, 2 vCPUs, 1 MiB\n"));
    assert_non_null(strstr(monitor("regs"), "cs   f000 base 0000000000000000"));
    store_le(ram + DATA, 8, 0xfffffffe);
    assert_string_equal(monitor("xp 0x2000"), "0000000000002000: 0xfffffffe\n");
    assert_string_equal(monitor("xp/2dw 0x2000"), "0000000000002000: -2 0\n");
    assert_string_equal(monitor("xp/1ug 8192"), "0000000000002000: 4294967294\n");
    assert_string_equal(monitor("xp/3xb 0x2000"), "0000000000002000: 0xfe 0xff 0xff\n");
    memcpy(ram + DATA, "abc\n", 4);
    assert_string_equal(monitor("xp/4c 0x2000"), "0000000000002000: a b c .\n");
    assert_string_equal(monitor("xp 0x100000"), "0000000000100000: (no RAM)\n");
    assert_non_null(strstr(monitor("xp/zz 0"), "xp takes"));
    assert_non_null(strstr(monitor("xp"), "xp takes"));
    assert_non_null(strstr(monitor("xp/999999999999xg 0"), "0000000000000000: 0x"));
    assert_non_null(strstr(monitor("no"), "no such command"));
    assert_non_null(strstr(monitor("helpx"), "no such command"));
    assert_non_null(strstr(monitor("phys maybe"), "on or off"));
    assert_non_null(strstr(monitor("irq"), "wait"));
    assert_non_null(strstr(monitor("irq on"), "may lead"));
    assert_non_null(strstr(monitor("irq off"), "wait"));
    assert_non_null(strstr(monitor("irq both"), "on or off"));
    assert_non_null(strstr(monitor("phys on"), "physical"));
    fake.states[0].cr0 |= CR0_PG | CR0_PE;
    ask("m2000,2", "6162"); /* whatever the page tables say */
    assert_non_null(strstr(monitor("phys off"), "virtual"));
    ask("m2000,2", "E0e");
    assert_non_null(strstr(monitor("quit"), "ends"));
    assert_int_equal(quits, 1);
    ask("qRcmd,6", "E16");
    ask("qRcmd,6g", "E16");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(introductions),
        TEST(acknowledgements),
        TEST(description),
        TEST(registers),
        TEST(memory),
        TEST(steps),
        TEST(breakpoints),
        TEST(breakpoints_without_memory),
        TEST(hardware_points),
        TEST(guests_own_breakpoints),
        TEST(several_stop_at_once),
        TEST(interrupts),
        TEST(steps_of_a_halted_vcpu),
        TEST(detaching),
        TEST(lost_connections),
        TEST(ends),
        TEST(ends_badly),
        TEST(triple_faults_stop),
        TEST(restarts_stay_attached),
        cmocka_unit_test_teardown(starts_by_itself, teardown),
        TEST(monitor_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
