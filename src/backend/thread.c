#include "backend/thread.h"

#include <signal.h>

enum { THREAD_STACK = 256 * 1024 };

int backend_thread_start(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument)
{
    pthread_attr_t attributes;
    sigset_t all, before;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0)
        (void)pthread_setname_np(*thread, name);
    return error;
}
