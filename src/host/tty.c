#include "host/tty.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "host/log.h"

static struct {
    int fd;
    bool is_open;
    struct termios before;
    atomic_bool raw;
} tty;

bool host_tty_open(int fd)
{
    if (!tty.is_open && tcgetattr(fd, &tty.before) == 0) {
        tty.fd = fd;
        tty.is_open = true;
        (void)atexit(host_tty_restore);
    }
    return tty.is_open;
}

/* A terminal that is not our controlling one has no job control: nobody else uses it. */
static bool tty_is_ours(void)
{
    pid_t group = tcgetpgrp(tty.fd);

    return group < 0 || group == getpgrp();
}

bool host_tty_foreground(void)
{
    return tty.is_open && tty_is_ours();
}

void host_tty_raw(void)
{
    struct termios raw = tty.before;

    if (!host_tty_foreground())
        return;
    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    atomic_store(&tty.raw, true); /* first: a signal in between must restore */
    host_log_carriage_return(isatty(STDERR_FILENO) == 1);
    (void)tcsetattr(tty.fd, TCSANOW, &raw); /* a terminal that hung up needs no mode */
}

bool host_tty_size(uint16_t *columns, uint16_t *rows)
{
    struct winsize size;

    if (!tty.is_open || ioctl(tty.fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        return false;
    *columns = size.ws_col;
    *rows = size.ws_row;
    return true;
}

/*
 * TCSANOW: waiting for output to drain could wait for ever on a terminal that nobody reads. In the
 * background, whoever has the terminal now (a shell) has set it for itself.
 */
void host_tty_restore(void)
{
    int saved = errno;

    if (atomic_exchange(&tty.raw, false)) {
        if (tty_is_ours())
            (void)tcsetattr(tty.fd, TCSANOW, &tty.before);
        host_log_carriage_return(false);
    }
    errno = saved;
}
