/*
 * Signals as events. The ones that a user or a supervisor sends are blocked in every thread and
 * read by the event loop; what remains keeps its default action, but the terminal is restored first.
 */
#ifndef LODGE_HOST_SIGNALS_H
#define LODGE_HOST_SIGNALS_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "base/status.h"
#include "host/loop.h"

struct host_signals {
    struct loop_source source;
    void (*ending)(struct host_signals *signals, int signal); /* asked to end: SIGTERM, SIGINT, SIGHUP, SIGQUIT... */
    void (*report)(struct host_signals *signals);             /* SIGUSR1 */
    void (*resumed)(struct host_signals *signals);            /* after SIGTSTP or SIGSTOP, back by SIGCONT */
    void (*resized)(struct host_signals *signals);            /* SIGWINCH: the terminal's size has changed */
};

/*
 * Blocks the event signals in this thread and those it will start, ignores SIGPIPE, and lets every
 * other deadly signal restore the terminal on its way. A signal that was ignored when the program
 * started (nohup) stays ignored. Children that end are buried: nobody else waits for any. Before the first thread and
 * before the terminal is raw; the four
 * callbacks are set, and run in the loop's thread.
 */
enum status host_signals_init(struct host_signals *signals, struct event_loop *loop) MUST_CHECK;

/* Accepts a zeroed one. The signals stay blocked: what comes now is too late to change the ending. */
void host_signals_destroy(struct host_signals *signals);

/* Is a signal waiting that asks to end? For a thread that waits for something unbounded. Any thread. */
bool host_signals_ending_waits(void);

/*
 * Waits for a thread to end, and interrupts the system calls that it waits in, again and again. It has been told to
 * end. Not by cancelling it, for which the C library would load another library.
 */
void host_signals_join(pthread_t thread);

/* End the process by this signal, as if it had not been caught: the parent sees the true reason. */
_Noreturn void host_signals_die(int signal);

#endif
