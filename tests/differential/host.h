/*
 * What the machine that the oracle runs on can do. Under a hypervisor without the processor's help some of it is not
 * as the manuals have it; the cases then leave out just that.
 */
#ifndef LODGE_TESTS_DIFFERENTIAL_HOST_H
#define LODGE_TESTS_DIFFERENTIAL_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Find out, by trying. First of all, as it takes the signals of faults for that time; false: the system refuses. */
bool host_probe(void);

/*
 * Do programs own their FS and GS bases (Linux, Documentation/arch/x86/x86_64/fsgs.rst)? If not, WRFSBASE may run all
 * the same, where a hypervisor has left CR4.FSGSBASE set, but an exception or a context switch brings the old base
 * back: only arch_prctl() sets one then, and none of the upper half.
 */
bool host_has_fsgsbase(void);

/* Does a program whose RSP is not canonical go on after a page fault? If not, it has some other fault there. */
bool host_keeps_wild_stack(void);

/* Has INT with this vector the #GP of a gate with DPL 0? */
bool host_faults_interrupt(uint8_t vector);

/* A line for each of these that is not so. */
void host_print_limits(FILE *to);

#endif
