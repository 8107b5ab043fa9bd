/* The canonical state of a CPU, to KVM and from it; the registers that are MSRs are in state_msr.c. */
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"
#include "x86/cpu_state.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/vectors.h"
#include "x86/xsave.h"

/* --- general registers --- */

static void regs_from(struct kvm_regs *regs, const struct cpu_state *state)
{
    const uint64_t *gpr = state->gpr;

    *regs = (struct kvm_regs){
        .rax = gpr[GPR_RAX],
        .rbx = gpr[GPR_RBX],
        .rcx = gpr[GPR_RCX],
        .rdx = gpr[GPR_RDX],
        .rsi = gpr[GPR_RSI],
        .rdi = gpr[GPR_RDI],
        .rsp = gpr[GPR_RSP],
        .rbp = gpr[GPR_RBP],
        .r8 = gpr[GPR_R8],
        .r9 = gpr[GPR_R9],
        .r10 = gpr[GPR_R10],
        .r11 = gpr[GPR_R11],
        .r12 = gpr[GPR_R12],
        .r13 = gpr[GPR_R13],
        .r14 = gpr[GPR_R14],
        .r15 = gpr[GPR_R15],
        .rip = state->rip,
        .rflags = state->rflags,
    };
}

static void regs_to(const struct kvm_regs *regs, struct cpu_state *state)
{
    const uint64_t gpr[GPR_COUNT] = {
        [GPR_RAX] = regs->rax, [GPR_RBX] = regs->rbx, [GPR_RCX] = regs->rcx, [GPR_RDX] = regs->rdx,
        [GPR_RSI] = regs->rsi, [GPR_RDI] = regs->rdi, [GPR_RSP] = regs->rsp, [GPR_RBP] = regs->rbp,
        [GPR_R8] = regs->r8,   [GPR_R9] = regs->r9,   [GPR_R10] = regs->r10, [GPR_R11] = regs->r11,
        [GPR_R12] = regs->r12, [GPR_R13] = regs->r13, [GPR_R14] = regs->r14, [GPR_R15] = regs->r15,
    };

    memcpy(state->gpr, gpr, sizeof(gpr));
    state->rip = regs->rip;
    state->rflags = regs->rflags | RFLAGS_FIXED;
}

/* --- segments --- */

static struct kvm_segment segment_from(const struct segment_state *segment)
{
    uint16_t attributes = segment->attributes;

    return (struct kvm_segment){
        .base = segment->base,
        .limit = segment->limit,
        .selector = segment->selector,
        .type = attributes & SEGMENT_TYPE,
        .s = (attributes & SEGMENT_S) != 0,
        .dpl = (uint8_t)((attributes & SEGMENT_DPL) >> SEGMENT_DPL_SHIFT),
        .present = (attributes & SEGMENT_P) != 0,
        .avl = (attributes & SEGMENT_AVL) != 0,
        .l = (attributes & SEGMENT_L) != 0,
        .db = (attributes & SEGMENT_DB) != 0,
        .g = (attributes & SEGMENT_G) != 0,
        .unusable = (attributes & SEGMENT_UNUSABLE) != 0,
    };
}

static struct segment_state segment_to(const struct kvm_segment *segment)
{
    unsigned attributes = (segment->type & SEGMENT_TYPE) | (segment->s ? SEGMENT_S : 0u) |
                          ((unsigned)segment->dpl << SEGMENT_DPL_SHIFT & SEGMENT_DPL) |
                          (segment->present ? SEGMENT_P : 0u) | (segment->avl ? SEGMENT_AVL : 0u) |
                          (segment->l ? SEGMENT_L : 0u) | (segment->db ? SEGMENT_DB : 0u) |
                          (segment->g ? SEGMENT_G : 0u) | (segment->unusable ? SEGMENT_UNUSABLE : 0u);

    return (struct segment_state){
        .base = segment->base,
        .limit = segment->limit,
        .selector = segment->selector,
        .attributes = (uint16_t)attributes,
    };
}

/* Where kvm_sregs has each of them, in the order of enum segment. */
static struct kvm_segment *segment_place(struct kvm_sregs *sregs, unsigned segment)
{
    struct kvm_segment *const places[SEG_COUNT] = {
        [SEG_ES] = &sregs->es, [SEG_CS] = &sregs->cs, [SEG_SS] = &sregs->ss,    [SEG_DS] = &sregs->ds,
        [SEG_FS] = &sregs->fs, [SEG_GS] = &sregs->gs, [SEG_LDTR] = &sregs->ldt, [SEG_TR] = &sregs->tr,
    };

    return places[segment];
}

/* sregs holds what KVM has now: the APIC base stays, which is part of the local APIC's state. */
static void sregs_from(struct kvm_sregs *sregs, const struct cpu_state *state)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        *segment_place(sregs, i) = segment_from(&state->segment[i]);
    sregs->gdt = (struct kvm_dtable){.base = state->gdt_base, .limit = state->gdt_limit};
    sregs->idt = (struct kvm_dtable){.base = state->idt_base, .limit = state->idt_limit};
    sregs->cr0 = state->cr0;
    sregs->cr2 = state->cr2;
    sregs->cr3 = state->cr3;
    sregs->cr4 = state->cr4;
    sregs->cr8 = state->cr8;
    sregs->efer = state->efer;
    memset(sregs->interrupt_bitmap, 0, sizeof(sregs->interrupt_bitmap)); /* with the events */
}

static void sregs_to(struct kvm_sregs *sregs, struct cpu_state *state)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state->segment[i] = segment_to(segment_place(sregs, i));
    state->gdt_base = sregs->gdt.base;
    state->gdt_limit = sregs->gdt.limit;
    state->idt_base = sregs->idt.base;
    state->idt_limit = sregs->idt.limit;
    state->cr0 = sregs->cr0;
    state->cr2 = sregs->cr2;
    state->cr3 = sregs->cr3;
    state->cr4 = sregs->cr4;
    state->cr8 = sregs->cr8;
    state->efer = sregs->efer & ~EFER_SVME; /* KVM on AMD shows it only to guests that have SVM */
}

enum status kvm_state_get_control(const struct kvm_cpu *cpu, struct cpu_state *state)
{
    struct kvm_sregs sregs;
    enum status status = KVM_REQUEST(cpu->fd, KVM_GET_SREGS, &sregs);

    if (status == STATUS_OK)
        sregs_to(&sregs, state);
    return status;
}

/* --- debug registers --- */

static void debugregs_from(struct kvm_debugregs *debugregs, const struct cpu_state *state)
{
    *debugregs = (struct kvm_debugregs){.dr6 = state->dr[6], .dr7 = state->dr[7]};
    memcpy(debugregs->db, state->dr, sizeof(debugregs->db));
}

static void debugregs_to(const struct kvm_debugregs *debugregs, struct cpu_state *state)
{
    memcpy(state->dr, debugregs->db, sizeof(debugregs->db));
    state->dr[6] = debugregs->dr6;
    state->dr[7] = debugregs->dr7;
}

/* --- events on their way --- */

static void events_from(struct kvm_vcpu_events *events, const struct cpu_state *state)
{
    *events = (struct kvm_vcpu_events){.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW};
    if (state->exception_pending && state->exception_vector >= VECTOR_FIRST_EXTERNAL) {
        events->interrupt.injected = 1;
        events->interrupt.nr = state->exception_vector;
    } else if (state->exception_pending && state->exception_vector == VECTOR_NMI) {
        events->nmi.injected = 1;
    } else if (state->exception_pending) {
        events->exception.injected = 1;
        events->exception.nr = state->exception_vector;
        events->exception.has_error_code = state->exception_has_error;
        events->exception.error_code = state->exception_error;
    }
    if (state->interrupt_shadow)
        events->interrupt.shadow = state->interrupt_shadow == 2 ? KVM_X86_SHADOW_INT_MOV_SS : KVM_X86_SHADOW_INT_STI;
    events->nmi.pending = state->nmi_pending;
    events->nmi.masked = state->nmi_blocked;
}

static void events_to(const struct kvm_vcpu_events *events, struct cpu_state *state)
{
    if (events->exception.injected || events->exception.pending) {
        state->exception_pending = 1;
        state->exception_vector = events->exception.nr;
        state->exception_has_error = events->exception.has_error_code != 0;
        state->exception_error = events->exception.error_code;
    } else if (events->nmi.injected || events->interrupt.injected) {
        state->exception_pending = 1;
        state->exception_vector = events->nmi.injected ? VECTOR_NMI : events->interrupt.nr;
    }
    /* AMD's processors do not say which of the two it is: the weaker one. */
    if (events->interrupt.shadow)
        state->interrupt_shadow = events->interrupt.shadow == KVM_X86_SHADOW_INT_MOV_SS ? 2 : 1;
    state->nmi_pending = events->nmi.pending != 0;
    state->nmi_blocked = events->nmi.masked != 0;
}

static uint32_t mp_state_from(uint8_t activity)
{
    switch (activity) {
    case CPU_RUNNING:
        return KVM_MP_STATE_RUNNABLE;
    case CPU_HALTED:
        return KVM_MP_STATE_HALTED;
    default:
        return KVM_MP_STATE_UNINITIALIZED;
    }
}

static uint8_t mp_state_to(uint32_t mp_state)
{
    switch (mp_state) {
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED:
        return CPU_WAIT_FOR_SIPI;
    case KVM_MP_STATE_HALTED:
        return CPU_HALTED;
    default:
        return CPU_RUNNING;
    }
}

/* --- vector state --- */

_Static_assert(sizeof(((struct cpu_state *)0)->xsave) == sizeof(struct kvm_xsave), "both are the standard format");

static void xsave_to(const struct kvm_xsave *xsave, struct cpu_state *state)
{
    memcpy(state->xsave, xsave, sizeof(state->xsave));
    store_le(state->xsave + XSAVE_XSTATE_BV, 8, load_le(state->xsave + XSAVE_XSTATE_BV, 8) & XSAVE_COMPONENTS);
}

static void xcrs_from(struct kvm_xcrs *xcrs, const struct cpu_state *state)
{
    *xcrs = (struct kvm_xcrs){.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = state->xcr0}}};
}

static void xcrs_to(const struct kvm_xcrs *xcrs, struct cpu_state *state)
{
    state->xcr0 = XCR0_X87;
    for (uint32_t i = 0; i < xcrs->nr_xcrs && i < ARRAY_LENGTH(xcrs->xcrs); i++)
        if (xcrs->xcrs[i].xcr == 0)
            state->xcr0 = xcrs->xcrs[i].value;
}

/* --- all of it --- */

/* What KVM gives, in the order in which it settles: waiting first, since that may take an INIT or SIPI. */
static enum status get_all(const struct kvm_cpu *cpu, struct cpu_state *state)
{
    struct kvm_mp_state mp_state = {0};
    struct kvm_regs regs = {0};
    struct kvm_sregs sregs = {0};
    struct kvm_debugregs debugregs = {0};
    struct kvm_vcpu_events events = {0};
    struct kvm_xcrs xcrs = {0};
    struct kvm_xsave xsave;
    enum status status;

    memset(&xsave, 0, sizeof(xsave));
    status = KVM_REQUEST(cpu->fd, KVM_GET_MP_STATE, &mp_state);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_GET_VCPU_EVENTS, &events);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_GET_REGS, &regs);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_GET_SREGS, &sregs);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_GET_DEBUGREGS, &debugregs);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_GET_XCRS, &xcrs);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_GET_XSAVE, &xsave);
    if (status != STATUS_OK)
        return status;
    regs_to(&regs, state);
    sregs_to(&sregs, state);
    debugregs_to(&debugregs, state);
    events_to(&events, state);
    xcrs_to(&xcrs, state);
    xsave_to(&xsave, state);
    state->activity = mp_state_to(mp_state.mp_state);
    return kvm_state_msrs_get(cpu, state);
}

void kvm_state_get(struct vcpu *vcpu, struct cpu_state *state)
{
    memset(state, 0, sizeof(*state));
    (void)get_all(kvm_cpu_of(vcpu), state); /* logged; what was read stands */
}

/* XCR0 before the vector state, control registers before the general ones, events last: each relies on those before. */
static enum status set_all(const struct kvm_cpu *cpu, const struct cpu_state *state)
{
    struct kvm_mp_state mp_state = {.mp_state = mp_state_from(state->activity)};
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct kvm_xcrs xcrs;
    struct kvm_xsave xsave;
    enum status status = KVM_REQUEST(cpu->fd, KVM_GET_SREGS, &sregs);

    if (status != STATUS_OK)
        return status;
    regs_from(&regs, state);
    sregs_from(&sregs, state);
    debugregs_from(&debugregs, state);
    events_from(&events, state);
    xcrs_from(&xcrs, state);
    memcpy(&xsave, state->xsave, sizeof(xsave));
    status = KVM_REQUEST(cpu->fd, KVM_SET_XCRS, &xcrs);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_SET_XSAVE, &xsave);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_SET_SREGS, &sregs);
    if (status == STATUS_OK)
        status = kvm_state_msrs_set(cpu, state);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_SET_REGS, &regs);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_SET_DEBUGREGS, &debugregs);
    if (status == STATUS_OK)
        status = KVM_REQUEST(cpu->fd, KVM_SET_MP_STATE, &mp_state);
    return status == STATUS_OK ? KVM_REQUEST(cpu->fd, KVM_SET_VCPU_EVENTS, &events) : status;
}

/* The frequency that the machine's CPUID tells; 0: none. */
static uint32_t tsc_khz(const struct machine *machine)
{
    return cpuid_query(&machine->cpuid, CPUID_TIMING, 0, 0, 0, 0).eax;
}

/*
 * kvmclock is one line through the zero of the time stamp counters, as in the translator: nanoseconds that the counter
 * has run. Only for a guest that uses it already; before, KVM starts it with the machine, which comes to the same.
 */
static enum status set_clock(const struct kvm_cpu *cpu, const struct cpu_state *state)
{
    const struct kvm_engine *kvm = kvm_engine_of(cpu->vcpu.engine);
    uint64_t khz = tsc_khz(cpu->vcpu.machine), ticks = state->tsc - state->tsc_adjust;
    struct kvm_clock_data clock = {0};

    if (cpu->vcpu.index != 0 || !(state->kvm_system_time & 1) || khz == 0)
        return STATUS_OK;
    clock.clock = ticks / khz * 1000000 + ticks % khz * 1000000 / khz;
    return KVM_REQUEST(kvm->vm, KVM_SET_CLOCK, &clock);
}

static enum status read_tsc_offset(struct kvm_cpu *cpu)
{
    uint64_t before = __rdtsc(), tsc = 0;
    enum status status = kvm_msr_get(cpu, MSR_IA32_TSC, &tsc);

    cpu->tsc_offset = tsc - (before + (__rdtsc() - before) / 2);
    return status;
}

enum status kvm_state_set(struct vcpu *vcpu, const struct cpu_state *state)
{
    struct kvm_cpu *cpu = kvm_cpu_of(vcpu);
    enum status status = set_all(cpu, state);

    cpu->unfinished = false;
    if (status == STATUS_OK)
        status = set_clock(cpu, state);
    return status == STATUS_OK ? read_tsc_offset(cpu) : status;
}

/*
 * Through the offset itself: KVM takes a small change of the counter for an attempt to bring it into step with the
 * others, and undoes it. A KVM that does not tell the offset (before Linux 5.16) lets the guest see its pause.
 */
void kvm_delay_tsc(struct vcpu *vcpu, uint64_t ticks)
{
    struct kvm_cpu *cpu = kvm_cpu_of(vcpu);
    uint64_t offset;
    struct kvm_device_attr attribute = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uint64_t)(uintptr_t)&offset,
    };

    if (ioctl(cpu->fd, KVM_GET_DEVICE_ATTR, &attribute) < 0)
        return;
    offset -= ticks;
    if (ioctl(cpu->fd, KVM_SET_DEVICE_ATTR, &attribute) == 0)
        cpu->tsc_offset = offset;
}

uint64_t kvm_tsc(const struct vcpu *vcpu)
{
    return __rdtsc() + kvm_cpu_of(vcpu)->tsc_offset;
}

/*
 * A host whose own frequency is further off than KVM tolerates and that cannot scale is refused: the guest's clocks
 * would drift.
 */
enum status kvm_state_prepare(struct kvm_cpu *cpu)
{
    const struct cpuid_table *table = &cpu->vcpu.machine->cpuid;
    uint32_t khz = tsc_khz(cpu->vcpu.machine);
    enum status status;

    if (ioctl(cpu->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0) {
        log_error("engine kvm: this host cannot give a guest a time stamp counter of %u kHz; use --engine dbt", khz);
        return STATUS_UNSUPPORTED;
    }
    status = kvm_enable(cpu->fd, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1, "KVM_CAP_ENFORCE_PV_FEATURE_CPUID");
    if (status != STATUS_OK || !cpuid_has(table, 7, 0, 3, 29))
        return status;
    return kvm_msr_set(cpu, MSR_IA32_ARCH_CAPABILITIES, table->arch_capabilities);
}
