/*
 * Host signals of vCPU threads: faults of the guest's own instructions that the processor reports to
 * us, and the guard page of the return stack.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <asm/prctl.h>
#include <sys/syscall.h>

#include "engine/dbt/engine.h"
#include "engine/dbt/run.h"
#include "engine/dbt/thunks.h"
#include "port/log.h"

/* The vCPU that this thread runs. Signal handlers have no other way to know. */
static _Thread_local struct dbt_vcpu *current;
static _Thread_local void *signal_stack;

enum { SIGNAL_STACK = 64 << 10 };

static void save_registers(struct dbt_vcpu *c, const greg_t *g)
{
    static const uint8_t order[][2] = {
        {GPR_RAX, REG_RAX}, {GPR_RCX, REG_RCX}, {GPR_RDX, REG_RDX}, {GPR_RBX, REG_RBX}, {GPR_RSP, REG_R15},
        {GPR_RBP, REG_RBP}, {GPR_RSI, REG_RSI}, {GPR_RDI, REG_RDI}, {GPR_R8, REG_R8},   {GPR_R9, REG_R9},
        {GPR_R10, REG_R10}, {GPR_R12, REG_R12}, {GPR_R13, REG_R13},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(order); i++)
        c->gpr[order[i][0]] = (uint64_t)g[order[i][1]];
    c->alu_flags = (uint64_t)g[REG_EFL];
    c->shadow_rsp = (uint64_t)g[REG_RSP];
}

/* The guest's vector for a host trap, or -1. */
static int guest_vector(const struct dbt_vcpu *c, uint64_t trap)
{
    switch (trap) {
    case VECTOR_DE:
    case VECTOR_UD:
    case VECTOR_GP:
    case VECTOR_MF:
        return (int)trap;
    case VECTOR_XM:
        return c->cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD;
    default:
        return -1;
    }
}

/* An instruction of the guest's faulted in translated code. */
static bool guest_fault(struct dbt_vcpu *c, ucontext_t *context)
{
    greg_t *g = context->uc_mcontext.gregs;
    int vector = guest_vector(c, (uint64_t)g[REG_TRAPNO]);
    struct code_place place;

    if (vector < 0 || !code_locate(c, (uint64_t)g[REG_RIP], &place))
        return false;
    save_registers(c, g);
    c->rip = place.rip;
    if (place.saved_before)
        c->alu_flags = (c->alu_flags & RFLAGS_DF) | flags_from_saved(c->saved_flags);
    c->exception_pending = 1;
    c->exception_vector = (uint8_t)vector;
    c->exception_has_error = vector == VECTOR_GP;
    c->exception_error = 0;
    c->exception_software = 0;
    c->stat_exceptions++;
    g[REG_RIP] = (greg_t)(uintptr_t)thunk_unwind;
    g[REG_RDI] = (greg_t)(uintptr_t)c;
    g[REG_RSI] = EXIT_RAISE;
    g[REG_EFL] &= ~(greg_t)RFLAGS_DF;
    return true;
}

/*
 * Guest calls nested deeper than the return stack: forget the outer ones. A thunk that ran into the guard page with
 * its PUSHF keeps its own return address, which is on top.
 */
static bool stack_overflow(struct dbt_vcpu *c, const siginfo_t *info, ucontext_t *context, bool in_thunk)
{
    uint64_t address = (uint64_t)(uintptr_t)info->si_addr;
    uint64_t top = (uint64_t)context->uc_mcontext.gregs[REG_RSP];
    uint64_t fresh = c->shadow_base;

    if (address - (uint64_t)(uintptr_t)c->return_stack >= PAGE_SIZE)
        return false;
    if (in_thunk) {
        fresh -= 8;
        *(uint64_t *)fresh = *(const uint64_t *)top;
    }
    context->uc_mcontext.gregs[REG_RSP] = (greg_t)fresh;
    return true;
}

/* The signals, and who handled them before us. */
static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction previous[ARRAY_LENGTH(numbers)];

/* Not the guest's doing: whoever was there before us gets it, by the instruction running again or by being sent again. */
static void pass_on(int number, const siginfo_t *info)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(numbers); i++)
        if (numbers[i] == number)
            sigaction(number, &previous[i], NULL);
    if (info->si_code <= 0)
        raise(number);
}

static void handle(int number, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    struct dbt_vcpu *c = current;
    int saved_errno = errno;

    uint64_t rip = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
    bool in_thunk = rip - (uint64_t)(uintptr_t)thunks_begin < (uint64_t)(thunks_end - thunks_begin);
    bool in_code = c && cache_contains(&c->dbt->cache, rip);

    if (c && (in_code || in_thunk) && number == SIGSEGV && stack_overflow(c, info, context, in_thunk))
        return;
    if (in_code && guest_fault(c, context)) {
        errno = saved_errno;
        return;
    }
    pass_on(number, info);
}

enum status signal_install(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < ARRAY_LENGTH(numbers); i++) {
        struct sigaction before;

        if (sigaction(numbers[i], &action, &before) < 0) {
            log_error("cannot install the handler of signal %d: %s", numbers[i], strerror(errno));
            return STATUS_UNSUPPORTED;
        }
        if (before.sa_sigaction != handle)
            previous[i] = before;
    }
    return STATUS_OK;
}

void thread_enter(struct dbt_vcpu *c)
{
    if (!signal_stack) {
        stack_t stack = {.ss_size = SIGNAL_STACK};

        stack.ss_sp = signal_stack =
            mmap(NULL, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (signal_stack == MAP_FAILED || sigaltstack(&stack, NULL) < 0)
            log_error("no stack for signals: a fault in the guest will end the process");
    }
    if (current != c) {
        current = c;
        syscall(SYS_arch_prctl, ARCH_SET_GS, c);
    }
}
