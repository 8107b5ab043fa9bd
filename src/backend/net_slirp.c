#include "backend/net_slirp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "backend/net_offload.h"
#include "backend/net_queue.h"
#include "backend/thread.h"
#include "base/bits.h"
#include "port/log.h"

/*
 * A connection has at most 64 KiB on its way, as libslirp does not scale windows; LARGE_MSS makes two segments of
 * that, so that one can be worked on at either end. LARGE_MTU is the largest that libslirp knows.
 */
enum { LARGE_MTU = 65521, LARGE_MSS = 32000 };

enum { OUT_ROOM = 512 << 10, BACK_ROOM = 4 << 20, POLLS_FIRST = 64 };

struct net_slirp {
    struct network network;
    Slirp *slirp;
    struct backend_thread thread;
    int wake;                   /* an event */
    _Atomic unsigned abilities; /* of the guest */

    pthread_mutex_t guard;     /* held by the thread except while it waits; before the machine lock */
    struct lock *machine_lock; /* NULL: not attached; under the guard */
    struct net_queue work;     /* from the guest, what the thread works on; the thread's */
    struct net_queue back;     /* for the guest, which had no room; the thread's */
    struct pollfd *polls;      /* of wake, and of libslirp's sockets; the thread's */
    unsigned poll_count, poll_room;

    struct lock lock;     /* after the machine lock: for the rest */
    struct net_queue out; /* from the guest */
    bool refused;         /* a frame from the guest, for want of room */
    bool drained;         /* the guest may have room again */
    bool asleep;          /* the thread waits, or is about to, and wants to be woken */
    bool stopping;
};

/* --- from the guest; machine lock held --- */

static void slirp_wake(struct net_slirp *self)
{
    if (self->asleep)
        (void)eventfd_write(self->wake, 1);
    self->asleep = false;
}

static bool slirp_transmit(struct network *network, unsigned pair, const struct packet *packet)
{
    struct net_slirp *self = CONTAINER_OF(network, struct net_slirp, network);

    (void)pair;
    lock_acquire(&self->lock);
    bool taken = net_queue_put(&self->out, packet);
    self->refused |= !taken;
    slirp_wake(self);
    lock_release(&self->lock);
    return taken;
}

static void slirp_drained(struct network *network, unsigned pair)
{
    struct net_slirp *self = CONTAINER_OF(network, struct net_slirp, network);

    (void)pair;
    lock_acquire(&self->lock);
    self->drained = true;
    slirp_wake(self);
    lock_release(&self->lock);
}

static void slirp_configure(struct network *network, unsigned abilities, unsigned pairs)
{
    (void)pairs;
    CONTAINER_OF(network, struct net_slirp, network)->abilities = abilities;
}

/* --- to the guest; the thread, under the guard --- */

static bool deliver(struct net_slirp *self, const struct packet *packet)
{
    lock_acquire(self->machine_lock);
    bool taken = self->network.receive(self->network.device, 0, packet);
    lock_release(self->machine_lock);
    return taken;
}

/* What does not fit into the backlog either is lost, as on any network. */
static void slirp_deliver(void *context, uint8_t *frame, size_t size)
{
    struct net_slirp *self = context;
    const struct packet_segment segment = {.bytes = frame, .size = size};
    struct packet packet;

    offload_describe(frame, size, &packet);
    packet.segments = &segment;
    packet.segment_count = 1;
    if (!net_queue_is_empty(&self->back) || !deliver(self, &packet))
        (void)net_queue_put(&self->back, &packet);
}

static void slirp_deliver_backlog(struct net_slirp *self)
{
    struct packet packet;
    struct packet_segment segment;

    while (net_queue_first(&self->back, &packet, &segment) && deliver(self, &packet))
        net_queue_drop(&self->back);
}

static ssize_t on_send(const void *bytes, size_t size, void *opaque)
{
    struct net_slirp *self = opaque;
    struct offload_tcp segment;
    uint8_t *frame = (uint8_t *)(uintptr_t)bytes; /* in a buffer of libslirp's, which it frees next */

    if (!self->machine_lock || size < PACKET_HEADER || size > PACKET_MOST)
        return (ssize_t)size;
    if (size <= PACKET_HEADER + OFFLOAD_MTU || offload_find_tcp(frame, size, &segment))
        slirp_deliver(self, frame, size);
    else
        offload_fragment(frame, size, slirp_deliver, self);
    return (ssize_t)size;
}

/* --- the thread --- */

static int64_t on_clock(void *opaque)
{
    struct timespec now;

    (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The guest's own affair, and it could fill the log with it. */
static void on_guest_error(const char *message, void *opaque)
{
    (void)message;
    (void)opaque;
}

/* All descriptors are asked for anew before each wait. */
static void on_poll_fd(int fd, void *opaque)
{
    (void)fd;
    (void)opaque;
}

static void on_notify(void *opaque)
{
    (void)opaque;
}

static const struct SlirpCb callbacks = {
    .send_packet = on_send,
    .guest_error = on_guest_error,
    .clock_get_ns = on_clock,
    .register_poll_fd = on_poll_fd,
    .unregister_poll_fd = on_poll_fd,
    .notify = on_notify,
};

static int on_add_poll(int fd, int events, void *opaque)
{
    struct net_slirp *self = opaque;
    struct pollfd *poll_fd;

    if (self->poll_count == self->poll_room) {
        unsigned room = self->poll_room * 2;
        struct pollfd *polls = reallocarray(self->polls, room, sizeof(*polls));

        if (!polls)
            return -1;
        self->polls = polls;
        self->poll_room = room;
    }
    poll_fd = &self->polls[self->poll_count];
    *poll_fd = (struct pollfd){.fd = fd};
    poll_fd->events |= events & SLIRP_POLL_IN && net_queue_is_empty(&self->back) ? POLLIN : 0;
    poll_fd->events |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
    poll_fd->events |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
    return (int)self->poll_count++;
}

static int on_get_events(int index, void *opaque)
{
    const struct net_slirp *self = opaque;
    int got = index >= 0 && (unsigned)index < self->poll_count ? self->polls[index].revents : 0;

    return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) |
           (got & POLLPRI ? SLIRP_POLL_PRI : 0) | (got & POLLERR ? SLIRP_POLL_ERR : 0) |
           (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Hands all that the guest has transmitted to libslirp. */
static void slirp_input_all(struct net_slirp *self)
{
    unsigned abilities = self->abilities;
    bool large = abilities & PACKET_CHECKSUM && abilities & PACKET_TCP4;
    struct packet packet;
    struct packet_segment segment;

    for (; net_queue_first(&self->work, &packet, &segment); net_queue_drop(&self->work)) {
        if (!offload_complete(segment.bytes, &packet))
            continue;
        if (large)
            offload_raise_mss(segment.bytes, segment.size, LARGE_MSS);
        slirp_input(self->slirp, segment.bytes, (int)segment.size);
    }
}

/* Takes what the guest has transmitted, all at once, so that it can go on. */
static void slirp_take(struct net_slirp *self)
{
    struct net_queue empty = self->work;

    net_queue_clear(&empty);
    lock_acquire(&self->lock);
    bool refused = self->refused, drained = self->drained;
    self->work = self->out;
    self->out = empty;
    self->refused = self->drained = false;
    lock_release(&self->lock);
    if (!self->machine_lock) {
        net_queue_clear(&self->work);
        return;
    }
    if (refused) {
        lock_acquire(self->machine_lock);
        self->network.sendable(self->network.device, 0);
        lock_release(self->machine_lock);
    }
    if (drained)
        slirp_deliver_backlog(self);
}

/* True: there is something to do at once. From here on, whoever brings something wakes. */
static bool slirp_falls_asleep(struct net_slirp *self)
{
    lock_acquire(&self->lock);
    self->asleep = net_queue_is_empty(&self->out) && !self->drained && !self->refused && !self->stopping;
    bool busy = !self->asleep;
    lock_release(&self->lock);
    return busy;
}

/* Waits for something to happen, without the guard. Answers whether the thread is to go on. */
static bool slirp_wait(struct net_slirp *self)
{
    uint32_t timeout_ms = UINT32_MAX;
    uint64_t wakes;

    self->polls[0] = (struct pollfd){.fd = self->wake, .events = POLLIN};
    self->poll_count = 1;
    slirp_pollfds_fill(self->slirp, &timeout_ms, on_add_poll, self);
    bool busy = slirp_falls_asleep(self);
    pthread_mutex_unlock(&self->guard);
    int count = poll(self->polls, self->poll_count, busy ? 0 : timeout_ms > INT32_MAX ? -1 : (int)timeout_ms);
    pthread_mutex_lock(&self->guard);
    lock_acquire(&self->lock);
    self->asleep = false;
    bool going_on = !self->stopping;
    lock_release(&self->lock);
    if (count > 0 && self->polls[0].revents & POLLIN)
        (void)!read(self->wake, &wakes, sizeof(wakes));
    slirp_pollfds_poll(self->slirp, count < 0, on_get_events, self);
    return going_on;
}

static void *slirp_main(void *argument)
{
    struct net_slirp *self = argument;

    pthread_mutex_lock(&self->guard);
    do {
        slirp_take(self);
        slirp_input_all(self);
    } while (slirp_wait(self));
    pthread_mutex_unlock(&self->guard);
    return NULL;
}

/* --- life --- */

struct network *net_slirp_network(struct net_slirp *slirp)
{
    return &slirp->network;
}

void net_slirp_attach(struct net_slirp *slirp, struct lock *machine_lock)
{
    pthread_mutex_lock(&slirp->guard);
    slirp->machine_lock = machine_lock;
    net_queue_clear(&slirp->work);
    net_queue_clear(&slirp->back);
    lock_acquire(&slirp->lock);
    net_queue_clear(&slirp->out);
    slirp->refused = slirp->drained = false;
    lock_release(&slirp->lock);
    pthread_mutex_unlock(&slirp->guard);
}

static enum status slirp_create(struct net_slirp *self, const struct net_slirp_config *config)
{
    const SlirpConfig slirp_config = {
        .version = 4,
        .restricted = config->restricted,
        .in_enabled = true,
        .vnetwork.s_addr = htonl(0x0a000200),
        .vnetmask.s_addr = htonl(0xffffff00),
        .vhost.s_addr = htonl(0x0a000202),
        .vdhcp_start.s_addr = htonl(0x0a00020f),
        .vnameserver.s_addr = htonl(0x0a000203),
        .vhostname = config->hostname,
        .if_mtu = LARGE_MTU,
        .if_mru = LARGE_MTU,
    };

    self->slirp = slirp_new(&slirp_config, &callbacks, self);
    if (!self->slirp) {
        log_error("cannot make a user network: libslirp %s refuses", slirp_version_string());
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

static enum status slirp_add_forwards(struct net_slirp *self, const struct net_slirp_config *config)
{
    const struct in_addr guest = {.s_addr = htonl(0x0a00020f)};

    for (unsigned i = 0; i < config->forward_count; i++) {
        const struct net_forward *forward = &config->forwards[i];
        char address[INET_ADDRSTRLEN];

        errno = 0;
        if (slirp_add_hostfwd(self->slirp, forward->udp, forward->address, forward->host_port, guest,
                              forward->guest_port) == 0)
            continue;
        log_error("cannot forward %s port %u of %s: %s", forward->udp ? "udp" : "tcp", forward->host_port,
                  inet_ntop(AF_INET, &forward->address, address, sizeof(address)),
                  errno ? strerror(errno) : "libslirp refuses");
        return errno == EACCES ? STATUS_DENIED : STATUS_BUSY;
    }
    return STATUS_OK;
}

enum status net_slirp_start(struct net_slirp *slirp, bool (*enter)(void))
{
    return backend_thread_need(&slirp->thread, "slirp", "of the user network", enter, slirp_main, slirp);
}

static enum status slirp_allocate(struct net_slirp *self)
{
    self->poll_room = POLLS_FIRST;
    self->polls = calloc(self->poll_room, sizeof(*self->polls));
    self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->polls && self->wake >= 0 && net_queue_init(&self->out, OUT_ROOM) &&
        net_queue_init(&self->work, OUT_ROOM) && net_queue_init(&self->back, BACK_ROOM))
        return STATUS_OK;
    log_error("no memory for a user network");
    return STATUS_NO_MEMORY;
}

enum status net_slirp_open(const struct net_slirp_config *config, struct net_slirp **slirp)
{
    struct net_slirp *self = calloc(1, sizeof(*self));
    enum status status;

    *slirp = NULL;
    if (!self) {
        log_error("no memory for a user network");
        return STATUS_NO_MEMORY;
    }
    self->wake = -1;
    pthread_mutex_init(&self->guard, NULL);
    self->network = (struct network){
        .pairs = 1,
        .transmit_abilities = PACKET_CHECKSUM | PACKET_TCP4 | PACKET_ECN,
        .receive_abilities = PACKET_CHECKSUM | PACKET_TCP4,
        .transmit = slirp_transmit,
        .drained = slirp_drained,
        .configure = slirp_configure,
    };
    status = slirp_allocate(self);
    if (status == STATUS_OK)
        status = slirp_create(self, config);
    if (status == STATUS_OK)
        status = slirp_add_forwards(self, config);
    if (status == STATUS_OK)
        *slirp = self;
    else
        net_slirp_close(self);
    return status;
}

void net_slirp_close(struct net_slirp *slirp)
{
    if (!slirp)
        return;
    if (slirp->thread.runs) {
        lock_acquire(&slirp->lock);
        slirp->stopping = true;
        slirp_wake(slirp);
        lock_release(&slirp->lock);
        backend_thread_join(&slirp->thread);
    }
    if (slirp->slirp)
        slirp_cleanup(slirp->slirp);
    if (slirp->wake >= 0)
        close(slirp->wake);
    net_queue_destroy(&slirp->out);
    net_queue_destroy(&slirp->work);
    net_queue_destroy(&slirp->back);
    free(slirp->polls);
    pthread_mutex_destroy(&slirp->guard);
    free(slirp);
}
