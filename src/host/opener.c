#include "host/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/sandbox_internal.h"
#include "port/log.h"

enum { REMOVE = OPENER_FILES, SOCKET_HERE = 3 };

/* An answer is errno, or 0 with a descriptor beside it. */
union passed {
    struct cmsghdr header;
    uint8_t room[CMSG_SPACE(sizeof(int))];
};

struct opener_job {
    const char *const *paths;
    size_t count;
    const char *removable;
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

static void serve(const struct opener_job *job, uint8_t number)
{
    if (number == REMOVE) {
        answer(job->removable && unlink(job->removable) == 0 ? 0 : ENOENT, -1);
    } else if (number < job->count) {
        int fd = open(job->paths[number], O_RDONLY | O_CLOEXEC | O_NOCTTY);

        answer(fd < 0 ? errno : 0, fd);
        if (fd >= 0)
            close(fd);
    } else {
        answer(EINVAL, -1);
    }
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
    uint8_t number;

    let_go(socket);
    (void)prctl(PR_SET_NAME, "lodge/opener");
    if (geteuid() == 0)
        (void)sandbox_drop_capabilities(to_read_files);
    (void)sandbox_enter_opener(); /* a host that refuses it is told of where the parent enters */
    while (recv(SOCKET_HERE, &number, sizeof(number), 0) == sizeof(number))
        serve(job, number);
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

enum status host_opener_start(struct host_opener *opener, const char *const *paths, size_t count, const char *removable)
{
    const struct opener_job job = {paths, count, removable};
    int ends[2];

    *opener = (struct host_opener){0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        log_error("cannot start the process that reads kernels anew: %s", strerror(errno));
        return STATUS_IO;
    }
    pid_t process = fork_deaf();
    if (process == 0)
        opener_main(&job, ends[1]);
    close(ends[1]);
    if (process < 0) {
        log_error("cannot start the process that reads kernels anew: %s", strerror(errno));
        close(ends[0]);
        return STATUS_NO_MEMORY;
    }
    *opener = (struct host_opener){.socket = ends[0], .process = process};
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

static int ask(const struct host_opener *opener, uint8_t number)
{
    union passed passed;
    int error = EIO;
    struct iovec part = {.iov_base = &error, .iov_len = sizeof(error)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &passed, .msg_controllen = sizeof(passed)};
    ssize_t size;

    if (send(opener->socket, &number, sizeof(number), MSG_NOSIGNAL) != sizeof(number))
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

int host_opener_open(struct host_opener *opener, size_t number)
{
    if (opener->process == 0 || number >= OPENER_FILES) {
        errno = EACCES;
        return -1;
    }
    return ask(opener, (uint8_t)number);
}

void host_opener_remove(struct host_opener *opener)
{
    if (opener->process)
        (void)ask(opener, REMOVE);
}

void host_opener_stop(struct host_opener *opener)
{
    if (!opener->process)
        return;
    close(opener->socket);
    (void)waitpid(opener->process, NULL, 0);
    *opener = (struct host_opener){0};
}
