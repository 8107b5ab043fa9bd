#include "vmm/probe_kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* probe_guest.S */
extern const uint8_t probe_guest[], probe_guest_end[];

enum {
    PROBE_MEMORY = 0x10000,
    PROBE_PML4 = 0x1000,
    PROBE_PDPT = 0x2000,
    PROBE_PD = 0x3000,
    PROBE_CODE = 0x4000,
    PROBE_PORT = 0x10,
    PROBE_SUM = 1 + 2 + 4 + 8 + 16 + 32 + 64, /* of the guest's steps */
    PROBE_CPUID_ENTRIES = 256,
    PTE_P_RW_US = 0x07,
    PTE_PS = 0x80,
    CR0_PE_ET_NE_WP = 0x10031,
    CR4_PAE_OSFXSR = 0x220,
    EFER_SCE_LME_LMA = 0x501,
};

static const uint64_t CR0_PG = 1ull << 31;

struct probe_vm {
    int kvm, vm, vcpu;
    uint8_t *memory;
    struct kvm_run *run;
};

static void probe_fill_memory(uint8_t *memory)
{
    const uint64_t pml4e = PROBE_PDPT | PTE_P_RW_US, pdpte = PROBE_PD | PTE_P_RW_US, pde = PTE_P_RW_US | PTE_PS;

    memcpy(memory + PROBE_PML4, &pml4e, sizeof(pml4e));
    memcpy(memory + PROBE_PDPT, &pdpte, sizeof(pdpte));
    memcpy(memory + PROBE_PD, &pde, sizeof(pde));
    memcpy(memory + PROBE_CODE, probe_guest, (size_t)(probe_guest_end - probe_guest));
}

static int probe_create_vm(struct probe_vm *probe)
{
    probe->memory = mmap(NULL, PROBE_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (probe->memory == MAP_FAILED)
        return -1;
    probe_fill_memory(probe->memory);
    probe->vm = ioctl(probe->kvm, KVM_CREATE_VM, 0);
    if (probe->vm < 0 || ioctl(probe->vm, KVM_CREATE_IRQCHIP, 0) < 0)
        return -1;
    const struct kvm_userspace_memory_region region = {
        .memory_size = PROBE_MEMORY,
        .userspace_addr = (uint64_t)(uintptr_t)probe->memory,
    };
    return ioctl(probe->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* KVM refuses long mode to a guest whose CPUID does not have it. */
static int probe_set_cpuid(const struct probe_vm *probe)
{
    static struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[PROBE_CPUID_ENTRIES];
    } cpuid; /* too large for a stack; used once, in the child */

    cpuid.header.nent = PROBE_CPUID_ENTRIES;
    if (ioctl(probe->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0)
        return -1;
    return ioctl(probe->vcpu, KVM_SET_CPUID2, &cpuid);
}

static int probe_create_vcpu(struct probe_vm *probe)
{
    int size = ioctl(probe->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    probe->vcpu = ioctl(probe->vm, KVM_CREATE_VCPU, 0);
    if (size < 0 || probe->vcpu < 0)
        return -1;
    probe->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->vcpu, 0);
    return probe->run == MAP_FAILED ? -1 : probe_set_cpuid(probe);
}

static int probe_set_registers(const struct probe_vm *probe)
{
    const struct kvm_segment code = {
        .limit = UINT32_MAX,
        .selector = 0x08,
        .type = 0xb,
        .present = 1,
        .s = 1,
        .l = 1,
        .g = 1,
    };
    const struct kvm_segment data = {
        .limit = UINT32_MAX,
        .selector = 0x10,
        .type = 0x3,
        .present = 1,
        .s = 1,
        .db = 1,
        .g = 1,
    };
    const struct kvm_regs regs = {.rip = PROBE_CODE, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(probe->vcpu, KVM_GET_SREGS, &sregs) < 0)
        return -1;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 = CR0_PG | CR0_PE_ET_NE_WP;
    sregs.cr3 = PROBE_PML4;
    sregs.cr4 = CR4_PAE_OSFXSR;
    sregs.efer = EFER_SCE_LME_LMA;
    if (ioctl(probe->vcpu, KVM_SET_SREGS, &sregs) < 0)
        return -1;
    return ioctl(probe->vcpu, KVM_SET_REGS, &regs);
}

static uint32_t probe_tsc_khz(const struct probe_vm *probe)
{
    int khz = ioctl(probe->vcpu, KVM_GET_TSC_KHZ, 0);

    return khz > 0 ? (uint32_t)khz : 0;
}

static struct probe_verdict probe_run(const struct probe_vm *probe)
{
    const struct kvm_run *run = probe->run;

    while (ioctl(probe->vcpu, KVM_RUN, 0) < 0)
        if (errno != EINTR)
            return (struct probe_verdict){.step = PROBE_RUN, .error = errno};
    if (run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT && run->io.port == PROBE_PORT &&
        *((const uint8_t *)run + run->io.data_offset) == PROBE_SUM)
        return (struct probe_verdict){.step = PROBE_WORKS, .detail = probe_tsc_khz(probe)};
    return (struct probe_verdict){.step = PROBE_ANSWER, .detail = run->exit_reason};
}

struct probe_verdict probe_kvm_child(const char *device)
{
    struct probe_vm probe = {.kvm = open(device, O_RDWR | O_CLOEXEC)};

    if (probe.kvm < 0)
        return (struct probe_verdict){.step = PROBE_OPEN, .error = errno};
    if (probe_create_vm(&probe) < 0 || probe_create_vcpu(&probe) < 0 || probe_set_registers(&probe) < 0)
        return (struct probe_verdict){.step = PROBE_SETUP, .error = errno};
    return probe_run(&probe);
}
