/* Threads of the backends. */
#ifndef LODGE_BACKEND_THREAD_H
#define LODGE_BACKEND_THREAD_H

#include <pthread.h>

/*
 * Starts a thread that gets no signals, which are the main thread's, with a stack of 256 KiB. The name is for ps(1), up
 * to 15 characters. 0, or an errno (not logged). Any thread.
 */
int backend_thread_start(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument);

#endif
