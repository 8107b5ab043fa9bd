#include "vmm/run.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/bits.h"
#include "host/alarm.h"
#include "host/clock.h"
#include "host/console.h"
#include "host/loop.h"
#include "host/memory.h"
#include "host/signals.h"
#include "host/tty.h"
#include "port/log.h"
#include "vmm/assembly.h"
#include "vmm/engine_choice.h"
#include "vmm/firmware.h"
#include "vmm/gdb.h"
#include "vmm/images.h"
#include "vmm/isolation.h"
#include "vmm/stats.h"
#include "vmm/threads.h"
#include "vmm/trace.h"

/* Everything of the process. What stays over a restart of the machine, and the machine. */
struct vmm {
    const struct vmm_options *options;
    struct engine_choice engine;
    struct isolation isolation;
    struct event_loop loop;
    struct host_signals signals;
    struct loop_notice ended; /* a vCPU or a device has ended the machine */
    struct host_clock clock;
    struct host_alarm alarm;
    struct host_console console;
    struct host_memory memory;
    struct images images;
    struct vmm_gdb gdb;
    struct backends backends;
    struct firmware firmware;
    uint32_t tsc_khz;
    struct machine_trace trace;

    struct assembly assembly;
    struct vcpu_threads threads;
    bool machine_runs;
    bool announced, shut_in;
    int ending_signal; /* 0: none came */
};

/* --- what happens while the machine runs; the main thread, in the loop --- */

static void vmm_stop_machine(struct vmm *vmm)
{
    host_console_hurry(&vmm->console);
    if (vmm->machine_runs)
        machine_end(&vmm->assembly.machine, MACHINE_STOPPED, 0);
}

static void vmm_signal_ending(struct host_signals *signals, int number)
{
    struct vmm *vmm = CONTAINER_OF(signals, struct vmm, signals);

    vmm->ending_signal = number;
    vmm_stop_machine(vmm);
}

static void vmm_signal_report(struct host_signals *signals)
{
    struct vmm *vmm = CONTAINER_OF(signals, struct vmm, signals);

    stats_print(&vmm->assembly.machine, &vmm->threads, vmm->options->name);
    devices_print(&vmm->assembly.devices);
}

static void vmm_signal_resumed(struct host_signals *signals)
{
    struct vmm *vmm = CONTAINER_OF(signals, struct vmm, signals);

    host_console_refresh(&vmm->console);
}

static void vmm_signal_resized(struct host_signals *signals)
{
    struct vmm *vmm = CONTAINER_OF(signals, struct vmm, signals);

    if (vmm->machine_runs)
        devices_resize_console(&vmm->assembly.devices);
}

static void vmm_left(struct host_console *console)
{
    vmm_stop_machine(CONTAINER_OF(console, struct vmm, console));
}

static void vmm_alarm_rings(struct host_alarm *alarm)
{
    struct vmm *vmm = CONTAINER_OF(alarm, struct vmm, alarm);
    struct machine *machine = &vmm->assembly.machine;

    if (!vmm->machine_runs)
        return;
    lock_acquire(&machine->lock);
    timer_queue_run(&machine->timers);
    lock_release(&machine->lock);
}

/* Any thread, any lock. */
static void vmm_machine_ended(struct machine *machine)
{
    struct assembly *assembly = CONTAINER_OF(machine, struct assembly, machine);
    struct vmm *vmm = CONTAINER_OF(assembly, struct vmm, assembly);

    loop_notice_raise(&vmm->ended);
}

/* A vCPU's thread. */
static void vmm_debug_stopped(struct vcpu *vcpu)
{
    struct assembly *assembly = CONTAINER_OF(vcpu->machine, struct assembly, machine);

    gdb_vcpu_stopped(&CONTAINER_OF(assembly, struct vmm, assembly)->gdb);
}

static void vmm_ended(struct loop_notice *notice)
{
    loop_stop(&CONTAINER_OF(notice, struct vmm, ended)->loop);
}

/* --- from nothing to a machine --- */

/* The order matters for whoever gets it wrong: the cheap checks come first. */
static enum status vmm_open(struct vmm *vmm)
{
    enum status status = isolation_open(&vmm->isolation, vmm->options);

    if (status == STATUS_OK)
        status = images_read(&vmm->images, vmm->options, NULL);
    if (status == STATUS_OK)
        status = firmware_open(&vmm->firmware, vmm->options);
    if (status == STATUS_OK)
        status = host_memory_create(&vmm->memory, vmm->options->memory + firmware_flash_size(&vmm->firmware));
    if (status == STATUS_OK)
        status = firmware_fill(&vmm->firmware, &vmm->memory, vmm->options->memory);
    if (status == STATUS_OK)
        status = backends_open(&vmm->backends, vmm->options, isolation_vsock(&vmm->isolation));
    if (status == STATUS_OK)
        status = engine_choose(vmm->options->engine, &vmm->engine);
    if (status == STATUS_OK)
        status = loop_init(&vmm->loop);
    if (status == STATUS_OK)
        status = host_signals_init(&vmm->signals, &vmm->loop);
    if (status == STATUS_OK)
        status = loop_notice_init(&vmm->ended, &vmm->loop, vmm_ended);
    if (status == STATUS_OK)
        status = host_alarm_init(&vmm->alarm, &vmm->loop, &vmm->clock, vmm_alarm_rings);
    if (status == STATUS_OK && vmm->firmware.store.fd >= 0)
        status = host_store_attach(&vmm->firmware.store, &vmm->loop);
    if (status == STATUS_OK)
        status = host_console_init(&vmm->console, &vmm->loop, vmm_left);
    if (status == STATUS_OK) {
        vmm->backends.console = &vmm->console.stream;
        vmm->tsc_khz = vmm->engine.tsc_khz ? vmm->engine.tsc_khz : host_tsc_khz();
        status = gdb_open(&vmm->gdb, vmm->options, &vmm->loop, &vmm->clock, vmm->tsc_khz);
    }
    if (status == STATUS_OK)
        status = trace_open(&vmm->trace, vmm->options, vmm->engine.ops, &vmm->clock.clock);
    return status;
}

static void vmm_close(struct vmm *vmm)
{
    trace_close(&vmm->trace);
    gdb_close(&vmm->gdb, isolation_opener(&vmm->isolation), ISOLATION_GDB_SOCKET);
    firmware_close(&vmm->firmware);
    host_console_destroy(&vmm->console);
    host_alarm_destroy(&vmm->alarm);
    loop_notice_destroy(&vmm->ended);
    host_signals_destroy(&vmm->signals);
    loop_destroy(&vmm->loop);
    backends_close(&vmm->backends);
    host_memory_destroy(&vmm->memory);
    images_destroy(&vmm->images, vmm->options);
    isolation_close(&vmm->isolation);
}

static enum status vmm_assemble(struct vmm *vmm)
{
    const struct assembly_parts parts = {
        .options = vmm->options,
        .engine = vmm->engine.ops,
        .clock = &vmm->clock.clock,
        .alarm = &vmm->alarm.alarm,
        .console = &vmm->console.stream,
        .memory = &vmm->memory,
        .images = &vmm->images,
        .backends = &vmm->backends,
        .firmware = &vmm->firmware,
        .tsc_khz = vmm->tsc_khz,
        .trace = vmm->trace.trace,
        .ended = vmm_machine_ended,
    };
    enum status status = assembly_create(&vmm->assembly, &parts);

    if (!vmm->firmware.present) /* it takes them from there */
        images_release(&vmm->images, vmm->options);
    return status;
}

/*
 * Before the first machine runs, and before any thread: nothing is left to open then. What was started with the first
 * machine stays for those after a restart.
 */
static enum status vmm_shut_in(struct vmm *vmm)
{
    enum status status;

    if (vmm->shut_in)
        return STATUS_OK;
    status = isolation_enter(&vmm->isolation, vmm->engine.ops, &vmm->backends);
    if (status == STATUS_OK)
        status = host_console_start(&vmm->console);
    if (status == STATUS_OK)
        status = trace_begin(&vmm->trace);
    vmm->shut_in = status == STATUS_OK;
    return status;
}

/* After everything that could be refused has been accepted, so that an error stays the only line. */
static void vmm_announce(struct vmm *vmm)
{
    if (vmm->announced)
        return;
    vmm->announced = true;
    if (vmm->engine.reason[0])
        log_info("engine %s: %s", vmm->engine.ops->name, vmm->engine.reason);
    if (vmm->console.is_terminal)
        log_info("Ctrl-] leaves the machine");
    gdb_announce(&vmm->gdb);
}

/* From the first instruction to the end. False: it cannot be taken apart, a vCPU is stuck. */
static bool vmm_run_machine(struct vmm *vmm)
{
    struct machine *machine = &vmm->assembly.machine;

    vmm->machine_runs = true;
    trace_start(&vmm->trace, machine);
    machine->debug_stopped = vmm_debug_stopped;
    host_console_attach(&vmm->console, &machine->lock);
    backends_attach(&vmm->backends, &machine->lock);
    gdb_prepare(&vmm->gdb, machine);
    if (threads_start(&vmm->threads, machine, vmm->options->name) == STATUS_OK)
        gdb_begin(&vmm->gdb, machine);
    else
        machine_end(machine, MACHINE_FAILED, 0);
    if (loop_run(&vmm->loop) != STATUS_OK)
        machine_end(machine, MACHINE_FAILED, 0);
    bool stopped = threads_stop(&vmm->threads);
    host_console_attach(&vmm->console, NULL);
    if (stopped)
        backends_attach(&vmm->backends, NULL);
    vmm->machine_runs = false;
    return stopped;
}

static int vmm_exit_status(const struct machine *machine)
{
    switch ((enum machine_end)machine->end) {
    case MACHINE_POWER_OFF:
    case MACHINE_RESET:
    case MACHINE_STOPPED:
        return VMM_EXIT_OK;
    case MACHINE_TRIPLE_FAULT:
        return VMM_EXIT_TRIPLE_FAULT;
    case MACHINE_DEBUG_EXIT:
        return (int)(((machine->exit_value << 1) | 1) & 0xff);
    default:
        return VMM_EXIT_FAILED;
    }
}

/* The machine cannot be restarted nor put away in order; what can be saved is the terminal. */
static _Noreturn void vmm_give_up(struct vmm *vmm)
{
    trace_stop(&vmm->trace);
    host_tty_restore();
    if (vmm->ending_signal)
        host_signals_die(vmm->ending_signal);
    _Exit(VMM_EXIT_FAILED);
}

/* One life of the machine, with its memory zeroed. True: it is to start again. */
static bool vmm_run_once(struct vmm *vmm, int *exit_status)
{
    *exit_status = VMM_EXIT_FAILED;
    if (vmm_assemble(vmm) != STATUS_OK)
        return false;
    if (vmm_shut_in(vmm) != STATUS_OK) {
        assembly_destroy(&vmm->assembly);
        return false;
    }
    vmm_announce(vmm);
    if (!vmm_run_machine(vmm))
        vmm_give_up(vmm);

    struct machine *machine = &vmm->assembly.machine;
    bool again = machine->end == MACHINE_RESET && (!vmm->options->no_reboot || vmm->gdb.restarts);
    *exit_status = vmm_exit_status(machine);
    gdb_end(&vmm->gdb, again ? GDB_AGAIN : machine->end == MACHINE_FAILED ? GDB_ABORTED : *exit_status);
    if (vmm->options->stats && !again) {
        stats_print(machine, &vmm->threads, vmm->options->name);
        devices_print(&vmm->assembly.devices);
    }
    assembly_destroy(&vmm->assembly);
    return again;
}

static enum status vmm_restart(struct vmm *vmm)
{
    enum status status = images_read(&vmm->images, vmm->options, isolation_opener(&vmm->isolation));

    return status == STATUS_OK ? host_memory_clear(&vmm->memory, vmm->options->memory) : status;
}

int vmm_run(const struct vmm_options *options)
{
    struct vmm *vmm = calloc(1, sizeof(*vmm));
    int exit_status = VMM_EXIT_FAILED;

    if (!vmm) {
        log_error("no memory to start");
        return VMM_EXIT_FAILED;
    }
    vmm->options = options;
    host_clock_init(&vmm->clock);
    vmm->signals.ending = vmm_signal_ending;
    vmm->signals.report = vmm_signal_report;
    vmm->signals.resumed = vmm_signal_resumed;
    vmm->signals.resized = vmm_signal_resized;
    if (vmm_open(vmm) == STATUS_OK) {
        while (vmm_run_once(vmm, &exit_status)) {
            if (vmm_restart(vmm) != STATUS_OK) {
                exit_status = VMM_EXIT_FAILED;
                break;
            }
        }
    }
    int ending_signal = vmm->ending_signal;
    vmm_close(vmm);
    free(vmm);
    if (ending_signal)
        host_signals_die(ending_signal);
    return exit_status;
}
