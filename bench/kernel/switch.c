/* Switching between processes and between threads that share one processor. */
#include "kernel/programs.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ROUND_TRIPS = 500,
    YIELDS = 1000,
};

enum turn { TURN_MAIN, TURN_OTHER, TURN_END };

static int to_child[2];
static int from_child[2];
static pid_t child;

static pthread_t other;
static atomic_int turn; /* enum turn: whose turn it is; also the futex word */

/* The other end of the ping-pong: sends every byte back until the pipe is closed. */
static _Noreturn void echo(void)
{
    char byte;

    (void)close(to_child[1]);
    while (read(to_child[0], &byte, 1) == 1 && write(from_child[1], &byte, 1) == 1) {
    }
    _exit(EXIT_SUCCESS);
}

static void setup_pipe(void)
{
    kernel_pin_to_one_processor();
    if (pipe(to_child) != 0 || pipe(from_child) != 0) {
        bench_die("pipe");
    }
    child = fork();
    if (child < 0) {
        bench_die("fork");
    }
    if (child == 0) {
        echo();
    }
    (void)close(to_child[0]);
    (void)close(from_child[1]);
}

static uint64_t iterate_pipe(void)
{
    uint64_t checksum = 0;

    for (int i = 0; i < ROUND_TRIPS; i++) {
        char byte = (char)i;

        if (write(to_child[1], &byte, 1) != 1 || read(from_child[0], &byte, 1) != 1) {
            bench_die("a byte was lost between two processes");
        }
        checksum = bench_mix(checksum, (unsigned char)byte);
    }
    return checksum;
}

static void teardown_pipe(void)
{
    (void)close(to_child[1]);
    (void)close(from_child[0]);
    if (waitpid(child, NULL, 0) != child) {
        bench_die("waitpid");
    }
}

static void start_other(void *(*run)(void *))
{
    kernel_pin_to_one_processor();
    atomic_store(&turn, TURN_MAIN);
    errno = pthread_create(&other, NULL, run, NULL);
    if (errno != 0) {
        bench_die("pthread_create");
    }
}

static void *yield_until_end(void *unused)
{
    while (atomic_load_explicit(&turn, memory_order_relaxed) != TURN_END) {
        (void)sched_yield();
    }
    return unused;
}

static void setup_yield(void)
{
    start_other(yield_until_end);
}

static uint64_t iterate_yield(void)
{
    uint64_t checksum = 0;

    for (int i = 0; i < YIELDS; i++) {
        checksum += (uint64_t)(sched_yield() == 0);
    }
    return checksum;
}

static void teardown_yield(void)
{
    atomic_store(&turn, TURN_END);
    (void)pthread_join(other, NULL);
}

/* Gives the turn away and wakes whoever waits for it. */
static void pass_turn(enum turn next)
{
    atomic_store(&turn, (int)next);
    (void)syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Sleeps while the turn is the other's; answers what it has become. */
static enum turn await_turn(enum turn others)
{
    int now;

    while ((now = atomic_load(&turn)) == (int)others) {
        (void)syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, (int)others, NULL, NULL, 0);
    }
    return (enum turn)now;
}

static void *answer_turns(void *unused)
{
    while (await_turn(TURN_MAIN) != TURN_END) {
        pass_turn(TURN_MAIN);
    }
    return unused;
}

static void setup_futex(void)
{
    start_other(answer_turns);
}

static uint64_t iterate_futex(void)
{
    uint64_t checksum = 0;

    for (int i = 0; i < ROUND_TRIPS; i++) {
        pass_turn(TURN_OTHER);
        checksum += (uint64_t)(await_turn(TURN_OTHER) == TURN_MAIN);
    }
    return checksum;
}

static void teardown_futex(void)
{
    pass_turn(TURN_END);
    (void)pthread_join(other, NULL);
}

const struct bench_program bench_pipe = {
    .name = "pipe",
    .summary = "a byte to another process and back through pipes",
    .iterations = 90,
    .operations = ROUND_TRIPS,
    .setup = setup_pipe,
    .iterate = iterate_pipe,
    .teardown = teardown_pipe,
};

const struct bench_program bench_yield = {
    .name = "yield",
    .summary = "sched_yield between two threads on one processor",
    .iterations = 100,
    .operations = YIELDS,
    .setup = setup_yield,
    .iterate = iterate_yield,
    .teardown = teardown_yield,
};

const struct bench_program bench_futex = {
    .name = "futex",
    .summary = "two threads on one processor that wake each other",
    .iterations = 110,
    .operations = ROUND_TRIPS,
    .setup = setup_futex,
    .iterate = iterate_futex,
    .teardown = teardown_futex,
};
