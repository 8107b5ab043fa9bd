/*
 * The event loop: one thread that waits for file descriptors and calls whoever asked.
 *
 * Threads: everything by the loop's thread (or before it runs), unless it says otherwise.
 */
#ifndef LODGE_HOST_LOOP_H
#define LODGE_HOST_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct event_loop;

/* Something to wait for. Embedded by whoever waits; must stay where it is until loop_remove(). */
struct loop_source {
    void (*ready)(struct loop_source *source); /* the loop's thread; the descriptor has input, or its far end is gone */
    struct event_loop *loop;                   /* NULL while not added */
    int fd;
};

struct event_loop {
    int epoll;
    bool stopping;
};

enum status loop_init(struct event_loop *loop) MUST_CHECK;
void loop_destroy(struct event_loop *loop); /* accepts a zeroed loop */

/* Returns after a callback has called loop_stop(). */
enum status loop_run(struct event_loop *loop) MUST_CHECK;
void loop_stop(struct event_loop *loop);

/* source->ready is set. STATUS_UNSUPPORTED, unlogged: the file is of a kind that is always ready (a plain file). */
enum status loop_add(struct event_loop *loop, struct loop_source *source, int fd) MUST_CHECK;
void loop_remove(struct loop_source *source); /* nothing happens if it is not added; the descriptor stays open */

/* How another thread gets the loop's attention. Owns its descriptor. */
struct loop_notice {
    struct loop_source source;
    void (*raised)(struct loop_notice *notice); /* the loop's thread; several raises may become one call */
};

enum status loop_notice_init(struct loop_notice *notice, struct event_loop *loop,
                             void (*raised)(struct loop_notice *notice)) MUST_CHECK;
void loop_notice_destroy(struct loop_notice *notice); /* accepts a zeroed one */

/* Any thread, any lock, async-signal-safe. */
void loop_notice_raise(struct loop_notice *notice);

#endif
