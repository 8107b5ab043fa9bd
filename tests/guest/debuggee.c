/*
 * A program to be looked at by a debugger (tests/system/test_gdb.py): calls that go deep, a variable to watch, a second
 * processor. It ends by itself, but with the word "wait" only when a debugger has set go_on, and with "restart" never.
 */
#include <stdatomic.h>

#include "lib/apic.h"
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/runtime.h"
#include "lib/smp.h"

const char test_name[] = "debuggee";

uint64_t watched = 1;
uint64_t result;
uint32_t vector[4];
atomic_ullong counters[CPU_MAX];
atomic_uint go_on;

/* The debugger must find them as they are written here. */
#define AS_WRITTEN __attribute__((noipa))

void spin(void *argument);
void store_vector(void);
uint64_t inner(uint64_t n), middle(uint64_t n), outer(uint64_t n);

AS_WRITTEN uint64_t inner(uint64_t n)
{
    watched += n;
    return watched * 2;
}

AS_WRITTEN uint64_t middle(uint64_t n)
{
    return inner(n + 1) + 1;
}

AS_WRITTEN uint64_t outer(uint64_t n)
{
    return middle(2 * n) + 1;
}

AS_WRITTEN void store_vector(void)
{
    __asm__ volatile("movups %%xmm1, %0" : "=m"(vector));
}

/* Each processor counts until the debugger has seen enough. */
AS_WRITTEN void spin(void *argument)
{
    (void)argument;
    do
        atomic_fetch_add(&counters[cpu_index()], 1);
    while (!atomic_load(&go_on));
}

void test_main(void)
{
    unsigned cpus;

    apic_enable();
    cpus = smp_start();
    for (uint64_t n = 1; n <= 3; n++)
        result = outer(n);
    CHECK_EQ(result, 34);
    store_vector();
    if (option("restart"))
        out8(0xcf9, 0x06);
    if (!option("wait"))
        atomic_store(&go_on, 1);
    smp_all(spin, 0);
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        CHECK(atomic_load(&counters[cpu]) > 0);
}
