#include "vmm/report.h"

#include "base/bits.h"
#include "core/machine.h"
#include "port/log.h"
#include "vmm/disassembly.h"
#include "x86/regs.h"
#include "x86/vectors.h"

enum { REPORT_EXCEPTIONS = 8 };

typedef unsigned long long ull;

static unsigned privilege(const struct cpu_state *state)
{
    if (!(state->cr0 & CR0_PE))
        return 0;
    if (state->rflags & RFLAGS_VM)
        return 3;
    return (state->segment[SEG_SS].attributes & SEGMENT_DPL) >> SEGMENT_DPL_SHIFT;
}

static void print_registers(const struct cpu_state *state)
{
    static const char *const names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                 "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};

    log_error("rip %016llx rflags %016llx cpl %u", (ull)state->rip, (ull)state->rflags, privilege(state));
    for (unsigned i = 0; i < GPR_COUNT; i += 4)
        log_error("%s %016llx %s %016llx %s %016llx %s %016llx", names[i], (ull)state->gpr[i], names[i + 1],
                  (ull)state->gpr[i + 1], names[i + 2], (ull)state->gpr[i + 2], names[i + 3], (ull)state->gpr[i + 3]);
    log_error("cr0 %016llx cr2 %016llx cr3 %016llx cr4 %016llx efer %016llx", (ull)state->cr0, (ull)state->cr2,
              (ull)state->cr3, (ull)state->cr4, (ull)state->efer);
    log_error("gdt %016llx/%04x idt %016llx/%04x", (ull)state->gdt_base, state->gdt_limit, (ull)state->idt_base,
              state->idt_limit);
}

static void print_segments(const struct cpu_state *state)
{
    static const char *const names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

    for (unsigned i = 0; i < SEG_COUNT; i++)
        log_error("%-4s %04x base %016llx limit %08x attributes %04x", names[i], state->segment[i].selector,
                  (ull)state->segment[i].base, state->segment[i].limit, state->segment[i].attributes);
}

static void print_exception(const struct exception_record *record)
{
    if (record->vector == VECTOR_PF)
        log_error("exception %u at rip %016llx error %04x address %016llx", record->vector, (ull)record->rip,
                  record->error, (ull)record->address);
    else if (record->has_error)
        log_error("exception %u at rip %016llx error %04x", record->vector, (ull)record->rip, record->error);
    else
        log_error("exception %u at rip %016llx", record->vector, (ull)record->rip);
}

static void print_exceptions(const struct report *report)
{
    if (!report->exceptions)
        log_error("the last exceptions are not known: engine %s does not see them", report->engine);
    else if (report->exception_count == 0)
        log_error("there were no exceptions before");
    for (unsigned i = 0; report->exceptions && i < report->exception_count; i++)
        print_exception(&report->exceptions[i]);
}

void report_print(const struct report *report)
{
    log_error("%s on CPU %u; its registers:", report->what, report->cpu);
    print_registers(report->state);
    print_segments(report->state);
    disassembly_print(report->state, report->memory);
    print_exceptions(report);
}

void report_crash(struct vcpu *vcpu, enum vcpu_exit exit)
{
    const struct engine_ops *ops = vcpu->engine->ops;
    struct exception_record exceptions[REPORT_EXCEPTIONS];
    struct cpu_state state = {0}; /* an engine that has lost its vCPU leaves it so */
    struct report report = {
        .what = exit == VCPU_EXIT_SHUTDOWN ? "triple fault" : "the engine gave up",
        .cpu = vcpu->index,
        .state = &state,
        .memory = &vcpu->machine->memory,
        .engine = ops->name,
    };

    vcpu_get_state(vcpu, &state);
    if (ops->recent_exceptions) {
        report.exceptions = exceptions;
        report.exception_count = ops->recent_exceptions(vcpu, exceptions, ARRAY_LENGTH(exceptions));
    }
    report_print(&report);
}
