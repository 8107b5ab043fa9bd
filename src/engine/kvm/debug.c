/*
 * Debugging a guest with KVM_SET_GUEST_DEBUG. While there are breakpoints by address, the processor's debug registers
 * are the debugger's, and those of the guest have no effect (they keep their values).
 */
#include "base/bits.h"
#include "core/linear.h"
#include "engine/kvm/engine.h"
#include "port/log.h"
#include "x86/regs.h"
#include "x86/vectors.h"

enum { DR7_RW_WRITE = 1, DR7_RW_ACCESS = 3, INT3 = 0xcc };

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

/*
 * Without breakpoints that work, the guest goes in single steps, and each instruction is compared before it runs: slow,
 * some ten microseconds an instruction, but right for INT3 and for DEBUG_EXECUTE. Data cannot be watched like this, and
 * what an interrupt handler does before its IRET goes unseen, since the processor delivers interrupts without TF.
 */
static enum status choose_means(struct kvm_cpu *cpu, const struct debug_control *control)
{
    struct kvm_engine *kvm = kvm_engine_of(cpu->vcpu.engine);

    cpu->stepping = false;
    if (!control->breakpoints && control->point_count == 0)
        return STATUS_OK;
    if (!kvm->debug.known) {
        kvm->debug = kvm_debug_probe(kvm->kvm);
        if (!kvm->debug.int3 || !kvm->debug.points)
            log_warning("engine kvm: this host's KVM does not stop at breakpoints; the guest goes there step by step");
    }
    for (unsigned i = 0; i < control->point_count; i++) {
        if (kvm->debug.points || control->points[i].kind == DEBUG_EXECUTE)
            continue;
        log_error("engine kvm: this host's KVM cannot watch data; --engine dbt can");
        return STATUS_UNSUPPORTED;
    }
    cpu->stepping = (control->breakpoints && !kvm->debug.int3) || (control->point_count && !kvm->debug.points);
    return STATUS_OK;
}

enum status kvm_debug_set(struct vcpu *vcpu, const struct debug_control *control)
{
    struct kvm_cpu *cpu = kvm_cpu_of(vcpu);
    struct kvm_guest_debug debug = {0};
    enum status status = choose_means(cpu, control);

    if (status != STATUS_OK)
        return status;
    cpu->debug = *control;
    if (control->single_step || cpu->stepping)
        debug.control |= KVM_GUESTDBG_SINGLESTEP;
    if (control->single_step && control->hold_interrupts)
        debug.control |= KVM_GUESTDBG_BLOCKIRQ;
    if (control->breakpoints && !cpu->stepping)
        debug.control |= KVM_GUESTDBG_USE_SW_BP;
    if (control->pass_breakpoint)
        debug.control |= KVM_GUESTDBG_INJECT_BP;
    if (control->point_count && !cpu->stepping)
        take_points(&debug, control);
    if (debug.control)
        debug.control |= KVM_GUESTDBG_ENABLE;
    return KVM_REQUEST(cpu->fd, KVM_SET_GUEST_DEBUG, &debug);
}

/* --- stops --- */

static bool is_int3(struct kvm_cpu *cpu, uint64_t linear)
{
    struct cpu_state state;
    uint8_t byte;

    return kvm_state_get_control(cpu, &state) == STATUS_OK &&
           linear_read(&state, &cpu->vcpu.machine->memory, linear, &byte, 1) == 1 && byte == INT3;
}

/* What stands at a linear address that the guest is about to run: DEBUG_NONE, or why it stops there. */
static struct debug_event event_at(struct kvm_cpu *cpu, uint64_t linear)
{
    const struct debug_control *control = &cpu->debug;

    for (uint8_t i = 0; i < control->point_count; i++)
        if (control->points[i].address == linear)
            return (struct debug_event){.reason = DEBUG_POINT, .point = i};
    if (control->breakpoints && is_int3(cpu, linear))
        return (struct debug_event){.reason = DEBUG_BREAKPOINT};
    return (struct debug_event){.reason = control->single_step ? DEBUG_STEPPED : DEBUG_NONE};
}

bool kvm_debug_here(struct kvm_cpu *cpu)
{
    struct cpu_state state;
    bool here;

    if (!cpu->stepping || !cpu->debug.breakpoints || cpu->debug.pass_breakpoint)
        return false;
    vcpu_get_state(&cpu->vcpu, &state);
    here = is_int3(cpu, state.segment[SEG_CS].base + state.rip);
    if (here)
        cpu->vcpu.debug_event = (struct debug_event){.reason = DEBUG_BREAKPOINT};
    return here;
}

static struct debug_event event_of(const struct kvm_cpu *cpu)
{
    const struct kvm_debug_exit_arch *arch = &cpu->run->debug.arch;

    if (arch->exception == VECTOR_BP)
        return (struct debug_event){.reason = DEBUG_BREAKPOINT};
    for (uint8_t i = 0; i < cpu->debug.point_count && arch->exception == VECTOR_DB; i++)
        if (arch->dr6 & BIT64(i))
            return (struct debug_event){.reason = DEBUG_POINT, .point = i};
    return (struct debug_event){.reason = DEBUG_STEPPED};
}

/* POPF, IRET and SYSCALL end stepping, which is KVM's TF in the guest's RFLAGS: it is asked for again each time. */
static bool step_again(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};

    if (KVM_REQUEST(cpu->fd, KVM_SET_GUEST_DEBUG, &debug) == STATUS_OK)
        return true;
    *exit = VCPU_EXIT_FAILED;
    return false;
}

bool kvm_debug_exit(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    struct debug_event event = cpu->stepping ? event_at(cpu, cpu->run->debug.arch.pc) : event_of(cpu);

    cpu->unfinished = false;
    if (event.reason == DEBUG_NONE)
        return step_again(cpu, exit);
    cpu->vcpu.debug_event = event;
    *exit = VCPU_EXIT_DEBUG;
    return false;
}
