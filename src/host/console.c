#include "host/console.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/futex.h"
#include "host/sandbox.h"
#include "host/signals.h"
#include "host/tty.h"
#include "port/log.h"

/* How often a wait looks whether somebody wants the program to end. */
static const struct timespec console_patience = {.tv_nsec = 20 * 1000 * 1000};

/*
 * Devices write byte by byte. The writer gives them this long to bring more before it writes, which
 * nobody sees and saves a system call and two context switches for nearly every byte.
 */
static const struct timespec console_gathering = {.tv_nsec = 500 * 1000};

enum {
    CONSOLE_WRITER_STACK = 64 * 1024,
    CONSOLE_HURRY_ROUNDS = 25,    /* of patience, for the rest of the output after a signal */
    CONSOLE_TERMINAL_ROUNDS = 10, /* then the terminal's Ctrl-C works again */
    CONSOLE_ENOUGH = 1024,        /* bytes that are written without waiting for more */
};

static uint32_t console_load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/*
 * Count first, look and wake after: a writer that read the old count does not fall asleep over it, and
 * one that does not sleep costs no system call.
 */
static void console_post(struct host_console *console)
{
    __atomic_fetch_add(&console->posted, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&console->writer_sleeps))
        futex_wake(&console->posted, 1);
}

/* --- output: one producer at a time (the machine lock), one consumer (the writer) --- */

/* Room for at least one byte. False: the machine is asked to end, or stdout is gone. */
static bool console_wait_room(struct host_console *console)
{
    for (;;) {
        uint32_t tail = console_load(&console->tail);

        if (atomic_load(&console->broken))
            return false;
        if (console->head - tail < CONSOLE_QUEUE)
            return true;
        if (atomic_load(&console->hurry) || host_signals_ending_waits())
            return false;
        futex_wait(&console->tail, tail, &console_patience);
    }
}

/* Any thread, with the machine lock held. */
static void console_write(struct stream *stream, const void *bytes, size_t size)
{
    struct host_console *console = CONTAINER_OF(stream, struct host_console, stream);
    const uint8_t *from = bytes;

    while (size > 0 && console_wait_room(console)) {
        uint32_t at = console->head % CONSOLE_QUEUE;
        size_t room = CONSOLE_QUEUE - (console->head - console_load(&console->tail));
        size_t part = size < room ? size : room;

        if (part > CONSOLE_QUEUE - at)
            part = CONSOLE_QUEUE - at;
        memcpy(console->queue + at, from, part);
        __atomic_store_n(&console->head, console->head + (uint32_t)part, __ATOMIC_RELEASE);
        console_post(console);
        from += part;
        size -= part;
    }
}

static void console_stdout_broke(struct host_console *console)
{
    log_warning("stdout takes no more output (%s); the machine goes on without a console", strerror(errno));
    atomic_store(&console->broken, true);
}

/* One write of what is queued without a break. Writer thread. */
static void console_write_some(struct host_console *console, size_t queued)
{
    uint32_t at = console->tail % CONSOLE_QUEUE;
    size_t size = queued < CONSOLE_QUEUE - at ? queued : CONSOLE_QUEUE - at;
    ssize_t written = (ssize_t)size;

    if (!atomic_load(&console->broken))
        written = write(STDOUT_FILENO, console->queue + at, size);
    if (written > 0) {
        __atomic_store_n(&console->tail, console->tail + (uint32_t)written, __ATOMIC_RELEASE);
        futex_wake(&console->tail, 1);
    } else if (written < 0 && errno == EAGAIN) {
        nanosleep(&console_patience, NULL); /* somebody made stdout non-blocking */
    } else if (written < 0 && errno != EINTR) {
        console_stdout_broke(console);
    }
}

static void *console_writer(void *argument)
{
    struct host_console *console = argument;

    (void)sandbox_enter_thread(SANDBOX_WRITER); /* it has the main thread's list at least */
    for (;;) {
        uint32_t posted = console_load(&console->posted);
        uint32_t queued = console_load(&console->head) - console->tail;

        if (queued == 0 && atomic_load(&console->closing))
            return NULL;
        if (queued == 0) {
            atomic_store(&console->writer_sleeps, true);
            futex_wait(&console->posted, posted, NULL);
            atomic_store(&console->writer_sleeps, false);
            continue;
        }
        if (queued < CONSOLE_ENOUGH && !atomic_load(&console->closing)) {
            nanosleep(&console_gathering, NULL);
            queued = console_load(&console->head) - console->tail;
        }
        console_write_some(console, queued);
    }
}

enum status host_console_start(struct host_console *console)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, CONSOLE_WRITER_STACK);
    int error = pthread_create(&console->writer, &attributes, console_writer, console);
    pthread_attr_destroy(&attributes);
    if (error) {
        log_error("cannot start the console thread: %s", strerror(error));
        return STATUS_NO_MEMORY;
    }
    console->writer_runs = true;
    return STATUS_OK;
}

/*
 * The writer may sit in a write() that nobody will ever read. It is waited for, since output must
 * not be lost, unless a signal says that it no longer matters. Then it is interrupted and drops the rest.
 */
static void console_finish_writer(struct host_console *console)
{
    atomic_store(&console->closing, true);
    console_post(console);
    for (int round = 0; console_load(&console->tail) != console->head; round++) {
        if (round == CONSOLE_TERMINAL_ROUNDS)
            host_tty_restore();
        if (host_signals_ending_waits() || (atomic_load(&console->hurry) && round >= CONSOLE_HURRY_ROUNDS)) {
            atomic_store(&console->broken, true);
            break;
        }
        uint32_t tail = console_load(&console->tail);
        if (tail != console->head)
            futex_wait(&console->tail, tail, &console_patience);
    }
    host_signals_join(console->writer);
}

void host_console_hurry(struct host_console *console)
{
    atomic_store(&console->hurry, true);
}

/* --- input: the loop's thread --- */

/* Waits for keys while there is room for them, a device to take them, and the terminal is ours. */
static void console_want_input(struct host_console *console)
{
    bool wanted = console->device_lock && !console->input_ended && console->typed_start == console->typed_end &&
                  (!console->is_terminal || host_tty_foreground());

    if (!wanted) {
        loop_remove(&console->input);
        return;
    }
    if (console->input_always_ready) {
        loop_notice_raise(&console->room);
        return;
    }
    if (console->input.loop)
        return;
    enum status status = loop_add(console->loop, &console->input, STDIN_FILENO);
    if (status == STATUS_UNSUPPORTED) {
        console->input_always_ready = true;
        loop_notice_raise(&console->room);
    } else if (status != STATUS_OK) {
        console->input_ended = true;
    }
}

static void console_offer(struct host_console *console)
{
    struct stream *stream = &console->stream;

    if (console->typed_start == console->typed_end || !console->device_lock)
        return;
    lock_acquire(console->device_lock);
    size_t taken = stream->receive ? stream->receive(stream->device, console->typed + console->typed_start,
                                                     console->typed_end - console->typed_start)
                                   : 0;
    lock_release(console->device_lock);
    console->typed_start += taken;
}

/* The key that leaves, and only on a terminal: in a pipe it is a byte like any other. */
static bool console_left(struct host_console *console)
{
    const uint8_t *key;

    if (!console->is_terminal)
        return false;
    key = memchr(console->typed, CONSOLE_LEAVE_KEY, console->typed_end);
    if (!key)
        return false;
    console->typed_end = (size_t)(key - console->typed);
    console->input_ended = true;
    return true;
}

static void console_read(struct host_console *console)
{
    ssize_t size = read(STDIN_FILENO, console->typed, sizeof(console->typed));

    console->typed_start = console->typed_end = 0;
    if (size < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (size <= 0) {
        console->input_ended = true; /* the machine goes on: it may have work to do */
        return;
    }
    console->typed_end = (size_t)size;
    if (console_left(console) && console->leave)
        console->leave(console);
}

static void console_input_ready(struct loop_source *source)
{
    struct host_console *console = CONTAINER_OF(source, struct host_console, input);

    console_read(console);
    console_offer(console);
    console_want_input(console);
}

static void console_room(struct loop_notice *notice)
{
    struct host_console *console = CONTAINER_OF(notice, struct host_console, room);
    bool empty = console->typed_start == console->typed_end;

    if (empty && console->input_always_ready && console->device_lock && !console->input_ended)
        console_read(console);
    console_offer(console);
    console_want_input(console);
}

/* By the device, with the machine lock held, from any thread. */
static void console_drained(struct stream *stream)
{
    struct host_console *console = CONTAINER_OF(stream, struct host_console, stream);

    loop_notice_raise(&console->room);
}

/* --- the whole --- */

enum status host_console_init(struct host_console *console, struct event_loop *loop,
                              void (*leave)(struct host_console *console))
{
    memset(console, 0, sizeof(*console));
    console->stream.write = console_write;
    console->stream.drained = console_drained;
    console->loop = loop;
    console->leave = leave;
    console->input.ready = console_input_ready;
    console->is_terminal = host_tty_open(STDIN_FILENO);

    return loop_notice_init(&console->room, loop, console_room);
}

void host_console_destroy(struct host_console *console)
{
    loop_remove(&console->input);
    if (console->writer_runs)
        console_finish_writer(console);
    host_tty_restore();
    loop_notice_destroy(&console->room);
    console->writer_runs = false;
}

void host_console_attach(struct host_console *console, struct lock *device_lock)
{
    console->device_lock = device_lock;
    host_console_refresh(console);
}

void host_console_refresh(struct host_console *console)
{
    if (console->is_terminal && console->device_lock)
        host_tty_raw();
    console_want_input(console);
}
