/*
 * Records of one size on their way to a file: a ring in memory, and a thread that turns them into lines
 * and writes them.
 */
#ifndef LODGE_HOST_RECORDER_H
#define LODGE_HOST_RECORDER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "port/lock.h"

enum { RECORDER_LINE = 512 };

struct host_recorder {
    /*
     * Writes the text of a record, at most RECORDER_LINE bytes, and answers their number. The writer's thread.
     * lost: so many are missing before this one; record NULL: they are missing at the end.
     */
    size_t (*format)(struct host_recorder *recorder, const void *record, uint64_t lost, char *text);

    /* The rest is its own. */
    const char *path; /* borrowed, for messages */
    int fd;
    size_t record_size;
    struct lock lock;
    uint8_t *ring;     /* of slots: the number lost before, and the record */
    uint32_t head;     /* next to be filled; under the lock */
    uint32_t tail;     /* next to be taken; under the lock, and a futex for who waits for room */
    uint64_t lost;     /* since the last record that found room; under the lock */
    uint64_t lost_all; /* under the lock */
    bool stalled;      /* the writer does not get on: nobody waits for it; under the lock */
    uint8_t *batch;    /* the writer's */
    char *text;
    size_t text_size;
    uint32_t posted; /* a futex for the writer */
    atomic_bool writer_sleeps, closing, broken, finished;
    pthread_t writer;
    bool open, started;
};

/*
 * Creates or empties the file at path ("-": standard error). format is set. Logs its errors: STATUS_IO,
 * STATUS_NO_MEMORY.
 */
enum status host_recorder_open(struct host_recorder *recorder, const char *path, size_t record_size) MUST_CHECK;

/* Starts the writer. Accepts a zeroed one. Logs STATUS_NO_MEMORY. After host_signals_init(). */
enum status host_recorder_start(struct host_recorder *recorder) MUST_CHECK;

/*
 * Room for one record, which the caller fills before host_recorder_commit(): they lie in the file in this order. If
 * there is none, the caller is held up for 0.1 s at most; NULL: it is lost, and counted. Any thread, any lock.
 */
void *host_recorder_begin(struct host_recorder *recorder);
void host_recorder_commit(struct host_recorder *recorder);

/*
 * Writes what is there; what comes now finds no room. A file that takes nothing (a pipe that nobody reads) is given up
 * after a second, or as soon as a signal asks to end. Logs how many records were lost. Accepts a zeroed one.
 */
void host_recorder_stop(struct host_recorder *recorder);

/* The same, and closes the file. Nobody calls begin any more. */
void host_recorder_close(struct host_recorder *recorder);

#endif
