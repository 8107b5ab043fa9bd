#include "host/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host/clock.h"
#include "host/futex.h"
#include "host/sandbox.h"
#include "host/signals.h"
#include "port/log.h"

enum {
    RECORDER_SLOTS = 1 << 14,
    RECORDER_BATCH = 256,      /* slots that the writer takes at a time */
    RECORDER_TEXT = 64 * 1024, /* bytes in one write() */
    RECORDER_STACK = 64 * 1024,
    RECORDER_CLOSE_ROUNDS = 5000, /* of a millisecond without progress: a busy disk takes seconds */
};

static const struct timespec recorder_patience = {.tv_nsec = 20 * 1000 * 1000};
static const struct timespec recorder_hold_up = {.tv_nsec = 100 * 1000 * 1000};

static const struct timespec recorder_closing = {.tv_nsec = 1000 * 1000};

/* What comes within this time goes into one write(), and its producers need not wake anybody. */
static const struct timespec recorder_gathering = {.tv_nsec = 2 * 1000 * 1000};

static size_t slot_size(const struct host_recorder *recorder)
{
    return sizeof(uint64_t) + recorder->record_size;
}

static uint8_t *slot_at(const struct host_recorder *recorder, uint32_t number)
{
    return recorder->ring + number % RECORDER_SLOTS * slot_size(recorder);
}

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* --- producers --- */

/* As the console does it: count first, look and wake after. */
static void recorder_post(struct host_recorder *recorder)
{
    __atomic_fetch_add(&recorder->posted, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&recorder->writer_sleeps))
        futex_wake(&recorder->posted, 1);
}

/*
 * Lock held, given up while waiting. The first who waits in vain says so, and the others do not try. A
 * wake-up may be meant for those who waited for what is over: only time tells that nothing happens.
 */
static void recorder_wait_room(struct host_recorder *recorder)
{
    uint64_t since = 0;

    while (recorder->head - recorder->tail == RECORDER_SLOTS && !recorder->stalled) {
        uint32_t tail = recorder->tail;

        if (since == 0)
            since = host_monotonic_ns();
        lock_release(&recorder->lock);
        recorder_post(recorder);
        futex_wait(&recorder->tail, tail, &recorder_hold_up);
        lock_acquire(&recorder->lock);
        if (recorder->tail != tail)
            since = 0;
        else
            recorder->stalled = host_monotonic_ns() - since >= (uint64_t)recorder_hold_up.tv_nsec;
    }
}

static bool recorder_refuses(const struct host_recorder *recorder)
{
    return atomic_load(&recorder->broken) || atomic_load(&recorder->closing);
}

void *host_recorder_begin(struct host_recorder *recorder)
{
    uint8_t *slot;

    lock_acquire(&recorder->lock);
    if (!recorder_refuses(recorder))
        recorder_wait_room(recorder);
    if (recorder_refuses(recorder) || recorder->head - recorder->tail == RECORDER_SLOTS) {
        recorder->lost++;
        recorder->lost_all++;
        lock_release(&recorder->lock);
        return NULL;
    }
    slot = slot_at(recorder, recorder->head);
    memcpy(slot, &recorder->lost, sizeof(recorder->lost));
    recorder->lost = 0;
    return slot + sizeof(recorder->lost);
}

void host_recorder_commit(struct host_recorder *recorder)
{
    recorder->head++;
    lock_release(&recorder->lock);
    recorder_post(recorder);
}

/* --- the writer --- */

static void recorder_break(struct host_recorder *recorder)
{
    log_error("cannot write the trace %s: %s; what follows is lost", recorder->path, strerror(errno));
    atomic_store(&recorder->broken, true);
}

static void recorder_write(struct host_recorder *recorder)
{
    size_t done = 0;

    while (done < recorder->text_size && !atomic_load(&recorder->broken)) {
        ssize_t written = write(recorder->fd, recorder->text + done, recorder->text_size - done);

        if (written >= 0)
            done += (size_t)written;
        else if (errno == EAGAIN)
            nanosleep(&recorder_patience, NULL); /* somebody made stderr non-blocking */
        else if (errno != EINTR)
            recorder_break(recorder);
    }
    recorder->text_size = 0;
}

static void recorder_format(struct host_recorder *recorder, const void *record, uint64_t lost)
{
    if (recorder->text_size + RECORDER_LINE > RECORDER_TEXT)
        recorder_write(recorder);
    recorder->text_size += recorder->format(recorder, record, lost, recorder->text + recorder->text_size);
}

/* How many slots were taken into the batch. */
static uint32_t recorder_take(struct host_recorder *recorder)
{
    uint32_t count;

    lock_acquire(&recorder->lock);
    count = recorder->head - recorder->tail;
    if (count > RECORDER_BATCH)
        count = RECORDER_BATCH;
    for (uint32_t i = 0; i < count; i++)
        memcpy(recorder->batch + i * slot_size(recorder), slot_at(recorder, recorder->tail + i), slot_size(recorder));
    __atomic_store_n(&recorder->tail, recorder->tail + count, __ATOMIC_RELEASE);
    recorder->stalled = recorder->stalled && count == 0;
    lock_release(&recorder->lock);
    if (count)
        futex_wake(&recorder->tail, INT_MAX);
    return count;
}

/* Everything that is in the ring. */
static void recorder_drain(struct host_recorder *recorder)
{
    for (uint32_t count = recorder_take(recorder); count != 0; count = recorder_take(recorder)) {
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *slot = recorder->batch + i * slot_size(recorder);
            uint64_t lost;

            memcpy(&lost, slot, sizeof(lost));
            recorder_format(recorder, slot + sizeof(lost), lost);
        }
    }
    recorder_write(recorder);
}

static void recorder_sleep(struct host_recorder *recorder, uint32_t posted)
{
    atomic_store(&recorder->writer_sleeps, true);
    futex_wait(&recorder->posted, posted, NULL);
    atomic_store(&recorder->writer_sleeps, false);
    if (!atomic_load(&recorder->closing))
        nanosleep(&recorder_gathering, NULL);
}

static void *recorder_writer(void *argument)
{
    struct host_recorder *recorder = argument;

    (void)pthread_setname_np(pthread_self(), "lodge/trace");
    (void)sandbox_enter_thread(SANDBOX_WRITER); /* it has the main thread's list at least */
    for (;;) {
        uint32_t posted = load(&recorder->posted);
        bool closing = atomic_load(&recorder->closing);

        recorder_drain(recorder);
        if (closing)
            break;
        if (posted == load(&recorder->posted))
            recorder_sleep(recorder, posted);
        else
            nanosleep(&recorder_gathering, NULL);
    }
    if (recorder->lost)
        recorder_format(recorder, NULL, recorder->lost);
    recorder_write(recorder);
    atomic_store(&recorder->finished, true);
    return NULL;
}

/* --- the whole --- */

static bool recorder_open_file(struct host_recorder *recorder, const char *path)
{
    if (strcmp(path, "-") == 0) {
        recorder->path = "on standard error";
        recorder->fd = STDERR_FILENO;
        return true;
    }
    recorder->path = path;
    recorder->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
    return recorder->fd >= 0;
}

static void recorder_release(struct host_recorder *recorder)
{
    if (recorder->fd > STDERR_FILENO)
        close(recorder->fd);
    free(recorder->ring);
    free(recorder->batch);
    free(recorder->text);
    recorder->open = false;
}

enum status host_recorder_start(struct host_recorder *recorder)
{
    pthread_attr_t attributes;
    int error;

    if (!recorder->open)
        return STATUS_OK;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, RECORDER_STACK);
    error = pthread_create(&recorder->writer, &attributes, recorder_writer, recorder);
    pthread_attr_destroy(&attributes);
    recorder->started = error == 0;
    if (recorder->started)
        return STATUS_OK;
    log_error("cannot start the thread of the trace: %s", strerror(error));
    return STATUS_NO_MEMORY;
}

enum status host_recorder_open(struct host_recorder *recorder, const char *path, size_t record_size)
{
    recorder->record_size = record_size;
    if (!recorder_open_file(recorder, path)) {
        log_error("cannot write the trace %s: %s", path, strerror(errno));
        return STATUS_IO;
    }
    recorder->ring = calloc(RECORDER_SLOTS, slot_size(recorder));
    recorder->batch = calloc(RECORDER_BATCH, slot_size(recorder));
    recorder->text = malloc(RECORDER_TEXT);
    if (!recorder->ring || !recorder->batch || !recorder->text) {
        log_error("no memory for the trace");
        recorder_release(recorder);
        return STATUS_NO_MEMORY;
    }
    recorder->open = true;
    return STATUS_OK;
}

/* The writer may sit in a write() that nobody will ever read. False: it was interrupted there. */
static bool recorder_finish_writer(struct host_recorder *recorder)
{
    uint32_t tail = load(&recorder->tail);
    bool written = true;

    atomic_store(&recorder->closing, true);
    recorder_post(recorder);
    for (int round = 0; !atomic_load(&recorder->finished); round++) {
        if (load(&recorder->tail) != tail)
            round = 0;
        tail = load(&recorder->tail);
        if (host_signals_ending_waits() || round >= RECORDER_CLOSE_ROUNDS) {
            atomic_store(&recorder->broken, true);
            written = false;
            break;
        }
        nanosleep(&recorder_closing, NULL);
    }
    host_signals_join(recorder->writer);
    return written;
}

void host_recorder_stop(struct host_recorder *recorder)
{
    if (!recorder->started || atomic_load(&recorder->closing))
        return;
    bool written = recorder_finish_writer(recorder);
    if (recorder->lost_all)
        log_warning("trace: %" PRIu64 " events are missing, the writing did not keep up", recorder->lost_all);
    if (!written)
        log_warning("trace: %s takes no more; its end is missing", recorder->path);
}

void host_recorder_close(struct host_recorder *recorder)
{
    host_recorder_stop(recorder);
    if (recorder->open)
        recorder_release(recorder);
}
