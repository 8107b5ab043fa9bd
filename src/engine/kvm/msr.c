/*
 * Model-specific registers that the board answers itself, as under the other engine: those that KVM does not have
 * (KVM_CAP_X86_USER_SPACE_MSR hands them over instead of raising #GP), and those that it has otherwise than the
 * machine (KVM_X86_SET_MSR_FILTER).
 */
#include "core/trace.h"
#include "engine/kvm/engine.h"
#include "x86/msr.h"
#include "x86/msr_fixed.h"

/* Machine checks: the machine has no banks, KVM's has thirty-two. The first and the number of registers. */
static uint8_t machine_check_allowed[] = {0xf8}; /* bit n: 0x179 + n; MCG_CAP, MCG_STATUS, MCG_CTL are ours */

enum { MACHINE_CHECK_REGISTERS = 8 };

enum status kvm_msr_prepare(struct kvm_engine *kvm)
{
    struct kvm_msr_filter filter = {
        .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
        .ranges[0] =
            {
                .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                .base = MSR_IA32_MCG_CAP,
                .nmsrs = MACHINE_CHECK_REGISTERS,
                .bitmap = machine_check_allowed,
            },
    };
    uint64_t reasons = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_FILTER;
    enum status status = kvm_enable(kvm->vm, KVM_CAP_X86_USER_SPACE_MSR, reasons, "KVM_CAP_X86_USER_SPACE_MSR");

    return status == STATUS_OK ? KVM_REQUEST(kvm->vm, KVM_X86_SET_MSR_FILTER, &filter) : status;
}

/* error: KVM raises #GP. */
void kvm_msr_exit(struct kvm_cpu *cpu)
{
    const struct cpuid_table *table = &cpu->vcpu.machine->cpuid;
    struct kvm_run *run = cpu->run;
    uint64_t value = 0;
    bool write = run->exit_reason == KVM_EXIT_X86_WRMSR;

    if (run->exit_reason == KVM_EXIT_X86_RDMSR) {
        run->msr.error = !msr_fixed_read(table, run->msr.index, &value);
        run->msr.data = value;
    } else {
        run->msr.error = !msr_fixed_write(table, run->msr.index, run->msr.data);
    }
    if (vcpu_traced(&cpu->vcpu, TRACE_MSR))
        trace_msr(&cpu->vcpu, run->msr.index, write, run->msr.data, run->msr.error, kvm_cpu_rip(cpu));
}
