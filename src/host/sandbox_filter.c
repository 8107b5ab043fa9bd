/*
 * Which system calls a thread may make: a table, and the seccomp program made from it.
 *
 * The program is made at the start, in microseconds, and not by a library, which takes about a millisecond. A call that
 * is allowed whatever its arguments are costs nothing while the machine runs: the kernel (5.11 and later) finds that
 * out when the program is installed, and does not run it for such calls.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/sandbox_internal.h"

/* --- the table --- */

enum {
    M = 1 << SANDBOX_MAIN,
    V = 1 << SANDBOX_VCPU,
    W = 1 << SANDBOX_WRITER,
    D = 1 << SANDBOX_DISK,
    S = 1 << SANDBOX_VSOCK,
    N = 1 << SANDBOX_SLIRP,
    T = 1 << SANDBOX_TAP,
    O = 1 << SANDBOX_OPENER,
    BACKENDS = D | S | N | T, /* they complete what devices have asked for: send interrupts, start the next */
    ALL = M | V | W | BACKENDS,
    VK = 1 << SANDBOX_THREADS, /* vCPUs, but only under KVM */
    BK = VK << 1,              /* the same with back ends */
    VS = VK << 2,              /* vCPUs, if there are vsock connections */
};

/* What else must hold. */
enum check {
    ANY,
    DATA,      /* memory that is not executable */
    SELF,      /* this process */
    THREAD,    /* a thread, and no process or name space */
    CONTROL,   /* requests of a terminal, and those that the kind has need of */
    NAME,      /* of a thread */
    GS_BASE,   /* where the translator keeps its vCPU */
    TIGHTEN,   /* one more filter */
    OPEN_FILE, /* by descriptor and not by path */
    DUPLICATE, /* a descriptor, or its flags */
    PATIENCE,  /* the socket options of host/socket.c */
    LOCAL,     /* a socket of this host */
    INTERNET,  /* a socket of the Internet */
    FLAGS,     /* of a descriptor */
    FOR_READING,
    UNKNOWN,   /* is said not to exist, and the C library has another way */
    DENIED,    /* is said not to be permitted: libraries try, and do without */
    DENIED_AT, /* the same, as long as it is for reading */
};

struct rule {
    uint16_t number;
    uint16_t threads;
    uint8_t check;
};

/*
 * The order counts among numbers that are near each other (GROUP), and only for those whose arguments are looked at:
 * the others are not looked for while the machine runs.
 */
static const struct rule rules[] = {
    {SYS_ioctl, ALL, CONTROL},
    {SYS_tgkill, ALL, SELF},
    {SYS_mmap, ALL, DATA},
    {SYS_mprotect, ALL, DATA},
    {SYS_kill, M, SELF},
    {SYS_prctl, ALL, NAME},
    {SYS_arch_prctl, V, GS_BASE},
    {SYS_clone, M | VK, THREAD},
    {SYS_clone3, M | VK, UNKNOWN},
    {SYS_seccomp, ALL, TIGHTEN},
    {SYS_fcntl, M, DUPLICATE},
    {SYS_fcntl, N, FLAGS},
    {SYS_newfstatat, M | V | O | D, OPEN_FILE},
    {SYS_setsockopt, M, PATIENCE},
    {SYS_socket, N, INTERNET},
    {SYS_socket, O, LOCAL},
    {SYS_openat, ALL & ~N, DENIED_AT},
    {SYS_openat, O | N, FOR_READING},
    {SYS_readlink, ALL, DENIED},

    /* time, sleep, locks */
    {SYS_futex, ALL, ANY},
    {SYS_nanosleep, ALL, ANY},
    {SYS_clock_nanosleep, ALL, ANY},
    {SYS_clock_gettime, ALL, ANY}, /* without a vDSO */
    {SYS_gettimeofday, ALL, ANY},
    {SYS_time, ALL, ANY},
    {SYS_sched_yield, ALL, ANY},
    {SYS_restart_syscall, ALL | O, ANY},
    {SYS_timerfd_settime, M | V | BACKENDS, ANY},

    /* memory */
    {SYS_munmap, ALL, ANY},
    {SYS_madvise, ALL, ANY},
    {SYS_mremap, ALL, ANY},
    {SYS_brk, ALL, ANY},
    {SYS_memfd_create, M, ANY},
    {SYS_ftruncate, M | D, ANY},
    {SYS_fallocate, M | V | D, ANY}, /* the balloon; holes in images */

    /* signals, threads and their ends */
    {SYS_rt_sigreturn, ALL | O, ANY},
    {SYS_rt_sigaction, ALL, ANY},
    {SYS_rt_sigprocmask, ALL, ANY},
    {SYS_rt_sigpending, ALL, ANY},
    {SYS_sigaltstack, ALL, ANY},
    {SYS_set_robust_list, ALL, ANY},
    {SYS_rseq, ALL, ANY},
    {SYS_sched_getaffinity, ALL, ANY}, /* the C library counts processors for its heaps */
    {SYS_sysinfo, M | D, ANY},         /* the C library, before it sorts a large table */
    {SYS_getrandom, ALL, ANY},
    {SYS_getpid, ALL, ANY},
    {SYS_gettid, ALL, ANY},
    {SYS_getpgrp, ALL, ANY}, /* is the terminal ours? */
    {SYS_exit, ALL, ANY},
    {SYS_exit_group, ALL | O, ANY},
    {SYS_wait4, M, ANY},

    /* what is open */
    {SYS_write, ALL, ANY},
    {SYS_writev, ALL, ANY}, /* the C library's last words */
    {SYS_read, M | VK | N | T, ANY},
    {SYS_pread64, M, ANY},
    {SYS_pwrite64, M | V, ANY}, /* what firmware stores */
    {SYS_preadv, M | D, ANY},
    {SYS_preadv2, M | V | D, ANY}, /* of what the host has in its page cache */
    {SYS_pwritev, M | D, ANY},
    {SYS_fdatasync, M | D, ANY},
    {SYS_io_uring_enter, M | V | D, ANY}, /* the ring itself allows few operations (backend/aio_uring.c) */
    {SYS_lseek, M | D | N, ANY},
    {SYS_fstat, M | V | O | D | N, ANY},
    {SYS_close, M | VK | BK | VS | O | S | N, ANY},
    {SYS_epoll_wait, M | VK | S | T, ANY},
    {SYS_epoll_pwait, M | VK | S | T, ANY},
    {SYS_epoll_ctl, M | VK | VS | S | T, ANY},
    {SYS_epoll_create1, M, ANY},
    {SYS_eventfd2, M | VK | BK, ANY},
    {SYS_poll, M | N, ANY},

    /* sockets: the debugger's connection, vsock's, the opener's, those of a user network */
    {SYS_accept4, M | S | N, ANY},
    {SYS_recvfrom, M | VS | O | S | N, ANY},
    {SYS_sendto, M | VS | S | N, ANY},
    {SYS_recvmsg, M | VS | S | N, ANY},
    {SYS_sendmsg, O, ANY},
    {SYS_shutdown, M | VS | S | N, ANY},
    {SYS_connect, O | N, ANY},
    {SYS_bind, N, ANY},
    {SYS_listen, N, ANY},
    {SYS_accept, N, ANY},
    {SYS_getsockname, N, ANY},
    {SYS_getpeername, N, ANY},
    {SYS_getsockopt, N, ANY},
    {SYS_setsockopt, N, ANY},

    /* paths */
    {SYS_newfstatat, N, ANY}, /* has the list of name servers changed? */
    {SYS_unlink, O, ANY},
};

static const uint32_t terminal_requests[] = {TCGETS, TCSETS, TIOCGPGRP, TIOCGWINSZ};
static const uint32_t socket_requests[] = {FIONREAD, FIONBIO, SIOCGIFINDEX};
static const uint32_t tap_requests[] = {(uint32_t)TUNSETOFFLOAD, (uint32_t)TUNSETQUEUE};

/* Interrupts that back ends send. */
static const uint32_t kvm_interrupts[] = {
    (uint32_t)KVM_IRQ_LINE,
    (uint32_t)KVM_SIGNAL_MSI,
    (uint32_t)KVM_SET_GSI_ROUTING,
    (uint32_t)KVM_IRQFD,
};

/* In the order in which they are frequent. */
static const uint32_t kvm_requests[] = {
    (uint32_t)KVM_RUN,
    (uint32_t)KVM_IRQ_LINE,
    (uint32_t)KVM_SIGNAL_MSI,
    (uint32_t)KVM_RESET_DIRTY_RINGS,
    (uint32_t)KVM_GET_DIRTY_LOG,
    (uint32_t)KVM_NMI,
    (uint32_t)KVM_IOEVENTFD,
    (uint32_t)KVM_IRQFD,
    (uint32_t)KVM_SET_GSI_ROUTING,
    (uint32_t)KVM_SET_USER_MEMORY_REGION,
    (uint32_t)KVM_GET_REGS,
    (uint32_t)KVM_SET_REGS,
    (uint32_t)KVM_GET_SREGS,
    (uint32_t)KVM_SET_SREGS,
    (uint32_t)KVM_GET_MSRS,
    (uint32_t)KVM_SET_MSRS,
    (uint32_t)KVM_GET_XSAVE,
    (uint32_t)KVM_SET_XSAVE,
    (uint32_t)KVM_GET_XCRS,
    (uint32_t)KVM_SET_XCRS,
    (uint32_t)KVM_GET_DEBUGREGS,
    (uint32_t)KVM_SET_DEBUGREGS,
    (uint32_t)KVM_GET_VCPU_EVENTS,
    (uint32_t)KVM_SET_VCPU_EVENTS,
    (uint32_t)KVM_GET_MP_STATE,
    (uint32_t)KVM_SET_MP_STATE,
    (uint32_t)KVM_GET_LAPIC,
    (uint32_t)KVM_SET_LAPIC,
    (uint32_t)KVM_GET_IRQCHIP,
    (uint32_t)KVM_SET_IRQCHIP,
    (uint32_t)KVM_GET_PIT2,
    (uint32_t)KVM_SET_PIT2,
    (uint32_t)KVM_REINJECT_CONTROL,
    (uint32_t)KVM_GET_CLOCK,
    (uint32_t)KVM_SET_CLOCK,
    (uint32_t)KVM_SET_TSC_KHZ,
    (uint32_t)KVM_GET_TSC_KHZ,
    (uint32_t)KVM_GET_DEVICE_ATTR,
    (uint32_t)KVM_SET_DEVICE_ATTR,
    (uint32_t)KVM_HAS_DEVICE_ATTR,
    (uint32_t)KVM_SET_GUEST_DEBUG,
    (uint32_t)KVM_KVMCLOCK_CTRL,
    (uint32_t)KVM_GET_API_VERSION,
    (uint32_t)KVM_CHECK_EXTENSION,
    (uint32_t)KVM_GET_SUPPORTED_CPUID,
    (uint32_t)KVM_GET_VCPU_MMAP_SIZE,
    (uint32_t)KVM_GET_MSR_INDEX_LIST,
    (uint32_t)KVM_CREATE_VM,
    (uint32_t)KVM_CREATE_VCPU,
    (uint32_t)KVM_CREATE_IRQCHIP,
    (uint32_t)KVM_CREATE_PIT2,
    (uint32_t)KVM_ENABLE_CAP,
    (uint32_t)KVM_SET_IDENTITY_MAP_ADDR,
    (uint32_t)KVM_SET_TSS_ADDR,
    (uint32_t)KVM_SET_CPUID2,
    (uint32_t)KVM_X86_SET_MSR_FILTER,
};

/* --- the program --- */

enum {
    PROGRAM_MOST = 512,
    X32_BIT = 0x40000000,
    GROUP = 32, /* system calls whose numbers are compared one by one */
    NUMBERS_MOST = 448,
    WRITING = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC, /* flags of open(2) */
    NAMESPACES = 0x7e020080,                         /* CLONE_NEW*, with that of time */
};

struct program {
    struct sock_filter code[PROGRAM_MOST];
    unsigned short length;
    unsigned threads; /* whose list it is */
    const struct sandbox *sandbox;
};

static void emit(struct program *program, uint16_t code, uint32_t value, uint8_t if_true, uint8_t if_false)
{
    if (program->length < PROGRAM_MOST)
        program->code[program->length] = (struct sock_filter){code, if_true, if_false, value};
    program->length++;
}

static void emit_return(struct program *program, uint32_t action)
{
    emit(program, BPF_RET | BPF_K, action, 0, 0);
}

/* The low half of an argument: all that the kernel looks at in those that are tested. */
static void emit_load(struct program *program, unsigned argument)
{
    emit(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + argument * 8), 0, 0);
}

/* Allowed, if what was loaded is the value. */
static void emit_allow_equal(struct program *program, uint32_t value)
{
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    emit_return(program, SECCOMP_RET_ALLOW);
}

/* Trapped, if one of the bits is set in what was loaded. */
static void emit_trap_bits(struct program *program, uint32_t bits)
{
    emit(program, BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    emit_return(program, SECCOMP_RET_TRAP);
}

static void emit_allow_all(struct program *program, const uint32_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        emit_allow_equal(program, values[i]);
}

static void emit_one_of(struct program *program, unsigned argument, const uint32_t *values, size_t count)
{
    emit_load(program, argument);
    emit_allow_all(program, values, count);
    emit_return(program, SECCOMP_RET_TRAP);
}

static void emit_equal(struct program *program, unsigned argument, uint32_t value)
{
    emit_one_of(program, argument, &value, 1);
}

/* Trapped, if one of the bits is set in the argument; otherwise the verdict. */
static void emit_without(struct program *program, unsigned argument, uint32_t bits, uint32_t verdict)
{
    emit_load(program, argument);
    emit_trap_bits(program, bits);
    emit_return(program, verdict);
}

static void emit_control(struct program *program)
{
    const unsigned threads = program->threads;
    const struct sandbox *sandbox = program->sandbox;

    emit_load(program, 1);
    if (sandbox->kvm && (threads & V))
        emit_allow_all(program, kvm_requests, ARRAY_LENGTH(kvm_requests));
    if (sandbox->kvm && (threads & BACKENDS))
        emit_allow_all(program, kvm_interrupts, ARRAY_LENGTH(kvm_interrupts));
    if (sandbox->tap && (threads & V))
        emit_allow_all(program, tap_requests, ARRAY_LENGTH(tap_requests));
    if (threads & N)
        emit_allow_all(program, socket_requests, ARRAY_LENGTH(socket_requests));
    emit_one_of(program, 1, terminal_requests, ARRAY_LENGTH(terminal_requests));
}

/* SOL_SOCKET's time limit and TCP's no-delay. */
static void emit_patience(struct program *program)
{
    const uint32_t levels[] = {SOL_SOCKET, IPPROTO_TCP};

    emit_one_of(program, 1, levels, ARRAY_LENGTH(levels));
}

/* The C library wants a local one first, to ask for an interface's number, and takes another if there is none. */
static void emit_internet(struct program *program)
{
    const uint32_t families[] = {AF_INET, AF_INET6};

    emit_load(program, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1);
    emit_return(program, SECCOMP_RET_ERRNO | EACCES);
    emit_one_of(program, 0, families, ARRAY_LENGTH(families));
}

static void emit_thread(struct program *program)
{
    emit_load(program, 0);
    emit_trap_bits(program, NAMESPACES);
    emit(program, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0);
    emit_return(program, SECCOMP_RET_TRAP);
    emit_return(program, SECCOMP_RET_ALLOW);
}

/* Every case ends the program with a verdict. */
static void emit_check(struct program *program, enum check check)
{
    const uint32_t names[] = {PR_SET_NAME, PR_GET_NAME};
    const uint32_t duplicates[] = {F_DUPFD_CLOEXEC, F_GETFL};
    const uint32_t flags[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD};

    switch (check) {
    case ANY:
        emit_return(program, SECCOMP_RET_ALLOW);
        break;
    case DATA:
        emit_without(program, 2, PROT_EXEC, SECCOMP_RET_ALLOW);
        break;
    case SELF:
        emit_equal(program, 0, (uint32_t)getpid());
        break;
    case THREAD:
        emit_thread(program);
        break;
    case CONTROL:
        emit_control(program);
        break;
    case NAME:
        emit_one_of(program, 0, names, ARRAY_LENGTH(names));
        break;
    case GS_BASE:
        emit_equal(program, 0, ARCH_SET_GS);
        break;
    case TIGHTEN:
        emit_equal(program, 0, SECCOMP_SET_MODE_FILTER);
        break;
    case OPEN_FILE:
        emit_equal(program, 3, AT_EMPTY_PATH);
        break;
    case DUPLICATE:
        emit_one_of(program, 1, duplicates, ARRAY_LENGTH(duplicates));
        break;
    case PATIENCE:
        emit_patience(program);
        break;
    case LOCAL:
        emit_equal(program, 0, AF_UNIX);
        break;
    case INTERNET:
        emit_internet(program);
        break;
    case FLAGS:
        emit_one_of(program, 1, flags, ARRAY_LENGTH(flags));
        break;
    case FOR_READING:
        emit_without(program, 2, WRITING, SECCOMP_RET_ALLOW);
        break;
    case UNKNOWN:
        emit_return(program, SECCOMP_RET_ERRNO | ENOSYS);
        break;
    case DENIED_AT:
        emit_without(program, 2, WRITING, SECCOMP_RET_ERRNO | EACCES);
        break;
    case DENIED:
        emit_return(program, SECCOMP_RET_ERRNO | EACCES);
        break;
    }
}

/* Code up to jump_end() is for numbers of which the comparison is `wanted`. The jump may be a long one. */
static unsigned short jump_begin(struct program *program, uint16_t comparison, uint32_t value, bool wanted)
{
    emit(program, (uint16_t)(BPF_JMP | BPF_K | comparison), value, wanted ? 1 : 0, wanted ? 0 : 1);
    emit(program, BPF_JMP | BPF_JA, 0, 0, 0);
    return (unsigned short)(program->length - 1);
}

static void jump_end(struct program *program, unsigned short jump)
{
    if (program->length <= PROGRAM_MOST)
        program->code[jump].k = program->length - jump - 1u;
}

static void emit_rule(struct program *program, const struct rule *rule)
{
    unsigned short jump = jump_begin(program, BPF_JEQ, rule->number, true);

    emit_check(program, (enum check)rule->check);
    jump_end(program, jump);
}

/* The numbers from first to first + GROUP - 1; skipped as a whole by others. */
static void emit_group(struct program *program, uint32_t first)
{
    unsigned short jump = jump_begin(program, BPF_JGE, first + GROUP, false);

    for (size_t i = 0; i < ARRAY_LENGTH(rules); i++)
        if ((rules[i].threads & program->threads) && rules[i].number / GROUP == first / GROUP)
            emit_rule(program, &rules[i]);
    emit_return(program, SECCOMP_RET_TRAP);
    jump_end(program, jump);
}

/* Whose list it is: the main thread's is inherited by those that it starts. */
static unsigned threads_of(enum sandbox_thread kind, const struct sandbox *sandbox)
{
    unsigned threads = kind == SANDBOX_MAIN ? M | V | W : BIT(kind);

    if (sandbox->kvm && (threads & V))
        threads |= VK;
    if (sandbox->kvm && (threads & BACKENDS))
        threads |= BK;
    if (sandbox->vsock && (threads & V))
        threads |= VS;
    return threads;
}

static void program_make(struct program *program)
{
    emit(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    emit_return(program, SECCOMP_RET_KILL_PROCESS);
    emit(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    emit(program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    emit_return(program, SECCOMP_RET_KILL_PROCESS);
    for (uint32_t first = 0; first < NUMBERS_MOST; first += GROUP)
        emit_group(program, first);
    emit_return(program, SECCOMP_RET_TRAP);
}

/*
 * SPEC_ALLOW: kernels before 5.16 would otherwise switch off speculation in the thread, which slows guests down and
 * protects nothing here: guests are separated by processes, with or without a filter.
 */
bool sandbox_filter_install(enum sandbox_thread kind, const struct sandbox *sandbox)
{
    struct program program = {.threads = threads_of(kind, sandbox), .sandbox = sandbox};

    program_make(&program);
    if (program.length > PROGRAM_MOST) {
        errno = E2BIG;
        return false;
    }
    const struct sock_fprog filter = {.len = program.length, .filter = program.code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0;
}

bool sandbox_filter_exists(void)
{
    const uint32_t action = SECCOMP_RET_TRAP;

    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}
