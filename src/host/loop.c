#include "host/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "port/log.h"

enum status loop_init(struct event_loop *loop)
{
    *loop = (struct event_loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
    if (loop->epoll < 0) {
        log_error("cannot create an event queue: %s", strerror(errno));
        loop->epoll = 0;
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

void loop_destroy(struct event_loop *loop)
{
    if (loop->epoll > 0)
        close(loop->epoll);
    loop->epoll = 0;
}

/*
 * One event at a time: a callback may remove any source, and then no event of it may be left in
 * our hands. Events are rare (keys, timers), so the extra system calls do not matter.
 */
enum status loop_run(struct event_loop *loop)
{
    loop->stopping = false;
    while (!loop->stopping) {
        struct epoll_event event;
        int count = epoll_wait(loop->epoll, &event, 1, -1);

        if (count < 0 && errno != EINTR) {
            log_error("cannot wait for events: %s", strerror(errno));
            return STATUS_IO;
        }
        if (count == 1) {
            struct loop_source *source = event.data.ptr;
            source->ready(source);
        }
    }
    return STATUS_OK;
}

void loop_stop(struct event_loop *loop)
{
    loop->stopping = true;
}

enum status loop_add(struct event_loop *loop, struct loop_source *source, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        if (errno == EPERM)
            return STATUS_UNSUPPORTED;
        log_error("cannot wait for descriptor %d: %s", fd, strerror(errno));
        return STATUS_IO;
    }
    source->loop = loop;
    source->fd = fd;
    return STATUS_OK;
}

void loop_remove(struct loop_source *source)
{
    if (!source->loop)
        return;
    (void)epoll_ctl(source->loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
    source->loop = NULL;
}

static void loop_notice_ready(struct loop_source *source)
{
    struct loop_notice *notice = CONTAINER_OF(source, struct loop_notice, source);
    uint64_t raises;

    if (read(source->fd, &raises, sizeof(raises)) == sizeof(raises))
        notice->raised(notice);
}

enum status loop_notice_init(struct loop_notice *notice, struct event_loop *loop,
                             void (*raised)(struct loop_notice *notice))
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    *notice = (struct loop_notice){.source.ready = loop_notice_ready, .raised = raised};
    if (fd < 0) {
        log_error("cannot create an event counter: %s", strerror(errno));
        return STATUS_NO_MEMORY;
    }
    enum status status = loop_add(loop, &notice->source, fd);
    if (status != STATUS_OK)
        close(fd);
    return status;
}

void loop_notice_destroy(struct loop_notice *notice)
{
    if (!notice->source.loop)
        return;
    loop_remove(&notice->source);
    close(notice->source.fd);
}

void loop_notice_raise(struct loop_notice *notice)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t written = write(notice->source.fd, &one, sizeof(one));

    (void)written; /* it fails only when 2^64 - 2 raises are waiting: then it is raised */
    errno = saved;
}
