/* Networks as the command line names them, and a user network with the test as its guest. */
#define _GNU_SOURCE
#include "unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fake_port.h"
#include "port/lock.h"
#include "vmm/nets.h"

static struct lock lock;
static struct vmm_net net;

/* What the guest has got; under the lock. */
static struct {
    bool full;
    unsigned frames, refused, sendables;
    uint8_t last[2048];
    size_t size;
} guest;

/* --- options --- */

static void test_words(void **state)
{
    struct net_spec spec;

    (void)state;
    assert_int_equal(vmm_net_parse("none", &spec), STATUS_OK);
    assert_int_equal(spec.kind, NET_NONE);
    assert_int_equal(vmm_net_parse("tap=br0-7,mac=52:54:00:aB:00:01", &spec), STATUS_OK);
    assert_int_equal(spec.kind, NET_TAP);
    assert_string_equal(spec.interface, "br0-7");
    assert_memory_equal(spec.mac, "\x52\x54\x00\xab\x00\x01", 6);
    assert_int_equal(vmm_net_parse("user,forward=tcp:2222:22,forward=udp:0.0.0.0:53:5353,restrict,hostname=box", &spec),
                     STATUS_OK);
    assert_int_equal(spec.kind, NET_USER);
    assert_true(spec.user.restricted && !spec.has_mac);
    assert_string_equal(spec.hostname, "box");
    assert_int_equal(spec.user.forward_count, 2);
    assert_false(spec.user.forwards[0].udp);
    assert_int_equal(spec.user.forwards[0].address.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(spec.user.forwards[0].host_port, 2222);
    assert_int_equal(spec.user.forwards[0].guest_port, 22);
    assert_true(spec.user.forwards[1].udp);
    assert_int_equal(spec.user.forwards[1].address.s_addr, 0);
    assert_int_equal(spec.user.forwards[1].guest_port, 5353);
}

static void test_wrong_words(void **state)
{
    static const char *const wrong[] = {
        "",
        "bridge",
        "tap=",
        "user,forward=",
        "user,forward=tcp:22",
        "user,forward=sctp:1:2",
        "user,forward=tcp:0:22",
        "user,forward=tcp:1:65536",
        "user,forward=tcp:localhost:1:2",
        "user,forward=tcp:1:2:3:4:5",
        "user,mac=1",
        "user,mac=53:54:00:00:00:01",
        "user,mac=00:00:00:00:00:00",
        "user,mac=52:54:00:00:00:0g",
        "user,mac=52-54-00-00-00-01",
        "tap=x,restrict",
        "none,mac=52:54:00:00:00:01",
        "user,hostname=",
        "user,",
        "user,forward=tcp:1:-2",
    };
    struct net_spec spec;

    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)fake_log_count();
        assert_int_equal(vmm_net_parse(wrong[i], &spec), STATUS_INVALID);
        assert_int_equal(fake_log_count(), 1);
    }
}

static void test_address_is_stable(void **state)
{
    struct vmm_net one, two, three;

    (void)state;
    assert_int_equal(vmm_net_open("none", "web", 0, 1, &one), STATUS_OK);
    assert_int_equal(vmm_net_open("none", "web", 0, 1, &two), STATUS_OK);
    assert_memory_equal(one.mac, two.mac, 6);
    assert_int_equal(one.mac[0] & 3, 2);
    assert_int_equal(vmm_net_open("none", "web", 1, 1, &three), STATUS_OK);
    assert_memory_not_equal(one.mac, three.mac, 6);
    assert_int_equal(vmm_net_open("none", "db", 0, 1, &three), STATUS_OK);
    assert_memory_not_equal(one.mac, three.mac, 6);
    assert_null(one.network);
}

static void test_no_such_tap(void **state)
{
    struct vmm_net none;

    (void)state;
    (void)fake_log_count();
    assert_int_equal(vmm_net_open("tap=lodge-none", "web", 0, 1, &none), STATUS_NOT_FOUND);
    assert_int_equal(fake_log_count(), 1);
    assert_non_null(strstr(fake_log_line, "lodge-none"));
    vmm_net_close(&none);
}

/* --- a user network --- */

static bool on_receive(void *device, unsigned pair, const struct packet *packet)
{
    assert_ptr_equal(device, &guest);
    assert_int_equal(pair, 0);
    if (guest.full) {
        guest.refused++;
        return false;
    }
    guest.frames++;
    guest.size = packet->size < sizeof(guest.last) ? packet->size : sizeof(guest.last);
    memcpy(guest.last, packet->segments[0].bytes, guest.size);
    return true;
}

static void on_sendable(void *device, unsigned pair)
{
    (void)device;
    (void)pair;
    guest.sendables++;
}

static int plug_in(const char *spec)
{
    memset(&guest, 0, sizeof(guest));
    if (vmm_net_open(spec, "test", 0, 1, &net) != STATUS_OK || vmm_net_start(&net, NULL, NULL) != STATUS_OK)
        return -1;
    net.network->device = &guest;
    net.network->receive = on_receive;
    net.network->sendable = on_sendable;
    net.network->configure(net.network, PACKET_CHECKSUM | PACKET_TCP4, 1);
    vmm_net_attach(&net, &lock);
    return 0;
}

static void unplug(void)
{
    vmm_net_attach(&net, NULL);
    vmm_net_close(&net);
}

/* Waits until the counter is at least so high. */
static void wait_until(const unsigned *counter, unsigned value)
{
    const struct timespec moment = {.tv_nsec = 2000000};

    for (unsigned i = 0; i < 5000; i++) {
        lock_acquire(&lock);
        bool reached = *counter >= value;
        lock_release(&lock);
        if (reached)
            return;
        nanosleep(&moment, NULL);
    }
    fail_msg("nothing came");
}

static bool transmit(void *bytes, size_t size)
{
    const struct packet_segment segment = {bytes, size};
    const struct packet packet = {.segments = &segment, .segment_count = 1, .size = size};

    lock_acquire(&lock);
    bool taken = net.network->transmit(net.network, 0, &packet);
    lock_release(&lock);
    return taken;
}

/* Who has 10.0.2.2? tells 10.0.2.15 */
static const uint8_t question[42] =
    "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"
    "\x02\x00\x00\x00\x00\x01\x0a\x00\x02\x0f\x00\x00\x00\x00\x00\x00\x0a\x00\x02\x02";

static void test_answers(void **state)
{
    uint8_t frame[42];

    (void)state;
    assert_int_equal(plug_in("user"), 0);
    memcpy(frame, question, sizeof(frame));
    assert_true(transmit(frame, sizeof(frame)));
    wait_until(&guest.frames, 1);
    assert_memory_equal(guest.last, question + 6, 6);
    assert_int_equal(guest.last[21], 2); /* a reply */
    assert_memory_equal(guest.last + 28, "\x0a\x00\x02\x02", 4);
    unplug();
}

/* While the guest has no room, frames wait; drained() brings them. */
static void test_waits_for_room(void **state)
{
    uint8_t frame[42];

    (void)state;
    assert_int_equal(plug_in("user"), 0);
    memcpy(frame, question, sizeof(frame));
    guest.full = true;
    for (unsigned i = 0; i < 5; i++)
        assert_true(transmit(frame, sizeof(frame)));
    wait_until(&guest.refused, 1);
    assert_int_equal(guest.frames, 0);
    lock_acquire(&lock);
    guest.full = false;
    net.network->drained(net.network, 0);
    lock_release(&lock);
    wait_until(&guest.frames, 5);
    unplug();
}

/* The queue from the guest is limited; a frame that it refused is asked for again. */
static void test_refuses_and_asks(void **state)
{
    static uint8_t frame[60000];
    unsigned taken = 0;

    (void)state;
    assert_int_equal(plug_in("user"), 0);
    lock_acquire(&lock);
    const struct packet_segment segment = {frame, sizeof(frame)};
    const struct packet packet = {.segments = &segment, .segment_count = 1, .size = sizeof(frame)};
    while (taken < 100000 && net.network->transmit(net.network, 0, &packet))
        taken++;
    lock_release(&lock);
    assert_in_range(taken, 5, 99999);
    wait_until(&guest.sendables, 1);
    unplug();
}

/* Somebody calls the port of the host: the network looks for the guest. */
static void test_forwards(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), caller;
    struct vmm_net second;
    char spec[64];

    (void)state;
    assert_int_equal(bind(probe, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(probe, (struct sockaddr *)&address, &size), 0);
    close(probe);
    (void)snprintf(spec, sizeof(spec), "user,forward=tcp:%u:80", ntohs(address.sin_port));
    assert_int_equal(plug_in(spec), 0);
    caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(caller, (struct sockaddr *)&address, size), 0);
    wait_until(&guest.frames, 1);
    assert_memory_equal(guest.last + 12, "\x08\x06", 2);
    assert_memory_equal(guest.last + 38, "\x0a\x00\x02\x0f", 4);
    close(caller);
    (void)fake_log_count();
    assert_int_not_equal(vmm_net_open(spec, "test", 1, 1, &second), STATUS_OK);
    assert_int_equal(fake_log_count(), 1);
    assert_non_null(strstr(fake_log_line, "127.0.0.1"));
    unplug();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_address_is_stable),
        cmocka_unit_test(test_no_such_tap),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_waits_for_room),
        cmocka_unit_test(test_refuses_and_asks),
        cmocka_unit_test(test_forwards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
