/* What may be done in the sandbox and what ends the process, each in a child; who opens files from outside. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "backend/thread.h"
#include "base/bits.h"
#include "host/opener.h"
#include "host/sandbox.h"
#include "host/sandbox_internal.h"

enum { NOBODY = 65534, PAGE = 4096, TEXT = 4096 };

/* What a child does; its answer is its exit status. */
typedef int (*child_fn)(void);

static char said[TEXT]; /* by the last child, on stderr */

/* The wait status of a child that does this. */
static int run_child(child_fn child)
{
    int ends[2], status;
    size_t size = 0;
    ssize_t part;

    assert_int_equal(pipe(ends), 0);
    pid_t process = fork();
    if (process == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)signal(SIGSEGV, SIG_DFL); /* cmocka's handlers go on with the next test */
        (void)signal(SIGSYS, SIG_DFL);
        _exit(child());
    }
    close(ends[1]);
    while ((part = read(ends[0], said + size, sizeof(said) - 1 - size)) > 0)
        size += (size_t)part;
    said[size] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(process, &status, 0), process);
    return status;
}

static void expect_exit(child_fn child)
{
    int status = run_child(child);

    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("wait status %#x, said: %s", (unsigned)status, said);
}

/* --- what is allowed --- */

static struct sandbox wanted = {.strict = true};

static bool starts_after_main(enum sandbox_thread kind)
{
    return kind == SANDBOX_VCPU || kind == SANDBOX_WRITER;
}

/* As this user: becoming another is a test of its own. Ends the child if the host refuses a layer. */
static void enter(enum sandbox_thread kind)
{
    bool entered = kind == SANDBOX_OPENER ? sandbox_enter_opener() : sandbox_enter(&wanted) == STATUS_OK;

    if (entered && starts_after_main(kind))
        entered = sandbox_enter_thread(SANDBOX_MAIN);
    if (entered && kind != SANDBOX_OPENER)
        entered = sandbox_enter_thread(kind);
    if (!entered)
        _exit(99);
}

static void *in_thread(void *result)
{
    *(bool *)result = true;
    return NULL;
}

/* Of all kinds but the opener. */
static bool common_work(void)
{
    static uint8_t stack[64 << 10];
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
    const struct timespec moment = {.tv_nsec = 1000};
    sigset_t set;
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page != MAP_FAILED && mprotect(page, PAGE, PROT_NONE) == 0 && madvise(page, PAGE, MADV_DONTNEED) == 0 &&
           munmap(page, PAGE) == 0 && sigaltstack(&alternative, NULL) == 0 && nanosleep(&moment, NULL) == 0 &&
           write(STDERR_FILENO, ".", 1) == 1 && sigpending(&set) == 0 &&
           syscall(SYS_tgkill, getpid(), gettid(), 0) == 0 &&
           syscall(SYS_clock_gettime, CLOCK_REALTIME, &moment) == 0 && prctl(PR_SET_NAME, "work") == 0 &&
           ioctl(STDERR_FILENO, TCGETS, stack) < 0 && errno == ENOTTY && open("/etc/passwd", O_RDONLY) < 0 &&
           errno == EACCES;
}

static int main_works(void)
{
    bool ran = false;
    pthread_t thread;
    struct epoll_event event;

    enter(SANDBOX_MAIN);
    if (!common_work() || pthread_create(&thread, NULL, in_thread, &ran) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    int epoll = epoll_create1(0), memory = memfd_create("test", 0);
    return ran && epoll_wait(epoll, &event, 1, 0) == 0 && ftruncate(memory, PAGE) == 0 &&
                   fallocate(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0 &&
                   kill(getpid(), 0) == 0 && close(memory) == 0
               ? 0
               : 2;
}

static int vcpu_works(void)
{
    enter(SANDBOX_VCPU);
    return common_work() && syscall(SYS_arch_prctl, ARCH_SET_GS, 0) == 0 ? 0 : 1;
}

static int vcpu_works_under_kvm(void)
{
    bool ran = false;
    pthread_t thread;
    struct epoll_event event;

    wanted.kvm = true;
    int epoll = epoll_create1(0);
    enter(SANDBOX_VCPU);
    if (!common_work() || pthread_create(&thread, NULL, in_thread, &ran) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    return ran && ioctl(STDERR_FILENO, KVM_RUN, 0) < 0 && errno != EACCES && epoll_wait(epoll, &event, 1, 0) == 0 ? 0
                                                                                                                  : 2;
}

static int writer_works(void)
{
    enter(SANDBOX_WRITER);
    return common_work() ? 0 : 1;
}

/* vCPUs and back ends, with what is there: interrupts under KVM, vsock's connections, tap's requests. */
static bool sends_interrupts(void)
{
    return ioctl(STDERR_FILENO, KVM_SIGNAL_MSI, 0) < 0 && ioctl(STDERR_FILENO, KVM_IRQFD, 0) < 0 &&
           close(eventfd(0, 0)) == 0;
}

static int vcpu_works_with_back_ends(void)
{
    int ends[2];

    wanted.kvm = wanted.vsock = wanted.tap = true;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return 1;
    enter(SANDBOX_VCPU);
    return common_work() && sends_interrupts() && send(ends[0], "x", 1, 0) == 1 && recv(ends[1], said, 1, 0) == 1 &&
                   shutdown(ends[0], SHUT_WR) == 0 && close(ends[0]) == 0 && ioctl(ends[1], TUNSETOFFLOAD, 0) < 0 &&
                   syscall(SYS_io_uring_enter, ends[1], 0, 0, 0, NULL, 0) < 0 && pwrite(ends[1], "", 1, 0) < 0 &&
                   preadv2(ends[1], NULL, 0, 0, 0) < 0
               ? 0
               : 2;
}

/* As a qcow2 image sorts the tables that it writes. */
static int compare(const void *left, const void *right)
{
    return *(const char *)left - *(const char *)right;
}

static int disk_works(void)
{
    static char bytes[PAGE];
    const struct iovec part = {.iov_base = bytes, .iov_len = PAGE};
    int fd = memfd_create("disk", 0);
    struct stat status;

    wanted.kvm = true;
    enter(SANDBOX_DISK);
    qsort(bytes, sizeof(bytes) / 8, 8, compare);
    return common_work() && sends_interrupts() && pwritev(fd, &part, 1, PAGE) == PAGE &&
                   preadv(fd, &part, 1, 0) == PAGE && preadv2(fd, &part, 1, 0, 0) == PAGE && fdatasync(fd) == 0 &&
                   lseek(fd, 0, SEEK_HOLE) >= 0 &&
                   fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0 &&
                   ftruncate(fd, 3 * PAGE) == 0 && fstat(fd, &status) == 0 && status.st_size == 3 * PAGE
               ? 0
               : 1;
}

static int vsock_works(void)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0lodge-test-sandbox"};
    struct epoll_event event = {.events = EPOLLIN};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), caller = socket(AF_UNIX, SOCK_STREAM, 0), epoll = epoll_create1(0);

    if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 1) != 0 ||
        connect(caller, (const struct sockaddr *)&address, sizeof(address)) != 0)
        return 1;
    wanted.kvm = wanted.vsock = true;
    enter(SANDBOX_VSOCK);
    int fd = accept4(listener, NULL, NULL, 0);
    return common_work() && sends_interrupts() && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 &&
                   send(caller, "x", 1, 0) == 1 && epoll_wait(epoll, &event, 1, 0) == 1 && recv(fd, said, 1, 0) == 1 &&
                   shutdown(fd, SHUT_WR) == 0 && close(fd) == 0
               ? 0
               : 2;
}

/* Connects to itself. Not to a program of this host by its path, nor by any other family. */
static int slirp_works(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct stat status;
    int error;

    wanted.slirp = true;
    enter(SANDBOX_SLIRP);
    int listener = socket(AF_INET, SOCK_STREAM, 0), caller = socket(AF_INET, SOCK_STREAM, 0);
    if (!common_work() || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        connect(caller, (struct sockaddr *)&address, size) != 0)
        return 1;
    size = sizeof(error);
    return accept(listener, NULL, NULL) >= 0 && getsockopt(caller, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
                   fcntl(caller, F_SETFL, fcntl(caller, F_GETFL) | O_NONBLOCK) == 0 &&
                   stat("/etc/passwd", &status) == 0 && socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EACCES
               ? 0
               : 2;
}

static int slirp_reads_name_servers(void)
{
    bool there = access("/etc/resolv.conf", R_OK) == 0;

    wanted.slirp = true;
    enter(SANDBOX_SLIRP);
    return open("/etc/resolv.conf", O_RDONLY) >= 0 || !there ? 0 : 1;
}

static int tap_works(void)
{
    struct epoll_event event;
    char byte;
    int epoll = epoll_create1(0), zero = open("/dev/zero", O_RDONLY);

    wanted.kvm = wanted.tap = true;
    enter(SANDBOX_TAP);
    return common_work() && sends_interrupts() && epoll_wait(epoll, &event, 1, 0) == 0 && read(zero, &byte, 1) == 1 ? 0
                                                                                                                    : 1;
}

static void every_kind_can_do_its_work(void **unused)
{
    (void)unused;
    expect_exit(vcpu_works_with_back_ends);
    expect_exit(disk_works);
    expect_exit(vsock_works);
    expect_exit(slirp_works);
    expect_exit(slirp_reads_name_servers);
    expect_exit(tap_works);
    expect_exit(main_works);
    expect_exit(vcpu_works);
    expect_exit(vcpu_works_under_kvm);
    expect_exit(writer_works);
}

/* --- what is not --- */

static int pipe_end;
static pid_t parent;

static void try_execve(void)
{
    char *const arguments[] = {NULL};

    (void)execve("/bin/true", arguments, arguments);
}

static void try_socket(void)
{
    (void)socket(AF_INET, SOCK_STREAM, 0);
}

static void try_connect(void)
{
    const struct sockaddr address = {.sa_family = AF_UNIX};

    (void)connect(pipe_end, &address, sizeof(address));
}

static void try_ptrace(void)
{
    (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void try_fork(void)
{
    if (syscall(SYS_fork) == 0)
        _exit(0);
}

static void try_clone_process(void)
{
    if (syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) == 0)
        _exit(0);
}

static void try_name_space(void)
{
    (void)unshare(CLONE_NEWUSER);
}

static void try_open_to_write(void)
{
    (void)open("/tmp/lodge-test-sandbox", O_WRONLY | O_CREAT, 0600);
}

static void try_executable_memory(void)
{
    (void)mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void try_to_make_executable(void)
{
    (void)mprotect((void *)((uintptr_t)&pipe_end & ~(uintptr_t)(PAGE - 1)), PAGE, PROT_READ | PROT_EXEC);
}

static void try_kill_another(void)
{
    (void)kill(parent, 0);
}

static void try_terminal_input(void)
{
    (void)ioctl(STDIN_FILENO, TIOCSTI, "x");
}

static void try_prctl(void)
{
    (void)prctl(PR_SET_DUMPABLE, 1);
}

static void try_setuid(void)
{
    (void)syscall(SYS_setresuid, 0, 0, 0);
}

static void try_io_uring(void)
{
    (void)syscall(SYS_io_uring_setup, 1, NULL);
}

static void try_unlink(void)
{
    (void)unlink("/nowhere/at/all");
}

static void try_read(void)
{
    char byte;

    (void)read(pipe_end, &byte, 0);
}

static void try_packet_socket(void)
{
    (void)socket(AF_PACKET, SOCK_RAW, 0);
}

static void try_send(void)
{
    (void)send(pipe_end, "", 0, 0);
}

static void try_positioned_write(void)
{
    (void)pwritev(pipe_end, NULL, 0, 0);
}

static void try_ring(void)
{
    (void)syscall(SYS_io_uring_enter, pipe_end, 0, 0, 0, NULL, 0);
}

static void try_bind(void)
{
    (void)bind(pipe_end, NULL, 0);
}

static void try_accept(void)
{
    (void)accept4(pipe_end, NULL, NULL, 0);
}

static void try_stat(void)
{
    struct stat status;

    (void)stat("/", &status);
}

static void try_tap(void)
{
    (void)ioctl(pipe_end, TUNSETOFFLOAD, 0);
}

static void try_epoll(void)
{
    struct epoll_event event;

    (void)epoll_wait(pipe_end, &event, 1, 0);
}

static void try_kvm(void)
{
    (void)ioctl(pipe_end, KVM_RUN, 0);
}

static void try_write(void)
{
    (void)write(pipe_end, "", 0);
}

/* A call of another architecture, whose numbers mean something else. */
static void try_32_bit_call(void)
{
    long number = 20; /* getpid */

    __asm__ volatile("int $0x80" : "+a"(number) : : "memory", "r8", "r9", "r10", "r11");
}

/* x32's numbers. */
static void try_x32_call(void)
{
    (void)syscall(0x40000000 | SYS_getpid);
}

enum {
    M = BIT(SANDBOX_MAIN),
    V = BIT(SANDBOX_VCPU),
    W = BIT(SANDBOX_WRITER),
    D = BIT(SANDBOX_DISK),
    S = BIT(SANDBOX_VSOCK),
    N = BIT(SANDBOX_SLIRP),
    T = BIT(SANDBOX_TAP),
    O = BIT(SANDBOX_OPENER),
    ALL = M | V | W | D | S | N | T | O,
};

static const struct attempt {
    void (*make)(void);
    const char *name; /* in the message; NULL: there is none */
    unsigned kinds;   /* for whom it is not allowed */
} attempts[] = {
    {try_execve, "(execve)", ALL},
    {try_socket, "(socket)", ALL & ~N},
    {try_packet_socket, "(socket)", ALL},
    {try_connect, "(connect)", ALL & ~N & ~O},
    {try_ptrace, "(ptrace)", ALL},
    {try_fork, "(fork)", ALL},
    {try_clone_process, "(clone)", ALL},
    {try_name_space, "(unshare)", ALL},
    {try_open_to_write, "", ALL},
    {try_executable_memory, "(mmap)", ALL},
    {try_to_make_executable, "(mprotect)", ALL},
    {try_kill_another, "(kill)", ALL},
    {try_terminal_input, "(ioctl)", ALL},
    {try_prctl, "(prctl)", ALL},
    {try_setuid, "", ALL},
    {try_io_uring, "(io_uring_setup)", ALL},
    {try_unlink, "(unlink)", ALL & ~O},
    {try_read, "(read)", V | W | D | S | O},
    {try_epoll, "", V | W | D | N | O},
    {try_send, "(sendto)", V | W | D | T | O},
    {try_positioned_write, "", V | W | S | N | T | O},
    {try_ring, "", W | S | N | T | O},
    {try_bind, "(bind)", ALL & ~N},
    {try_accept, "(accept4)", V | W | D | T | O},
    {try_stat, "", ALL & ~N},
    {try_tap, "(ioctl)", ALL},
    {try_kvm, "(ioctl)", ALL},
    {try_write, "", O},
    {try_32_bit_call, NULL, ALL},
    {try_x32_call, NULL, ALL},
};

static const struct attempt *attempt;
static enum sandbox_thread attempt_kind;

static int make_attempt(void)
{
    enter(attempt_kind);
    attempt->make();
    _exit(0);
}

static void *make_attempt_in_thread(void *unused)
{
    attempt->make();
    return unused;
}

static int make_attempt_in_threads(void)
{
    pthread_t thread;

    enter(SANDBOX_MAIN);
    (void)pthread_create(&thread, NULL, make_attempt_in_thread, NULL);
    (void)pthread_join(thread, NULL);
    return 0;
}

/* The opener has no handler, and no right to say anything. */
static void expect_end(int status)
{
    const char *name = attempt_kind == SANDBOX_OPENER ? NULL : attempt->name;

    if (attempt->make == try_32_bit_call && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
        return; /* the kernel has no such calls */
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
        fail_msg("kind %d, attempt %zd: wait status %#x, said: %s", (int)attempt_kind, attempt - attempts,
                 (unsigned)status, said);
    if (name && (!strstr(said, "lodge: the sandbox ends the machine: thread ") || !strstr(said, name)))
        fail_msg("kind %d, attempt %zd said: %s", (int)attempt_kind, attempt - attempts, said);
}

static void other_calls_end_the_process(void **unused)
{
    (void)unused;
    for (int kind = 0; kind < SANDBOX_THREADS; kind++) {
        for (size_t i = 0; i < ARRAY_LENGTH(attempts); i++) {
            attempt = &attempts[i];
            attempt_kind = (enum sandbox_thread)kind;
            if (attempt->kinds & BIT(kind))
                expect_end(run_child(make_attempt));
        }
    }
}

static void threads_inherit_the_list(void **unused)
{
    (void)unused;
    attempt_kind = SANDBOX_MAIN;
    for (size_t i = 0; i < ARRAY_LENGTH(attempts); i++) {
        attempt = &attempts[i];
        if (attempt->kinds & BIT(SANDBOX_MAIN))
            expect_end(run_child(make_attempt_in_threads));
    }
}

/* --- threads of back ends --- */

static bool enter_as_attempted(void)
{
    return sandbox_enter_thread(attempt_kind);
}

static int make_attempt_in_back_end(void)
{
    struct backend_thread thread;

    if (sandbox_enter(&wanted) != STATUS_OK ||
        backend_thread_start(&thread, "back end", enter_as_attempted, make_attempt_in_thread, NULL) != 0)
        return 1;
    backend_thread_join(&thread);
    return 0;
}

/* They take no signals; this one is not from outside. */
static void threads_of_back_ends_tell_what_they_did(void **unused)
{
    (void)unused;
    attempt = &attempts[0];
    for (int kind = SANDBOX_DISK; kind <= SANDBOX_TAP; kind++) {
        attempt_kind = (enum sandbox_thread)kind;
        int status = run_child(make_attempt_in_back_end);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
        assert_string_equal(said, "lodge: the sandbox ends the machine: thread back end made system call 59 (execve), "
                                  "which it has no need of\n");
    }
}

static bool refuse(void)
{
    return false;
}

static void a_thread_that_cannot_enter_does_not_run(void **unused)
{
    struct backend_thread thread;
    bool ran = false;

    (void)unused;
    assert_int_equal(backend_thread_start(&thread, "back end", refuse, in_thread, &ran), EACCES);
    assert_false(ran);
    backend_thread_join(&thread); /* nothing */
    assert_int_equal(backend_thread_start(&thread, "back end", NULL, in_thread, &ran), 0);
    backend_thread_join(&thread);
    assert_true(ran);
}

/* --- the other layers --- */

static int no_file_by_landlock(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return 1;
    if (!sandbox_landlock(false))
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : 2;
    return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES && open("/tmp/x", O_WRONLY | O_CREAT, 0600) < 0 &&
                   errno == EACCES && mkdir("/tmp/lodge-test-sandbox", 0700) < 0
               ? 0
               : 3;
}

static int no_file_by_root(void)
{
    if (!sandbox_private_root())
        return errno == EPERM || errno == ENOSPC ? 0 : 1; /* name spaces are not for everybody, everywhere */
    return open("/etc/passwd", O_RDONLY) < 0 && errno == ENOENT && mkdir("/x", 0700) < 0 ? 0 : 2;
}

static void no_path_leads_to_a_file(void **unused)
{
    (void)unused;
    expect_exit(no_file_by_landlock);
    expect_exit(no_file_by_root);
}

static bool status_has(const char *line)
{
    static char status[2 * TEXT];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t size = read(fd, status, sizeof(status) - 1);

    close(fd);
    status[size > 0 ? size : 0] = '\0';
    return strstr(status, line) != NULL;
}

/* The same steps as sandbox_enter(), up to where the file that shows it could not be opened any more. */
static int becomes_nobody(void)
{
    struct sandbox sandbox = {.strict = true};

    if (sandbox_choose_user(&sandbox, NULL) != STATUS_OK || !sandbox.changes_user)
        return 1;
    if (!sandbox_drop_capabilities(3 << 6) || !sandbox_change_user(sandbox.uid, sandbox.gid) ||
        !sandbox_drop_capabilities(0))
        return 2;
    return status_has("Uid:\t65534\t65534\t65534\t65534\n") && status_has("Gid:\t65534\t65534\t65534\t65534\n") &&
                   status_has("CapPrm:\t0000000000000000\n") && status_has("CapEff:\t0000000000000000\n") &&
                   status_has("CapBnd:\t0000000000000000\n") && setuid(0) < 0
               ? 0
               : 3;
}

static void root_becomes_nobody(void **unused)
{
    (void)unused;
    if (geteuid() != 0)
        skip();
    expect_exit(becomes_nobody);
}

static void users_are_chosen(void **unused)
{
    struct sandbox sandbox = {0};

    (void)unused;
    assert_int_equal(sandbox_choose_user(&sandbox, "keep"), STATUS_OK);
    assert_false(sandbox.changes_user);
    if (geteuid() != 0) {
        assert_int_equal(sandbox_choose_user(&sandbox, NULL), STATUS_OK);
        assert_false(sandbox.changes_user);
        assert_int_equal(sandbox_choose_user(&sandbox, "root"), STATUS_DENIED);
        return;
    }
    assert_int_equal(sandbox_choose_user(&sandbox, "nobody"), STATUS_OK);
    assert_int_equal(sandbox.uid, NOBODY);
    assert_int_equal(sandbox_choose_user(&sandbox, "4000000"), STATUS_OK);
    assert_int_equal(sandbox.uid, 4000000);
    assert_int_equal(sandbox.gid, 4000000);
    assert_int_equal(sandbox_choose_user(&sandbox, "no such user"), STATUS_NOT_FOUND);
    assert_int_equal(sandbox_choose_user(&sandbox, "4294967295"), STATUS_NOT_FOUND); /* "leave it", to setuid */
}

/* --- the opener --- */

static char folder[] = "/tmp/lodge-test-sandbox-XXXXXX";
static char first[64], second[64];

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static bool opens_as(struct host_opener *opener, size_t number, const char *text)
{
    char found[TEXT] = "";
    int fd = host_opener_open(opener, number);

    if (fd < 0)
        return false;
    ssize_t size = read(fd, found, sizeof(found) - 1);
    close(fd);
    return size >= 0 && strcmp(found, text) == 0;
}

static void files_are_opened_from_outside(void **unused)
{
    const struct opener_job job = {.paths = {first, second, NULL}, .count = 3, .sockets = {second}};
    struct host_opener opener;

    (void)unused;
    put(first, "one");
    assert_int_equal(host_opener_start(&opener, &job), STATUS_OK);
    assert_true(opens_as(&opener, 0, "one"));
    assert_int_equal(host_opener_open(&opener, 1), -1);
    assert_int_equal(errno, ENOENT);
    put(second, "two");
    assert_true(opens_as(&opener, 1, "two"));
    assert_int_equal(rename(second, first), 0); /* another file of the same name */
    assert_true(opens_as(&opener, 0, "two"));
    assert_int_equal(host_opener_open(&opener, 2), -1); /* there is no kernel, for instance */
    assert_int_equal(errno, EINVAL);
    assert_int_equal(host_opener_open(&opener, 3), -1);
    assert_int_equal(host_opener_open(&opener, OPENER_FILES), -1);
    assert_int_equal(host_opener_connect(&opener, 1), -1);
    put(second, "three");
    host_opener_remove(&opener, 1);
    host_opener_remove(&opener, OPENER_SOCKETS);
    assert_int_equal(access(second, F_OK), 0);
    host_opener_remove(&opener, 0);
    assert_int_equal(access(second, F_OK), -1);
    assert_int_equal(access(first, F_OK), 0);
    host_opener_stop(&opener);
    assert_int_equal(opener.process, 0);
    host_opener_stop(&opener);
}

static struct host_opener inner_opener;

static int opens_inside(void)
{
    enter(SANDBOX_MAIN);
    return opens_as(&inner_opener, 0, "inside") && open(first, O_RDONLY) < 0 && errno == EACCES ? 0 : 1;
}

static void files_are_opened_for_who_is_inside(void **unused)
{
    const struct opener_job job = {.paths = {first}, .count = 1};

    (void)unused;
    put(first, "inside");
    assert_int_equal(host_opener_start(&inner_opener, &job), STATUS_OK);
    expect_exit(opens_inside);
    host_opener_stop(&inner_opener);
}

static void *connect_often(void *succeeded)
{
    for (int i = 0; i < 200; i++) {
        int fd = host_opener_connect(&inner_opener, 7);

        *(bool *)succeeded &= fd >= 0;
        close(fd);
    }
    return NULL;
}

/* By several threads at once; a port without a socket is an error of its own. */
static void sockets_are_connected_from_outside(void **unused)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct opener_job job = {.ports = first};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    bool succeeded[2] = {true, true};
    pthread_t threads[2];

    (void)unused;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s_7", first);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1000), 0);
    assert_int_equal(host_opener_start(&inner_opener, &job), STATUS_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, connect_often, &succeeded[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(succeeded[0] && succeeded[1]);
    assert_int_equal(host_opener_connect(&inner_opener, 8), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(host_opener_open(&inner_opener, 0), -1);
    host_opener_stop(&inner_opener);
    close(listener);
    (void)unlink(address.sun_path);
}

/* Whatever happens to us. */
static void the_opener_ends_with_its_parent(void **unused)
{
    const struct opener_job job = {.paths = {first}, .count = 1};
    struct host_opener opener;
    int status;

    (void)unused;
    assert_int_equal(host_opener_start(&opener, &job), STATUS_OK);
    assert_int_equal(kill(opener.process, SIGTERM), 0); /* a signal to the whole job is not for it */
    assert_true(host_opener_open(&opener, 0) >= 0);
    close(opener.socket);
    assert_int_equal(waitpid(opener.process, &status, 0), opener.process);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int make_folder(void **unused)
{
    (void)unused;
    parent = getpid();
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(first, sizeof(first), "%s/first", folder);
    (void)snprintf(second, sizeof(second), "%s/second", folder);
    return (pipe_end = open("/dev/null", O_RDWR)) < 0 ? -1 : 0;
}

static int remove_folder(void **unused)
{
    (void)unused;
    (void)unlink(first);
    (void)unlink(second);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_can_do_its_work),
        cmocka_unit_test(other_calls_end_the_process),
        cmocka_unit_test(threads_inherit_the_list),
        cmocka_unit_test(threads_of_back_ends_tell_what_they_did),
        cmocka_unit_test(a_thread_that_cannot_enter_does_not_run),
        cmocka_unit_test(no_path_leads_to_a_file),
        cmocka_unit_test(root_becomes_nobody),
        cmocka_unit_test(users_are_chosen),
        cmocka_unit_test(files_are_opened_from_outside),
        cmocka_unit_test(files_are_opened_for_who_is_inside),
        cmocka_unit_test(sockets_are_connected_from_outside),
        cmocka_unit_test(the_opener_ends_with_its_parent),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
