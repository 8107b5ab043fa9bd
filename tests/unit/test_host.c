/* The Linux side of the ports: locks, parking, event loop, alarm, files, memory, log. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "host/alarm.h"
#include "host/clock.h"
#include "host/file.h"
#include "host/footprint.h"
#include "host/log_file.h"
#include "host/loop.h"
#include "host/memory.h"
#include "host/socket.h"
#include "host/store.h"
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
    struct host_clock clock;
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
    host_clock_init(&rig->clock);
    assert_int_equal(loop_init(&rig->loop), STATUS_OK);
    assert_int_equal(host_alarm_init(&rig->alarm, &rig->loop, &rig->clock, on_ring), STATUS_OK);
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
    assert_int_equal(host_memory_clear(&memory, memory.size), STATUS_OK);
    assert_int_equal(*(const char *)memory.host, 0);
    host_memory_destroy(&memory);

    assert_non_null(strstr(capture(create_too_much, &status), "choose a smaller -m"));
    assert_int_equal(status, STATUS_NO_MEMORY);
}

/* --- stores and log files --- */

static char store_folder[] = "/tmp/lodge-store-XXXXXX";
static char store_path[64], store_original[64];

static void make_store_folder(void)
{
    FILE *file;

    strcpy(store_folder, "/tmp/lodge-store-XXXXXX");
    assert_non_null(mkdtemp(store_folder));
    (void)snprintf(store_path, sizeof(store_path), "%s/vars", store_folder);
    (void)snprintf(store_original, sizeof(store_original), "%s/original", store_folder);
    file = fopen(store_original, "w");
    assert_non_null(file);
    assert_int_equal(fputs("original", file), 1);
    assert_int_equal(fclose(file), 0);
}

static void remove_store_folder(void)
{
    (void)unlink(store_path);
    (void)unlink(store_original);
    assert_int_equal(rmdir(store_folder), 0); /* nothing else was left in it */
}

static void test_store(void **state)
{
    struct host_store store, other;
    struct event_loop loop;
    char bytes[8];

    (void)state;
    make_store_folder();
    assert_int_equal(loop_init(&loop), STATUS_OK);
    assert_int_equal(host_store_open(&store, store_path, store_original, false), STATUS_OK);
    assert_int_equal(store.size, 8);
    assert_int_equal(host_store_attach(&store, &loop), STATUS_OK);
    assert_int_equal(host_store_read(&store, bytes), STATUS_OK);
    assert_memory_equal(bytes, "original", 8);
    store.store.write(&store.store, 2, "XY", 2);
    store.store.write(&store.store, 7, "XY", 2); /* behind its end: not done */
    assert_int_equal(host_store_read(&store, bytes), STATUS_OK);
    assert_memory_equal(bytes, "orXYinal", 8);
    assert_int_equal(host_store_open(&other, store_path, NULL, false), STATUS_BUSY);
    assert_int_equal(host_store_open(&other, store_path, NULL, true), STATUS_BUSY);
    host_store_close(&store);

    /* The original is not needed again, and readers share. */
    assert_int_equal(host_store_open(&store, store_path, "/nowhere", true), STATUS_OK);
    assert_int_equal(host_store_open(&other, store_path, NULL, true), STATUS_OK);
    assert_int_equal(host_store_read(&other, bytes), STATUS_OK);
    assert_memory_equal(bytes, "orXYinal", 8);
    assert_int_equal(truncate(store_path, 4), 0);
    assert_int_equal(host_store_read(&other, bytes), STATUS_IO);
    host_store_close(&store);
    host_store_close(&other);
    host_store_close(&other);
    loop_destroy(&loop);
    remove_store_folder();
}

static void open_store(void *argument)
{
    struct host_store store;

    *(enum status *)argument = host_store_open(&store, store_path, "/nowhere/original", false);
}

static void test_store_errors(void **state)
{
    struct host_store store;
    enum status status;

    (void)state;
    make_store_folder();
    assert_non_null(strstr(capture(open_store, &status), "/nowhere/original: No such file"));
    assert_int_equal(status, STATUS_NOT_FOUND);
    assert_int_equal(host_store_open(&store, store_path, NULL, false), STATUS_NOT_FOUND);
    assert_int_equal(host_store_open(&store, "/dev/null", NULL, false), STATUS_INVALID);
    assert_int_equal(host_store_open(&store, store_folder, NULL, true), STATUS_INVALID);
    remove_store_folder();
}

static void test_log_file(void **state)
{
    struct host_log_file file;
    struct host_file written;
    char text[LOG_FILE_LINE + 10];

    (void)state;
    make_store_folder();
    assert_int_equal(host_log_file_open(&file, store_path), STATUS_OK);
    file.stream.write(&file.stream, "one\ntwo", 7);
    assert_int_equal(host_file_read(&written, "log", store_path, 100), STATUS_OK);
    assert_int_equal(written.size, 4);
    host_file_destroy(&written);
    memset(text, 'x', sizeof(text)); /* no line end: it does not wait for one for ever */
    file.stream.write(&file.stream, text, sizeof(text));
    host_log_file_close(&file);
    host_log_file_close(&file);
    assert_int_equal(host_file_read(&written, "log", store_path, 10000), STATUS_OK);
    assert_int_equal(written.size, 7 + sizeof(text));
    host_file_destroy(&written);
    assert_int_equal(host_log_file_open(&file, "/nowhere/log"), STATUS_NOT_FOUND);
    remove_store_folder();
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
    struct host_clock host;
    struct clock *clock = &host.clock;
    const struct timespec pause = {.tv_nsec = 50 * MS};

    (void)state;
    host_clock_init(&host);
    assert_in_range(clock->wall_ns(clock) / NS_PER_SECOND, (uint64_t)time(NULL) - 1, (uint64_t)time(NULL) + 1);

    uint64_t khz = host_tsc_khz();
    uint64_t ns = clock->monotonic_ns(clock), tsc = __rdtsc();
    nanosleep(&pause, NULL);
    uint64_t ns_gone = clock->monotonic_ns(clock) - ns, tsc_gone = __rdtsc() - tsc;
    assert_in_range(tsc_gone * 1000000 / ns_gone, khz * 99 / 100, khz * 101 / 100);
}

/* What was spent on hold has not passed. */
static void test_held_clock(void **state)
{
    struct host_clock host;
    struct clock *clock = &host.clock;
    const struct timespec pause = {.tv_nsec = 30 * MS};

    (void)state;
    host_clock_init(&host);
    assert_int_equal(host_clock_release(&host), 0);
    host_clock_hold(&host);
    uint64_t held = clock->monotonic_ns(clock);
    nanosleep(&pause, NULL);
    host_clock_hold(&host);
    assert_int_equal(clock->monotonic_ns(clock), held);
    uint64_t host_before = host_monotonic_ns();
    assert_true(host_clock_release(&host) >= 30 * MS);
    uint64_t now = clock->monotonic_ns(clock);
    assert_in_range(now - held, 0, host_monotonic_ns() - host_before);
    assert_int_equal(host_clock_to_monotonic(&host, now), now + host.behind_ns);
    assert_int_equal(host_clock_to_monotonic(&host, UINT64_MAX), UINT64_MAX);
}

/* An alarm of a clock that is held does not ring; set anew after the release, it rings by that clock. */
static void test_alarm_of_a_held_clock(void **state)
{
    const struct timespec pause = {.tv_nsec = 20 * MS};
    struct rig rig;

    (void)state;
    rig_open(&rig);
    host_clock_hold(&rig.clock);
    set_alarm(&rig, rig.clock.clock.monotonic_ns(&rig.clock.clock) + MS);
    nanosleep(&pause, NULL);
    loop_notice_raise(&rig.notice);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    assert_int_equal(rig.rings, 0);
    (void)host_clock_release(&rig.clock);
    uint64_t deadline = rig.clock.clock.monotonic_ns(&rig.clock.clock) + MS;
    set_alarm(&rig, deadline);
    assert_int_equal(loop_run(&rig.loop), STATUS_OK);
    assert_int_equal(rig.rings, 1);
    assert_true(rig.clock.clock.monotonic_ns(&rig.clock.clock) >= deadline);
    rig_close(&rig);
}

/* --- sockets --- */

struct peers {
    struct event_loop loop;
    struct socket_listener listener;
    struct socket_connection connection;
    char received[64];
    size_t size;
    unsigned closed;
};

static void on_received(struct socket_connection *connection, const void *bytes, size_t size)
{
    struct peers *peers = CONTAINER_OF(connection, struct peers, connection);

    assert_true(size <= sizeof(peers->received));
    memcpy(peers->received, bytes, size);
    peers->size = size;
    loop_stop(&peers->loop);
}

static void on_closed(struct socket_connection *connection)
{
    struct peers *peers = CONTAINER_OF(connection, struct peers, connection);

    peers->closed++;
    loop_stop(&peers->loop);
}

static void on_accepted(struct socket_listener *listener, int fd)
{
    struct peers *peers = CONTAINER_OF(listener, struct peers, listener);

    peers->connection.received = on_received;
    peers->connection.closed = on_closed;
    assert_int_equal(socket_connection_init(&peers->connection, &peers->loop, fd), STATUS_OK);
    loop_stop(&peers->loop);
}

static void talk(struct peers *peers, int fd)
{
    char byte;

    assert_int_equal(loop_run(&peers->loop), STATUS_OK);
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(loop_run(&peers->loop), STATUS_OK);
    assert_int_equal(peers->size, 5);
    assert_memory_equal(peers->received, "hello", 5);
    assert_true(socket_connection_send(&peers->connection, "!", 1));
    assert_int_equal(read(fd, &byte, 1), 1);
    assert_int_equal(byte, '!');
    close(fd);
    assert_int_equal(loop_run(&peers->loop), STATUS_OK);
    assert_int_equal(peers->closed, 1);
    assert_false(socket_connection_send(&peers->connection, "!", 1));
}

static void peers_open(struct peers *peers, const char *address)
{
    *peers = (struct peers){0};
    assert_int_equal(loop_init(&peers->loop), STATUS_OK);
    assert_int_equal(socket_listener_init(&peers->listener, &peers->loop, "--test", address, on_accepted), STATUS_OK);
}

static void peers_close(struct peers *peers)
{
    socket_connection_destroy(&peers->connection);
    socket_listener_destroy(&peers->listener);
    loop_destroy(&peers->loop);
}

static void test_tcp_socket(void **state)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct peers peers;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    peers_open(&peers, ":0");
    assert_int_equal(strncmp(peers.listener.name, "127.0.0.1:", 10), 0);
    to.sin_port = htons((uint16_t)atoi(peers.listener.name + 10));
    assert_int_not_equal(to.sin_port, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    talk(&peers, fd);
    peers_close(&peers);
}

/* The file is ours alone, goes with us, and one left behind by a crash is no obstacle. */
static void test_unix_socket(void **state)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/lodge-test-XXXXXX", address[sizeof(to.sun_path) + 8];
    struct peers peers;
    struct stat status;
    int stale = socket(AF_UNIX, SOCK_STREAM, 0), fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s/socket", folder);
    (void)snprintf(address, sizeof(address), "unix:%s", to.sun_path);
    assert_int_equal(bind(stale, (struct sockaddr *)&to, sizeof(to)), 0);
    close(stale);
    peers_open(&peers, address);
    assert_string_equal(peers.listener.name, to.sun_path);
    assert_int_equal(stat(to.sun_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    talk(&peers, fd);

    /* One that is in use is not taken away. */
    struct socket_listener second;
    assert_int_equal(socket_listener_init(&second, &peers.loop, "--test", to.sun_path, on_accepted), STATUS_IO);
    peers_close(&peers);
    assert_int_not_equal(stat(to.sun_path, &status), 0);
    rmdir(folder);
}

static void test_socket_addresses(void **state)
{
    static const char *const good[] = {"1234",        ":0",      "127.0.0.1:1", "127.1.2.3:65535",
                                       "localhost:7", "[::1]:7", "unix:x",      "./x"};
    static const char *const bad[] = {"",           ":",      "65536", "12a",      "0.0.0.0:1",
                                      "10.0.0.1:1", "[::]:1", "::1:7", "host:1",   "[127.0.0.1]:1",
                                      "unix:",      "[::1]",  "-1",    "127.0.0.1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++)
        assert_true(socket_address_is_valid("--test", good[i]));
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        assert_false(socket_address_is_valid("--test", bad[i]));
    char path[200] = "unix:";
    memset(path + 5, 'x', 150);
    assert_false(socket_address_is_valid("--test", path));
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
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_store_errors),
        cmocka_unit_test(test_log_file),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_held_clock),
        cmocka_unit_test(test_alarm_of_a_held_clock),
        cmocka_unit_test(test_tcp_socket),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_socket_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
