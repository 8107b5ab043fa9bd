/* Getting hold of a tap interface. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "backend/net_tap_internal.h"
#include "base/bits.h"
#include "port/log.h"

/* One line: what is wrong, and what helps. */
static enum status refuse(const char *interface, int error)
{
    switch (error) {
    case EPERM:
    case EACCES:
        log_error("tap interface %s: not allowed; have root make it for you: ip tuntap add %s mode tap user NAME",
                  interface, interface);
        return STATUS_DENIED;
    case EBUSY:
        log_error("tap interface %s is in use by another program", interface);
        return STATUS_BUSY;
    case EINVAL:
        log_error("interface %s is no tap interface; make one: ip tuntap add NAME mode tap user NAME", interface);
        return STATUS_INVALID;
    default:
        log_error("cannot use tap interface %s: %s", interface, strerror(error));
        return STATUS_IO;
    }
}

/* A queue of the interface; negative: minus the error. An interface that is not there is not made. */
static int open_queue(const char *interface, bool several)
{
    const int header = TAP_HEADER;
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    request.ifr_flags = (short)(request.ifr_flags | (several ? IFF_MULTI_QUEUE : 0));
    memcpy(request.ifr_name, interface, strlen(interface) + 1);
    if (ioctl(fd, TUNSETIFF, &request) == 0 && ioctl(fd, TUNSETVNETHDRSZ, &header) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static void find_offloads(struct net_tap *tap)
{
    static const unsigned choices[] = {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
                                       TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, TUN_F_CSUM, 0};
    unsigned i = 0;

    while (choices[i] && ioctl(tap->queues[0].fd, TUNSETOFFLOAD, (unsigned long)choices[i]) != 0)
        i++;
    (void)ioctl(tap->queues[0].fd, TUNSETOFFLOAD, 0ul);
    tap->offloads = choices[i];
    tap->network.receive_abilities =
        (tap->offloads & TUN_F_CSUM ? PACKET_CHECKSUM : 0u) | (tap->offloads & TUN_F_TSO4 ? PACKET_TCP4 : 0u) |
        (tap->offloads & TUN_F_TSO6 ? PACKET_TCP6 : 0u) | (tap->offloads & TUN_F_TSO_ECN ? PACKET_ECN : 0u);
    tap->network.transmit_abilities = PACKET_CHECKSUM | PACKET_TCP4 | PACKET_TCP6 | PACKET_ECN;
}

/* An interface was made for one queue or for several, and is to be asked for in the same way. */
enum status tap_open_queues(struct net_tap *tap, const char *interface, unsigned pairs)
{
    int fd;

    if (strlen(interface) >= IFNAMSIZ || if_nametoindex(interface) == 0) {
        log_error("there is no interface %s; have root make it: ip tuntap add %s mode tap user NAME", interface,
                  interface);
        return STATUS_NOT_FOUND;
    }
    fd = open_queue(interface, true);
    if (fd == -EINVAL) {
        pairs = 1;
        fd = open_queue(interface, false);
    }
    if (fd < 0)
        return refuse(interface, -fd);
    tap->queues[0].fd = fd;
    tap->network.pairs = 1;
    while (tap->network.pairs < pairs) {
        fd = open_queue(interface, true);
        if (fd < 0)
            return refuse(interface, -fd);
        tap->queues[tap->network.pairs++].fd = fd;
    }
    find_offloads(tap);
    return STATUS_OK;
}

void tap_configure(struct network *network, unsigned abilities, unsigned pairs)
{
    struct net_tap *tap = CONTAINER_OF(network, struct net_tap, network);
    unsigned offloads = (abilities & PACKET_CHECKSUM ? TUN_F_CSUM : 0u) | (abilities & PACKET_TCP4 ? TUN_F_TSO4 : 0u) |
                        (abilities & PACKET_TCP6 ? TUN_F_TSO6 : 0u) | (abilities & PACKET_ECN ? TUN_F_TSO_ECN : 0u);

    (void)ioctl(tap->queues[0].fd, TUNSETOFFLOAD, (unsigned long)(offloads & tap->offloads));
    for (unsigned i = 1; i < network->pairs; i++) {
        struct tap_queue *queue = &tap->queues[i];
        bool detached = i >= pairs;
        struct ifreq request = {.ifr_flags = (short)(detached ? IFF_DETACH_QUEUE : IFF_ATTACH_QUEUE)};

        if (detached != queue->detached && ioctl(queue->fd, TUNSETQUEUE, &request) == 0)
            queue->detached = detached;
    }
}
