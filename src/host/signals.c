#include "host/signals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/tty.h"
#include "port/log.h"

/* Asking to end: their default action is to kill, and no other meaning is given to them here. */
static const int ending_signals[] = {
    SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGALRM, SIGXCPU, SIGUSR2, SIGVTALRM, SIGPROF, SIGIO, SIGPWR,
};

static const int event_signals[] = {SIGUSR1, SIGTSTP, SIGCONT, SIGCHLD, SIGWINCH};

static bool signal_is_ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/*
 * A blocked signal is queued even if it is ignored, so the ignored ones must be left out here: the
 * kernel would otherwise hand us the SIGHUP that nohup was to keep away.
 */
static void signals_ending_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_LENGTH(ending_signals); i++)
        if (!signal_is_ignored(ending_signals[i]))
            sigaddset(set, ending_signals[i]);
}

static void signals_event_set(sigset_t *set)
{
    signals_ending_set(set);
    for (size_t i = 0; i < ARRAY_LENGTH(event_signals); i++)
        if (!signal_is_ignored(event_signals[i]))
            sigaddset(set, event_signals[i]);
}

_Noreturn void host_signals_die(int number)
{
    sigset_t only;

    host_tty_restore();
    (void)signal(number, SIG_DFL);
    sigemptyset(&only);
    sigaddset(&only, number);
    (void)pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    (void)raise(number);
    _exit(128 + number);
}

/* Restores the terminal, then does what the signal would have done. */
static void signals_deadly(int number)
{
    host_signals_die(number);
}

static void signals_catch_deadly(void)
{
    struct sigaction action = {.sa_handler = signals_deadly, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigset_t events;

    signals_event_set(&events);
    sigfillset(&action.sa_mask);
    for (int number = 1; number <= SIGRTMAX; number++) {
        struct sigaction current;
        bool harmless = number == SIGCHLD || number == SIGCONT || number == SIGURG || number == SIGWINCH ||
                        number == SIGPIPE || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;

        if (harmless || sigismember(&events, number) == 1)
            continue;
        if (sigaction(number, NULL, &current) == 0 && current.sa_handler == SIG_DFL)
            (void)sigaction(number, &action, NULL); /* SIGKILL and SIGSTOP refuse, as they must */
    }
}

static void signals_prepare(void)
{
    sigset_t events;

    (void)signal(SIGPIPE, SIG_IGN); /* a closed stdout is an error of write(), not a death */
    (void)signal(SIGTTOU, SIG_IGN); /* a log line from the background must not stop the machine */
    signals_catch_deadly();
    signals_event_set(&events);
    (void)pthread_sigmask(SIG_BLOCK, &events, NULL);
}

/* The shell that takes over must find its terminal as it was; SIGCONT makes it raw again. */
static void signals_stop_process(void)
{
    host_tty_restore();
    (void)kill(getpid(), SIGSTOP);
}

/* Children that nobody waits for: the probe for KVM takes a while to die, or for ever. */
static void signals_bury_children(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

static void signals_ready(struct loop_source *source)
{
    struct host_signals *signals = CONTAINER_OF(source, struct host_signals, source);
    struct signalfd_siginfo info;

    if (read(source->fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGUSR1)
        signals->report(signals);
    else if (info.ssi_signo == SIGTSTP)
        signals_stop_process();
    else if (info.ssi_signo == SIGCONT)
        signals->resumed(signals);
    else if (info.ssi_signo == SIGCHLD)
        signals_bury_children();
    else if (info.ssi_signo == SIGWINCH)
        signals->resized(signals);
    else
        signals->ending(signals, (int)info.ssi_signo);
}

enum status host_signals_init(struct host_signals *signals, struct event_loop *loop)
{
    sigset_t events;

    signals_prepare();
    signals_event_set(&events);
    int fd = signalfd(-1, &events, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        log_error("cannot receive signals: %s", strerror(errno));
        return STATUS_NO_MEMORY;
    }
    signals_bury_children(); /* of those that died before, no signal comes any more */
    signals->source = (struct loop_source){.ready = signals_ready};
    enum status status = loop_add(loop, &signals->source, fd);
    if (status != STATUS_OK)
        close(fd);
    return status;
}

void host_signals_destroy(struct host_signals *signals)
{
    if (!signals->source.loop)
        return;
    loop_remove(&signals->source);
    close(signals->source.fd);
}

static void signals_interrupted(int number)
{
    (void)number; /* a system call has ended with EINTR */
}

void host_signals_join(pthread_t thread)
{
    static const struct timespec patience = {.tv_nsec = 1000 * 1000};
    const struct sigaction action = {.sa_handler = signals_interrupted};

    (void)sigaction(SIGURG, &action, NULL); /* whose default is to be ignored */
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        (void)pthread_kill(thread, SIGURG);
        nanosleep(&patience, NULL);
    }
}

bool host_signals_ending_waits(void)
{
    sigset_t ending, waiting, both;

    signals_ending_set(&ending);
    return sigpending(&waiting) == 0 && sigandset(&both, &ending, &waiting) == 0 && !sigisemptyset(&both);
}
