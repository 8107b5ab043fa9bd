/* The life of processes and threads, and signals to oneself. */
#include "kernel/programs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FORKS = 20,
    EXECS = 10,
    SIGNALS = 1000,
    THREADS = 50,
};

static volatile sig_atomic_t caught;

/* Starts a child that runs start() and waits until it has ended with success. */
static void run_child(void (*start)(void))
{
    pid_t child = fork();
    int status = 0;

    if (child < 0) {
        bench_die("fork");
    }
    if (child == 0) {
        start();
        _exit(EXIT_FAILURE);
    }
    if (waitpid(child, &status, 0) != child || status != 0) {
        errno = 0;
        bench_die("a child did not end with success");
    }
}

static void start_exit(void)
{
    _exit(EXIT_SUCCESS);
}

static void start_exec(void)
{
    static char name[] = "bench-kernel";
    static char argument[] = "exit";
    char *const argv[] = {name, argument, NULL};

    (void)execv("/proc/self/exe", argv);
}

static uint64_t iterate_fork(void)
{
    for (int i = 0; i < FORKS; i++) {
        run_child(start_exit);
    }
    return FORKS;
}

static uint64_t iterate_exec(void)
{
    for (int i = 0; i < EXECS; i++) {
        run_child(start_exec);
    }
    return EXECS;
}

static void catch (int number)
{
    (void)number;
    caught++;
}

static uint64_t iterate_signal(void)
{
    struct sigaction action = {.sa_handler = catch};

    caught = 0;
    for (int i = 0; i < SIGNALS; i++) {
        if (sigaction(SIGUSR1, &action, NULL) != 0 || kill(getpid(), SIGUSR1) != 0) {
            bench_die("a signal to oneself");
        }
    }
    return (uint64_t)caught;
}

static void *answer_argument(void *argument)
{
    return argument;
}

static uint64_t iterate_thread(void)
{
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;

        errno = pthread_create(&thread, NULL, answer_argument, NULL);
        if (errno != 0 || pthread_join(thread, NULL) != 0) {
            bench_die("a thread");
        }
    }
    return THREADS;
}

const struct bench_program bench_fork = {
    .name = "fork",
    .summary = "fork, exit, wait",
    .iterations = 80,
    .operations = FORKS,
    .iterate = iterate_fork,
};

const struct bench_program bench_exec = {
    .name = "exec",
    .summary = "fork, exec of a static program, exit, wait",
    .iterations = 42,
    .operations = EXECS,
    .iterate = iterate_exec,
};

const struct bench_program bench_signal = {
    .name = "signal",
    .summary = "install a handler, signal oneself, return from it",
    .iterations = 85,
    .operations = SIGNALS,
    .iterate = iterate_signal,
};

const struct bench_program bench_thread = {
    .name = "thread",
    .summary = "create and join a thread",
    .iterations = 240,
    .operations = THREADS,
    .setup = kernel_pin_to_one_processor,
    .iterate = iterate_thread,
};
