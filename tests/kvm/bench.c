#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "base/bits.h"
#include "engine/kvm/kvm.h"
#include "host/clock.h"
#include "vmm/probe.h"
#include "x86/regs.h"

enum { PATIENCE_MS = 20000, TABLE_P_RW_US = 7, TABLE_PS = 0x80, CODE_64 = 0xa09b, DATA = 0xc093 };

bool bench_possible(void)
{
    uint32_t khz;
    char reason[256];

    if (probe_kvm("/dev/kvm", &khz, reason, sizeof(reason)))
        return true;
    printf("not tested: %s\n", reason);
    return false;
}

static enum io_result bench_io(struct device *device, unsigned region, struct io_access *access)
{
    struct bench_device *bench = CONTAINER_OF(device, struct bench_device, device);

    if (region == 1) {
        bench->rung[access->offset / BENCH_BELL_STRIDE]++;
        bench->ringer = pthread_self();
    } else if (access->write) {
        bench->told++;
    } else {
        access->value = 0x12345678;
        bench->reads++;
    }
    return IO_DONE;
}

static void bench_reset(struct device *device)
{
    (void)device;
}

static const struct device_type bench_type = {.name = "bench", .io = bench_io, .reset = bench_reset};

static void add_device(struct bench *bench)
{
    struct bench_device *device = &bench->device;

    device->device = (struct device){.type = &bench_type, .path = "bench"};
    device->ports = (struct region){.name = "ports",
                                    .space = BUS_PORT,
                                    .base = 0x98,
                                    .size = 4,
                                    .smallest = 1,
                                    .largest = 4,
                                    .enabled = true,
                                    .device = &device->device};
    device->bells = (struct region){.name = "bells",
                                    .space = BUS_MEMORY,
                                    .base = BENCH_BELL,
                                    .size = 4 * BENCH_BELLS,
                                    .smallest = 2,
                                    .largest = 4,
                                    .enabled = true,
                                    .device = &device->device,
                                    .index = 1,
                                    .doorbell = true,
                                    .doorbell_stride = BENCH_BELL_STRIDE,
                                    .doorbell_count = BENCH_BELLS};
    assert_int_equal(bus_add(&bench->machine.bus, &device->ports), STATUS_OK);
    assert_int_equal(bus_add(&bench->machine.bus, &device->bells), STATUS_OK);
}

static void ignore_alarm(struct alarm *alarm, uint64_t deadline_ns)
{
    (void)alarm;
    (void)deadline_ns;
}

static void stopped(struct vcpu *vcpu)
{
    struct bench *bench = CONTAINER_OF(vcpu->machine, struct bench, machine);

    lock_acquire(&bench->machine.lock);
    bench->stops++;
    lock_release(&bench->machine.lock);
}

void bench_init(struct bench *bench, unsigned cpus)
{
    /* As the nested bed asks: QEMU's processors lose XCR0, so there is no XSAVE. */
    struct cpuid_request request = {.model = "x86-64-v2", .cpus = cpus, .tsc_khz = host_tsc_khz(), .kvm_features = 1};
    void *memory = mmap(NULL, BENCH_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct machine *machine = &bench->machine;

    memset(bench, 0, sizeof(*bench));
    host_clock_init(&bench->clock);
    bench->alarm.set = ignore_alarm;
    machine_init(machine, &bench->clock.clock, &bench->alarm);
    machine->debug_stopped = stopped;
    machine->cpu_count = cpus;
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(memory_init(&machine->memory, memory, -1, BENCH_MEMORY), STATUS_OK);
    assert_int_equal(kvm_engine_ops.limits(&request), STATUS_OK);
    assert_int_equal(cpuid_build(&machine->cpuid, &request), STATUS_OK);
    assert_int_equal(kvm_engine_ops.create(machine, &machine->engine), STATUS_OK);
    for (unsigned i = 0; i < cpus; i++) {
        assert_int_equal(kvm_engine_ops.vcpu_create(machine->engine, i, &machine->vcpus[i]), STATUS_OK);
        assert_int_equal(vcpu_reset(machine->vcpus[i]), STATUS_OK);
    }
    add_device(bench);
}

void bench_destroy(struct bench *bench)
{
    void *memory = bench->machine.memory.host;

    kvm_engine_ops.destroy(bench->machine.engine);
    munmap(memory, BENCH_MEMORY);
}

/* 1 GiB pages need the processor's help; 2 MiB ones are everywhere. */
static void build_tables(uint8_t *memory)
{
    store_le(memory + BENCH_TABLES, 8, (BENCH_TABLES + 0x1000) | TABLE_P_RW_US);
    for (uint64_t gib = 0; gib < 2; gib++) {
        uint64_t directory = BENCH_TABLES + 0x2000 + gib * 0x1000;

        store_le(memory + BENCH_TABLES + 0x1000 + gib * 8, 8, directory | TABLE_P_RW_US);
        for (uint64_t i = 0; i < 512; i++)
            store_le(memory + directory + i * 8, 8, gib << 30 | i << 21 | TABLE_P_RW_US | TABLE_PS);
    }
}

void bench_load(struct bench *bench, unsigned cpu, const void *code, const void *end, struct cpu_state *state)
{
    uint8_t *memory = bench->machine.memory.host;

    memcpy(memory + BENCH_CODE, code, (size_t)((const uint8_t *)end - (const uint8_t *)code));
    build_tables(memory);
    vcpu_get_state(bench->machine.vcpus[cpu], state);
    state->activity = CPU_RUNNING;
    state->cr0 = CR0_PG | CR0_PE | CR0_NE | CR0_ET;
    state->cr3 = BENCH_TABLES;
    state->cr4 = CR4_PAE | CR4_DE;
    state->efer = EFER_LME | EFER_LMA;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        state->segment[i] = (struct segment_state){.limit = UINT32_MAX, .selector = 0x10, .attributes = DATA};
    state->segment[SEG_CS] = (struct segment_state){.limit = UINT32_MAX, .selector = 8, .attributes = CODE_64};
    state->rip = BENCH_CODE;
    state->gpr[GPR_RSP] = BENCH_STACK;
}

void bench_set(struct bench *bench, unsigned cpu, const struct cpu_state *state)
{
    assert_int_equal(vcpu_set_state(bench->machine.vcpus[cpu], state), STATUS_OK);
}

static void *run(void *vcpu)
{
    vcpu_loop(vcpu);
    return NULL;
}

void bench_start(struct bench *bench)
{
    for (unsigned i = 0; i < bench->machine.cpu_count; i++)
        assert_int_equal(pthread_create(&bench->threads[i], NULL, run, bench->machine.vcpus[i]), 0);
}

void bench_stop(struct bench *bench)
{
    machine_end(&bench->machine, MACHINE_STOPPED, 0);
    for (unsigned i = 0; i < bench->machine.cpu_count; i++)
        pthread_join(bench->threads[i], NULL);
}

bool bench_wait(struct bench *bench, const unsigned *value, unsigned at_least)
{
    for (unsigned waited = 0; waited < PATIENCE_MS; waited++) {
        bool there;

        lock_acquire(&bench->machine.lock);
        there = *value >= at_least;
        lock_release(&bench->machine.lock);
        if (there)
            return true;
        usleep(1000);
    }
    return false;
}
