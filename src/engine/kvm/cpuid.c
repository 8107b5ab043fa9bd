/* The machine's CPUID table as KVM takes it, and what KVM says it carries. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"
#include "x86/msr.h"
#include "x86/xsave.h"

enum { SUPPORTED_ENTRIES = 256, KVM_CLOCK_FEATURES = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 24 };

struct cpuid_list {
    struct kvm_cpuid2 header;
    struct kvm_cpuid_entry2 entries[SUPPORTED_ENTRIES];
};

/* Leaves with feature bits; the others follow from these and from the host. */
static bool has_features(uint32_t leaf, uint32_t subleaf)
{
    switch (leaf) {
    case 1:
    case 6:
    case 0x80000001:
    case 0x80000007:
    case 0x80000008:
    case 0x80000021:
        return true;
    case 7:
    case 0xd:
        return subleaf <= 1;
    default:
        return false;
    }
}

static void take_supported(struct cpuid_request *request, const struct kvm_cpuid_entry2 *entry)
{
    if (!has_features(entry->function, entry->index) || request->carried_count == CPUID_CARRIED)
        return;
    request->carried[request->carried_count++] = (struct cpuid_leaf){
        .leaf = entry->function,
        .subleaf = entry->index,
        .subleaf_matters = true,
        .result = {entry->eax, entry->ebx, entry->ecx, entry->edx},
    };
}

static enum status read_supported(int kvm, struct cpuid_request *request)
{
    struct cpuid_list list = {.header.nent = SUPPORTED_ENTRIES};
    enum status status = KVM_REQUEST(kvm, KVM_GET_SUPPORTED_CPUID, &list);

    if (status != STATUS_OK)
        return status;
    request->carried_count = 0;
    for (uint32_t i = 0; i < list.header.nent && i < SUPPORTED_ENTRIES; i++)
        take_supported(request, &list.entries[i]);
    return STATUS_OK;
}

/* Of the host, with what KVM's own handling changes; asked of the system, not of a vCPU. Not there: says nothing. */
static uint64_t read_arch_capabilities(int kvm)
{
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entry;
    } list = {.header.nmsrs = 1, .entry.index = MSR_IA32_ARCH_CAPABILITIES};

    return ioctl(kvm, KVM_GET_MSRS, &list) == 1 ? list.entry.data : 0;
}

enum status kvm_limits(struct cpuid_request *request)
{
    enum status status;
    int kvm;

    status = kvm_open(&kvm);
    if (status != STATUS_OK)
        return status;
    request->xcr0_allowed = XSAVE_COMPONENTS;
    request->kvm_features = KVM_CLOCK_FEATURES;
    request->one_gib_pages = true;
    request->arch_capabilities = read_arch_capabilities(kvm);
    status = read_supported(kvm, request);
    close(kvm);
    return status;
}

/*
 * What the processor answers while it is being asked: OSXSAVE and the size for XCR0 are KVM's to keep up to date, from
 * the values at reset.
 */
enum status kvm_cpuid_set(struct kvm_cpu *cpu)
{
    const struct cpuid_table *table = &cpu->vcpu.machine->cpuid;
    struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[CPUID_LEAVES];
    } list = {.header.nent = table->count};

    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_leaf *leaf = &table->leaves[i];
        struct cpuid_result result = cpuid_query(table, leaf->leaf, leaf->subleaf, cpu->vcpu.index, 0, XCR0_X87);

        list.entries[i] = (struct kvm_cpuid_entry2){
            .function = leaf->leaf,
            .index = leaf->subleaf,
            .flags = leaf->subleaf_matters ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = result.eax,
            .ebx = result.ebx,
            .ecx = result.ecx,
            .edx = result.edx,
        };
    }
    return KVM_REQUEST(cpu->fd, KVM_SET_CPUID2, &list);
}
