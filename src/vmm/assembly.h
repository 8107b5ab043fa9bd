/* One machine, put together: the composition root's knowledge of what a machine is made of. */
#ifndef LODGE_VMM_ASSEMBLY_H
#define LODGE_VMM_ASSEMBLY_H

#include <stdint.h>

#include "base/status.h"
#include "board/q35.h"
#include "core/machine.h"
#include "vmm/devices.h"
#include "vmm/options.h"

struct engine_ops;
struct firmware;
struct host_memory;
struct images;

/* What a machine is made from. All is borrowed, for as long as the machine lives; images for the call, unless there is firmware. */
struct assembly_parts {
    const struct vmm_options *options;
    const struct engine_ops *engine;
    struct clock *clock;
    struct alarm *alarm;
    struct stream *console;
    struct host_memory *memory; /* zeroed */
    const struct images *images;
    struct backends *backends;
    struct firmware *firmware;
    uint32_t tsc_khz;
    struct trace trace; /* as machine->trace */
    void (*ended)(struct machine *machine); /* as machine->ended */
};

struct assembly {
    struct machine machine;
    struct q35 board;
    struct devices devices;
};

/* A machine at the first instruction of its kernel or firmware. Logs its errors. The main thread. */
enum status assembly_create(struct assembly *assembly, const struct assembly_parts *parts) MUST_CHECK;

/* No vCPU thread is left. Accepts what assembly_create() could not finish, and a zeroed one. */
void assembly_destroy(struct assembly *assembly);

#endif
