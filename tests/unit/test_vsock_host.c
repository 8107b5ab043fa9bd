/* The world of a vsock device: Unix sockets on one side, a device that the test plays on the other. */
#define _GNU_SOURCE
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/vsock.h"
#include "fake_port.h"

enum { PATIENCE_MS = 5000 };

static char folder[] = "/tmp/lodge-vsock-XXXXXX";
static char path[64];
static struct vsock_host *host;
static struct vsock_world *world;
static struct lock lock;

/* What the device has heard; under the lock. */
static struct {
    unsigned opens, accepts, hang_ups, finishes;
    uint32_t port;
    size_t consumed, received, room;
    char bytes[1 << 17];
} device;

static int on_open(void *self, uint32_t port)
{
    (void)self;
    device.opens++;
    device.port = port;
    return port == 99 ? -1 : 7;
}

static void on_accepted(void *self, unsigned connection)
{
    (void)self;
    assert_int_equal(connection, 3);
    device.accepts++;
}

static size_t on_receive(void *self, unsigned connection, const void *bytes, size_t size)
{
    size_t taken = size < device.room ? size : device.room;

    (void)self;
    (void)connection;
    memcpy(device.bytes + device.received, bytes, taken);
    device.received += taken;
    device.room -= taken;
    return taken;
}

static void on_consumed(void *self, unsigned connection, size_t size)
{
    (void)self;
    (void)connection;
    device.consumed += size;
}

static void on_finish(void *self, unsigned connection)
{
    (void)self;
    (void)connection;
    device.finishes++;
}

static void on_hang_up(void *self, unsigned connection)
{
    (void)self;
    (void)connection;
    device.hang_ups++;
}

static int start(void **state)
{
    (void)state;
    memset(&device, 0, sizeof(device));
    device.room = sizeof(device.bytes);
    if (vsock_host_open(path, NULL, &host) != STATUS_OK || vsock_host_start(host, NULL) != STATUS_OK)
        return -1;
    world = vsock_host_world(host);
    world->open = on_open;
    world->accepted = on_accepted;
    world->receive = on_receive;
    world->consumed = on_consumed;
    world->finish = on_finish;
    world->hang_up = on_hang_up;
    vsock_host_attach(host, &lock);
    return 0;
}

static int stop(void **state)
{
    struct stat info;

    (void)state;
    vsock_host_attach(host, NULL);
    vsock_host_close(host);
    return stat(path, &info) == 0 ? -1 : 0;
}

static int call(const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL); /* it may have been turned away already */
    return fd;
}

/* The other end has closed, whether or not it has read all. */
static bool is_closed(int fd)
{
    char byte;
    ssize_t size = recv(fd, &byte, 1, 0);

    return size == 0 || (size < 0 && errno == ECONNRESET);
}

/* Waits until a number has been reached. */
#define await(number, value)                                                                                           \
    do {                                                                                                               \
        for (unsigned waited = 0; waited < PATIENCE_MS && read_locked(&(number), sizeof(number)) < (value); waited++)  \
            (void)usleep(1000);                                                                                        \
        assert_int_equal(read_locked(&(number), sizeof(number)), value);                                               \
    } while (0)

static size_t read_locked(const void *number, size_t size)
{
    size_t value;

    lock_acquire(&lock);
    value = size == sizeof(unsigned) ? *(const unsigned *)number : *(const size_t *)number;
    lock_release(&lock);
    return value;
}

/* A program calls the guest, in pieces and with data behind the greeting. */
static void test_host_calls(void **state)
{
    char answer[16] = "";
    int fd = call("CONN");

    (void)state;
    assert_int_equal(send(fd, "ECT 22\nearly", 12, MSG_NOSIGNAL), 12);
    await(device.opens, 1);
    assert_int_equal(device.port, 22);
    lock_acquire(&lock);
    world->opened(world, 7);
    world->send(world, 7, "hello", 5);
    lock_release(&lock);
    assert_int_equal(recv(fd, answer, 11, MSG_WAITALL), 11);
    assert_string_equal(answer, "OK 22\nhello");
    assert_int_equal(device.consumed, 5);
    await(device.received, 5);
    assert_memory_equal(device.bytes, "early", 5);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    await(device.finishes, 1);
    lock_acquire(&lock);
    world->finished(world, 7);
    lock_release(&lock);
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 0);
    lock_acquire(&lock);
    world->close(world, 7);
    lock_release(&lock);
    close(fd);
    assert_int_equal(device.hang_ups, 0);
}

static void test_bad_greetings(void **state)
{
    static const char *const greetings[] = {"HELLO\n",       "CONNECT x\n",
                                            "CONNECT -1\n",  "CONNECT 4294967295\n",
                                            "CONNECT 1 2\n", "CONNECT 000000000000000000000000",
                                            "CONNECT 99\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
        int fd = call(greetings[i]);

        assert_true(is_closed(fd));
        close(fd);
    }
    assert_int_equal(device.opens, 1); /* 99, which has nothing free */
}

static int listen_at(const char *suffix)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", path, suffix);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void unlisten(int fd, const char *suffix)
{
    char name[80];

    (void)snprintf(name, sizeof(name), "%s%s", path, suffix);
    (void)unlink(name);
    close(fd);
}

/* The guest calls; more than the socket holds waits, and gets through after the guest has gone. */
static void test_guest_calls(void **state)
{
    static char sent[VSOCK_WINDOW], got[VSOCK_WINDOW];
    int server = listen_at("_80"), fd;
    size_t total = 0;

    (void)state;
    lock_acquire(&lock);
    world->connect(world, 3, 81);
    assert_int_equal(device.hang_ups, 1);
    world->connect(world, 3, 80);
    assert_int_equal(device.accepts, 1);
    lock_release(&lock);
    fd = accept(server, NULL, NULL);
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (char)(i * 13);
    /* As much as the windows allow, until the socket takes no more; then the guest goes. */
    for (unsigned rounds = 0; rounds < 64; rounds++) {
        lock_acquire(&lock);
        size_t held = total - device.consumed;
        if (held < sizeof(sent)) {
            world->send(world, 3, sent, sizeof(sent) - held);
            total += sizeof(sent) - held;
        }
        lock_release(&lock);
    }
    assert_true(total > device.consumed);
    lock_acquire(&lock);
    world->close(world, 3);
    lock_release(&lock);
    for (ssize_t size; (size = recv(fd, got, sizeof(got), 0)) > 0;)
        total -= (size_t)size;
    assert_int_equal(total, 0);
    close(fd);
    unlisten(server, "_80");
}

/* A device without room holds the reader back, and a program that leaves is reported after its last byte. */
static void test_room_and_leaving(void **state)
{
    int fd = call("CONNECT 5\n");

    (void)state;
    await(device.opens, 1);
    lock_acquire(&lock);
    device.room = 3;
    world->opened(world, 7);
    lock_release(&lock);
    assert_int_equal(send(fd, "0123456789", 10, MSG_NOSIGNAL), 10);
    close(fd);
    await(device.received, 3);
    assert_int_equal(device.hang_ups, 0);
    lock_acquire(&lock);
    device.room = 100;
    world->drained(world, 7);
    lock_release(&lock);
    await(device.hang_ups, 1);
    assert_int_equal(device.received, 10);
    assert_memory_equal(device.bytes, "0123456789", 10);
}

/* A program that leaves while the guest still sends. */
static void test_broken(void **state)
{
    int fd = call("CONNECT 5\n");

    (void)state;
    await(device.opens, 1);
    lock_acquire(&lock);
    device.room = 0;
    world->opened(world, 7);
    lock_release(&lock);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    close(fd);
    (void)usleep(20000);
    lock_acquire(&lock);
    world->send(world, 7, "data", 4);
    lock_release(&lock);
    await(device.hang_ups, 1);
    assert_int_equal(device.consumed, 4);
}

static void test_detach(void **state)
{
    int fd = call("CONNECT 5\n"), late;

    (void)state;
    await(device.opens, 1);
    vsock_host_attach(host, NULL);
    assert_true(is_closed(fd));
    late = call("CONNECT 5\n");
    assert_true(is_closed(late));
    assert_int_equal(device.opens, 1);
    assert_int_equal(device.hang_ups, 0);
    close(fd);
    close(late);
}

static void test_taken(void **state)
{
    struct vsock_host *other;

    (void)state;
    (void)fake_log_count();
    assert_int_not_equal(vsock_host_open(path, NULL, &other), STATUS_OK);
    assert_null(other);
    assert_int_equal(fake_log_count(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_host_calls, start, stop),
        cmocka_unit_test_setup_teardown(test_bad_greetings, start, stop),
        cmocka_unit_test_setup_teardown(test_guest_calls, start, stop),
        cmocka_unit_test_setup_teardown(test_room_and_leaving, start, stop),
        cmocka_unit_test_setup_teardown(test_broken, start, stop),
        cmocka_unit_test_setup_teardown(test_detach, start, stop),
        cmocka_unit_test_setup_teardown(test_taken, start, stop),
    };
    int failed;

    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(path, sizeof(path), "%s/v", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)rmdir(folder);
    return failed;
}
