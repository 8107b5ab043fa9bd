/* The control queue of the network device (5.1.6.5). */
#include "base/bits.h"
#include "base/memory.h"
#include "dev/virtio/net_internal.h"

enum {
    CLASS_RX = 0,
    CLASS_MAC = 1,
    CLASS_VLAN = 2,
    CLASS_MQ = 4,
    RX_PROMISC = 0,
    RX_ALLMULTI = 1,
    MAC_TABLE_SET = 0,
    MAC_ADDR_SET = 1,
    VLAN_ADD = 0,
    VLAN_DEL = 1,
    MQ_PAIRS_SET = 0,
    ACK_OK = 0,
    ACK_ERR = 1,
};

enum { COMMAND_SIZE = 2, VLANS = 4096 };

/* Two tables, unicast and multicast: a number of 32 bits, and as many addresses. */
static bool control_check_tables(const struct virtio_chain *chain)
{
    uint64_t at = COMMAND_SIZE;

    for (unsigned i = 0; i < 2; i++) {
        uint8_t entries[4];

        if (virtio_chain_read(chain, at, entries, sizeof(entries)) != sizeof(entries))
            return false;
        at += sizeof(entries) + PACKET_MAC * load_le(entries, 4);
    }
    return at <= chain->readable_bytes;
}

static bool control_mac(struct virtio_net *net, unsigned command)
{
    const struct virtio_chain *chain = &net->chain;
    uint8_t mac[PACKET_MAC];

    if (command == MAC_TABLE_SET && virtio_has(&net->virtio, VIRTIO_NET_F_CTRL_RX))
        return control_check_tables(chain);
    if (command != MAC_ADDR_SET || !virtio_has(&net->virtio, VIRTIO_NET_F_CTRL_MAC_ADDR) ||
        virtio_chain_read(chain, COMMAND_SIZE, mac, sizeof(mac)) != sizeof(mac))
        return false;
    memcpy(net->state.mac, mac, sizeof(mac));
    return true;
}

/* The number that follows a command; more than any of `limit` is no answer. */
static bool control_number(const struct virtio_net *net, unsigned size, unsigned *number)
{
    uint8_t bytes[2];

    if (virtio_chain_read(&net->chain, COMMAND_SIZE, bytes, size) != size)
        return false;
    *number = (unsigned)load_le(bytes, size);
    return true;
}

static bool control_perform(struct virtio_net *net, unsigned class, unsigned command)
{
    const struct virtio *virtio = &net->virtio;
    unsigned number;

    switch (class) {
    case CLASS_RX:
        return virtio_has(virtio, VIRTIO_NET_F_CTRL_RX) && command <= RX_ALLMULTI && control_number(net, 1, &number);
    case CLASS_MAC:
        return control_mac(net, command);
    case CLASS_VLAN:
        return virtio_has(virtio, VIRTIO_NET_F_CTRL_VLAN) && command <= VLAN_DEL && control_number(net, 2, &number) &&
               number < VLANS;
    case CLASS_MQ:
        if (!virtio_has(virtio, VIRTIO_NET_F_MQ) || command != MQ_PAIRS_SET || !control_number(net, 2, &number) ||
            number == 0 || number > net->pairs)
            return false;
        net->state.pairs = (uint16_t)number;
        net_configure(net);
        return true;
    default:
        return false;
    }
}

/* Class, command, what it needs; then one byte for the answer. */
void net_control(struct virtio_net *net, unsigned queue)
{
    struct virtio *virtio = &net->virtio;

    while (virtio_queue_pop(virtio, queue, &net->chain)) {
        uint8_t head[COMMAND_SIZE], answer = ACK_ERR;
        size_t written;

        if (virtio_chain_read(&net->chain, 0, head, sizeof(head)) == sizeof(head) &&
            control_perform(net, head[0], head[1]))
            answer = ACK_OK;
        written = virtio_chain_write(&net->chain, 0, &answer, sizeof(answer));
        virtio_queue_push(virtio, &net->chain, (uint32_t)written);
    }
    virtio_queue_flush(virtio, queue);
}
