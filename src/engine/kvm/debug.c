/*
 * Debugging a guest with KVM_SET_GUEST_DEBUG. While there are breakpoints by address, the processor's debug registers
 * are the debugger's, and those of the guest have no effect (they keep their values).
 */
#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"
#include "x86/regs.h"
#include "x86/vectors.h"

enum { DR7_RW_WRITE = 1, DR7_RW_ACCESS = 3 };

/* LEN codes of 1, 2, 4 and 8 bytes. */
static uint64_t dr7_length(uint8_t length)
{
    return length == 8 ? 2 : length - 1u;
}

static uint64_t dr7_kind(uint8_t kind)
{
    return kind == DEBUG_EXECUTE ? 0 : kind == DEBUG_WRITE ? DR7_RW_WRITE : DR7_RW_ACCESS;
}

static void take_points(struct kvm_guest_debug *debug, const struct debug_control *control)
{
    uint64_t dr7 = DR7_FIXED | DR7_GE;

    for (unsigned i = 0; i < control->point_count; i++) {
        const struct debug_point *point = &control->points[i];

        debug->arch.debugreg[i] = point->address;
        dr7 |= DR7_G0 << (2 * i) | dr7_kind(point->kind) << DR7_RW_SHIFT(i) |
               dr7_length(point->length) << DR7_LEN_SHIFT(i);
    }
    debug->arch.debugreg[7] = dr7;
    debug->control |= KVM_GUESTDBG_USE_HW_BP;
}

static bool stops_at_int3(struct kvm_engine *kvm)
{
    if (kvm->int3 == INT3_UNKNOWN)
        kvm->int3 = kvm_debug_probe(kvm->kvm) ? INT3_STOPS : INT3_LOST;
    return kvm->int3 == INT3_STOPS;
}

enum status kvm_debug_set(struct vcpu *vcpu, const struct debug_control *control)
{
    struct kvm_cpu *cpu = kvm_cpu_of(vcpu);
    struct kvm_guest_debug debug = {0};

    if (control->breakpoints && !stops_at_int3(kvm_engine_of(vcpu->engine))) {
        log_warning(
            "engine kvm: this host's KVM does not stop at INT3; there are %d breakpoints, all of them hardware's",
            DEBUG_POINTS);
        return STATUS_UNSUPPORTED;
    }
    cpu->debug = *control;
    if (control->single_step)
        debug.control |= KVM_GUESTDBG_SINGLESTEP;
    if (control->breakpoints)
        debug.control |= KVM_GUESTDBG_USE_SW_BP;
    if (control->pass_breakpoint)
        debug.control |= KVM_GUESTDBG_INJECT_BP;
    if (control->point_count)
        take_points(&debug, control);
    if (debug.control)
        debug.control |= KVM_GUESTDBG_ENABLE;
    return KVM_REQUEST(cpu->fd, KVM_SET_GUEST_DEBUG, &debug);
}

bool kvm_debug_exit(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    const struct kvm_debug_exit_arch *arch = &cpu->run->debug.arch;
    struct debug_event *event = &cpu->vcpu.debug_event;

    cpu->unfinished = false;
    *event = (struct debug_event){.reason = DEBUG_STEPPED};
    if (arch->exception == VECTOR_BP)
        event->reason = DEBUG_BREAKPOINT;
    for (uint8_t i = 0; i < cpu->debug.point_count && arch->exception == VECTOR_DB; i++)
        if (arch->dr6 & BIT64(i))
            *event = (struct debug_event){.reason = DEBUG_POINT, .point = i};
    *exit = VCPU_EXIT_DEBUG;
    return false;
}
