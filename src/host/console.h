/*
 * The machine's serial console on this process's stdin and stdout.
 *
 * Output is queued by the device and written by a thread of its own, so that a slow reader does
 * not hold the machine; when the queue is full the writing vCPU waits, so nothing is lost. Input is
 * read only as fast as the device takes it.
 */
#ifndef LODGE_HOST_CONSOLE_H
#define LODGE_HOST_CONSOLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "host/loop.h"
#include "port/lock.h"
#include "port/stream.h"

enum { CONSOLE_QUEUE = 1 << 16, CONSOLE_INPUT = 4096, CONSOLE_LEAVE_KEY = 0x1d /* Ctrl-] */ };

struct host_console {
    struct stream stream; /* what the device sees */
    struct event_loop *loop;
    struct lock *device_lock;                    /* the machine lock: stream.receive is called under it */
    void (*leave)(struct host_console *console); /* Ctrl-] on a terminal; the loop's thread */
    bool is_terminal;

    struct loop_source input;
    struct loop_notice room;      /* the device drained, or something new to offer */
    uint8_t typed[CONSOLE_INPUT]; /* read, and not yet taken by the device; the loop's thread */
    size_t typed_start, typed_end;
    bool input_ended;
    bool input_always_ready; /* stdin is a file, which cannot be waited for */

    pthread_t writer;
    bool writer_runs;
    uint32_t head, tail; /* bytes ever queued, ever written; mod 2^32. tail is a futex word */
    uint32_t posted;     /* futex word: counts what the writer must look at */
    atomic_bool writer_sleeps;
    atomic_bool closing; /* the writer leaves when the queue is empty */
    atomic_bool hurry;   /* nobody waits for the reader any more */
    atomic_bool broken;  /* stdout takes nothing any more; the rest is dropped */
    uint8_t queue[CONSOLE_QUEUE];
};

/*
 * stdin is read once the loop runs and a device is attached. leave may be NULL. The terminal, if there is
 * one, is opened but not yet raw.
 */
enum status host_console_init(struct host_console *console, struct event_loop *loop,
                              void (*leave)(struct host_console *console)) MUST_CHECK;

/* Starts the thread that writes; before a device can have filled the queue. */
enum status host_console_start(struct host_console *console) MUST_CHECK;

/*
 * Writes what is queued, for as long as the reader takes it or until a signal asks to end, and
 * restores the terminal. Accepts a zeroed console. No device writes any more.
 */
void host_console_destroy(struct host_console *console);

/* The program was told to end: from now on a reader that does not read makes output be dropped. Any thread. */
void host_console_hurry(struct host_console *console);

/* A device has been connected to the stream, or (NULL) is about to go. The loop's thread. */
void host_console_attach(struct host_console *console, struct lock *device_lock);

/* The terminal is ours (again): raw mode and keys; or it belongs to another job now. The loop's thread. */
void host_console_refresh(struct host_console *console);

#endif
