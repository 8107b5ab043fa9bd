/* Records on their way to a file that is fast, slow, stuck or full. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "host/recorder.h"

struct record {
    uint32_t thread, number;
};

enum { THREADS = 4, EACH = 20000, MANY = 200000 };

static char path[64];

static size_t format(struct host_recorder *recorder, const void *bytes, uint64_t lost, char *text)
{
    const struct record *record = bytes;
    size_t used = 0;

    (void)recorder;
    if (lost)
        used = (size_t)sprintf(text, "lost %llu\n", (unsigned long long)lost);
    if (record)
        used += (size_t)sprintf(text + used, "%u %u\n", record->thread, record->number);
    return used;
}

static struct host_recorder *open_recorder(const char *where)
{
    struct host_recorder *recorder = calloc(1, sizeof(*recorder));

    recorder->format = format;
    assert_int_equal(host_recorder_open(recorder, where, sizeof(struct record)), STATUS_OK);
    assert_int_equal(host_recorder_start(recorder), STATUS_OK);
    return recorder;
}

static bool put(struct host_recorder *recorder, uint32_t thread, uint32_t number)
{
    struct record *record = host_recorder_begin(recorder);

    if (!record)
        return false;
    *record = (struct record){thread, number};
    host_recorder_commit(recorder);
    return true;
}

struct producer {
    struct host_recorder *recorder;
    uint32_t thread;
};

static void *produce(void *argument)
{
    const struct producer *producer = argument;

    for (uint32_t i = 0; i < EACH; i++)
        (void)put(producer->recorder, producer->thread, i);
    return NULL;
}

/* Reads the lines: each thread's numbers must come in order. Returns records plus those said to be lost. */
static uint64_t read_lines(FILE *file, uint64_t *lost)
{
    uint64_t next[THREADS] = {0}, lines = 0;
    char line[64];

    *lost = 0;
    while (fgets(line, sizeof(line), file)) {
        unsigned long long gone;
        unsigned thread, number;

        if (sscanf(line, "lost %llu\n", &gone) == 1) {
            *lost += gone;
            continue;
        }
        assert_int_equal(sscanf(line, "%u %u\n", &thread, &number), 2);
        assert_in_range(thread, 0, THREADS - 1);
        assert_true(number >= next[thread]);
        next[thread] = number + 1ull;
        lines++;
    }
    return lines + *lost;
}

static void *close_it(void *recorder)
{
    host_recorder_close(recorder);
    return NULL;
}

static int set_up(void **state)
{
    int fd;

    (void)state;
    strcpy(path, "/tmp/lodge-recorder-XXXXXX");
    fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void every_record_arrives_in_order(void **state)
{
    struct host_recorder *recorder = open_recorder(path);
    struct producer producers[THREADS];
    pthread_t threads[THREADS];
    uint64_t lost;
    FILE *file;

    (void)state;
    for (uint32_t i = 0; i < THREADS; i++) {
        producers[i] = (struct producer){recorder, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    host_recorder_close(recorder);
    free(recorder);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(read_lines(file, &lost), THREADS * EACH);
    fclose(file);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A FIFO whose reader sleeps: the producer goes on, and the count of what is missing is right. */
static void a_stuck_file_holds_nobody_up(void **state)
{
    uint64_t lost, put_count = 0, start;
    struct host_recorder *recorder;
    pthread_t closer;
    int reader;
    FILE *file;

    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    reader = open(path, O_RDONLY | O_NONBLOCK);
    recorder = open_recorder(path);
    start = now_ms();
    for (uint32_t i = 0; i < MANY; i++)
        put_count += put(recorder, 0, i);
    assert_in_range(now_ms() - start, 0, 5000);
    assert_in_range(put_count, 1, MANY - 1);
    assert_int_equal(recorder->lost_all, MANY - put_count);

    /* The reader wakes up; what was kept comes, and then it goes on. */
    file = fdopen(reader, "r");
    assert_int_equal(fcntl(reader, F_SETFL, 0), 0);
    assert_int_equal(pthread_create(&closer, NULL, close_it, recorder), 0);
    assert_int_equal(read_lines(file, &lost), MANY);
    assert_int_equal(lost, MANY - put_count);
    pthread_join(closer, NULL);
    fclose(file);
    free(recorder);
}

static void a_file_that_nobody_reads_is_given_up(void **state)
{
    struct host_recorder *recorder;
    uint64_t start;
    int reader;

    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    reader = open(path, O_RDONLY | O_NONBLOCK);
    recorder = open_recorder(path);
    for (uint32_t i = 0; i < MANY; i++)
        (void)put(recorder, 0, i);
    start = now_ms();
    host_recorder_close(recorder);
    assert_in_range(now_ms() - start, 0, 10000);
    close(reader);
    free(recorder);
}

/* Whoever cannot be stopped may go on calling: it finds no room, and nothing is torn away under it. */
static void after_the_stop_nothing_is_taken(void **state)
{
    struct host_recorder *recorder = open_recorder(path);
    uint64_t lost;
    FILE *file;

    (void)state;
    assert_true(put(recorder, 0, 0));
    host_recorder_stop(recorder);
    assert_false(put(recorder, 0, 1));
    host_recorder_stop(recorder);
    host_recorder_close(recorder);
    free(recorder);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(read_lines(file, &lost), 1);
    fclose(file);
}

static void a_full_disk_ends_the_trace_only(void **state)
{
    struct host_recorder *recorder = open_recorder("/dev/full");
    unsigned i = 0;

    (void)state;
    for (uint64_t limit = now_ms() + 10000; put(recorder, 0, i) && now_ms() < limit; i++)
        ;
    assert_false(put(recorder, 0, i));
    host_recorder_close(recorder);
    free(recorder);
}

static void a_place_that_cannot_be_is_refused(void **state)
{
    struct host_recorder recorder = {.format = format};

    (void)state;
    assert_int_equal(host_recorder_open(&recorder, "/nowhere/at/all", sizeof(struct record)), STATUS_IO);
    host_recorder_close(&recorder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_record_arrives_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stuck_file_holds_nobody_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_nobody_reads_is_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_the_stop_nothing_is_taken, set_up, tear_down),
        cmocka_unit_test(a_full_disk_ends_the_trace_only),
        cmocka_unit_test(a_place_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
