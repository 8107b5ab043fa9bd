/* The Linux side of the ports: locks, parking, event loop, alarm, files, memory, log. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "host/alarm.h"
#include "host/clock.h"
#include "host/file.h"
#include "host/footprint.h"
#include "host/loop.h"
#include "host/memory.h"
#include "port/lock.h"
#include "port/log.h"
#include "port/park.h"
#include "base/bits.h"
#include "unit.h"

enum { THREADS = 4, ROUNDS = 20000, MS = 1000000 };

static struct lock lock;
static long counter;

static void *count_up(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        lock_acquire(&lock);
        counter++;
        lock_release(&lock);
    }
    return argument;
}

static void test_lock(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(counter, THREADS * ROUNDS);
    assert_int_equal(lock.word, 0);
}

static uint32_t turn;

static void *take_turns(void *argument)
{
    uint32_t mine = *(uint32_t *)argument;

    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t now;
        while (now = __atomic_load_n(&turn, __ATOMIC_SEQ_CST), now % 2 != mine)
            park(&turn, now);
        __atomic_fetch_add(&turn, 1, __ATOMIC_SEQ_CST);
        unpark(&turn);
    }
    return NULL;
}

static void test_park(void **state)
{
    uint32_t even = 0, odd = 1;
    pthread_t thread;

    (void)state;
    park(&turn, 7); /* it is not 7 */
    assert_int_equal(pthread_create(&thread, NULL, take_turns, &odd), 0);
    take_turns(&even);
    pthread_join(thread, NULL);
    assert_int_equal(turn, 2000);
}

/* --- the loop --- */

struct rig {
    struct event_loop loop;
    struct host_alarm alarm;
    struct loop_notice notice;
    uint64_t rang_at;
    unsigned rings, raised;
};

static void on_ring(struct host_alarm *alarm)
{
    struct rig *rig = CONTAINER_OF(alarm, struct rig, alarm);

    rig->rings++;
    rig->rang_at = host_monotonic_ns();
    loop_stop(&rig->loop);
}

static void on_notice(struct loop_notice *notice)
{
    struct rig *rig = CONTAINER_OF(notice, struct rig, notice);

    rig->raised++;
    loop_stop(&rig->loop);
}

static void rig_open(struct rig *rig)
{
    *rig = (struct rig){0};
    assert_int_equal(loop_init(&rig->loop), STATUS_OK);
    assert_int_equal(host_alarm_init(&rig->alarm, &rig->loop, on_ring), STATUS_OK);
    assert_int_equal(loop_notice_init(&rig->notice, &rig->loop, on_notice), STATUS_OK);
}

static void rig_close(struct rig *rig)
{
    loop_notice_destroy(&rig->notice);
    host_alarm_destroy(&rig->alarm);
    loop_destroy(&rig->loop);
}

static void set_alarm(struct rig *rig, uint64_t deadline)
{
    rig->alarm.alarm.set(&rig->alarm.alarm, deadline);
}

static void test_alarm(void **state)
{
    struct rig rig;
    uint64_t now;

    (void)state;
    rig_open(&rig);
    now = host_monotonic_ns();
    set_alarm(&rig, now + 20 * MS);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    assert_true(rig.rang_at >= now + 20 * MS);

    /* Moved to earlier, it rings for the earlier one. */
    now = host_monotonic_ns();
    set_alarm(&rig, now + 3600ull * 1000 * MS);
    set_alarm(&rig, now + 5 * MS);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    assert_true(rig.rang_at >= now + 5 * MS && rig.rang_at < now + 1800ull * 1000 * MS);

    /* What is long past rings at once, zero included; after a ring it may be set to any time again. */
    set_alarm(&rig, 0);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    set_alarm(&rig, now);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    assert_int_equal(rig.rings, 4);
    rig_close(&rig);
}

static void *raise_notice(void *argument)
{
    loop_notice_raise(argument);
    return NULL;
}

static void test_notice(void **state)
{
    struct rig rig;
    pthread_t thread;

    (void)state;
    rig_open(&rig);
    loop_notice_raise(&rig.notice);
    loop_notice_raise(&rig.notice);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    assert_int_equal(rig.raised, 1);
    assert_int_equal(pthread_create(&thread, NULL, raise_notice, &rig.notice), 0);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    pthread_join(thread, NULL);
    assert_int_equal(rig.raised, 2);
    rig_close(&rig);
}

static void test_zeroed_is_destroyable(void **state)
{
    struct rig rig = {0};
    struct host_memory memory = {0};
    struct host_file file = {0};

    (void)state;
    rig_close(&rig);
    host_memory_destroy(&memory);
    host_file_destroy(&file);
}

static void test_plain_files_are_always_ready(void **state)
{
    struct rig rig;
    struct loop_source source = {0};
    int fd = open("/proc/self/exe", O_RDONLY);

    (void)state;
    rig_open(&rig);
    assert_int_equal(loop_add(&rig.loop, &source, fd), STATUS_UNSUPPORTED);
    loop_remove(&source);
    close(fd);
    rig_close(&rig);
}

/* --- files --- */

/* Runs something with stderr in a file, and returns what it said. */
static char *capture(void (*act)(void *), void *argument)
{
    static char text[4096];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);

    dup2(fileno(file), STDERR_FILENO);
    act(argument);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

struct reading {
    const char *path;
    uint64_t limit;
    struct host_file file;
    enum status status;
};

static void read_it(void *argument)
{
    struct reading *reading = argument;

    reading->status = host_file_read(&reading->file, "kernel", reading->path, reading->limit);
}

static void test_file_read(void **state)
{
    char path[] = "/tmp/lodge-test-XXXXXX";
    int fd = mkstemp(path);
    struct reading reading = {.path = path, .limit = 1 << 20};

    (void)state;
    assert_string_equal(capture(read_it, &reading), "");
    assert_int_equal(reading.file.size, 0);
    host_file_destroy(&reading.file);

    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(ftruncate(fd, 300000), 0);
    read_it(&reading);
    assert_int_equal(reading.status, STATUS_OK);
    assert_int_equal(reading.file.size, 300000);
    assert_true(reading.file.is_regular);
    assert_memory_equal(reading.file.bytes, "hello", 6);
    host_file_destroy(&reading.file);

    reading.limit = 299999;
    assert_non_null(strstr(capture(read_it, &reading), "does not fit"));
    assert_int_equal(reading.status, STATUS_INVALID);
    assert_null(reading.file.bytes);
    close(fd);
    unlink(path);
}

static void test_file_errors(void **state)
{
    struct reading missing = {.path = "/nonexistent/kernel", .limit = 1};
    struct reading folder = {.path = "/", .limit = 1 << 20};
    struct reading endless = {.path = "/dev/zero", .limit = 5 << 20};

    (void)state;
    assert_string_equal(capture(read_it, &missing),
                        "lodge: cannot read the kernel /nonexistent/kernel: No such file or directory\n");
    assert_int_equal(missing.status, STATUS_NOT_FOUND);
    assert_non_null(strstr(capture(read_it, &folder), "Is a directory"));
    assert_non_null(strstr(capture(read_it, &endless), "does not fit"));
}

static void *fill_pipe(void *argument)
{
    int fd = *(int *)argument;
    char block[1000];

    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 3000; i++)
        if (write(fd, block, sizeof(block)) != sizeof(block))
            break;
    close(fd);
    return NULL;
}

static void test_file_from_a_pipe(void **state)
{
    struct reading reading = {.limit = 4 << 20};
    char path[32];
    pthread_t thread;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
    reading.path = path;
    assert_int_equal(pthread_create(&thread, NULL, fill_pipe, &ends[1]), 0);
    read_it(&reading);
    pthread_join(thread, NULL);
    assert_int_equal(reading.status, STATUS_OK);
    assert_int_equal(reading.file.size, 3000000);
    assert_false(reading.file.is_regular);
    host_file_destroy(&reading.file);
    close(ends[0]);
}

/* --- memory --- */

static void create_too_much(void *argument)
{
    struct host_memory memory;

    *(enum status *)argument = host_memory_create(&memory, 1ull << 46);
}

static void test_memory(void **state)
{
    struct host_memory memory;
    struct footprint footprint;
    enum status status;

    (void)state;
    assert_int_equal(host_memory_create(&memory, 64 << 20), STATUS_OK);
    memset(memory.host, 1, 8 << 20);
    assert_int_equal(footprint_measure(&footprint, NULL, 0), STATUS_OK);
    assert_in_range(footprint.resident[FOOTPRINT_GUEST_RAM], 8 << 20, 12 << 20);
    assert_true(footprint_own(&footprint) > 0);
    assert_int_equal(host_memory_clear(&memory), STATUS_OK);
    assert_int_equal(*(const char *)memory.host, 0);
    host_memory_destroy(&memory);

    assert_non_null(strstr(capture(create_too_much, &status), "choose a smaller -m"));
    assert_int_equal(status, STATUS_NO_MEMORY);
}

/* --- log and clocks --- */

static void log_something(void *argument)
{
    log_error("%s", (const char *)argument);
    log_debug("not shown");
}

static void test_log(void **state)
{
    char text[3000];

    (void)state;
    assert_string_equal(capture(log_something, (char[]){"plain"}), "lodge: plain\n");
    assert_string_equal(capture(log_something, (char[]){"a\n\x1b[2Jb\x7f"}), "lodge: a??[2Jb?\n");
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    const char *line = capture(log_something, text);
    assert_in_range(strlen(line), 500, 1100);
    assert_string_equal(line + strlen(line) - 4, "...\n");
}

static void test_clocks(void **state)
{
    struct clock clock;
    const struct timespec pause = {.tv_nsec = 50 * MS};

    (void)state;
    host_clock_init(&clock);
    assert_in_range(clock.wall_ns(&clock) / NS_PER_SECOND, (uint64_t)time(NULL) - 1, (uint64_t)time(NULL) + 1);

    uint64_t khz = host_tsc_khz();
    uint64_t ns = clock.monotonic_ns(&clock), tsc = __rdtsc();
    nanosleep(&pause, NULL);
    uint64_t ns_gone = clock.monotonic_ns(&clock) - ns, tsc_gone = __rdtsc() - tsc;
    assert_in_range(tsc_gone * 1000000 / ns_gone, khz * 99 / 100, khz * 101 / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_park),
        cmocka_unit_test(test_alarm),
        cmocka_unit_test(test_notice),
        cmocka_unit_test(test_zeroed_is_destroyable),
        cmocka_unit_test(test_plain_files_are_always_ready),
        cmocka_unit_test(test_file_read),
        cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_file_from_a_pipe),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_clocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
