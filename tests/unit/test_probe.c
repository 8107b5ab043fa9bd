/* The probe for KVM against devices that are not there, not ours, not KVM, and never answer. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "vmm/probe.h"

enum { REASON = 256, NOBODY = 65534, LIMIT_MS = 1000 };

static char reason[REASON];

static unsigned elapsed_ms(const struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned)((now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000);
}

/* The answer must come in time, whatever the device does. */
static bool probe(const char *device)
{
    struct timespec start;
    uint32_t khz;
    bool works;

    memset(reason, 0, sizeof(reason));
    clock_gettime(CLOCK_MONOTONIC, &start);
    works = probe_kvm(device, &khz, reason, sizeof(reason));
    assert_in_range(elapsed_ms(&start), 0, LIMIT_MS);
    return works;
}

static void make_file(char *path, mode_t mode)
{
    int fd;

    strcpy(path, "/tmp/lodge-probe-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void no_device(void **state)
{
    (void)state;
    assert_false(probe("/nowhere/kvm"));
    assert_non_null(strstr(reason, "/nowhere/kvm: No such file or directory"));
    assert_non_null(strstr(reason, "module is not loaded"));
}

static void probe_as_nobody(const char *path)
{
    if (geteuid() == 0 && (setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0))
        _exit(2);
    uint32_t khz;

    if (probe_kvm(path, &khz, reason, sizeof(reason)))
        _exit(3);
    _exit(strstr(reason, "Permission denied") && strstr(reason, "usermod -aG kvm") ? 0 : 4);
}

static void no_permission(void **state)
{
    char path[64];
    int status;

    (void)state;
    make_file(path, 0);
    pid_t child = fork();
    if (child == 0)
        probe_as_nobody(path);
    assert_int_equal(waitpid(child, &status, 0), child);
    unlink(path);
    assert_int_equal(status, 0);
}

static void something_else(void **state)
{
    char path[64];

    (void)state;
    assert_false(probe("/dev/null"));
    assert_non_null(strstr(reason, "/dev/null opens but gives no virtual machine"));
    make_file(path, 0600);
    assert_false(probe(path));
    assert_non_null(strstr(reason, "gives no virtual machine"));
    unlink(path);
}

/* Whoever opens a file with a lease on it waits until the lease is given back: here, for ever. */
static void no_answer(void **state)
{
    char path[64];
    int fd;

    (void)state;
    (void)signal(SIGIO, SIG_IGN);
    make_file(path, 0600);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
        assert_false(probe(path));
        assert_non_null(strstr(reason, "no answer in"));
    } else {
        print_message("not tested: no leases on this file system\n");
    }
    close(fd);
    unlink(path);
}

/* Works or not, the answer comes in time, and a no has a reason. */
static void this_host(void **state)
{
    (void)state;
    if (!probe("/dev/kvm"))
        assert_true(strlen(reason) > strlen("/dev/kvm: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_device),      cmocka_unit_test(no_permission), cmocka_unit_test(something_else),
        cmocka_unit_test(no_answer),      cmocka_unit_test(this_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
