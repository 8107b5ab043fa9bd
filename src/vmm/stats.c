#include "vmm/stats.h"

#include <inttypes.h>

#include "base/bits.h"
#include "core/engine.h"
#include "core/machine.h"
#include "host/footprint.h"
#include "port/log.h"
#include "vmm/threads.h"

static void stats_print_engine(struct engine *engine)
{
    struct engine_statistics counted = {0};

    engine->ops->statistics(engine, &counted);
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {
        {"translations", counted.translations},
        {"moved blocks", counted.moves},
        {"blocks", counted.blocks},
        {"code bytes", counted.code_bytes},
        {"code cache flushes", counted.flushes},
        {"TLB fills", counted.tlb_fills},
        {"exceptions", counted.exceptions},
        {"interrupts", counted.interrupts},
        {"exits", counted.exits},
        {"engine memory, bytes", counted.memory_bytes},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++)
        log_info("  %-28s %12" PRIu64, lines[i].name, lines[i].value);
}

static void stats_print_memory(const struct machine *machine, const struct vcpu_threads *threads)
{
    struct footprint_hint hints[2 * MACHINE_CPUS];
    struct footprint footprint;
    size_t count = 0;

    for (unsigned i = 0; i < machine->cpu_count; i++)
        hints[count++] = (struct footprint_hint){machine->vcpus[i], FOOTPRINT_VCPUS};
    for (unsigned i = 0; i < threads->count; i++)
        if (threads->threads[i].stack)
            hints[count++] = (struct footprint_hint){threads->threads[i].stack, FOOTPRINT_STACKS};
    if (footprint_measure(&footprint, hints, count) != STATUS_OK)
        return;
    log_info("  %-28s %12" PRIu64, "own memory, KiB", footprint_own(&footprint) >> 10);
    for (int part = 0; part < FOOTPRINT_PARTS; part++)
        log_info("  %s%-26s %12" PRIu64, part == FOOTPRINT_GUEST_RAM ? "" : "  ",
                 footprint_part_name((enum footprint_part)part), footprint.resident[part] >> 10);
}

void stats_print(const struct machine *machine, const struct vcpu_threads *threads, const char *name)
{
    log_info("figures of %s (engine %s, %u vCPUs):", name, machine->engine->ops->name, machine->cpu_count);
    stats_print_engine(machine->engine);
    stats_print_memory(machine, threads);
}
