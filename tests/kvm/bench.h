/* A machine for tests of the KVM engine: some memory, vCPUs in 64-bit code, a device that counts. */
#ifndef LODGE_TESTS_KVM_BENCH_H
#define LODGE_TESTS_KVM_BENCH_H

#include <pthread.h>
#include <stdbool.h>

#include "core/machine.h"
#include "host/clock.h"

enum {
    BENCH_MEMORY = 16 << 20,
    BENCH_TABLES = 0x10000, /* page tables: the first 2 GiB, identity-mapped */
    BENCH_CODE = 0x8000,
    BENCH_STACK = 0x9000,
    BENCH_BELLS = 4,
    BENCH_BELL_STRIDE = 4,
};

#define BENCH_BELL 0x40000000ull /* physical: a region of doorbells */

/* Ports: reads give 0x12345678, and writes are counted. */
struct bench_device {
    struct device device;
    struct region ports, bells;
    unsigned told, reads;       /* writes to the ports, and reads */
    unsigned rung[BENCH_BELLS]; /* by place; machine lock */
    pthread_t ringer;           /* who rang last */
};

struct bench {
    struct machine machine;
    struct host_clock clock;
    struct alarm alarm; /* never rings: nothing here needs it */
    struct bench_device device;
    unsigned stops; /* debug_stopped() */
    pthread_t threads[2];
};

/* Does /dev/kvm work here? Says why not. */
bool bench_possible(void);

void bench_init(struct bench *bench, unsigned cpus);
void bench_destroy(struct bench *bench);

/* The code at BENCH_CODE, and the vCPU about to run it. */
void bench_load(struct bench *bench, unsigned cpu, const void *code, const void *end, struct cpu_state *state);
void bench_set(struct bench *bench, unsigned cpu, const struct cpu_state *state);

/* Runs vCPU loops in threads of their own until bench_stop(). */
void bench_start(struct bench *bench);
void bench_stop(struct bench *bench);

/* Waits until *value, which the machine lock protects, has reached at_least. False: it did not for some seconds. */
bool bench_wait(struct bench *bench, const unsigned *value, unsigned at_least);

#endif
