/* Application processors: start-up and work. */
#ifndef LODGE_TESTS_GUEST_SMP_H
#define LODGE_TESTS_GUEST_SMP_H

#include <stdbool.h>

typedef void smp_work(void *argument);

/* Vector of the wake-up interrupt of idle processors. */
enum { VECTOR_WAKE = 0xf0 };

/*
 * Starts all others by INIT-SIPI-SIPI; how many there are the command line says ("cpus="). The APIC
 * must be enabled. Returns the number of CPUs that run, this one included. Identifiers are 0 to n - 1.
 */
unsigned smp_start(void);

/* Hands work to another CPU, which does it with interrupts off. One at a time. */
void smp_call(unsigned cpu, smp_work *work, void *argument);
/* Waits for its end. False: it did not come within a generous time. */
bool smp_wait(unsigned cpu);

/* Drops the work of a CPU that got an INIT: it will never end. */
void smp_forget(unsigned cpu);

/* All CPUs run work(argument); returns when all are done. */
bool smp_all(smp_work *work, void *argument);

#endif
