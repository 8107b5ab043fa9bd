#include "lib/smp.h"

#include <stdatomic.h>
#include <stdint.h>

#include "lib/apic.h"
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/runtime.h"
#include "lib/trap.h"

enum { TRAMPOLINE = 0x8000, SMP_STACK_SIZE = 16384, START_PATIENCE_MS = 2000 };

#define WAIT_PATIENCE 20000000000ull /* TSC ticks: some seconds */

extern const uint8_t trampoline_start[], trampoline_end[], smp_cr3[];
void smp_ap_main(unsigned arrival);

/* Processor n runs on the 16 KiB below smp_stacks + n * 16 KiB; the trampoline relies on it. */
uint8_t smp_stacks[CPU_MAX * SMP_STACK_SIZE] __attribute__((aligned(4096)));
atomic_uint smp_next_cpu;

static struct {
    smp_work *_Atomic work;
    void *argument;
} jobs[CPU_MAX];
static atomic_uint running = 1;

static bool wake(struct trap_frame *frame)
{
    (void)frame;
    apic_eoi();
    return true;
}

/* Identifiers are the APIC's, so that tests can send to them. */
void smp_ap_main(unsigned arrival)
{
    unsigned cpu = cpuid(1, 0).ebx >> 24;

    if (arrival > CPU_MAX || cpu >= CPU_MAX) {
        for (;;)
            __asm__ volatile("cli; hlt");
    }
    cpu_tables_load(cpu);
    apic_enable();
    atomic_fetch_add(&running, 1);
    for (;;) {
        smp_work *work = atomic_load(&jobs[cpu].work);

        if (work == 0) {
            wait_for_interrupt();
            continue;
        }
        work(jobs[cpu].argument);
        atomic_store(&jobs[cpu].work, 0);
    }
}

unsigned smp_start(void)
{
    unsigned wanted = option_number("cpus=", 1);

    if (wanted > CPU_MAX)
        wanted = CPU_MAX;
    trap_set_handler(VECTOR_WAKE, wake);
    memcpy((void *)TRAMPOLINE, trampoline_start, (size_t)(trampoline_end - trampoline_start));
    *(volatile uint32_t *)(TRAMPOLINE + (smp_cr3 - trampoline_start)) = (uint32_t)read_cr3();
    if (wanted == 1)
        return 1;
    atomic_store(&smp_next_cpu, 1);
    apic_send(ICR_INIT | ICR_ASSERT | ICR_OTHERS, 0);
    pit_delay_us(10000);
    apic_send(ICR_STARTUP | ICR_ASSERT | ICR_OTHERS | TRAMPOLINE >> 12, 0);
    pit_delay_us(200);
    apic_send(ICR_STARTUP | ICR_ASSERT | ICR_OTHERS | TRAMPOLINE >> 12, 0);
    for (unsigned i = 0; i < START_PATIENCE_MS && atomic_load(&running) < wanted; i++)
        pit_delay_us(1000);
    if (atomic_load(&running) != wanted)
        fail("%u of %u processors started", atomic_load(&running), wanted);
    return atomic_load(&running);
}

void smp_call(unsigned cpu, smp_work *work, void *argument)
{
    jobs[cpu].argument = argument;
    atomic_store(&jobs[cpu].work, work);
    apic_send(ICR_FIXED | ICR_ASSERT | VECTOR_WAKE, cpu);
}

bool smp_wait(unsigned cpu)
{
    uint64_t start = read_tsc();

    while (atomic_load(&jobs[cpu].work) != 0) {
        if (read_tsc() - start > WAIT_PATIENCE) {
            fail("CPU %u did not finish its work", cpu);
            return false;
        }
        cpu_pause();
    }
    return true;
}

void smp_forget(unsigned cpu)
{
    atomic_store(&jobs[cpu].work, 0);
}

bool smp_all(smp_work *work, void *argument)
{
    bool good = true;
    unsigned count = atomic_load(&running);

    for (unsigned cpu = 1; cpu < count; cpu++)
        smp_call(cpu, work, argument);
    work(argument);
    for (unsigned cpu = 1; cpu < count; cpu++)
        good = smp_wait(cpu) && good;
    return good;
}
