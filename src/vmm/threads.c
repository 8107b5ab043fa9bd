#include "vmm/threads.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "host/signals.h"
#include "port/log.h"

enum {
    THREAD_STACK = 1 << 20,
    THREAD_SIGNAL_STACK = 64 << 10, /* a signal frame with AVX-512 state alone is over 3 KiB */
    THREAD_NAME = 16,               /* the kernel's limit, with the NUL */
    THREADS_PATIENCE_S = 5,
};

static void *thread_main(void *argument)
{
    struct vcpu_thread *thread = argument;
    int on_stack;

    thread->stack = &on_stack;
    host_signals_stack(thread->signal_stack, THREAD_SIGNAL_STACK);
    vcpu_loop(thread->vcpu);
    return NULL;
}

static void thread_set_name(const struct vcpu_thread *thread, const char *machine)
{
    char name[THREAD_NAME];

    (void)snprintf(name, sizeof(name), "%.9s/cpu%u", machine, thread->vcpu->index % 100);
    (void)pthread_setname_np(thread->thread, name);
}

static enum status thread_start(struct vcpu_thread *thread, struct vcpu *vcpu, const char *machine)
{
    pthread_attr_t attributes;
    void *stack = mmap(NULL, THREAD_SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (stack == MAP_FAILED) {
        log_error("no memory for the thread of vCPU %u", vcpu->index);
        return STATUS_NO_MEMORY;
    }
    *thread = (struct vcpu_thread){.vcpu = vcpu, .signal_stack = stack};
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    int error = pthread_create(&thread->thread, &attributes, thread_main, thread);
    pthread_attr_destroy(&attributes);
    if (error) {
        log_error("cannot start the thread of vCPU %u: %s", vcpu->index, strerror(error));
        (void)munmap(stack, THREAD_SIGNAL_STACK);
        return STATUS_NO_MEMORY;
    }
    thread_set_name(thread, machine);
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
        (void)munmap(thread->signal_stack, THREAD_SIGNAL_STACK);
    }
    threads->count = 0;
    return true;
}
