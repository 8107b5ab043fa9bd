#include "core/machine.h"

#include <stdatomic.h>
#include <stddef.h>

void machine_init(struct machine *machine, struct clock *clock, struct alarm *alarm)
{
    *machine = (struct machine){.memory = machine->memory, .clock = clock};
    bus_init(&machine->bus, &machine->lock);
    timer_queue_init(&machine->timers, clock, alarm);
    machine->devices_tail = &machine->devices;
}

void machine_add_device(struct machine *machine, struct device *device)
{
    device->next = NULL;
    *machine->devices_tail = device;
    machine->devices_tail = &device->next;
}

void machine_end(struct machine *machine, enum machine_end end, uint32_t value)
{
    uint32_t running = MACHINE_RUNNING;

    if (!atomic_compare_exchange_strong(&machine->end, &running, end))
        return;
    /* Nobody reads it before a vCPU has stopped or ended() was called. */
    machine->exit_value = value;
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        if (machine->vcpus[i])
            vcpu_attend(machine->vcpus[i], ATTENTION_STOP);
    }
    if (machine->ended)
        machine->ended(machine);
}

void machine_reset_devices(struct machine *machine)
{
    for (struct device *device = machine->devices; device != NULL; device = device->next)
        device->type->reset(device);
}

enum status machine_quiesce_devices(struct machine *machine)
{
    for (struct device *device = machine->devices; device != NULL; device = device->next) {
        if (device->type->quiesce)
            device->type->quiesce(device);
    }
    return STATUS_OK;
}

enum status machine_resume_devices(struct machine *machine)
{
    for (struct device *device = machine->devices; device != NULL; device = device->next) {
        if (device->type->resume)
            device->type->resume(device);
    }
    return STATUS_OK;
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
