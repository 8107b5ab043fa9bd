/* What may be done in the sandbox and what ends the process, each in a child; who opens files from outside. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

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

static bool has_kvm;

/* As this user: becoming another is a test of its own. Ends the child if the host refuses a layer. */
static void enter(enum sandbox_thread kind)
{
    const struct sandbox sandbox = {.strict = true, .kvm = has_kvm};
    bool entered = kind == SANDBOX_OPENER ? sandbox_enter_opener() : sandbox_enter(&sandbox) == STATUS_OK;

    if (!entered)
        _exit(99);
    if (kind != SANDBOX_MAIN && kind != SANDBOX_OPENER)
        sandbox_enter_thread(kind);
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

    has_kvm = true;
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

static void every_kind_can_do_its_work(void **unused)
{
    (void)unused;
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

enum { M = BIT(SANDBOX_MAIN), V = BIT(SANDBOX_VCPU), W = BIT(SANDBOX_WRITER), O = BIT(SANDBOX_OPENER) };

static const struct attempt {
    void (*make)(void);
    const char *name; /* in the message; NULL: there is none */
    unsigned kinds;   /* for whom it is not allowed */
} attempts[] = {
    {try_execve, "(execve)", M | V | W | O},
    {try_socket, "(socket)", M | V | W | O},
    {try_connect, "(connect)", M | V | W | O},
    {try_ptrace, "(ptrace)", M | V | W | O},
    {try_fork, "(fork)", M | V | W | O},
    {try_clone_process, "(clone)", M | V | W | O},
    {try_name_space, "(unshare)", M | V | W | O},
    {try_open_to_write, "", M | V | W | O},
    {try_executable_memory, "(mmap)", M | V | W | O},
    {try_to_make_executable, "(mprotect)", M | V | W | O},
    {try_kill_another, "(kill)", M | V | W | O},
    {try_terminal_input, "(ioctl)", M | V | W | O},
    {try_prctl, "(prctl)", M | V | W | O},
    {try_setuid, "", M | V | W | O},
    {try_io_uring, "(io_uring_setup)", M | V | W | O},
    {try_unlink, "(unlink)", M | V | W},
    {try_read, "(read)", V | W | O},
    {try_epoll, "", V | W | O},
    {try_kvm, "(ioctl)", M | V | W | O},
    {try_write, "", O},
    {try_32_bit_call, NULL, M | V | W | O},
    {try_x32_call, NULL, M | V | W | O},
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

/* --- the other layers --- */

static int no_file_by_landlock(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return 1;
    if (!sandbox_landlock())
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
    const char *const paths[] = {first, second};
    struct host_opener opener;

    (void)unused;
    put(first, "one");
    assert_int_equal(host_opener_start(&opener, paths, ARRAY_LENGTH(paths), second), STATUS_OK);
    assert_true(opens_as(&opener, 0, "one"));
    assert_int_equal(host_opener_open(&opener, 1), -1);
    assert_int_equal(errno, ENOENT);
    put(second, "two");
    assert_true(opens_as(&opener, 1, "two"));
    assert_int_equal(rename(second, first), 0); /* another file of the same name */
    assert_true(opens_as(&opener, 0, "two"));
    assert_int_equal(host_opener_open(&opener, 2), -1);
    assert_int_equal(host_opener_open(&opener, OPENER_FILES), -1);
    put(second, "three");
    host_opener_remove(&opener);
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
    const char *const paths[] = {first};

    (void)unused;
    put(first, "inside");
    assert_int_equal(host_opener_start(&inner_opener, paths, 1, NULL), STATUS_OK);
    expect_exit(opens_inside);
    host_opener_stop(&inner_opener);
}

/* Whatever happens to us. */
static void the_opener_ends_with_its_parent(void **unused)
{
    const char *const paths[] = {first};
    struct host_opener opener;
    int status;

    (void)unused;
    assert_int_equal(host_opener_start(&opener, paths, 1, NULL), STATUS_OK);
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
        cmocka_unit_test(no_path_leads_to_a_file),
        cmocka_unit_test(root_becomes_nobody),
        cmocka_unit_test(users_are_chosen),
        cmocka_unit_test(files_are_opened_from_outside),
        cmocka_unit_test(files_are_opened_for_who_is_inside),
        cmocka_unit_test(the_opener_ends_with_its_parent),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
