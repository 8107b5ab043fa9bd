/* The cables of a machine's network cards. */
#include "unit.h"

#include "vmm/devices.h"

static bool transmit(struct network *network, unsigned pair, const struct packet *packet)
{
    (void)network;
    (void)pair;
    (void)packet;
    return true;
}

static void drained(struct network *network, unsigned pair)
{
    (void)network;
    (void)pair;
}

static void configure(struct network *network, unsigned abilities, unsigned pairs)
{
    (void)network;
    (void)abilities;
    (void)pairs;
}

/* By the card's number; the others stay as they are. */
static void test_link(void **state)
{
    static struct network network = {.pairs = 1, .transmit = transmit, .drained = drained, .configure = configure};
    static const uint8_t mac[PACKET_MAC] = {2, 0, 0, 0, 0, 1};
    static struct devices devices;
    static struct virtio_net cards[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        virtio_net_init(&cards[i], &network, mac, 1);
        devices.nets[i + 1] = &cards[i];
    }
    assert_false(devices_set_link(&devices, 0, false));
    assert_true(devices_set_link(&devices, 2, false));
    assert_true(cards[0].link_up);
    assert_false(cards[1].link_up);
    assert_true(devices_set_link(&devices, 2, true));
    assert_true(cards[1].link_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_link)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
