#include "dev/virtio/net.h"

#include "base/bits.h"
#include "base/memory.h"
#include "dev/virtio/net_internal.h"

/* The device configuration (5.1.4). */
enum { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_SIZE = 10, STATUS_LINK_UP = 1 };

enum { CLASS_ETHERNET = 0x020000 };

static const struct state_field net_fields[] = {
    VIRTIO_STATE_FIELDS(struct virtio_net_state, virtio, 1),
    STATE_ARRAY(struct virtio_net_state, mac, 1),
    STATE_SCALAR(struct virtio_net_state, link_up, 1),
    STATE_SCALAR(struct virtio_net_state, pairs, 1),
};

static bool net_valid(const void *candidate)
{
    const struct virtio_net_state *state = candidate;

    return virtio_state_valid(&state->virtio) && state->link_up <= 1 && state->pairs >= 1 &&
           state->pairs <= VIRTIO_NET_PAIRS;
}

static const struct state_schema net_schema = {
    .name = "virtio-net",
    .version = 1,
    .fields = net_fields,
    .field_count = ARRAY_LENGTH(net_fields),
    .size = sizeof(struct virtio_net_state),
    .valid = net_valid,
};

static struct virtio_net *net_of(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct virtio_net, virtio);
}

/* It comes behind all pairs that could be, if the driver knows of more than one (5.1.2). */
static unsigned control_queue(const struct virtio_net *net)
{
    return virtio_has(&net->virtio, VIRTIO_NET_F_MQ) ? 2u * net->pairs : 2;
}

static void net_notify(struct virtio *virtio, unsigned queue)
{
    struct virtio_net *net = net_of(virtio);
    unsigned pair = queue / 2;

    if (queue == control_queue(net) && virtio_has(virtio, VIRTIO_NET_F_CTRL_VQ)) {
        net_control(net, queue);
    } else if (pair >= net->pairs) {
        return;
    } else if (queue % 2 == 1) {
        net_transmit(net, pair);
    } else if (net->refused & BIT(pair)) {
        net->refused &= ~BIT(pair);
        net->network->drained(net->network, pair);
    }
}

/* The network has room again. Machine lock held. */
static void net_sendable(void *device, unsigned pair)
{
    struct virtio_net *net = device;

    if (pair < net->pairs && net->waiting & BIT(pair))
        virtio_queue_run(&net->virtio, 2 * pair + 1);
}

void net_configure(struct virtio_net *net)
{
    const struct virtio *virtio = &net->virtio;
    unsigned abilities = 0;

    abilities |= virtio_has(virtio, VIRTIO_NET_F_GUEST_CSUM) ? PACKET_CHECKSUM : 0;
    abilities |= virtio_has(virtio, VIRTIO_NET_F_GUEST_TSO4) ? PACKET_TCP4 : 0;
    abilities |= virtio_has(virtio, VIRTIO_NET_F_GUEST_TSO6) ? PACKET_TCP6 : 0;
    abilities |= virtio_has(virtio, VIRTIO_NET_F_GUEST_ECN) ? PACKET_ECN : 0;
    net->network->configure(net->network, abilities, net->state.pairs);
}

/* Which features need which others (5.1.3.1). */
static bool net_accepts(const struct virtio *virtio, uint64_t features)
{
    static const struct {
        uint64_t feature, needs;
    } rules[] = {
        {VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_HOST_TSO6},
        {VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6},
        {VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ},
    };

    (void)virtio;
    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++)
        if (features & rules[i].feature && !(features & rules[i].needs))
            return false;
    return true;
}

static void net_driver_ok(struct virtio *virtio)
{
    struct virtio_net *net = net_of(virtio);

    /* The network may hold frames back from before. */
    net->refused = (uint32_t)bits_mask(net->pairs);
    net_configure(net);
}

static void net_config_read(struct virtio *virtio, uint8_t *config)
{
    const struct virtio_net *net = net_of(virtio);

    memcpy(config + CONFIG_MAC, net->state.mac, PACKET_MAC);
    store_le(config + CONFIG_STATUS, 2, net->state.link_up ? STATUS_LINK_UP : 0);
    store_le(config + CONFIG_PAIRS, 2, net->pairs);
}

static void net_reset(struct virtio *virtio)
{
    struct virtio_net *net = net_of(virtio);

    memcpy(net->state.mac, net->mac, sizeof(net->mac));
    net->state.link_up = net->link_up;
    net->state.pairs = 1;
    net->waiting = 0;
    net_configure(net);
}

static void net_resume(struct device *device)
{
    struct virtio_net *net = net_of(CONTAINER_OF(device, struct virtio, device));

    if (net->state.pairs > net->pairs)
        net->state.pairs = net->pairs;
    net->link_up = net->state.link_up;
    net->waiting = 0;
    virtio_resume(device);
}

static const struct device_type net_type = {
    .name = "virtio-net",
    .schema = &net_schema,
    .state_offset = offsetof(struct virtio_net, state),
    .io = virtio_io,
    .reset = virtio_reset,
    .quiesce = virtio_quiesce,
    .resume = net_resume,
};

static const struct virtio_ops net_ops = {
    .notify = net_notify,
    .accepts = net_accepts,
    .driver_ok = net_driver_ok,
    .reset = net_reset,
    .config_read = net_config_read,
};

static const struct virtio_kind net_kind = {
    .type = VIRTIO_TYPE_NET,
    .class_code = CLASS_ETHERNET,
    .config_size = CONFIG_SIZE,
    .ops = &net_ops,
};

/* What is left to the other side is offered only if that can do it. */
static uint64_t net_features(const struct network *network, unsigned pairs)
{
    unsigned transmit = network->transmit_abilities, receive = network->receive_abilities;
    uint64_t features = VIRTIO_NET_F_MAC | VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_CTRL_VQ |
                        VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_VLAN | VIRTIO_NET_F_CTRL_MAC_ADDR;

    features |= pairs > 1 ? VIRTIO_NET_F_MQ : 0;
    if (transmit & PACKET_CHECKSUM) {
        features |= VIRTIO_NET_F_CSUM;
        features |= transmit & PACKET_TCP4 ? VIRTIO_NET_F_HOST_TSO4 : 0;
        features |= transmit & PACKET_TCP6 ? VIRTIO_NET_F_HOST_TSO6 : 0;
        features |= transmit & PACKET_ECN ? VIRTIO_NET_F_HOST_ECN : 0;
    }
    if (receive & PACKET_CHECKSUM) {
        features |= VIRTIO_NET_F_GUEST_CSUM;
        features |= receive & PACKET_TCP4 ? VIRTIO_NET_F_GUEST_TSO4 : 0;
        features |= receive & PACKET_TCP6 ? VIRTIO_NET_F_GUEST_TSO6 : 0;
        features |= receive & PACKET_ECN ? VIRTIO_NET_F_GUEST_ECN : 0;
    }
    return features;
}

void virtio_net_init(struct virtio_net *net, struct network *network, const uint8_t mac[PACKET_MAC], unsigned pairs)
{
    pairs = pairs < network->pairs ? pairs : network->pairs;
    pairs = pairs < VIRTIO_NET_PAIRS ? pairs : VIRTIO_NET_PAIRS;
    virtio_init(&net->virtio, &net_type, &net_kind, &net->state.virtio, net_features(network, pairs), 2 * pairs + 1);
    net->network = network;
    memcpy(net->mac, mac, PACKET_MAC);
    net->link_up = true;
    net->pairs = (uint16_t)pairs;
    net->waiting = net->refused = 0;
    network->receive = net_receive;
    network->sendable = net_sendable;
    network->device = net;
}

void virtio_net_set_link(struct virtio_net *net, bool up)
{
    net->link_up = up;
    if (net->state.link_up == up)
        return;
    net->state.link_up = up;
    virtio_config_changed(&net->virtio);
}
