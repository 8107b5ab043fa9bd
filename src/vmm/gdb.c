#include "vmm/gdb.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "core/machine.h"
#include "port/log.h"
#include "vmm/options.h"

/* ---- what the debugger asks for ---- */

static struct vmm_gdb *gdb_of(struct debugger *debugger)
{
    return CONTAINER_OF(debugger, struct vmm_gdb, debugger);
}

static void gdb_send(struct debugger *debugger, const void *bytes, size_t size)
{
    struct vmm_gdb *gdb = gdb_of(debugger);

    if (gdb->connection.source.loop && !socket_connection_send(&gdb->connection, bytes, size))
        log_warning("gdb: the debugger does not take its answers");
}

static void gdb_quit(struct debugger *debugger)
{
    if (debugger->target.machine)
        machine_end(debugger->target.machine, MACHINE_STOPPED, 0);
}

static void gdb_restart(struct debugger *debugger)
{
    if (!debugger->target.machine)
        return;
    gdb_of(debugger)->restarts = true;
    machine_end(debugger->target.machine, MACHINE_RESET, 0);
}

static void gdb_stood_still(struct debugger *debugger)
{
    host_clock_hold(gdb_of(debugger)->clock);
}

/* The time that was spent on hold has not passed for the guest: not on its timers, nor on its time stamp counters. */
static void gdb_goes_on(struct debugger *debugger)
{
    struct vmm_gdb *gdb = gdb_of(debugger);
    struct machine *machine = debugger->target.machine;
    const struct engine_ops *ops = machine->engine->ops;
    uint64_t held_ns = host_clock_release(gdb->clock);
    uint64_t ticks = (uint64_t)((unsigned __int128)held_ns * gdb->tsc_khz / 1000000);

    for (unsigned i = 0; ops->delay_tsc && i < machine->cpu_count; i++)
        ops->delay_tsc(machine->vcpus[i], ticks);
    lock_acquire(&machine->lock);
    timer_queue_run(&machine->timers);
    lock_release(&machine->lock);
}

static const struct debugger_ops gdb_debugger_ops = {
    .send = gdb_send,
    .quit = gdb_quit,
    .restart = gdb_restart,
    .stood_still = gdb_stood_still,
    .goes_on = gdb_goes_on,
};

/* ---- connections ---- */

static void gdb_received(struct socket_connection *connection, const void *bytes, size_t size)
{
    debugger_receive(&CONTAINER_OF(connection, struct vmm_gdb, connection)->debugger, bytes, size);
}

static void gdb_closed(struct socket_connection *connection)
{
    struct vmm_gdb *gdb = CONTAINER_OF(connection, struct vmm_gdb, connection);

    debugger_disconnect(&gdb->debugger);
    if (gdb->debugger.target.machine && !gdb->debugger.target.running)
        log_info("gdb: the debugger is gone; the machine stands still until another one comes to %s",
                 gdb->listener.name);
}

static void gdb_accepted(struct socket_listener *listener, int fd)
{
    struct vmm_gdb *gdb = CONTAINER_OF(listener, struct vmm_gdb, listener);

    if (gdb->connection.source.loop) {
        log_warning("gdb: there is a debugger already; another one was turned away");
        close(fd);
        return;
    }
    gdb->connection.received = gdb_received;
    gdb->connection.closed = gdb_closed;
    if (socket_connection_init(&gdb->connection, gdb->loop, fd) == STATUS_OK)
        debugger_connect(&gdb->debugger);
}

void gdb_vcpu_stopped(struct vmm_gdb *gdb)
{
    loop_notice_raise(&gdb->stopped);
}

static void gdb_stopped(struct loop_notice *notice)
{
    debugger_stopped(&CONTAINER_OF(notice, struct vmm_gdb, stopped)->debugger);
}

/* ---- life ---- */

enum { ADDRESS_MOST = 256 };

/* "ADDRESS[,nowait][,i386]" */
struct gdb_request {
    char address[ADDRESS_MOST];
    bool runs, narrow;
};

static bool gdb_parse(const char *value, struct gdb_request *request)
{
    static const char nowait[] = ",nowait", narrow[] = ",i386";
    size_t length = strlen(value);

    *request = (struct gdb_request){0};
    for (;;) {
        if (length >= sizeof(nowait) && memcmp(value + length - strlen(nowait), nowait, strlen(nowait)) == 0) {
            request->runs = true;
            length -= strlen(nowait);
        } else if (length >= sizeof(narrow) && memcmp(value + length - strlen(narrow), narrow, strlen(narrow)) == 0) {
            request->narrow = true;
            length -= strlen(narrow);
        } else {
            break;
        }
    }
    if (length >= sizeof(request->address)) {
        log_error("--gdb %s: the address is too long", value);
        return false;
    }
    memcpy(request->address, value, length);
    return true;
}

bool vmm_gdb_is_valid(const char *value)
{
    struct gdb_request request;

    return gdb_parse(value, &request) && socket_address_is_valid("--gdb", request.address);
}

enum status gdb_open(struct vmm_gdb *gdb, const struct vmm_options *options, struct event_loop *loop,
                     struct host_clock *clock, uint32_t tsc_khz)
{
    struct gdb_request request;
    enum status status;

    if (!options->gdb)
        return STATUS_OK;
    if (!gdb_parse(options->gdb, &request))
        return STATUS_INVALID;
    gdb->loop = loop;
    gdb->clock = clock;
    gdb->tsc_khz = tsc_khz;
    gdb->waits = !request.runs;
    gdb->debugger.ops = &gdb_debugger_ops;
    gdb->debugger.narrow = request.narrow;
    status = loop_notice_init(&gdb->stopped, loop, gdb_stopped);
    if (status == STATUS_OK)
        status = socket_listener_init(&gdb->listener, loop, "--gdb", request.address, gdb_accepted);
    gdb->enabled = status == STATUS_OK;
    return status;
}

bool gdb_socket_path(const struct vmm_options *options, char *path, size_t room)
{
    struct gdb_request request;
    const char *found = NULL;

    if (options->gdb && gdb_parse(options->gdb, &request))
        found = socket_address_path(request.address);
    return found && (size_t)snprintf(path, room, "%s", found) < room;
}

void gdb_close(struct vmm_gdb *gdb, struct host_opener *opener, size_t number)
{
    socket_connection_destroy(&gdb->connection);
    if (opener && gdb->listener.is_unix) {
        host_opener_remove(opener, number);
        gdb->listener.is_unix = false;
    }
    socket_listener_destroy(&gdb->listener);
    loop_notice_destroy(&gdb->stopped);
}

void gdb_announce(const struct vmm_gdb *gdb)
{
    if (gdb->enabled)
        log_info("gdb: listening at %s%s", gdb->listener.name,
                 gdb->waits ? "; the machine waits for a debugger to continue it" : "");
}

void gdb_prepare(const struct vmm_gdb *gdb, struct machine *machine)
{
    if (!gdb->enabled)
        return;
    for (unsigned i = 0; i < machine->cpu_count; i++)
        atomic_fetch_or(&machine->vcpus[i]->attention, ATTENTION_PAUSE);
}

/* A machine that starts again stops for the debugger that is connected; without one it goes on. */
void gdb_begin(struct vmm_gdb *gdb, struct machine *machine)
{
    if (!gdb->enabled)
        return;
    debugger_machine(&gdb->debugger, machine, !gdb->waits);
    gdb->waits = gdb->restarts = false;
}

void gdb_end(struct vmm_gdb *gdb, int exit_status)
{
    if (!gdb->enabled)
        return;
    debugger_machine_gone(&gdb->debugger, exit_status);
    (void)host_clock_release(gdb->clock); /* what this machine waited is not the next one's to catch up with */
}
