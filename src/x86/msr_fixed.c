/* Spec: Intel SDM volume 4, AMD APM volume 2 appendix A. */
#include "x86/msr_fixed.h"

#include "base/bits.h"
#include "x86/msr.h"

/* What they read as, and which bits a write may have, which is forgotten; 0: read-only. */
enum msr_vendor { ANY_VENDOR, INTEL_ONLY, AMD_ONLY };

struct msr_constant {
    uint32_t first, last;
    uint8_t vendor;
    uint64_t value, writable;
};

static const struct msr_constant constant_msrs[] = {
    {MSR_IA32_P5_MC_ADDR, MSR_IA32_P5_MC_TYPE, ANY_VENDOR, 0, 0},
    {MSR_IA32_PLATFORM_ID, MSR_IA32_PLATFORM_ID, INTEL_ONLY, 0, 0},
    {MSR_IA32_FEATURE_CONTROL, MSR_IA32_FEATURE_CONTROL, INTEL_ONLY, 1, 0}, /* locked, all off */
    {MSR_IA32_BIOS_UPDT_TRIG, MSR_IA32_BIOS_UPDT_TRIG, ANY_VENDOR, 0, UINT64_MAX},
    {MSR_IA32_BIOS_SIGN_ID, MSR_IA32_BIOS_SIGN_ID, INTEL_ONLY, 0x100000000, UINT64_MAX},
    {MSR_AMD64_PATCH_LEVEL, MSR_AMD64_PATCH_LEVEL, AMD_ONLY, 0x01000065, UINT64_MAX},
    {MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, ANY_VENDOR, 0, 0},
    {MSR_IA32_MTRRCAP, MSR_IA32_MTRRCAP, ANY_VENDOR, MTRRCAP_VALUE, 0},
    {MSR_BBL_CR_CTL3, MSR_BBL_CR_CTL3, INTEL_ONLY, 0xbe702111, UINT64_MAX},
    {MSR_MISC_FEATURES_ENABLES, MSR_MISC_FEATURES_ENABLES, ANY_VENDOR, 0, 2}, /* RING3MWAIT */
    {MSR_IA32_MCG_CAP, MSR_IA32_MCG_CAP, ANY_VENDOR, 0, 0},                   /* no banks */
    {MSR_IA32_MCG_STATUS, MSR_IA32_MCG_STATUS, ANY_VENDOR, 0, 7},
    {MSR_IA32_PERFEVTSEL0, MSR_IA32_PERFEVTSEL0 + 1, INTEL_ONLY, 0, UINT64_MAX},
    {MSR_IA32_PERF_STATUS, MSR_IA32_PERF_STATUS, ANY_VENDOR, 0, 0},
    {MSR_IA32_PERF_CTL, MSR_IA32_PERF_CTL, ANY_VENDOR, 0, UINT64_MAX},
    {MSR_IA32_DEBUGCTL, MSR_IA32_DEBUGCTL, ANY_VENDOR, 0, 3}, /* LBR and BTF, which do nothing */
    {MSR_LASTBRANCHFROMIP, MSR_LASTINTTOIP, ANY_VENDOR, 0, 0},
    {MSR_RAPL_POWER_UNIT, MSR_RAPL_POWER_UNIT, INTEL_ONLY, 0, 0},
    {MSR_K7_EVNTSEL0, MSR_K7_PERFCTR0 + 3, AMD_ONLY, 0, UINT64_MAX},
    {MSR_SYSCFG, MSR_SYSCFG, AMD_ONLY, 0, UINT64_MAX},
    {MSR_HWCR, MSR_HWCR, AMD_ONLY, HWCR_TSC_FREQ_SEL, UINT64_MAX},
    {MSR_IORRBASE0, MSR_IORRBASE0 + 3, AMD_ONLY, 0, UINT64_MAX},
    {MSR_TOP_MEM, MSR_TOP_MEM, AMD_ONLY, 0, UINT64_MAX},
    {MSR_TOP_MEM2, MSR_TOP_MEM2, AMD_ONLY, 0, UINT64_MAX},
    {MSR_NB_CFG, MSR_NB_CFG, AMD_ONLY, 0, UINT64_MAX},
    {MSR_AMD64_PATCH_LOADER, MSR_AMD64_PATCH_LOADER, AMD_ONLY, 0, UINT64_MAX},
    {MSR_INT_PENDING, MSR_INT_PENDING, AMD_ONLY, 0, UINT64_MAX},
    {MSR_MMIO_CONF_BASE, MSR_MMIO_CONF_BASE, AMD_ONLY, 0, UINT64_MAX},
    {MSR_PSTATE_CUR_LIMIT, MSR_PSTATE_DEF_BASE + 7, AMD_ONLY, 0, UINT64_MAX},
    {MSR_VM_CR, MSR_VM_CR, AMD_ONLY, 0x18, 0x18}, /* LOCK, SVMDIS */
    {MSR_VM_IGNNE, MSR_VM_IGNNE, AMD_ONLY, 0, 0},
    {MSR_VM_HSAVE_PA, MSR_VM_HSAVE_PA, AMD_ONLY, 0, 0},
    {MSR_VIRT_SPEC_CTRL, MSR_VIRT_SPEC_CTRL, AMD_ONLY, 0, 4},
    {MSR_AMD64_SEV, MSR_AMD64_SEV, AMD_ONLY, 0, 0},
    {MSR_OSVW_ID_LENGTH, MSR_OSVW_STATUS, AMD_ONLY, 0, 0},
    {MSR_F15H_PERF_CTL, MSR_F15H_PERF_CTL + 11, AMD_ONLY, 0, UINT64_MAX},
    {MSR_CPUID_7_FEATURES, MSR_CPUID_7_FEATURES, AMD_ONLY, 0, UINT64_MAX},
    {MSR_CPUID_EXT_FEATURES, MSR_CPUID_AMD_EXT_FEATURES, AMD_ONLY, 0, UINT64_MAX},
    {MSR_LS_CFG, MSR_DC_CFG, AMD_ONLY, 0, UINT64_MAX},
    {MSR_DE_CFG, MSR_DE_CFG, AMD_ONLY, DE_CFG_LFENCE_SERIALIZE, UINT64_MAX},
    {MSR_BU_CFG2, MSR_BU_CFG2, AMD_ONLY, 0, UINT64_MAX},
};

static bool is_amd(const struct cpuid_table *table)
{
    uint32_t vendor = cpuid_query(table, 0, 0, 0, 0, 0).ebx;

    return vendor == 0x68747541 || vendor == 0x6f677948; /* "Auth", "Hygo" */
}

static const struct msr_constant *constant_find(const struct cpuid_table *table, uint32_t msr)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(constant_msrs); i++) {
        const struct msr_constant *entry = &constant_msrs[i];

        if (msr < entry->first || msr > entry->last)
            continue;
        if (entry->vendor == ANY_VENDOR || (entry->vendor == AMD_ONLY) == is_amd(table))
            return entry;
    }
    return NULL;
}

bool msr_fixed_read(const struct cpuid_table *table, uint32_t msr, uint64_t *value)
{
    const struct msr_constant *constant = constant_find(table, msr);

    if (constant)
        *value = constant->value;
    return constant != NULL;
}

bool msr_fixed_write(const struct cpuid_table *table, uint32_t msr, uint64_t value)
{
    const struct msr_constant *constant = constant_find(table, msr);

    return constant && constant->writable != 0 && !(value & ~constant->writable);
}
