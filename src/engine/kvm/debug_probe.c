/*
 * Does KVM stop at INT3 here, and at breakpoints by address? Inside of some other hypervisors it does not: QEMU's
 * translated processors neither hand the breakpoint exception over nor look at the debug registers of a guest. A guest
 * of two instructions tells; it ends in any case, since it can only break or halt.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvm/engine.h"
#include "x86/regs.h"

enum { PROBE_SIZE = 4096, CODE = 0x100, HANDLER = 0x200, NOP = 0x90, INT3 = 0xcc, HLT = 0xf4, VECTOR_3 = 3 * 4 };

struct debug_probe {
    int vm, vcpu;
    size_t run_size;
    uint8_t *memory;
    struct kvm_run *run;
};

static bool probe_create(struct debug_probe *probe, int kvm)
{
    struct kvm_userspace_memory_region region = {.memory_size = PROBE_SIZE};
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    probe->memory = mmap(NULL, PROBE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    probe->vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (probe->memory == MAP_FAILED || probe->vm < 0 || size <= 0)
        return false;
    region.userspace_addr = (uint64_t)(uintptr_t)probe->memory;
    probe->run_size = (size_t)size;
    if (ioctl(probe->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return false;
    probe->vcpu = ioctl(probe->vm, KVM_CREATE_VCPU, 0);
    if (probe->vcpu < 0)
        return false;
    probe->run = mmap(NULL, probe->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->vcpu, 0);
    return probe->run != MAP_FAILED;
}

/* Real mode at 0:CODE, with a handler for INT3. */
static bool probe_prepare(const struct debug_probe *probe, uint8_t instruction, const struct kvm_guest_debug *debug)
{
    const struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rsp = PROBE_SIZE};
    struct kvm_sregs sregs;

    probe->memory[CODE] = instruction;
    probe->memory[CODE + 1] = HLT;
    probe->memory[HANDLER] = HLT;
    probe->memory[VECTOR_3] = HANDLER & 0xff;
    probe->memory[VECTOR_3 + 1] = HANDLER >> 8;
    if (ioctl(probe->vcpu, KVM_GET_SREGS, &sregs) < 0)
        return false;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    return ioctl(probe->vcpu, KVM_SET_SREGS, &sregs) == 0 && ioctl(probe->vcpu, KVM_SET_REGS, &regs) == 0 &&
           ioctl(probe->vcpu, KVM_SET_GUEST_DEBUG, debug) == 0;
}

static void probe_destroy(const struct debug_probe *probe)
{
    if (probe->run && probe->run != MAP_FAILED)
        munmap(probe->run, probe->run_size);
    if (probe->vcpu >= 0)
        close(probe->vcpu);
    if (probe->vm >= 0)
        close(probe->vm);
    if (probe->memory != MAP_FAILED)
        munmap(probe->memory, PROBE_SIZE);
}

static bool probe_stops(int kvm, uint8_t instruction, const struct kvm_guest_debug *debug)
{
    struct debug_probe probe = {.vm = -1, .vcpu = -1};
    bool stops = probe_create(&probe, kvm) && probe_prepare(&probe, instruction, debug) &&
                 ioctl(probe.vcpu, KVM_RUN, 0) == 0 && probe.run->exit_reason == KVM_EXIT_DEBUG;

    probe_destroy(&probe);
    return stops;
}

struct kvm_debug_means kvm_debug_probe(int kvm)
{
    const struct kvm_guest_debug int3 = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP};
    const struct kvm_guest_debug point = {
        .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP,
        .arch.debugreg = {[0] = CODE + 1, [7] = DR7_FIXED | DR7_GE | DR7_G0},
    };

    return (struct kvm_debug_means){
        .known = true,
        .int3 = probe_stops(kvm, INT3, &int3),
        .points = probe_stops(kvm, NOP, &point),
    };
}
