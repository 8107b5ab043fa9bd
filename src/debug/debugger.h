/*
 * GDB's remote serial protocol (GDB manual, appendix E) for one machine: bytes of a connection in, bytes out. vCPU n is
 * thread n + 1.
 *
 * All-stop: when one vCPU stops, all do. While one is stepped the others stay, unless GDB names them.
 * Threads: one, the owner's, calls everything here; the callbacks are made in it.
 */
#ifndef LODGE_DEBUG_DEBUGGER_H
#define LODGE_DEBUG_DEBUGGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/description.h"
#include "debug/packet.h"
#include "debug/target.h"

struct debugger;

/* What a debugger asks of its owner. */
struct debugger_ops {
    /* All of it goes out, or the connection is closed. */
    void (*send)(struct debugger *debugger, const void *bytes, size_t size);
    /* End the machine; debugger_machine_gone() follows, and after a restart debugger_machine(). */
    void (*quit)(struct debugger *debugger);
    void (*restart)(struct debugger *debugger);
    /* Nothing happens in the machine from now on; or again. Its time stands still in between. */
    void (*stood_still)(struct debugger *debugger);
    void (*goes_on)(struct debugger *debugger);
};

/* What GDB waits for besides the answer to its last packet. */
enum debugger_debt {
    DEBT_NONE,
    DEBT_STOP,    /* a stop reply: the machine runs */
    DEBT_RESTART, /* a stop reply once the machine has been put together again (vRun) */
    DEBT_MONITOR, /* the end of `monitor reset` */
};

struct debugger {
    const struct debugger_ops *ops;
    struct debug_target target;
    bool narrow; /* describe a 32-bit processor; before the first connection */
    bool connected;
    bool acknowledges;
    bool extended; /* the connection outlives the machine: killed, it waits for vRun */
    bool killed;
    bool knows_swbreak, knows_hwbreak;
    uint8_t debt;             /* enum debugger_debt */
    unsigned general_thread;  /* vCPU of Hg: registers and memory */
    unsigned stopped_thread;  /* vCPU of the last stop */
    unsigned continue_thread; /* vCPU of Hc, for s and c */
    bool continue_all;
    uint8_t stop_signal;  /* of the last stop */
    char stop_detail[48]; /* "watch:ADDRESS;" and the like */
    struct packet_reader reader;
    struct packet_writer writer;
    size_t description_size;
    char description[DESCRIPTION_SIZE];
};

/* A zeroed debugger with ops and narrow set is one without connection and machine. */

/* A machine that has not run yet; its vCPUs have ATTENTION_PAUSE. run: it starts, unless somebody is connected. */
void debugger_machine(struct debugger *debugger, struct machine *machine, bool run);

/* It has ended and its threads are gone. exit_status: what it ended with; -1: it will start again; < -1: a signal, negated. */
void debugger_machine_gone(struct debugger *debugger, int exit_status);

/* Somebody connects: the machine stops. */
void debugger_connect(struct debugger *debugger);

/* The connection is gone: breakpoints too. A machine that stood still does so until the next connection. */
void debugger_disconnect(struct debugger *debugger);

void debugger_receive(struct debugger *debugger, const void *bytes, size_t size);

/* Some time after machine->debug_stopped. */
void debugger_stopped(struct debugger *debugger);

#endif
