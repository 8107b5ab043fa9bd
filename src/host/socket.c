#include "host/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "port/log.h"

enum { RECEIVE_SIZE = 4096, SEND_PATIENCE_S = 5 };

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

struct place {
    union address address;
    socklen_t size;
};

/* ---- addresses ---- */

static bool parse_unix(const char *what, const char *path, struct place *place)
{
    if (*path == '\0' || strlen(path) >= sizeof(place->address.un.sun_path)) {
        log_error("%s %s: the path of a socket has 1 to %zu bytes", what, path, sizeof(place->address.un.sun_path) - 1);
        return false;
    }
    place->address.un.sun_family = AF_UNIX;
    memcpy(place->address.un.sun_path, path, strlen(path) + 1);
    place->size = sizeof(place->address.un);
    return true;
}

static bool parse_port(const char *text, uint16_t *port)
{
    unsigned long value;

    if (*text == '\0' || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text))
        return false;
    value = strtoul(text, NULL, 10);
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* host has no brackets. */
static bool parse_host(const char *host, uint16_t port, struct place *place)
{
    if (*host == '\0' || strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &place->address.in.sin_addr) == 1) {
        place->address.in.sin_family = AF_INET;
        place->address.in.sin_port = htons(port);
        place->size = sizeof(place->address.in);
        return true;
    }
    if (inet_pton(AF_INET6, host, &place->address.in6.sin6_addr) == 1) {
        place->address.in6.sin6_family = AF_INET6;
        place->address.in6.sin6_port = htons(port);
        place->size = sizeof(place->address.in6);
        return true;
    }
    return false;
}

static bool is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->in.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&address->in6.sin6_addr);
}

static bool parse_tcp(const char *what, const char *text, struct place *place)
{
    const char *colon = strrchr(text, ':');
    char host[SOCKET_NAME] = "";
    size_t length = colon ? (size_t)(colon - text) : 0;
    bool bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    uint16_t port;

    if (length < sizeof(host))
        memcpy(host, text + bracketed, length - 2 * bracketed);
    if (length >= sizeof(host) || !parse_port(colon ? colon + 1 : text, &port) || !parse_host(host, port, place) ||
        (place->address.any.sa_family == AF_INET6) != bracketed) {
        log_error("%s %s: neither HOST:PORT with a numeric HOST, nor :PORT, nor unix:PATH", what, text);
        return false;
    }
    if (!is_loopback(&place->address)) {
        log_error("%s %s: only loopback addresses are allowed, since whoever connects controls the machine; give "
                  "127.0.0.1:PORT or unix:PATH",
                  what, text);
        return false;
    }
    return true;
}

const char *socket_address_path(const char *address)
{
    if (strncmp(address, "unix:", 5) == 0)
        return address + 5;
    return strchr(address, '/') ? address : NULL;
}

static bool parse(const char *what, const char *text, struct place *place)
{
    const char *path = socket_address_path(text);

    *place = (struct place){0};
    if (path)
        return parse_unix(what, path, place);
    return parse_tcp(what, text, place);
}

bool socket_address_is_valid(const char *what, const char *address)
{
    struct place place;

    return parse(what, address, &place);
}

/* ---- listening ---- */

/* A socket's file that nobody listens at any more is in our way. */
static void remove_stale(const struct place *place)
{
    struct stat status;
    int fd;

    if (lstat(place->address.un.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &place->address.any, place->size) != 0 && errno == ECONNREFUSED)
        (void)unlink(place->address.un.sun_path);
    close(fd);
}

static bool bind_to(int fd, const struct place *place)
{
    const int yes = 1;

    if (place->address.any.sa_family != AF_UNIX) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        return bind(fd, &place->address.any, place->size) == 0;
    }
    remove_stale(place);
    mode_t old = umask(077);
    bool bound = bind(fd, &place->address.any, place->size) == 0;
    int error = errno;
    umask(old);
    errno = error;
    return bound;
}

static void name_place(struct socket_listener *listener, int fd)
{
    union address address = {0};
    socklen_t size = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "";

    if (getsockname(fd, &address.any, &size) != 0)
        return;
    if (address.any.sa_family == AF_UNIX) {
        listener->is_unix = true;
        (void)snprintf(listener->name, sizeof(listener->name), "%s", address.un.sun_path);
    } else if (address.any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address.in.sin_addr, host, sizeof(host));
        (void)snprintf(listener->name, sizeof(listener->name), "%s:%u", host, ntohs(address.in.sin_port));
    } else {
        (void)inet_ntop(AF_INET6, &address.in6.sin6_addr, host, sizeof(host));
        (void)snprintf(listener->name, sizeof(listener->name), "[%s]:%u", host, ntohs(address.in6.sin6_port));
    }
}

static void listener_ready(struct loop_source *source)
{
    struct socket_listener *listener = CONTAINER_OF(source, struct socket_listener, source);
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        listener->accepted(listener, fd);
}

enum status socket_listener_init(struct socket_listener *listener, struct event_loop *loop, const char *what,
                                 const char *address, void (*accepted)(struct socket_listener *listener, int fd))
{
    struct place place;
    enum status status;

    *listener = (struct socket_listener){.source.ready = listener_ready, .accepted = accepted};
    if (!parse(what, address, &place))
        return STATUS_INVALID;
    int fd = socket(place.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || !bind_to(fd, &place) || listen(fd, 1) != 0) {
        log_error("%s %s: cannot listen there: %s", what, address, strerror(errno));
        status = STATUS_IO;
    } else {
        name_place(listener, fd);
        status = loop_add(loop, &listener->source, fd);
    }
    if (status != STATUS_OK && fd >= 0)
        close(fd);
    return status;
}

void socket_listener_destroy(struct socket_listener *listener)
{
    if (!listener->source.loop)
        return;
    loop_remove(&listener->source);
    close(listener->source.fd);
    if (listener->is_unix)
        (void)unlink(listener->name);
}

/* ---- connections ---- */

static void connection_ready(struct loop_source *source)
{
    struct socket_connection *connection = CONTAINER_OF(source, struct socket_connection, source);
    uint8_t bytes[RECEIVE_SIZE];
    ssize_t size = recv(source->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (size > 0) {
        connection->received(connection, bytes, (size_t)size);
    } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        socket_connection_destroy(connection);
        connection->closed(connection);
    }
}

enum status socket_connection_init(struct socket_connection *connection, struct event_loop *loop, int fd)
{
    const struct timeval patience = {.tv_sec = SEND_PATIENCE_S};
    const int yes = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)); /* fails on a Unix socket, which needs none */
    connection->source.ready = connection_ready;
    enum status status = loop_add(loop, &connection->source, fd);
    if (status != STATUS_OK)
        close(fd);
    return status;
}

void socket_connection_destroy(struct socket_connection *connection)
{
    if (!connection->source.loop)
        return;
    loop_remove(&connection->source);
    close(connection->source.fd);
}

bool socket_connection_send(struct socket_connection *connection, const void *bytes, size_t size)
{
    const char *at = bytes;

    if (!connection->source.loop)
        return false;
    while (size > 0) {
        ssize_t sent = send(connection->source.fd, at, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0) {
            (void)shutdown(connection->source.fd, SHUT_RDWR);
            return false;
        }
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}
