/* What a guest leaves KVM for. */
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "core/trace.h"
#include "engine/kvm/engine.h"
#include "port/log.h"

/* Answers whether the guest goes on; if not, *exit is for the vCPU's loop. */
typedef bool exit_fn(struct kvm_cpu *cpu, enum vcpu_exit *exit);

static bool ended(enum vcpu_exit *exit, enum vcpu_exit how)
{
    *exit = how;
    return false;
}

static bool exit_io(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    struct kvm_run *run = cpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    bool write = run->io.direction == KVM_EXIT_IO_OUT;

    (void)exit;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        uint64_t value = write ? load_le(data, run->io.size) : 0;

        bus_access(&cpu->vcpu.machine->bus, BUS_PORT, run->io.port, run->io.size, write, &value);
        if (!write)
            store_le(data, run->io.size, value);
    }
    return true;
}

/* The largest power of two that is in a length of 1 to 8. */
static unsigned piece_size(uint32_t length)
{
    return length >= 8 ? 8 : length >= 4 ? 4 : length >= 2 ? 2 : 1;
}

static bool exit_mmio(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    struct kvm_run *run = cpu->run;
    uint32_t length = run->mmio.len <= sizeof(run->mmio.data) ? run->mmio.len : sizeof(run->mmio.data);

    (void)exit;
    for (uint32_t done = 0; done < length;) {
        unsigned size = piece_size(length - done);
        uint64_t value = run->mmio.is_write ? load_le(run->mmio.data + done, size) : 0;

        bus_access(&cpu->vcpu.machine->bus, BUS_MEMORY, run->mmio.phys_addr + done, size, run->mmio.is_write, &value);
        if (!run->mmio.is_write)
            store_le(run->mmio.data + done, size, value);
        done += size;
    }
    return true;
}

static bool exit_again(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    (void)cpu;
    (void)exit;
    return true;
}

static bool exit_msr(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    (void)exit;
    kvm_msr_exit(cpu);
    return true;
}

static bool exit_dirty_ring_full(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    (void)exit;
    kvm_ring_collect(kvm_engine_of(cpu->vcpu.engine));
    return true;
}

static bool exit_shutdown(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    cpu->unfinished = false;
    return ended(exit, VCPU_EXIT_SHUTDOWN);
}

static bool exit_fail_entry(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    cpu->unfinished = false;
    log_error("engine kvm: the processor refuses to enter the guest on vCPU %u: hardware reason 0x%" PRIx64
              "; its state is one that this processor cannot run",
              cpu->vcpu.index, (uint64_t)cpu->run->fail_entry.hardware_entry_failure_reason);
    return ended(exit, VCPU_EXIT_FAILED);
}

static const char *suberror_name(uint32_t suberror)
{
    switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
        return "an instruction that KVM cannot emulate";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
        return "exceptions at the same time";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        return "an exit while an event was delivered";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        return "an exit that KVM does not know";
    default:
        return "an error without a name";
    }
}

static bool exit_internal_error(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    const struct kvm_run *run = cpu->run;
    uint32_t count =
        run->internal.ndata < ARRAY_LENGTH(run->internal.data) ? run->internal.ndata : ARRAY_LENGTH(run->internal.data);

    cpu->unfinished = false;
    log_error("engine kvm: internal error of KVM on vCPU %u: %s (suberror %u)", cpu->vcpu.index,
              suberror_name(run->internal.suberror), run->internal.suberror);
    for (uint32_t i = 0; i < count; i++)
        log_error("  data %u: %016" PRIx64, i, (uint64_t)run->internal.data[i]);
    return ended(exit, VCPU_EXIT_FAILED);
}

static bool exit_system_event(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    cpu->unfinished = false;
    log_error("engine kvm: KVM stops the machine by itself (system event %u) on vCPU %u", cpu->run->system_event.type,
              cpu->vcpu.index);
    return ended(exit, VCPU_EXIT_FAILED);
}

static bool exit_unknown(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    cpu->unfinished = false;
    log_error("engine kvm: vCPU %u left the guest for a reason that is not known here: %u (hardware reason 0x%" PRIx64
              ")",
              cpu->vcpu.index, cpu->run->exit_reason, (uint64_t)cpu->run->hw.hardware_exit_reason);
    return ended(exit, VCPU_EXIT_FAILED);
}

static exit_fn *const handlers[] = {
    [KVM_EXIT_IO] = exit_io,
    [KVM_EXIT_MMIO] = exit_mmio,
    [KVM_EXIT_DEBUG] = kvm_debug_exit,
    [KVM_EXIT_INTR] = exit_again,
    [KVM_EXIT_HLT] = exit_again, /* with interrupt controllers in the kernel it sleeps there */
    [KVM_EXIT_IRQ_WINDOW_OPEN] = exit_again,
    [KVM_EXIT_SHUTDOWN] = exit_shutdown,
    [KVM_EXIT_FAIL_ENTRY] = exit_fail_entry,
    [KVM_EXIT_INTERNAL_ERROR] = exit_internal_error,
    [KVM_EXIT_SYSTEM_EVENT] = exit_system_event,
    [KVM_EXIT_X86_RDMSR] = exit_msr,
    [KVM_EXIT_X86_WRMSR] = exit_msr,
    [KVM_EXIT_DIRTY_RING_FULL] = exit_dirty_ring_full,
};

static const char *const reason_names[] = {
    [KVM_EXIT_IO] = "io",
    [KVM_EXIT_MMIO] = "mmio",
    [KVM_EXIT_DEBUG] = "debug",
    [KVM_EXIT_INTR] = "interrupted",
    [KVM_EXIT_HLT] = "halt",
    [KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt-window",
    [KVM_EXIT_SHUTDOWN] = "shutdown",
    [KVM_EXIT_FAIL_ENTRY] = "failed-entry",
    [KVM_EXIT_INTERNAL_ERROR] = "internal-error",
    [KVM_EXIT_SYSTEM_EVENT] = "system-event",
    [KVM_EXIT_X86_RDMSR] = "rdmsr",
    [KVM_EXIT_X86_WRMSR] = "wrmsr",
    [KVM_EXIT_DIRTY_RING_FULL] = "dirty-ring-full",
};

_Static_assert(ARRAY_LENGTH(reason_names) == ARRAY_LENGTH(handlers), "a name for each reason that is handled");

uint64_t kvm_cpu_rip(const struct kvm_cpu *cpu)
{
    struct kvm_regs regs = {0};

    (void)ioctl(cpu->fd, KVM_GET_REGS, &regs);
    return regs.rip;
}

static void tell_exit(const struct kvm_cpu *cpu, uint32_t reason)
{
    const char *name = reason < ARRAY_LENGTH(reason_names) ? reason_names[reason] : NULL;

    if (vcpu_traced(&cpu->vcpu, TRACE_EXITS))
        trace_exit(&cpu->vcpu, name ? name : "unknown", kvm_cpu_rip(cpu), reason);
}

bool kvm_exit(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    uint32_t reason = cpu->run->exit_reason;
    exit_fn *handler = reason < ARRAY_LENGTH(handlers) && handlers[reason] ? handlers[reason] : exit_unknown;

    tell_exit(cpu, reason);
    return handler(cpu, exit);
}

void kvm_exit_error(struct kvm_cpu *cpu, int error)
{
    log_error("engine kvm: vCPU %u cannot run: KVM_RUN: %s; the host has withdrawn KVM or guest memory, or refuses the "
              "guest's state",
              cpu->vcpu.index, strerror(error));
}
