#include "vmm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vmm/probe_kvm.h"

enum {
    PROBE_LIMIT_MS = 400, /* where KVM works, the guest answers in a few */
};

/*
 * The child must hold nothing of ours: one that cannot be killed (it hangs in the kernel) would keep
 * our caller's pipe open, and whoever reads it waiting.
 */
static void probe_let_go(int verdict_fd)
{
    int null = open("/dev/null", O_RDWR);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        (void)dup2(null, fd);
    (void)dup2(verdict_fd, 3);
    (void)close_range(4, ~0u, 0);
}

static _Noreturn void probe_child(const char *device, int verdict_fd)
{
    probe_let_go(verdict_fd);
    struct probe_verdict verdict = probe_kvm_child(device);
    ssize_t written = write(3, &verdict, sizeof(verdict));
    _exit(written == sizeof(verdict) ? 0 : 1);
}

/* False: no verdict in time, or the child died of it. */
static bool probe_wait(int verdict_fd, struct probe_verdict *verdict)
{
    struct pollfd answer = {.fd = verdict_fd, .events = POLLIN};

    return poll(&answer, 1, PROBE_LIMIT_MS) == 1 && read(verdict_fd, verdict, sizeof(*verdict)) == sizeof(*verdict);
}

/*
 * Nobody waits for the child: to take its machine apart costs the kernel tens of milliseconds, and one that hangs in the
 * kernel does not die at all. Whoever receives our signals buries it (host/signals.h), or init does after us.
 */
static void probe_abandon(pid_t child)
{
    (void)kill(child, SIGKILL);
}

/* What there is to do about it is said where the user can do something. */
static void probe_explain_open(const char *device, int error, char *reason, size_t room)
{
    const char *advice = "";

    if (error == EACCES || error == EPERM)
        advice = "; 'sudo usermod -aG kvm $USER' and a new login give access";
    else if (error == ENOENT)
        advice = "; the host has no KVM, or its kvm-intel or kvm-amd module is not loaded";
    (void)snprintf(reason, room, "%s: %s%s", device, strerror(error), advice);
}

static bool probe_explain(const char *device, const struct probe_verdict *verdict, char *reason, size_t room)
{
    switch (verdict->step) {
    case PROBE_WORKS:
        return true;
    case PROBE_OPEN:
        probe_explain_open(device, verdict->error, reason, room);
        return false;
    case PROBE_SETUP:
        (void)snprintf(reason, room, "%s opens but gives no virtual machine: %s", device,
                       strerror(verdict->error));
        return false;
    case PROBE_RUN:
        (void)snprintf(reason, room, "%s does not run a 64-bit guest: %s", device, strerror(verdict->error));
        return false;
    default:
        (void)snprintf(reason, room, "%s does not run a 64-bit guest (exit reason %u)", device, verdict->detail);
        return false;
    }
}

bool probe_kvm(const char *device, uint32_t *tsc_khz, char *reason, size_t room)
{
    struct probe_verdict verdict;
    int ends[2];

    *tsc_khz = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        (void)snprintf(reason, room, "cannot probe %s: %s", device, strerror(errno));
        return false;
    }
    pid_t child = fork();
    if (child == 0)
        probe_child(device, ends[1]);
    close(ends[1]);
    bool works = false;
    if (child < 0) {
        (void)snprintf(reason, room, "cannot probe %s: %s", device, strerror(errno));
    } else if (probe_wait(ends[0], &verdict)) {
        works = probe_explain(device, &verdict, reason, room);
        *tsc_khz = works ? verdict.detail : 0;
    } else {
        (void)snprintf(reason, room, "%s opens but does not run a 64-bit guest (no answer in %d ms)", device,
                       PROBE_LIMIT_MS);
    }
    if (child > 0)
        probe_abandon(child);
    close(ends[0]);
    return works;
}
