/*
 * A list of what may be shown, not of what must be hidden: a feature of tomorrow's processor stays
 * invisible until somebody has looked whether our engines carry it.
 *
 * Absent on purpose, because no engine of ours carries them: VMX, SVM, TSX, CET, protection keys,
 * AMX, LA57, MPX, XSAVES, processor trace, performance counters, MONITOR and MWAIT(X), WAITPKG,
 * UINTR, SGX, key locker, SME and SEV, IBS, LWP, XOP, FMA4, TBM, 3DNow!, INVLPGB, RDPRU, MOVDIR64B,
 * ENQCMD, CLZERO, FFXSR, SERIALIZE, LAM, FRED.
 *
 * Speculation. Linux would answer a processor that admits to Spectre variant 2, SRSO, MDS and their
 * kin with retpolines, untrained return thunks, VERW and page-table isolation. Under translation
 * these protect nothing, for the guest's branches are not the processor's, and they cost much, for
 * they make every return miss its prediction. So the machine says that it needs none of them:
 * IBRS that stays on once it is set (IBRS_ALL in ARCH_CAPABILITIES_VALUE, x86/msr.h, which kernels
 * look for on every vendor's processor; IA32_SPEC_CTRL is plain storage), BTC_NO, SRSO_NO, TSA_*_NO.
 * What keeps one guest from another, and from the host, is the host's protection of processes.
 * STIBP, SSBD, IBPB and their kin are not shown: there is nothing that a guest could control with them. Where an
 * honest "vulnerable" costs nothing (SSB), it stays.
 *
 * Under KVM the guest's branches are the processor's. There such a claim is made only if KVM makes it of its host
 * (CPUID_CLAIM), the cures are shown as far as KVM carries them (CPUID_CURE), and IA32_ARCH_CAPABILITIES says what KVM
 * says.
 */
#include "x86/cpuid_features.h"

#include "base/bits.h"
#include "x86/regs.h"

enum {
    AVX = XCR0_AVX,
    AVX512 = XCR0_AVX | XCR0_AVX512,
    SYSTEM = CPUID_SYSTEM,
};

const struct cpuid_feature cpuid_features[] = {
    {"fpu", 1, 0, EDX, 0, LEVEL_1, VENDOR_ANY, 0},
    {"vme", 1, 0, EDX, 1, LEVEL_HOST, VENDOR_ANY, 0},
    {"de", 1, 0, EDX, 2, LEVEL_1, VENDOR_ANY, 0},
    {"pse", 1, 0, EDX, 3, LEVEL_1, VENDOR_ANY, 0},
    {"tsc", 1, 0, EDX, 4, LEVEL_1, VENDOR_ANY, 0},
    {"msr", 1, 0, EDX, 5, LEVEL_1, VENDOR_ANY, 0},
    {"pae", 1, 0, EDX, 6, LEVEL_1, VENDOR_ANY, 0},
    {"mce", 1, 0, EDX, 7, LEVEL_1, VENDOR_ANY, 0},
    {"cx8", 1, 0, EDX, 8, LEVEL_1, VENDOR_ANY, 0},
    {"apic", 1, 0, EDX, 9, LEVEL_MACHINE, VENDOR_ANY, 0},
    {"sep", 1, 0, EDX, 11, LEVEL_1, VENDOR_ANY, 0},
    {"mtrr", 1, 0, EDX, 12, LEVEL_MACHINE, VENDOR_ANY, 0},
    {"pge", 1, 0, EDX, 13, LEVEL_1, VENDOR_ANY, 0},
    {"mca", 1, 0, EDX, 14, LEVEL_1, VENDOR_ANY, 0},
    {"cmov", 1, 0, EDX, 15, LEVEL_1, VENDOR_ANY, 0},
    {"pat", 1, 0, EDX, 16, LEVEL_1, VENDOR_ANY, 0},
    {"pse36", 1, 0, EDX, 17, LEVEL_1, VENDOR_ANY, 0},
    {"clflush", 1, 0, EDX, 19, LEVEL_1, VENDOR_ANY, 0},
    {"mmx", 1, 0, EDX, 23, LEVEL_1, VENDOR_ANY, 0},
    {"fxsr", 1, 0, EDX, 24, LEVEL_1, VENDOR_ANY, 0},
    {"sse", 1, 0, EDX, 25, LEVEL_1, VENDOR_ANY, 0},
    {"sse2", 1, 0, EDX, 26, LEVEL_1, VENDOR_ANY, 0},
    {"ss", 1, 0, EDX, 27, LEVEL_HOST, VENDOR_ANY, 0},

    {"sse3", 1, 0, ECX, 0, LEVEL_2, VENDOR_ANY, 0},
    {"pclmulqdq", 1, 0, ECX, 1, LEVEL_3, VENDOR_ANY, 0},
    {"ssse3", 1, 0, ECX, 9, LEVEL_2, VENDOR_ANY, 0},
    {"fma", 1, 0, ECX, 12, LEVEL_3, VENDOR_ANY, AVX},
    {"cx16", 1, 0, ECX, 13, LEVEL_2, VENDOR_ANY, 0},
    {"pcid", 1, 0, ECX, 17, LEVEL_HOST, VENDOR_ANY, SYSTEM},
    {"sse4_1", 1, 0, ECX, 19, LEVEL_2, VENDOR_ANY, 0},
    {"sse4_2", 1, 0, ECX, 20, LEVEL_2, VENDOR_ANY, 0},
    {"x2apic", 1, 0, ECX, 21, LEVEL_MACHINE, VENDOR_ANY, 0},
    {"movbe", 1, 0, ECX, 22, LEVEL_3, VENDOR_ANY, 0},
    {"popcnt", 1, 0, ECX, 23, LEVEL_2, VENDOR_ANY, 0},
    {"tsc_deadline", 1, 0, ECX, 24, LEVEL_MACHINE, VENDOR_ANY, 0},
    {"aes", 1, 0, ECX, 25, LEVEL_3, VENDOR_ANY, 0},
    {"xsave", 1, 0, ECX, 26, LEVEL_3, VENDOR_ANY, 0},
    {"avx", 1, 0, ECX, 28, LEVEL_3, VENDOR_ANY, AVX},
    {"f16c", 1, 0, ECX, 29, LEVEL_3, VENDOR_ANY, AVX},
    {"rdrand", 1, 0, ECX, 30, LEVEL_3, VENDOR_ANY, 0},
    {"hypervisor", 1, 0, ECX, 31, LEVEL_MACHINE, VENDOR_ANY, 0},

    {"arat", 6, 0, EAX, 2, LEVEL_MACHINE, VENDOR_ANY, 0},

    {"fsgsbase", 7, 0, EBX, 0, LEVEL_3, VENDOR_ANY, SYSTEM},
    {"tsc_adjust", 7, 0, EBX, 1, LEVEL_MACHINE, VENDOR_ANY, 0},
    {"bmi1", 7, 0, EBX, 3, LEVEL_3, VENDOR_ANY, 0},
    {"avx2", 7, 0, EBX, 5, LEVEL_3, VENDOR_ANY, AVX},
    {"fdp_excptn_only", 7, 0, EBX, 6, LEVEL_HOST, VENDOR_ANY, 0},
    {"smep", 7, 0, EBX, 7, LEVEL_3, VENDOR_ANY, SYSTEM},
    {"bmi2", 7, 0, EBX, 8, LEVEL_3, VENDOR_ANY, 0},
    {"erms", 7, 0, EBX, 9, LEVEL_HOST, VENDOR_ANY, 0},
    {"invpcid", 7, 0, EBX, 10, LEVEL_HOST, VENDOR_ANY, SYSTEM},
    {"zero_fcs_fds", 7, 0, EBX, 13, LEVEL_HOST, VENDOR_ANY, 0},
    {"avx512f", 7, 0, EBX, 16, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"avx512dq", 7, 0, EBX, 17, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"rdseed", 7, 0, EBX, 18, LEVEL_HOST, VENDOR_ANY, 0},
    {"adx", 7, 0, EBX, 19, LEVEL_HOST, VENDOR_ANY, 0},
    {"smap", 7, 0, EBX, 20, LEVEL_HOST, VENDOR_ANY, SYSTEM},
    {"avx512ifma", 7, 0, EBX, 21, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"clflushopt", 7, 0, EBX, 23, LEVEL_HOST, VENDOR_ANY, 0},
    {"clwb", 7, 0, EBX, 24, LEVEL_HOST, VENDOR_ANY, 0},
    {"avx512cd", 7, 0, EBX, 28, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"sha_ni", 7, 0, EBX, 29, LEVEL_HOST, VENDOR_ANY, 0},
    {"avx512bw", 7, 0, EBX, 30, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"avx512vl", 7, 0, EBX, 31, LEVEL_HOST, VENDOR_ANY, AVX512},

    {"avx512vbmi", 7, 0, ECX, 1, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"umip", 7, 0, ECX, 2, LEVEL_HOST, VENDOR_ANY, SYSTEM},
    {"avx512_vbmi2", 7, 0, ECX, 6, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"gfni", 7, 0, ECX, 8, LEVEL_HOST, VENDOR_ANY, 0},
    {"vaes", 7, 0, ECX, 9, LEVEL_HOST, VENDOR_ANY, AVX},
    {"vpclmulqdq", 7, 0, ECX, 10, LEVEL_HOST, VENDOR_ANY, AVX},
    {"avx512_vnni", 7, 0, ECX, 11, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"avx512_bitalg", 7, 0, ECX, 12, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"avx512_vpopcntdq", 7, 0, ECX, 14, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"rdpid", 7, 0, ECX, 22, LEVEL_HOST, VENDOR_ANY, SYSTEM},

    {"fsrm", 7, 0, EDX, 4, LEVEL_HOST, VENDOR_ANY, 0},
    {"avx512_vp2intersect", 7, 0, EDX, 8, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"md_clear", 7, 0, EDX, 10, LEVEL_HOST, VENDOR_INTEL, CPUID_CURE},
    {"spec_ctrl", 7, 0, EDX, 26, LEVEL_MACHINE, VENDOR_INTEL, CPUID_CLAIM},
    {"intel_stibp", 7, 0, EDX, 27, LEVEL_HOST, VENDOR_INTEL, CPUID_CURE},
    {"flush_l1d", 7, 0, EDX, 28, LEVEL_HOST, VENDOR_INTEL, CPUID_CURE},
    {"arch_capabilities", 7, 0, EDX, 29, LEVEL_MACHINE, VENDOR_ANY, CPUID_CLAIM},
    {"intel_ssbd", 7, 0, EDX, 31, LEVEL_HOST, VENDOR_INTEL, CPUID_CURE},

    {"avx_vnni", 7, 1, EAX, 4, LEVEL_HOST, VENDOR_ANY, AVX},
    {"avx512_bf16", 7, 1, EAX, 5, LEVEL_HOST, VENDOR_ANY, AVX512},
    {"fzrm", 7, 1, EAX, 10, LEVEL_HOST, VENDOR_ANY, 0},
    {"fsrs", 7, 1, EAX, 11, LEVEL_HOST, VENDOR_ANY, 0},
    {"fsrc", 7, 1, EAX, 12, LEVEL_HOST, VENDOR_ANY, 0},

    {"xsaveopt", 0xd, 1, EAX, 0, LEVEL_HOST, VENDOR_ANY, 0},
    {"xsavec", 0xd, 1, EAX, 1, LEVEL_HOST, VENDOR_ANY, 0},
    {"xgetbv1", 0xd, 1, EAX, 2, LEVEL_HOST, VENDOR_ANY, 0},

    {"syscall", 0x80000001, 0, EDX, 11, LEVEL_1, VENDOR_ANY, SYSTEM},
    {"nx", 0x80000001, 0, EDX, 20, LEVEL_1, VENDOR_ANY, SYSTEM},
    {"mmxext", 0x80000001, 0, EDX, 22, LEVEL_HOST, VENDOR_AMD, 0},
    {"pdpe1gb", 0x80000001, 0, EDX, 26, LEVEL_HOST, VENDOR_ANY, SYSTEM},
    {"rdtscp", 0x80000001, 0, EDX, 27, LEVEL_2, VENDOR_ANY, SYSTEM},
    {"lm", 0x80000001, 0, EDX, 29, LEVEL_1, VENDOR_ANY, 0},

    {"lahf_lm", 0x80000001, 0, ECX, 0, LEVEL_2, VENDOR_ANY, 0},
    {"abm", 0x80000001, 0, ECX, 5, LEVEL_3, VENDOR_ANY, 0},
    {"sse4a", 0x80000001, 0, ECX, 6, LEVEL_HOST, VENDOR_AMD, 0},
    {"misalignsse", 0x80000001, 0, ECX, 7, LEVEL_HOST, VENDOR_AMD, 0},
    {"3dnowprefetch", 0x80000001, 0, ECX, 8, LEVEL_HOST, VENDOR_ANY, 0},
    {"topoext", 0x80000001, 0, ECX, 22, LEVEL_MACHINE, VENDOR_AMD, 0},

    /* Not in the fixed models: their machines may move to a host with another frequency. */
    {"invariant_tsc", 0x80000007, 0, EDX, 8, LEVEL_HOST, VENDOR_ANY, 0},

    {"xsaveerptr", 0x80000008, 0, EBX, 2, LEVEL_HOST, VENDOR_AMD, 0},
    {"ibpb", 0x80000008, 0, EBX, 12, LEVEL_HOST, VENDOR_AMD, CPUID_CURE},
    {"ibrs", 0x80000008, 0, EBX, 14, LEVEL_MACHINE, VENDOR_AMD, CPUID_CLAIM},
    {"stibp", 0x80000008, 0, EBX, 15, LEVEL_HOST, VENDOR_AMD, CPUID_CURE},
    {"ssbd", 0x80000008, 0, EBX, 24, LEVEL_HOST, VENDOR_AMD, CPUID_CURE},
    {"btc_no", 0x80000008, 0, EBX, 29, LEVEL_MACHINE, VENDOR_AMD, CPUID_CLAIM},

    {"lfence_rdtsc", 0x80000021, 0, EAX, 2, LEVEL_MACHINE, VENDOR_AMD, 0},
    {"srso_no", 0x80000021, 0, EAX, 29, LEVEL_MACHINE, VENDOR_AMD, CPUID_CLAIM},
    {"tsa_sq_no", 0x80000021, 0, ECX, 1, LEVEL_MACHINE, VENDOR_AMD, CPUID_CLAIM},
    {"tsa_l1_no", 0x80000021, 0, ECX, 2, LEVEL_MACHINE, VENDOR_AMD, CPUID_CLAIM},
};

const size_t cpuid_feature_count = ARRAY_LENGTH(cpuid_features);
