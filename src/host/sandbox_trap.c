/* A system call that the sandbox does not allow: one line that says which, the terminal back, and the end. */
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/sandbox_internal.h"
#include "host/signals.h"
#include "host/tty.h"

enum {
    LINE = 160,
    THREAD_NAME = 16,
    BY_SECCOMP = 1, /* si_code: SYS_SECCOMP in the kernel's headers, which the C library's do not go with */
};

/* Those that a program which has been taken over is likely to try; others are told by their number. */
static const struct {
    int number;
    const char *name;
} known[] = {
    {SYS_execve, "execve"},   {SYS_execveat, "execveat"},
    {SYS_fork, "fork"},       {SYS_vfork, "vfork"},
    {SYS_clone, "clone"},     {SYS_socket, "socket"},
    {SYS_connect, "connect"}, {SYS_bind, "bind"},
    {SYS_ptrace, "ptrace"},   {SYS_openat2, "openat2"},
    {SYS_creat, "creat"},     {SYS_unlink, "unlink"},
    {SYS_rename, "rename"},   {SYS_mount, "mount"},
    {SYS_unshare, "unshare"}, {SYS_setuid, "setuid"},
    {SYS_mmap, "mmap"},       {SYS_mprotect, "mprotect"},
    {SYS_ioctl, "ioctl"},     {SYS_prctl, "prctl"},
    {SYS_kill, "kill"},       {SYS_tgkill, "tgkill"},
    {SYS_read, "read"},       {SYS_bpf, "bpf"},
    {SYS_fcntl, "fcntl"},     {SYS_io_uring_setup, "io_uring_setup"},
    {SYS_openat, "openat"},   {SYS_accept4, "accept4"},
    {SYS_sendto, "sendto"},   {SYS_io_uring_register, "io_uring_register"},
};

/* A line under construction; what does not fit is left out. All of this may run in a signal handler. */
struct line {
    char text[LINE];
    size_t length;
};

static void add(struct line *line, const char *text)
{
    for (; *text && line->length < LINE - 1; text++)
        line->text[line->length++] = *text;
}

static void add_number(struct line *line, unsigned number)
{
    char digits[12];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    add(line, digits + at);
}

static void add_name(struct line *line, int number)
{
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        if (known[i].number != number)
            continue;
        add(line, " (");
        add(line, known[i].name);
        add(line, ")");
    }
}

static void trapped(int number, siginfo_t *info, void *context)
{
    char thread[THREAD_NAME] = "";
    struct line line = {.length = 0};

    (void)context;
    if (info->si_code != BY_SECCOMP)
        host_signals_die(number); /* somebody has sent it */
    host_tty_restore();
    (void)prctl(PR_GET_NAME, thread);
    add(&line, "lodge: the sandbox ends the machine: thread ");
    add(&line, thread);
    add(&line, " made system call ");
    add_number(&line, (unsigned)info->si_syscall);
    add_name(&line, info->si_syscall);
    add(&line, ", which it has no need of\n");
    ssize_t written = write(STDERR_FILENO, line.text, line.length);
    (void)written; /* nobody is left to tell */
    host_signals_die(number);
}

void sandbox_trap_install(void)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigfillset(&action.sa_mask);
    (void)sigaction(SIGSYS, &action, NULL);
}
