#include "backend/net_tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/net_tap_internal.h"
#include "backend/thread.h"
#include "base/bits.h"
#include "port/log.h"

enum { EVENTS = 2 * NET_TAP_PAIRS, BATCH = 64 };

/* --- the thread, under the guard --- */

static void tap_watch(struct net_tap *tap, unsigned pair)
{
    struct tap_queue *queue = &tap->queues[pair];
    uint32_t interest = (queue->size ? 0 : (uint32_t)EPOLLIN) | (tap->blocked & BIT(pair) ? (uint32_t)EPOLLOUT : 0);
    struct epoll_event event = {.events = interest, .data.u32 = pair};

    if (interest != queue->interest)
        (void)epoll_ctl(tap->epoll, EPOLL_CTL_MOD, queue->fd, &event);
    queue->interest = interest;
}

/* Hands over what is in the buffer. False: the guest has no room. */
static bool tap_deliver(struct net_tap *tap, unsigned pair)
{
    struct tap_queue *queue = &tap->queues[pair];
    struct packet_segment segment;
    struct packet packet;
    bool taken = true;

    if (tap->machine_lock && tap_parse(queue->buffer, queue->size, &packet, &segment)) {
        lock_acquire(tap->machine_lock);
        taken = tap->network.receive(tap->network.device, pair, &packet);
        lock_release(tap->machine_lock);
    }
    queue->size = taken ? 0 : queue->size;
    return taken;
}

/* The number is limited so that no queue waits for long. */
static void tap_read(struct net_tap *tap, unsigned pair)
{
    struct tap_queue *queue = &tap->queues[pair];

    for (unsigned i = 0; i < BATCH && queue->size == 0; i++) {
        ssize_t got = read(queue->fd, queue->buffer, TAP_BUFFER);

        if (got <= 0)
            break;
        queue->size = (size_t)got;
        (void)tap_deliver(tap, pair);
    }
}

static void tap_writable(struct net_tap *tap, unsigned pair)
{
    if (!(atomic_fetch_and(&tap->blocked, ~BIT(pair)) & BIT(pair)) || !tap->machine_lock)
        return;
    lock_acquire(tap->machine_lock);
    tap->network.sendable(tap->network.device, pair);
    lock_release(tap->machine_lock);
}

static void tap_handle(struct net_tap *tap, const struct epoll_event *event)
{
    unsigned pair = event->data.u32;
    uint64_t wakes;

    if (pair >= NET_TAP_PAIRS) {
        (void)!read(tap->wake, &wakes, sizeof(wakes));
        return;
    }
    if (event->events & EPOLLOUT)
        tap_writable(tap, pair);
    if (event->events & (EPOLLIN | EPOLLERR))
        tap_read(tap, pair);
}

static void *tap_main(void *argument)
{
    struct net_tap *tap = argument;
    struct epoll_event events[EVENTS];

    while (!tap->stopping) {
        int count = epoll_wait(tap->epoll, events, EVENTS, -1);

        pthread_mutex_lock(&tap->guard);
        for (int i = 0; i < count; i++)
            tap_handle(tap, &events[i]);
        uint32_t drained = atomic_exchange(&tap->drained, 0);
        for (unsigned pair = 0; pair < tap->network.pairs; pair++) {
            if (drained & BIT(pair) && tap->queues[pair].size)
                (void)tap_deliver(tap, pair);
            tap_watch(tap, pair);
        }
        pthread_mutex_unlock(&tap->guard);
    }
    return NULL;
}

/* --- the device; machine lock held --- */

static void tap_drained(struct network *network, unsigned pair)
{
    struct net_tap *tap = CONTAINER_OF(network, struct net_tap, network);

    atomic_fetch_or(&tap->drained, BIT(pair));
    (void)eventfd_write(tap->wake, 1);
}

/* --- life --- */

struct network *net_tap_network(struct net_tap *tap)
{
    return &tap->network;
}

void net_tap_attach(struct net_tap *tap, struct lock *machine_lock)
{
    pthread_mutex_lock(&tap->guard);
    tap->machine_lock = machine_lock;
    tap->blocked = 0;
    for (unsigned i = 0; i < tap->network.pairs; i++)
        tap->queues[i].size = 0;
    pthread_mutex_unlock(&tap->guard);
    (void)eventfd_write(tap->wake, 1);
}

static enum status tap_prepare(struct net_tap *tap)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = NET_TAP_PAIRS};

    tap->epoll = epoll_create1(EPOLL_CLOEXEC);
    tap->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (tap->epoll < 0 || tap->wake < 0 || epoll_ctl(tap->epoll, EPOLL_CTL_ADD, tap->wake, &event) != 0)
        goto failed;
    for (unsigned i = 0; i < tap->network.pairs; i++) {
        struct tap_queue *queue = &tap->queues[i];

        event.data.u32 = i;
        queue->interest = EPOLLIN;
        queue->buffer = malloc(TAP_BUFFER);
        if (!queue->buffer || epoll_ctl(tap->epoll, EPOLL_CTL_ADD, queue->fd, &event) != 0)
            goto failed;
    }
    return STATUS_OK;

failed:
    log_error("cannot wait for frames of a tap interface: %s", strerror(errno));
    return STATUS_NO_MEMORY;
}

enum status net_tap_start(struct net_tap *tap, bool (*enter)(void))
{
    return backend_thread_need(&tap->thread, "tap", "of a tap interface", enter, tap_main, tap);
}

enum status net_tap_open(const char *interface, unsigned pairs, struct net_tap **tap)
{
    struct net_tap *made = calloc(1, sizeof(*made));
    enum status status;

    *tap = NULL;
    if (!made) {
        log_error("no memory for tap interface %s", interface);
        return STATUS_NO_MEMORY;
    }
    made->epoll = made->wake = -1;
    for (unsigned i = 0; i < NET_TAP_PAIRS; i++)
        made->queues[i].fd = -1;
    pthread_mutex_init(&made->guard, NULL);
    made->network.transmit = tap_transmit;
    made->network.drained = tap_drained;
    made->network.configure = tap_configure;
    status = tap_open_queues(made, interface, pairs < NET_TAP_PAIRS ? pairs : NET_TAP_PAIRS);
    if (status == STATUS_OK)
        status = tap_prepare(made);
    if (status == STATUS_OK)
        *tap = made;
    else
        net_tap_close(made);
    return status;
}

static void tap_close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void net_tap_close(struct net_tap *tap)
{
    if (!tap)
        return;
    if (tap->thread.runs) {
        tap->stopping = true;
        (void)eventfd_write(tap->wake, 1);
        backend_thread_join(&tap->thread);
    }
    for (unsigned i = 0; i < NET_TAP_PAIRS; i++) {
        tap_close_fd(tap->queues[i].fd);
        free(tap->queues[i].buffer);
    }
    tap_close_fd(tap->epoll);
    tap_close_fd(tap->wake);
    pthread_mutex_destroy(&tap->guard);
    free(tap);
}
