#include "vmm/threads.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/sandbox.h"
#include "port/log.h"
#include "vmm/trace.h"

enum {
    THREAD_STACK = 1 << 20,
    THREADS_PATIENCE_S = 5,
};

static void *thread_main(void *argument)
{
    struct vcpu_thread *thread = argument;
    int on_stack;

    thread->stack = &on_stack;
    (void)pthread_setname_np(pthread_self(), thread->name);
    (void)sandbox_enter_thread(SANDBOX_VCPU); /* it has the main thread's list at least */
    trace_thread_is(thread->vcpu->index);
    vcpu_loop(thread->vcpu);
    return NULL;
}

static enum status thread_start(struct vcpu_thread *thread, struct vcpu *vcpu, const char *machine)
{
    pthread_attr_t attributes;

    *thread = (struct vcpu_thread){.vcpu = vcpu};
    (void)snprintf(thread->name, sizeof(thread->name), "%.9s/cpu%u", machine, vcpu->index % 100);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    int error = pthread_create(&thread->thread, &attributes, thread_main, thread);
    pthread_attr_destroy(&attributes);
    if (error) {
        log_error("cannot start the thread of vCPU %u: %s", vcpu->index, strerror(error));
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

enum status threads_start(struct vcpu_threads *threads, struct machine *machine, const char *name)
{
    threads->count = 0;
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        enum status status = thread_start(&threads->threads[i], machine->vcpus[i], name);

        if (status != STATUS_OK)
            return status;
        threads->count++;
    }
    return STATUS_OK;
}

bool threads_stop(struct vcpu_threads *threads)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += THREADS_PATIENCE_S;
    for (unsigned i = 0; i < threads->count; i++) {
        struct vcpu_thread *thread = &threads->threads[i];

        if (pthread_timedjoin_np(thread->thread, NULL, &limit) != 0) {
            log_error("vCPU %u does not stop", thread->vcpu->index);
            return false;
        }
    }
    threads->count = 0;
    return true;
}
