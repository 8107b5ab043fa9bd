/* The registers of a CPU's canonical state that KVM keeps as MSRs. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"
#include "x86/cpu_state.h"
#include "x86/msr.h"

struct msr_place {
    uint32_t msr;
    uint32_t offset; /* in struct cpu_state */
};

#define PLACE(number, member)                                                                                          \
    {                                                                                                                  \
        number, offsetof(struct cpu_state, member)                                                                     \
    }

/* In the order in which they are set. TSC_ADJUST follows TSC, whose writing it would otherwise hide. */
static const struct msr_place places[] = {
    PLACE(MSR_STAR, star),
    PLACE(MSR_LSTAR, lstar),
    PLACE(MSR_CSTAR, cstar),
    PLACE(MSR_SFMASK, sfmask),
    PLACE(MSR_KERNEL_GS_BASE, kernel_gs_base),
    PLACE(MSR_IA32_SYSENTER_CS, sysenter_cs),
    PLACE(MSR_IA32_SYSENTER_ESP, sysenter_esp),
    PLACE(MSR_IA32_SYSENTER_EIP, sysenter_eip),
    PLACE(MSR_IA32_PAT, pat),
    PLACE(MSR_TSC_AUX, tsc_aux),
    PLACE(MSR_IA32_MISC_ENABLE, misc_enable),
    PLACE(MSR_IA32_SPEC_CTRL, spec_ctrl),
    PLACE(MSR_IA32_MTRR_DEF_TYPE, mtrr_def_type),
    PLACE(MSR_IA32_MTRR_FIX64K_00000, mtrr_fixed[0]),
    PLACE(MSR_IA32_MTRR_FIX16K_80000, mtrr_fixed[1]),
    PLACE(MSR_IA32_MTRR_FIX16K_A0000, mtrr_fixed[2]),
    PLACE(MSR_IA32_MTRR_FIX4K_C0000, mtrr_fixed[3]),
    PLACE(MSR_IA32_MTRR_FIX4K_C8000, mtrr_fixed[4]),
    PLACE(MSR_IA32_MTRR_FIX4K_D0000, mtrr_fixed[5]),
    PLACE(MSR_IA32_MTRR_FIX4K_D8000, mtrr_fixed[6]),
    PLACE(MSR_IA32_MTRR_FIX4K_E0000, mtrr_fixed[7]),
    PLACE(MSR_IA32_MTRR_FIX4K_E8000, mtrr_fixed[8]),
    PLACE(MSR_IA32_MTRR_FIX4K_F0000, mtrr_fixed[9]),
    PLACE(MSR_IA32_MTRR_FIX4K_F8000, mtrr_fixed[10]),
    PLACE(MSR_IA32_TSC, tsc),
    PLACE(MSR_IA32_TSC_ADJUST, tsc_adjust),
    PLACE(MSR_KVM_WALL_CLOCK_NEW, kvm_wall_clock),
    PLACE(MSR_KVM_SYSTEM_TIME_NEW, kvm_system_time),
    PLACE(MSR_KVM_STEAL_TIME, kvm_steal_time),
    PLACE(MSR_KVM_ASYNC_PF_EN, kvm_async_pf),
    PLACE(MSR_KVM_PV_EOI_EN, kvm_pv_eoi),
};

enum { PLACES = ARRAY_LENGTH(places), COUNT = PLACES + 2 * CPU_MTRR_VARIABLE };

struct msr_list {
    struct kvm_msrs header;
    struct kvm_msr_entry entries[COUNT];
};

static struct msr_place place_of(unsigned i)
{
    unsigned variable = i - PLACES;

    if (i < PLACES)
        return places[i];
    return (struct msr_place){
        .msr = MSR_IA32_MTRR_PHYSBASE0 + variable,
        .offset =
            (uint32_t)((variable & 1 ? offsetof(struct cpu_state, mtrr_mask) : offsetof(struct cpu_state, mtrr_base)) +
                       variable / 2 * sizeof(uint64_t)),
    };
}

static uint64_t *value_at(const struct cpu_state *state, struct msr_place place)
{
    return (uint64_t *)(uintptr_t)((const char *)state + place.offset);
}

/* One at a time only where KVM stopped: it tells how many it has done. A register that is not there reads as zero. */
enum status kvm_state_msrs_get(const struct kvm_cpu *cpu, struct cpu_state *state)
{
    for (unsigned first = 0; first < COUNT;) {
        struct msr_list list = {.header.nmsrs = COUNT - first};
        int done;

        for (unsigned i = first; i < COUNT; i++)
            list.entries[i - first].index = place_of(i).msr;
        done = ioctl(cpu->fd, KVM_GET_MSRS, &list);
        if (done < 0 || done > (int)(COUNT - first)) {
            log_error("engine kvm: KVM_GET_MSRS: %s", strerror(errno));
            return STATUS_IO;
        }
        for (int i = 0; i < done; i++)
            *value_at(state, place_of(first + (unsigned)i)) = list.entries[i].data;
        first += (unsigned)done + 1;
    }
    return STATUS_OK;
}

/* A register that is not there need not be set to zero. */
enum status kvm_state_msrs_set(const struct kvm_cpu *cpu, const struct cpu_state *state)
{
    for (unsigned first = 0; first < COUNT;) {
        struct msr_list list = {.header.nmsrs = COUNT - first};
        int done;

        for (unsigned i = first; i < COUNT; i++)
            list.entries[i - first] =
                (struct kvm_msr_entry){.index = place_of(i).msr, .data = *value_at(state, place_of(i))};
        done = ioctl(cpu->fd, KVM_SET_MSRS, &list);
        if (done < 0 || done > (int)(COUNT - first)) {
            log_error("engine kvm: KVM_SET_MSRS: %s", strerror(errno));
            return STATUS_IO;
        }
        first += (unsigned)done;
        if (first < COUNT && *value_at(state, place_of(first)) != 0) {
            log_error("engine kvm: this host's KVM refuses the value 0x%llx of MSR 0x%x",
                      (unsigned long long)*value_at(state, place_of(first)), place_of(first).msr);
            return STATUS_UNSUPPORTED;
        }
        first++;
    }
    return STATUS_OK;
}

struct one_msr {
    struct kvm_msrs header;
    struct kvm_msr_entry entry;
};

enum status kvm_msr_get(const struct kvm_cpu *cpu, uint32_t msr, uint64_t *value)
{
    struct one_msr one = {.header.nmsrs = 1, .entry.index = msr};

    if (ioctl(cpu->fd, KVM_GET_MSRS, &one) != 1) {
        log_error("engine kvm: this host's KVM does not give MSR 0x%x", msr);
        return STATUS_UNSUPPORTED;
    }
    *value = one.entry.data;
    return STATUS_OK;
}

enum status kvm_msr_set(const struct kvm_cpu *cpu, uint32_t msr, uint64_t value)
{
    struct one_msr one = {.header.nmsrs = 1, .entry = {.index = msr, .data = value}};

    if (ioctl(cpu->fd, KVM_SET_MSRS, &one) == 1)
        return STATUS_OK;
    log_error("engine kvm: this host's KVM refuses the value 0x%llx of MSR 0x%x", (unsigned long long)value, msr);
    return STATUS_UNSUPPORTED;
}
