/* How fast the time stamp counter runs. */
#include <cpuid.h>
#include <stdbool.h>
#include <time.h>
#include <x86intrin.h>

#include "host/clock.h"

enum {
    CPUID_TSC_RATIO = 0x15,
    CPUID_HYPERVISOR = 0x40000000,
    CPUID_HYPERVISOR_TSC = 0x40000010, /* VMware's, also KVM's: EAX is the frequency in kHz */
    CALIBRATION_NS = 20 * 1000 * 1000,
    CALIBRATION_TRIES = 16,
};

static const unsigned CPUID_1_ECX_HYPERVISOR = 1u << 31;

/* SDM volume 2, CPUID leaf 0x15: TSC = crystal (ECX, Hz) * EBX / EAX; any may be 0 for "not told". */
static uint32_t tsc_khz_by_ratio(void)
{
    unsigned eax, ebx, ecx, edx;

    if (!__get_cpuid(CPUID_TSC_RATIO, &eax, &ebx, &ecx, &edx) || eax == 0 || ebx == 0 || ecx == 0)
        return 0;
    return (uint32_t)((uint64_t)ecx * ebx / eax / 1000);
}

static uint32_t tsc_khz_by_hypervisor(void)
{
    unsigned eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & CPUID_1_ECX_HYPERVISOR))
        return 0;
    __cpuid(CPUID_HYPERVISOR, eax, ebx, ecx, edx);
    if (eax < CPUID_HYPERVISOR_TSC || eax > CPUID_HYPERVISOR + 0xffff)
        return 0;
    __cpuid(CPUID_HYPERVISOR_TSC, eax, ebx, ecx, edx);
    return eax;
}

/*
 * One pair of readings that belong together: of several tries, the one where the two clocks were
 * read in the shortest time, so that an interruption between them does not count.
 */
static uint64_t tsc_read_at(uint64_t *ns)
{
    uint64_t best = UINT64_MAX, tsc = 0;

    for (int i = 0; i < CALIBRATION_TRIES; i++) {
        uint64_t before = __rdtsc();
        uint64_t now = host_monotonic_ns();
        uint64_t after = __rdtsc();

        if (after - before < best) {
            best = after - before;
            tsc = before + best / 2;
            *ns = now;
        }
    }
    return tsc;
}

static uint32_t tsc_khz_by_calibration(void)
{
    const struct timespec pause = {.tv_nsec = CALIBRATION_NS};
    uint64_t ns_start = 0, ns_end = 0;
    uint64_t start = tsc_read_at(&ns_start);

    nanosleep(&pause, NULL);
    uint64_t end = tsc_read_at(&ns_end);
    return (uint32_t)((double)(end - start) * 1e6 / (double)(ns_end - ns_start) + 0.5);
}

uint32_t host_tsc_khz(void)
{
    uint32_t khz = tsc_khz_by_ratio();

    if (khz == 0)
        khz = tsc_khz_by_hypervisor();
    return khz ? khz : tsc_khz_by_calibration();
}
