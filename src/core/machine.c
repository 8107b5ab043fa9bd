#include "core/machine.h"

#include <stdatomic.h>
#include <stddef.h>

#include "core/trace.h"

void machine_init(struct machine *machine, struct clock *clock, struct alarm *alarm)
{
    *machine = (struct machine){.memory = machine->memory, .clock = clock};
    bus_init(&machine->bus, &machine->lock);
    machine->bus.trace = &machine->trace;
    timer_queue_init(&machine->timers, clock, alarm);
    machine->devices_tail = &machine->devices;
}

void machine_add_device(struct machine *machine, struct device *device)
{
    device->next = NULL;
    *machine->devices_tail = device;
    machine->devices_tail = &device->next;
}

static const char *end_name(enum machine_end end)
{
    static const char *const names[] = {
        [MACHINE_RUNNING] = "running",
        [MACHINE_POWER_OFF] = "power-off",
        [MACHINE_RESET] = "reset",
        [MACHINE_TRIPLE_FAULT] = "triple-fault",
        [MACHINE_DEBUG_EXIT] = "debug-exit",
        [MACHINE_FAILED] = "failed",
        [MACHINE_STOPPED] = "stopped",
    };

    return names[end];
}

void machine_end(struct machine *machine, enum machine_end end, uint32_t value)
{
    uint32_t running = MACHINE_RUNNING;

    if (!atomic_compare_exchange_strong(&machine->end, &running, end))
        return;
    /* Nobody reads it before a vCPU has stopped or ended() was called. */
    machine->exit_value = value;
    trace_power(machine, end_name(end), value);
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        if (machine->vcpus[i])
            vcpu_attend(machine->vcpus[i], ATTENTION_STOP);
    }
    if (machine->ended)
        machine->ended(machine);
}

static enum status first_error(enum status first, enum status next)
{
    return first == STATUS_OK ? next : first;
}

enum status machine_reset_devices(struct machine *machine)
{
    enum status status = STATUS_OK;

    for (struct device *device = machine->devices; device != NULL; device = device->next) {
        device->type->reset(device);
        if (device->proxy)
            status = first_error(status, device->proxy->put(device));
    }
    return status;
}

enum status machine_quiesce_devices(struct machine *machine)
{
    enum status status = STATUS_OK;

    for (struct device *device = machine->devices; device != NULL; device = device->next) {
        if (device->proxy)
            status = first_error(status, device->proxy->fetch(device));
        else if (device->type->quiesce)
            device->type->quiesce(device);
    }
    return status;
}

enum status machine_resume_devices(struct machine *machine)
{
    enum status status = STATUS_OK;

    for (struct device *device = machine->devices; device != NULL; device = device->next) {
        if (device->proxy)
            status = first_error(status, device->proxy->put(device));
        else if (device->type->resume)
            device->type->resume(device);
    }
    return status;
}

void machine_drain_devices(struct machine *machine)
{
    lock_acquire(&machine->lock);
    for (struct device *device = machine->devices; device != NULL; device = device->next) {
        if (device->type->drain)
            device->type->quiesce(device);
    }
    lock_release(&machine->lock);
    for (struct device *device = machine->devices; device != NULL; device = device->next) {
        if (device->type->drain)
            device->type->drain(device);
    }
}
