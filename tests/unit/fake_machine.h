/* A machine without an engine: a clock that the test moves, vCPUs that only collect attention. */
#ifndef LODGE_TESTS_UNIT_FAKE_MACHINE_H
#define LODGE_TESTS_UNIT_FAKE_MACHINE_H

#include "core/machine.h"

enum { FAKE_TSC_KHZ = 2000000 };

struct fake_machine {
    struct machine machine;
    struct clock clock;
    struct alarm alarm;
    struct engine engine;
    struct vcpu vcpus[MACHINE_CPUS];
    uint64_t now_ns;
    uint64_t wall_ns;
    uint64_t alarm_ns; /* the last deadline asked for */
    int64_t tsc_offset;
};

void fake_machine_init(struct fake_machine *fake, unsigned cpus);

/* Moves the clock forward in steps, from one alarm to the next, with the machine lock held. */
void fake_machine_advance(struct fake_machine *fake, uint64_t ns);

/* The attention bits collected since the last call. */
uint32_t fake_machine_attention(struct fake_machine *fake, unsigned cpu);

/* For struct guest_tsc: the clock at FAKE_TSC_KHZ, and tsc_offset. */
uint64_t fake_machine_tsc(void *fake, unsigned cpu);

/* A small generator of numbers that are the same in every run. */
uint64_t fake_random(uint64_t *seed);

#endif
