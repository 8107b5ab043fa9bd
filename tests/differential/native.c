#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "host.h"

enum { PAGE = 4096, HANG_MS = 1000, SIGNAL_STACK = 64 << 10, ATTEMPTS = 8 };

_Static_assert(offsetof(struct image, rip) == 128 && offsetof(struct image, rflags) == 136 &&
                   offsetof(struct image, fs_base) == 144 && offsetof(struct image, gs_base) == 152 &&
                   offsetof(struct image, xsave) == 192 && sizeof(struct image) <= 3072,
               "native.S relies on it");

/* native.S */
extern struct image native_out;
extern uint64_t native_fault_fs, native_fault_gs;
extern bool native_has_fsgsbase;
int native_enter(const struct image *start);
void native_exit(void);
void native_signal(int number, siginfo_t *info, void *context);
void native_fault(int number, siginfo_t *info, ucontext_t *context);

static volatile bool in_case;
static struct outcome *running;

/* ---- in the child ---- */

void native_fault(int number, siginfo_t *info, ucontext_t *context)
{
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    const greg_t *g = context->uc_mcontext.gregs;

    (void)number;
    (void)info;
    if (!in_case)
        _exit(3);
    for (unsigned i = 0; i < 16; i++)
        native_out.gpr[i] = (uint64_t)g[order[i]];
    native_out.rip = (uint64_t)g[REG_RIP];
    native_out.rflags = (uint64_t)g[REG_EFL];
    native_out.fs_base = native_fault_fs;
    native_out.gs_base = native_fault_gs;
    memcpy(native_out.xsave, context->uc_mcontext.fpregs, CASE_XSAVE_SIZE);
    running->trap = (uint64_t)g[REG_TRAPNO];
    running->error = (uint64_t)g[REG_ERR];
    running->cr2 = (uint64_t)g[REG_CR2];
}

static uint8_t *data_page(unsigned i)
{
    return (uint8_t *)(uintptr_t)(DATA_BASE + data_window_page(i) * PAGE);
}

static void run_once(const struct batch *batch, struct one_case *one)
{
    struct outcome *out = &one->native;
    uint8_t *writable = (uint8_t *)(uintptr_t)DATA_BASE;
    const uint8_t *pattern = batch->pattern[one->data];

    /* The read-only page holds what every pattern has there. */
    memcpy(writable, pattern, 2 * PAGE);
    memcpy(data_page(3), pattern + 3 * PAGE, PAGE);
    running = out;
    in_case = true;
    if (native_enter(&one->start) == 0) {
        out->trap = 13;
        out->error = 0;
        out->cr2 = 0;
        native_out.rip = EXIT_PAGE;
    }
    in_case = false;
    memcpy(&out->image, &native_out, sizeof(out->image));
    for (unsigned i = 0; i < CASE_DATA_PAGES; i++)
        memcpy(out->data + i * PAGE, data_page(i), PAGE);
}

/* It may be a fault of the kernel's making, which had to come in on the way and could not return (host.h). */
static bool is_dubious(const struct outcome *out)
{
    bool wild = (out->image.gpr[4] + (1ull << 47)) >> 48 != 0;

    return wild && out->image.rip != EXIT_PAGE && !host_keeps_wild_stack();
}

/* What is dubious must come twice: the second time there is no page that the kernel had to bring in. */
static void run_case(const struct batch *batch, struct one_case *one)
{
    uint64_t trap = TRAP_LOST, rip = 0;

    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        run_once(batch, one);
        if (!is_dubious(&one->native) || (one->native.trap == trap && one->native.image.rip == rip))
            return;
        trap = one->native.trap;
        rip = one->native.image.rip;
    }
    one->native.trap = TRAP_LOST;
}

static bool map_fixed(uint64_t address, uint64_t size, int protection, int flags, int fd)
{
    void *at = mmap((void *)(uintptr_t)address, size, protection, flags | MAP_FIXED_NOREPLACE, fd, 0);

    return at == (void *)(uintptr_t)address;
}

static bool map_world(const struct native *native)
{
    static const uint8_t leave[8] = {0xff, 0x25, 2}; /* jmp [rip + 2]: aligned, as AC may be set */
    const uint64_t to = (uint64_t)(uintptr_t)native_exit;
    int data = MAP_PRIVATE | MAP_ANONYMOUS;

    if (!map_fixed(CODE_BASE, CODE_AREA, PROT_READ | PROT_EXEC, MAP_SHARED, native->code_fd) ||
        !map_fixed(EXIT_PAGE, PAGE, PROT_READ | PROT_WRITE, data, -1))
        return false;
    for (unsigned i = 0; i < CASE_DATA_PAGES; i++)
        if (!map_fixed(DATA_BASE + data_window_page(i) * PAGE, PAGE, PROT_READ | PROT_WRITE, data, -1))
            return false;
    memcpy((void *)(uintptr_t)EXIT_PAGE, leave, sizeof(leave));
    memcpy((void *)(uintptr_t)(EXIT_PAGE + sizeof(leave)), &to, sizeof(to));
    memcpy(data_page(DATA_READ_ONLY), native->shared->batch[0].pattern[0] + DATA_READ_ONLY * PAGE, PAGE);
    return mprotect((void *)(uintptr_t)EXIT_PAGE, PAGE, PROT_READ | PROT_EXEC) == 0 &&
           mprotect(data_page(DATA_READ_ONLY), PAGE, PROT_READ) == 0;
}

static void take_signals(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    struct sigaction action = {.sa_sigaction = native_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    stack_t stack = {.ss_size = SIGNAL_STACK, .ss_sp = malloc(SIGNAL_STACK)};

    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &action, NULL);
    sigaltstack(&stack, NULL);
}

/* The code area shows one buffer at a time: the other is being filled. */
static bool show_code(const struct native *native, unsigned buffer)
{
    return mmap((void *)(uintptr_t)CODE_BASE, CODE_AREA, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, native->code_fd,
                (off_t)(buffer * CODE_AREA)) != MAP_FAILED;
}

_Noreturn static void child(const struct native *native, int from, int to)
{
    uint32_t order[2]; /* buffer, first case */

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    native_has_fsgsbase = host_has_fsgsbase();
    take_signals();
    if (!map_world(native)) {
        fprintf(stderr, "fuzz-dbt: the child cannot have its fixed addresses: %s\n", strerror(errno));
        _exit(2);
    }
    while (read(from, order, sizeof(order)) == sizeof(order)) {
        struct batch *batch = &native->shared->batch[order[0]];

        if (!show_code(native, order[0]))
            break;
        for (uint32_t i = order[1]; i < batch->count; i++) {
            batch->progress = i;
            run_case(batch, &batch->cases[i]);
        }
        batch->progress = batch->count;
        if (write(to, "", 1) != 1)
            break;
    }
    _exit(0);
}

/* ---- in the parent ---- */

static bool start_child(struct native *native)
{
    int down[2], up[2];

    if (pipe2(down, O_CLOEXEC) < 0 || pipe2(up, O_CLOEXEC) < 0)
        return false;
    native->child = fork();
    if (native->child < 0)
        return false;
    if (native->child == 0) {
        close(down[1]);
        close(up[0]);
        child(native, down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    native->to_child = down[1];
    native->from_child = up[0];
    return true;
}

static void end_child(struct native *native)
{
    if (native->child <= 0)
        return;
    kill(native->child, SIGKILL);
    waitpid(native->child, NULL, 0);
    close(native->to_child);
    close(native->from_child);
    native->child = 0;
}

bool native_open(struct native *native)
{
    memset(native, 0, sizeof(*native));
    native->shared = mmap(NULL, sizeof(*native->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    native->code_fd = memfd_create("code", MFD_CLOEXEC);
    if (native->shared == MAP_FAILED || native->code_fd < 0 ||
        ftruncate(native->code_fd, CASE_BUFFERS * CODE_AREA) < 0) {
        perror("fuzz-dbt: shared memory");
        return false;
    }
    native->code = mmap(NULL, CASE_BUFFERS * CODE_AREA, PROT_READ | PROT_WRITE, MAP_SHARED, native->code_fd, 0);
    return native->code != MAP_FAILED;
}

void native_close(struct native *native)
{
    end_child(native);
}

bool native_start(struct native *native, unsigned buffer, unsigned first)
{
    const uint32_t order[2] = {buffer, first};

    if (native->child == 0 && !start_child(native)) {
        perror("fuzz-dbt: child process");
        return false;
    }
    native->shared->batch[buffer].progress = first;
    return write(native->to_child, order, sizeof(order)) == sizeof(order);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One byte (1), or the child's end (0), or no progress for long (-1). */
static int await(struct native *native, const struct batch *batch)
{
    struct pollfd poll_fd = {.fd = native->from_child, .events = POLLIN};
    uint64_t since = now_ms();
    uint32_t progress = batch->progress;
    ssize_t got;
    uint8_t byte;

    while (poll(&poll_fd, 1, HANG_MS) <= 0) {
        if (batch->progress == progress && now_ms() - since >= HANG_MS)
            return -1;
        if (batch->progress != progress)
            since = now_ms();
        progress = batch->progress;
    }
    do
        got = read(native->from_child, &byte, 1);
    while (got < 0 && errno == EINTR);
    return got == 1;
}

bool native_finish(struct native *native, unsigned buffer)
{
    struct batch *batch = &native->shared->batch[buffer];
    int answer;

    while ((answer = await(native, batch)) != 1) {
        uint32_t at = batch->progress;

        end_child(native);
        if (at < batch->count)
            batch->cases[at].native.trap = answer < 0 ? TRAP_HANG : TRAP_LOST;
        if (at + 1 > batch->count || !native_start(native, buffer, at + 1))
            return false;
    }
    return true;
}
