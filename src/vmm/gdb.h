/* GDB's server of a machine: socket, protocol and machine put together. The loop's thread, unless it says otherwise. */
#ifndef LODGE_VMM_GDB_H
#define LODGE_VMM_GDB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "debug/debugger.h"
#include "host/clock.h"
#include "host/loop.h"
#include "host/opener.h"
#include "host/socket.h"

struct vmm_options;

/* For gdb_end(), instead of an exit status. */
enum { GDB_AGAIN = -1, GDB_ABORTED = -6 /* SIGABRT, as GDB numbers signals */ };

struct vmm_gdb {
    struct debugger debugger;
    struct socket_listener listener;
    struct socket_connection connection;
    struct loop_notice stopped; /* a vCPU waits for the debugger */
    struct event_loop *loop;
    struct host_clock *clock;
    uint32_t tsc_khz;
    bool waits;    /* the machine does not run before a debugger says so */
    bool restarts; /* the debugger has ended it so that it starts again */
    bool enabled;
};

/* Listens, if options->gdb asks for it. Errors are logged. */
enum status gdb_open(struct vmm_gdb *gdb, const struct vmm_options *options, struct event_loop *loop,
                     struct host_clock *clock, uint32_t tsc_khz) MUST_CHECK;

/* opener: removes the Unix socket for us, as its socket of this number, or NULL. Accepts a zeroed one. */
void gdb_close(struct vmm_gdb *gdb, struct host_opener *opener, size_t number);

/* The path of the Unix socket that the options ask for, if they do. */
bool gdb_socket_path(const struct vmm_options *options, char *path, size_t room);

/* Say on the log where. */
void gdb_announce(const struct vmm_gdb *gdb);

/* Behind machine->debug_stopped. Any thread. */
void gdb_vcpu_stopped(struct vmm_gdb *gdb);

/* A machine whose threads have not started; and after those have started. */
void gdb_prepare(const struct vmm_gdb *gdb, struct machine *machine);
void gdb_begin(struct vmm_gdb *gdb, struct machine *machine);

/* It has ended, its threads too. exit_status as in debugger_machine_gone(). */
void gdb_end(struct vmm_gdb *gdb, int exit_status);

#endif
