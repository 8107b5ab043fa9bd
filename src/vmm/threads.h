/* One thread for each vCPU. */
#ifndef LODGE_VMM_THREADS_H
#define LODGE_VMM_THREADS_H

#include <pthread.h>
#include <stdbool.h>

#include "base/status.h"
#include "core/machine.h"

enum { THREAD_NAME = 16 }; /* the kernel's limit, with the NUL */

struct vcpu_thread {
    struct vcpu *vcpu;
    pthread_t thread;
    char name[THREAD_NAME];
    const void *_Atomic stack; /* an address in it; NULL until it runs */
};

struct vcpu_threads {
    struct vcpu_thread threads[MACHINE_CPUS];
    unsigned count; /* running */
};

/*
 * Every vCPU runs when this returns STATUS_OK. Otherwise (logged) those that were started are still to be
 * stopped, as below. name: of the machine, shown as NAME/cpu0 by ps -L; borrowed for the call.
 */
enum status threads_start(struct vcpu_threads *threads, struct machine *machine, const char *name) MUST_CHECK;

/*
 * Waits until all have left; the machine has ended (machine_end), so they are about to. False: one did not
 * within some seconds (logged), and the machine cannot be taken apart under it.
 */
bool threads_stop(struct vcpu_threads *threads) MUST_CHECK;

#endif
