/* KVM behind the engine interface: creation and destruction of the virtual machine and its vCPUs. */
#include "engine/kvm/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvm/kvm.h"
#include "port/log.h"

/* Intel's processors need four pages for real mode that no RAM or device uses: below the place of firmware. */
#define IDENTITY_MAP_ADDRESS 0xfeffc000ull
#define TSS_ADDRESS 0xfeffd000ull

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void cpu_destroy(const struct kvm_engine *kvm, struct kvm_cpu *cpu)
{
    if (!cpu)
        return;
    if (cpu->ring)
        munmap(cpu->ring, kvm->dirty.ring_entries * sizeof(*cpu->ring));
    if (cpu->run)
        munmap(cpu->run, kvm->run_size);
    close_if_open(cpu->fd);
    free(cpu);
}

static void kvm_destroy(struct engine *engine)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);

    if (!kvm)
        return;
    kvm_doorbells_destroy(kvm);
    for (unsigned i = 0; i < MACHINE_CPUS; i++)
        cpu_destroy(kvm, kvm->cpus[i]);
    kvm_messages_destroy(kvm);
    kvm_dirty_destroy(kvm);
    close_if_open(kvm->vm);
    close_if_open(kvm->kvm);
    free(kvm);
}

static enum status create_vm(struct kvm_engine *kvm)
{
    uint64_t identity_map = IDENTITY_MAP_ADDRESS;
    int size = ioctl(kvm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    do
        kvm->vm = ioctl(kvm->kvm, KVM_CREATE_VM, 0);
    while (kvm->vm < 0 && errno == EINTR);
    if (kvm->vm < 0 || size < (int)sizeof(struct kvm_run)) {
        log_error("engine kvm: cannot create a virtual machine: %s", strerror(errno));
        return STATUS_UNSUPPORTED;
    }
    kvm->run_size = (size_t)size;
    if (KVM_REQUEST(kvm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) != STATUS_OK)
        return STATUS_UNSUPPORTED;
    return KVM_REQUEST(kvm->vm, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_ADDRESS);
}

/* In the order in which KVM wants it: what is of the VM before the first vCPU. */
static enum status prepare_vm(struct kvm_engine *kvm)
{
    enum status status = create_vm(kvm);

    if (status == STATUS_OK)
        status = kvm_irqchip_create(kvm);
    if (status == STATUS_OK)
        status = kvm_ring_prepare(kvm);
    if (status == STATUS_OK)
        status = kvm_msr_prepare(kvm);
    if (status == STATUS_OK)
        status = kvm_memory_map(kvm);
    if (status == STATUS_OK)
        status = kvm_doorbells_create(kvm);
    return status == STATUS_OK ? kvm_kick_prepare() : status;
}

static enum status kvm_create(struct machine *machine, struct engine **engine)
{
    struct kvm_engine *kvm = calloc(1, sizeof(*kvm));
    enum status status;

    if (!kvm) {
        log_error("engine kvm: out of memory");
        return STATUS_NO_MEMORY;
    }
    kvm->engine = (struct engine){.ops = &kvm_engine_ops, .machine = machine};
    kvm->cpu_count = machine->cpu_count;
    kvm->vm = -1;
    pthread_mutex_init(&kvm->dirty.collect, NULL);
    status = kvm_open(&kvm->kvm);
    if (status == STATUS_OK)
        status = prepare_vm(kvm);
    if (status != STATUS_OK) {
        kvm_destroy(&kvm->engine);
        return status;
    }
    *engine = &kvm->engine;
    return STATUS_OK;
}

static enum status map_run(struct kvm_engine *kvm, struct kvm_cpu *cpu)
{
    void *run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);

    if (run == MAP_FAILED) {
        log_error("engine kvm: cannot map the state of vCPU %u: %s", cpu->vcpu.index, strerror(errno));
        return STATUS_NO_MEMORY;
    }
    cpu->run = run;
    return kvm->dirty.ring_entries ? kvm_ring_map(kvm, cpu) : STATUS_OK;
}

static enum status kvm_vcpu_create(struct engine *engine, unsigned index, struct vcpu **vcpu)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);
    struct kvm_cpu *cpu = calloc(1, sizeof(*cpu));
    enum status status;

    if (!cpu) {
        log_error("engine kvm: out of memory for vCPU %u", index);
        return STATUS_NO_MEMORY;
    }
    kvm->cpus[index] = cpu;
    cpu->vcpu.index = index;
    cpu->vcpu.machine = engine->machine;
    cpu->vcpu.engine = engine;
    cpu->fd = ioctl(kvm->vm, KVM_CREATE_VCPU, (unsigned long)index);
    if (cpu->fd < 0) {
        log_error("engine kvm: cannot create vCPU %u: %s", index, strerror(errno));
        return STATUS_UNSUPPORTED;
    }
    status = map_run(kvm, cpu);
    if (status == STATUS_OK)
        status = kvm_cpuid_set(cpu);
    if (status == STATUS_OK)
        status = kvm_state_prepare(cpu);
    *vcpu = &cpu->vcpu;
    return status;
}

/* KVM counts inside the kernel; what comes out is all that is known here. */
static void kvm_statistics(struct engine *engine, struct engine_statistics *statistics)
{
    const struct kvm_engine *kvm = kvm_engine_of(engine);

    memset(statistics, 0, sizeof(*statistics));
    statistics->memory_bytes = sizeof(*kvm);
    for (unsigned i = 0; i < kvm->cpu_count; i++) {
        if (!kvm->cpus[i])
            continue;
        statistics->exits += kvm->cpus[i]->exits;
        statistics->memory_bytes += sizeof(struct kvm_cpu) + kvm->run_size;
    }
}

const struct engine_ops kvm_engine_ops = {
    .name = "kvm",
    .irqchip = &kvm_irqchip_ops,
    .owns_waiting = true,
    .limits = kvm_limits,
    .create = kvm_create,
    .destroy = kvm_destroy,
    .vcpu_create = kvm_vcpu_create,
    .run = kvm_cpu_run,
    .kick = kvm_cpu_kick,
    .get_state = kvm_state_get,
    .set_state = kvm_state_set,
    .set_debug = kvm_debug_set,
    .tsc = kvm_tsc,
    .delay_tsc = kvm_delay_tsc,
    .dirty_log = kvm_dirty_log,
    .dirty_fetch = kvm_dirty_fetch,
    .statistics = kvm_statistics,
};
