#include "host/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/sandbox_internal.h"
#include "port/log.h"

enum { SOCKET_HERE = 3 };

enum verb { OPEN, CONNECT, REMOVE };

struct request {
    uint32_t verb, number; /* of a path, a port, a socket */
};

/* An answer is errno, or 0 with a descriptor beside it. */
union passed {
    struct cmsghdr header;
    uint8_t room[CMSG_SPACE(sizeof(int))];
};

/* --- the process --- */

static void answer(int error, int fd)
{
    union passed passed = {
        .header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {.iov_base = &error, .iov_len = sizeof(error)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        memcpy(CMSG_DATA(&passed.header), &fd, sizeof(fd));
        message.msg_control = &passed;
        message.msg_controllen = sizeof(passed);
    }
    if (sendmsg(SOCKET_HERE, &message, MSG_NOSIGNAL) < 0)
        _exit(1);
}

static int no_such_number(void)
{
    errno = EINVAL;
    return -1;
}

static int open_path(const struct opener_job *job, uint32_t number)
{
    if (number >= job->count || !job->paths[number])
        return no_such_number();
    return open(job->paths[number], O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

static int connect_port(const struct opener_job *job, uint32_t port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = job->ports ? snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", job->ports, port) : -1;

    if (size < 0 || (size_t)size >= sizeof(address.sun_path))
        return no_such_number();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void remove_socket(const struct opener_job *job, uint32_t number)
{
    if (number < OPENER_SOCKETS && job->sockets[number])
        (void)unlink(job->sockets[number]);
    answer(0, -1);
}

static void serve(const struct opener_job *job, const struct request *request)
{
    int fd;

    if (request->verb == REMOVE) {
        remove_socket(job, request->number);
        return;
    }
    fd = request->verb == CONNECT ? connect_port(job, request->number) : open_path(job, request->number);
    answer(fd < 0 ? errno : 0, fd);
    if (fd >= 0)
        close(fd);
}

/* Nothing of the parent's stays open here: who waits for the end of its output must not wait for this process. */
static void let_go(int socket)
{
    (void)dup2(socket, SOCKET_HERE);
    (void)close_range(SOCKET_HERE + 1, ~0u, 0);
    for (int fd = 0; fd < SOCKET_HERE; fd++)
        close(fd);
}

static _Noreturn void opener_main(const struct opener_job *job, int socket)
{
    const uint64_t to_read_files = BIT64(CAP_DAC_OVERRIDE) | BIT64(CAP_DAC_READ_SEARCH);
    struct request request;

    let_go(socket);
    (void)prctl(PR_SET_NAME, "lodge/opener");
    if (geteuid() == 0)
        (void)sandbox_drop_capabilities(to_read_files);
    (void)sandbox_enter_opener(); /* a host that refuses it is told of where the parent enters */
    while (recv(SOCKET_HERE, &request, sizeof(request), 0) == sizeof(request))
        serve(job, &request);
    _exit(0);
}

/* --- its parent --- */

/* The child takes no signals: one to the whole job is for its parent to act on, whose end is the end of both. */
static pid_t fork_deaf(void)
{
    sigset_t all, before;

    sigfillset(&all);
    sigdelset(&all, SIGSYS);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t process = fork();
    if (process != 0)
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return process;
}

enum status host_opener_start(struct host_opener *opener, const struct opener_job *job)
{
    int ends[2];

    *opener = (struct host_opener){0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        log_error("cannot start the process that opens files from outside of the sandbox: %s", strerror(errno));
        return STATUS_IO;
    }
    pid_t process = fork_deaf();
    if (process == 0)
        opener_main(job, ends[1]);
    close(ends[1]);
    if (process < 0) {
        log_error("cannot start the process that opens files from outside of the sandbox: %s", strerror(errno));
        close(ends[0]);
        return STATUS_NO_MEMORY;
    }
    *opener = (struct host_opener){.socket = ends[0], .process = process};
    pthread_mutex_init(&opener->lock, NULL);
    return STATUS_OK;
}

/* The descriptor that came with an answer, or -1. */
static int passed_descriptor(struct msghdr *message)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    int fd = -1;

    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

static int ask_locked(const struct host_opener *opener, const struct request *request)
{
    union passed passed;
    int error = EIO;
    struct iovec part = {.iov_base = &error, .iov_len = sizeof(error)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &passed, .msg_controllen = sizeof(passed)};
    ssize_t size;

    if (send(opener->socket, request, sizeof(*request), MSG_NOSIGNAL) != sizeof(*request))
        return -1;
    do
        size = recvmsg(opener->socket, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size != sizeof(error)) {
        errno = size < 0 ? errno : EIO;
        return -1;
    }
    errno = error;
    return passed_descriptor(&message);
}

static int ask(struct host_opener *opener, enum verb verb, size_t number)
{
    const struct request request = {.verb = verb, .number = (uint32_t)number};

    if (opener->process == 0) {
        errno = EACCES;
        return -1;
    }
    pthread_mutex_lock(&opener->lock);
    int answer = ask_locked(opener, &request);
    pthread_mutex_unlock(&opener->lock);
    return answer;
}

int host_opener_open(struct host_opener *opener, size_t number)
{
    return ask(opener, OPEN, number);
}

int host_opener_connect(struct host_opener *opener, uint32_t port)
{
    return ask(opener, CONNECT, port);
}

void host_opener_remove(struct host_opener *opener, size_t number)
{
    (void)ask(opener, REMOVE, number);
}

void host_opener_stop(struct host_opener *opener)
{
    if (!opener->process)
        return;
    close(opener->socket);
    (void)waitpid(opener->process, NULL, 0);
    pthread_mutex_destroy(&opener->lock);
    *opener = (struct host_opener){0};
}
