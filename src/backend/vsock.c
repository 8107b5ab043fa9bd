#include "backend/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/thread.h"
#include "backend/vsock_internal.h"
#include "port/log.h"

enum { EVENTS = 32, BACKLOG = 16 };

/* --- the thread --- */

/* A program of the host has come. Without a machine nobody answers. */
static void host_accept(struct vsock_host *host)
{
    int fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (host->machine_lock)
        (void)peer_create(host, fd, PEER_GREETING);
    else
        close(fd);
}

static void host_handle(struct vsock_host *host, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct peer *peer = events[i].data.ptr;

        if (!peer)
            host_accept(host);
        else if (host->machine_lock && peer->phase != PEER_DEAD)
            peer_ready(peer, events[i].events);
    }
    peers_reap(host);
}

/* Events may be of peers that have died since: only this thread frees them, and only after it has looked. */
static void *host_main(void *argument)
{
    struct vsock_host *host = argument;
    struct epoll_event events[EVENTS];

    for (;;) {
        int count = epoll_wait(host->epoll, events, EVENTS, -1);

        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == &host->stop)
                return NULL;
        pthread_mutex_lock(&host->guard);
        if (host->machine_lock)
            lock_acquire(host->machine_lock);
        host_handle(host, events, count);
        if (host->machine_lock)
            lock_release(host->machine_lock);
        pthread_mutex_unlock(&host->guard);
    }
}

/* --- life --- */

struct vsock_world *vsock_host_world(struct vsock_host *host)
{
    return &host->world;
}

void vsock_host_attach(struct vsock_host *host, struct lock *machine_lock)
{
    pthread_mutex_lock(&host->guard);
    for (unsigned i = 0; i < PEERS && !machine_lock; i++)
        if (host->peers[i] && host->peers[i]->phase != PEER_DEAD)
            peer_kill(host->peers[i]);
    host->machine_lock = machine_lock;
    pthread_mutex_unlock(&host->guard);
}

static enum status host_watch(struct vsock_host *host, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

    if (fd >= 0 && epoll_ctl(host->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return STATUS_OK;
    log_error("cannot wait for events of a socket: %s", strerror(errno));
    return STATUS_NO_MEMORY;
}

static enum status host_listen(struct vsock_host *host, const char *path)
{
    const struct sockaddr *address = (const struct sockaddr *)&host->address;

    if (strlen(path) + PORT_DIGITS >= sizeof(host->address.sun_path)) {
        log_error("the path of the vsock socket, %s, is too long; %zu bytes are possible", path,
                  sizeof(host->address.sun_path) - PORT_DIGITS - 1);
        return STATUS_INVALID;
    }
    host->address.sun_family = AF_UNIX;
    memcpy(host->address.sun_path, path, strlen(path) + 1);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener >= 0 && bind(listener, address, sizeof(host->address)) == 0 && listen(listener, BACKLOG) == 0) {
        host->listener = listener;
        return STATUS_OK;
    }
    log_error("cannot listen on the vsock socket %s: %s%s", path, strerror(errno),
              errno == EADDRINUSE ? "; remove it if no machine uses it" : "");
    if (listener >= 0)
        close(listener);
    return STATUS_DENIED;
}

static enum status host_prepare(struct vsock_host *host)
{
    enum status status = STATUS_NO_MEMORY;

    host->epoll = epoll_create1(EPOLL_CLOEXEC);
    host->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (host->epoll >= 0)
        status = host_watch(host, host->stop, &host->stop);
    else
        log_error("cannot wait for events of sockets: %s", strerror(errno));
    if (status == STATUS_OK)
        status = host_watch(host, host->listener, NULL);
    return status;
}

enum status vsock_host_start(struct vsock_host *host, bool (*enter)(void))
{
    return backend_thread_need(&host->thread, "vsock", "of the vsock device", enter, host_main, host);
}

enum status vsock_host_open(const char *path, struct vsock_outside *outside, struct vsock_host **host)
{
    struct vsock_host *made = calloc(1, sizeof(*made));
    enum status status;

    *host = NULL;
    if (!made) {
        log_error("no memory for the vsock socket %s", path);
        return STATUS_NO_MEMORY;
    }
    made->listener = made->epoll = made->stop = -1;
    made->outside = outside;
    pthread_mutex_init(&made->guard, NULL);
    peers_init_world(made);
    status = host_listen(made, path);
    if (status == STATUS_OK)
        status = host_prepare(made);
    if (status == STATUS_OK)
        *host = made;
    else
        vsock_host_close(made);
    return status;
}

static void host_close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void host_remove_socket(struct vsock_host *host)
{
    if (host->listener < 0)
        return;
    if (host->outside)
        host->outside->remove(host->outside);
    else
        (void)unlink(host->address.sun_path);
}

void vsock_host_close(struct vsock_host *host)
{
    if (!host)
        return;
    if (host->thread.runs) {
        (void)eventfd_write(host->stop, 1);
        backend_thread_join(&host->thread);
    }
    peers_reap(host);
    host_remove_socket(host);
    host_close_fd(host->listener);
    host_close_fd(host->epoll);
    host_close_fd(host->stop);
    pthread_mutex_destroy(&host->guard);
    free(host);
}
