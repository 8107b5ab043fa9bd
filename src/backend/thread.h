/* Threads of the backends. */
#ifndef LODGE_BACKEND_THREAD_H
#define LODGE_BACKEND_THREAD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

#include "base/status.h"

/* Zeroed: not started. Stays where it is until it was joined. */
struct backend_thread {
    pthread_t thread;
    bool runs;
    bool refused;        /* by enter() */
    sem_t entered;       /* posted after enter() */
    const char *name;    /* borrowed */
    bool (*enter)(void); /* NULL: nothing to enter */
    void *(*run)(void *argument);
    void *argument;
};

/*
 * Starts a thread that gets no signals, which are the main thread's, with a stack of 256 KiB. The name is for ps(1), up
 * to 15 characters. enter() is the first thing that it does; where that answers false the thread ends. When the call
 * returns, enter() is over. 0, or an errno (not logged); EACCES: enter() has refused. Any thread.
 */
int backend_thread_start(struct backend_thread *thread, const char *name, bool (*enter)(void),
                         void *(*run)(void *argument), void *argument) MUST_CHECK;

/*
 * The same with what the thread is for, "of the user network", logged if it does not start, which is STATUS_NO_MEMORY.
 */
enum status backend_thread_need(struct backend_thread *thread, const char *name, const char *purpose,
                                bool (*enter)(void), void *(*run)(void *argument), void *argument) MUST_CHECK;

/* Waits for its end, which the caller has asked it for. Nothing if it does not run. */
void backend_thread_join(struct backend_thread *thread);

#endif
