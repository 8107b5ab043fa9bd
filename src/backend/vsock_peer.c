/* Sockets of the host: greetings, and bytes in both directions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/vsock_internal.h"
#include "base/bits.h"

/* With no interest at all it leaves the set: an end that is gone would be reported for ever. */
static void peer_wait_for(struct peer *peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    int operation = events == 0 ? EPOLL_CTL_DEL : peer->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (events == peer->interest)
        return;
    peer->interest = epoll_ctl(peer->host->epoll, operation, peer->fd, &event) == 0 ? events : 0;
}

/* What there is to wait for follows from what it holds. */
static void peer_update(struct peer *peer)
{
    bool reads = peer->phase == PEER_GREETING ||
                 (peer->phase == PEER_OPEN && !peer->input_ended && peer->input_start == peer->input_end);
    bool writes = peer->output_size > 0 || peer->broken;

    if (peer->phase != PEER_DEAD)
        peer_wait_for(peer, (reads ? EPOLLIN : 0u) | (writes ? EPOLLOUT : 0u));
}

struct peer *peer_create(struct vsock_host *host, int fd, enum peer_phase phase)
{
    unsigned at = 0;

    while (at < PEERS && host->peers[at])
        at++;
    struct peer *peer = at < PEERS ? calloc(1, sizeof(*peer)) : NULL;
    if (!peer) {
        close(fd);
        return NULL;
    }
    peer->host = host;
    peer->fd = fd;
    peer->phase = phase;
    host->peers[at] = peer;
    peer_update(peer);
    return peer;
}

void peer_kill(struct peer *peer)
{
    if (peer->phase == PEER_CALLING || peer->phase == PEER_OPEN)
        peer->host->connections[peer->connection] = NULL;
    peer_wait_for(peer, 0);
    if (peer->phase != PEER_DEAD)
        close(peer->fd);
    peer->phase = PEER_DEAD;
}

void peers_reap(struct vsock_host *host)
{
    for (unsigned i = 0; i < PEERS; i++) {
        if (host->peers[i] && host->peers[i]->phase == PEER_DEAD) {
            free(host->peers[i]);
            host->peers[i] = NULL;
        }
    }
}

/* The host's end is gone: the guest hears of it. */
static void peer_hang_up(struct peer *peer)
{
    struct vsock_world *world = &peer->host->world;
    bool connected = peer->phase == PEER_CALLING || peer->phase == PEER_OPEN;
    unsigned connection = peer->connection;

    peer_kill(peer);
    if (connected)
        world->hang_up(world->device, connection);
}

/* --- from the guest --- */

/* Writes what is held, as far as the socket takes it; answers how much that was. */
static size_t peer_flush(struct peer *peer)
{
    size_t written = 0;

    while (peer->output_size > 0 && !peer->broken) {
        size_t until_end = sizeof(peer->output) - peer->output_start;
        size_t here = peer->output_size < until_end ? peer->output_size : until_end;
        ssize_t sent = send(peer->fd, peer->output + peer->output_start, here, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            peer->broken = true;
            written += peer->output_size; /* nobody will ever take it */
            peer->output_size = 0;
        }
        if (sent <= 0)
            break;
        peer->output_start = (peer->output_start + (size_t)sent) % sizeof(peer->output);
        peer->output_size -= (size_t)sent;
        written += (size_t)sent;
    }
    return written;
}

/* All is written: what waited for that. */
static void peer_flushed(struct peer *peer)
{
    if (peer->output_size > 0)
        return;
    if (peer->phase == PEER_LEAVING)
        peer_kill(peer);
    else if (peer->guest_finished)
        (void)shutdown(peer->fd, SHUT_WR);
}

static void world_send(struct vsock_world *world, unsigned connection, const void *bytes, size_t size)
{
    struct vsock_host *host = CONTAINER_OF(world, struct vsock_host, world);
    struct peer *peer = host->connections[connection];

    if (!peer)
        return;
    for (size_t done = 0; done < size && peer->output_size < sizeof(peer->output);) {
        size_t at = (peer->output_start + peer->output_size) % sizeof(peer->output);
        size_t room =
            sizeof(peer->output) - (at < peer->output_start ? sizeof(peer->output) - peer->output_start + at : at);
        size_t free_bytes = sizeof(peer->output) - peer->output_size;

        room = room < free_bytes ? room : free_bytes;
        room = room < size - done ? room : size - done;
        memcpy(peer->output + at, (const uint8_t *)bytes + done, room);
        peer->output_size += room;
        done += room;
    }
    size_t written = peer_flush(peer);
    if (written > 0)
        world->consumed(world->device, connection, written);
    peer_update(peer);
}

static void world_finished(struct vsock_world *world, unsigned connection)
{
    struct peer *peer = CONTAINER_OF(world, struct vsock_host, world)->connections[connection];

    if (!peer)
        return;
    peer->guest_finished = true;
    peer_flushed(peer);
}

static void world_close(struct vsock_world *world, unsigned connection)
{
    struct vsock_host *host = CONTAINER_OF(world, struct vsock_host, world);
    struct peer *peer = host->connections[connection];

    if (!peer)
        return;
    host->connections[connection] = NULL;
    peer->phase = PEER_LEAVING;
    if (peer->broken)
        peer->output_size = 0;
    peer_flushed(peer);
    peer_update(peer);
}

/* --- to the guest --- */

/* Offers the device what was read; at the end of the input, says so. */
static void peer_offer(struct peer *peer)
{
    struct vsock_world *world = &peer->host->world;
    size_t size = peer->input_end - peer->input_start;

    if (size > 0)
        peer->input_start += world->receive(world->device, peer->connection, peer->input + peer->input_start, size);
}

/* Reads once. False: nothing came. */
static bool peer_read(struct peer *peer)
{
    ssize_t size = recv(peer->fd, peer->input, sizeof(peer->input), MSG_DONTWAIT);

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    peer->input_ended = size <= 0;
    peer->input_start = 0;
    peer->input_end = size > 0 ? (size_t)size : 0;
    return size > 0;
}

static void peer_take_input(struct peer *peer, bool gone)
{
    struct vsock_world *world = &peer->host->world;

    if (peer_read(peer))
        peer_offer(peer);
    else if (peer->input_ended && gone)
        peer_hang_up(peer);
    else if (peer->input_ended)
        world->finish(world->device, peer->connection);
}

static void world_drained(struct vsock_world *world, unsigned connection)
{
    struct peer *peer = CONTAINER_OF(world, struct vsock_host, world)->connections[connection];

    if (!peer)
        return;
    peer_offer(peer);
    peer_update(peer);
}

/* --- calls --- */

/* A descriptor, or -1. */
static int connect_to_host(const struct vsock_host *host, uint32_t port)
{
    struct sockaddr_un address = host->address;
    size_t length = strlen(address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)snprintf(address.sun_path + length, sizeof(address.sun_path) - length, "_%u", port);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void world_connect(struct vsock_world *world, unsigned connection, uint32_t port)
{
    struct vsock_host *host = CONTAINER_OF(world, struct vsock_host, world);
    int fd = host->outside ? host->outside->connect(host->outside, port) : connect_to_host(host, port);
    struct peer *peer = fd >= 0 ? peer_create(host, fd, PEER_GREETING) : NULL;

    if (!peer) {
        world->hang_up(world->device, connection);
        return;
    }
    peer->phase = PEER_OPEN;
    peer->connection = connection;
    host->connections[connection] = peer;
    world->accepted(world->device, connection);
}

static void world_opened(struct vsock_world *world, unsigned connection)
{
    struct peer *peer = CONTAINER_OF(world, struct vsock_host, world)->connections[connection];
    char answer[PEER_LINE];

    if (!peer)
        return;
    int size = snprintf(answer, sizeof(answer), "OK %u\n", peer->port);
    if (send(peer->fd, answer, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) != size)
        peer->broken = true;
    peer->phase = PEER_OPEN;
    peer_update(peer);
}

/* "CONNECT P", without the end of the line. */
static bool greeting_parse(const char *line, uint32_t *port)
{
    char *end;

    if (strncmp(line, "CONNECT ", 8) != 0 || line[8] < '0' || line[8] > '9')
        return false;
    unsigned long long value = strtoull(line + 8, &end, 10);
    *port = (uint32_t)value;
    return *end == '\0' && value < UINT32_MAX;
}

static void peer_call(struct peer *peer)
{
    struct vsock_host *host = peer->host;
    int connection = -1;

    if (greeting_parse(peer->line, &peer->port))
        connection = host->world.open(host->world.device, peer->port);
    if (connection < 0) {
        peer_kill(peer);
        return;
    }
    peer->phase = PEER_CALLING;
    peer->connection = (unsigned)connection;
    host->connections[connection] = peer;
}

/* Byte by byte: what follows the line is the guest's. */
static void peer_greet(struct peer *peer)
{
    for (;;) {
        char byte;
        ssize_t size = recv(peer->fd, &byte, 1, MSG_DONTWAIT);

        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size <= 0 || peer->line_size == sizeof(peer->line) - 1) {
            peer_kill(peer);
            return;
        }
        if (byte == '\n') {
            peer_call(peer);
            return;
        }
        peer->line[peer->line_size++] = byte;
    }
}

void peer_ready(struct peer *peer, uint32_t events)
{
    struct vsock_world *world = &peer->host->world;

    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        size_t written = peer_flush(peer);

        if (written > 0 && peer->phase == PEER_OPEN)
            world->consumed(world->device, peer->connection, written);
        peer_flushed(peer);
    }
    if (peer->broken && peer->phase != PEER_DEAD)
        peer_hang_up(peer);
    else if (peer->phase == PEER_GREETING)
        peer_greet(peer);
    else if (peer->phase == PEER_CALLING && events & (EPOLLHUP | EPOLLERR))
        peer_hang_up(peer);
    else if (peer->phase == PEER_OPEN && peer->input_start == peer->input_end && events & (EPOLLIN | EPOLLHUP))
        peer_take_input(peer, events & EPOLLHUP);
    peer_update(peer);
}

void peers_init_world(struct vsock_host *host)
{
    host->world.connect = world_connect;
    host->world.opened = world_opened;
    host->world.send = world_send;
    host->world.drained = world_drained;
    host->world.finished = world_finished;
    host->world.close = world_close;
}
