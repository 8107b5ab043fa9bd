#include "backend/thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "port/log.h"

enum { THREAD_STACK = 256 * 1024 };

static void *thread_main(void *argument)
{
    struct backend_thread *thread = argument;

    (void)pthread_setname_np(pthread_self(), thread->name);
    bool refused = thread->enter && !thread->enter();
    thread->refused = refused;
    (void)sem_post(&thread->entered);
    return refused ? NULL : thread->run(thread->argument);
}

static void thread_wait_until_entered(struct backend_thread *thread)
{
    while (sem_wait(&thread->entered) != 0)
        continue; /* a signal */
}

/* SIGSYS is no signal from outside: what a thread is not allowed to do is told by its handler. */
static void block_signals(sigset_t *before)
{
    sigset_t signals;

    sigfillset(&signals);
    sigdelset(&signals, SIGSYS);
    pthread_sigmask(SIG_BLOCK, &signals, before);
}

int backend_thread_start(struct backend_thread *thread, const char *name, bool (*enter)(void),
                         void *(*run)(void *argument), void *argument)
{
    pthread_attr_t attributes;
    sigset_t before;

    *thread = (struct backend_thread){.name = name, .enter = enter, .run = run, .argument = argument};
    (void)sem_init(&thread->entered, 0, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    block_signals(&before);
    int error = pthread_create(&thread->thread, &attributes, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) {
        (void)sem_destroy(&thread->entered);
        return error;
    }
    thread->runs = true;
    thread_wait_until_entered(thread);
    if (!thread->refused)
        return 0;
    backend_thread_join(thread);
    return EACCES;
}

enum status backend_thread_need(struct backend_thread *thread, const char *name, const char *purpose,
                                bool (*enter)(void), void *(*run)(void *argument), void *argument)
{
    int error = backend_thread_start(thread, name, enter, run, argument);

    if (error == 0)
        return STATUS_OK;
    log_error("cannot start the thread %s: %s", purpose, strerror(error));
    return STATUS_NO_MEMORY;
}

void backend_thread_join(struct backend_thread *thread)
{
    if (!thread->runs)
        return;
    pthread_join(thread->thread, NULL);
    (void)sem_destroy(&thread->entered);
    thread->runs = false;
}
