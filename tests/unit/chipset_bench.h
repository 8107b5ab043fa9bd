/*
 * A test bench for chipset devices: a bus and a clock that the test moves, wires that count edges,
 * a machine that only notes what it was asked to do, and the checks that every device must pass.
 */
#ifndef LODGE_TESTS_UNIT_CHIPSET_BENCH_H
#define LODGE_TESTS_UNIT_CHIPSET_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/irq.h"
#include "dev/chipset/platform.h"
#include "fake_machine.h"

struct bench_wire {
    bool level;
    unsigned rises;
};

struct bench {
    struct fake_machine fake;
    unsigned power_offs, resets, exits;
    uint32_t exit_value;
};

void bench_init(struct bench *bench);

struct irq_line bench_line(struct bench_wire *wire);
struct platform bench_platform(struct bench *bench);

/* As a vCPU would. */
uint64_t bench_in(struct bench *bench, uint16_t port, unsigned size);
void bench_out(struct bench *bench, uint16_t port, unsigned size, uint64_t value);

static inline uint8_t bench_inb(struct bench *bench, uint16_t port)
{
    return (uint8_t)bench_in(bench, port, 1);
}

static inline void bench_outb(struct bench *bench, uint16_t port, uint8_t value)
{
    bench_out(bench, port, 1, value);
}

void bench_advance(struct bench *bench, uint64_t ns);

/*
 * Saves the device and decodes the result: nothing may be lost. Then commits it over a state that
 * was overwritten, resumes, and saves again: the same bytes. Any clock may move in between by pause_ns,
 * as it does for a machine that is frozen here and thawed there.
 */
void bench_round_trip(struct bench *bench, struct device *device, uint64_t pause_ns);

/* Damaged copies of the state: whatever valid() lets pass must be harmless afterwards. */
void bench_hostile_state(struct bench *bench, struct device *device, unsigned rounds);

/* Random accesses of all sizes to all of its ports, while time goes by. */
void bench_random_io(struct bench *bench, struct device *device, unsigned accesses);

#endif
