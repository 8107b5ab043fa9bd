#define _GNU_SOURCE
#include "host.h"

#include <asm/hwcap2.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>

enum {
    PAGE = 4096,
    VECTORS = 256,
    INTERRUPT_SIZE = 4, /* INT n, RET, and one byte more */
    BREAKPOINT = 3,
    OVERFLOW = 4,
    SYSTEM_CALL = 0x80,
    GENERAL_PROTECTION = 13,
};

static bool fsgsbase, wild_stack, interrupt_faults[VECTORS];

/* ---- faults ---- */

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

enum { FAULT_SIGNALS = sizeof(fault_signals) / sizeof(fault_signals[0]) };

static sigjmp_buf recover;
static volatile greg_t fault_trap, fault_error, fault_rip;

static void fault(int number, siginfo_t *info, void *context)
{
    const greg_t *g = ((const ucontext_t *)context)->uc_mcontext.gregs;

    (void)info;
    fault_trap = g[REG_TRAPNO];
    fault_error = g[REG_ERR];
    fault_rip = g[REG_RIP];
    siglongjmp(recover, number);
}

/* ---- the questions ---- */

/* The page has not been touched. */
static bool try_wild_stack(const uint8_t *page)
{
    if (sigsetjmp(recover, 1))
        return false;
    __asm__ volatile("mov %%rsp, %%r12\n\t"
                     "mov %[wild], %%rsp\n\t"
                     "mov (%[page]), %%al\n\t"
                     "mov %%r12, %%rsp"
                     :
                     : [page] "r"(page), [wild] "r"(0x5555555555555555)
                     : "rax", "r12", "memory");
    return true;
}

static bool try_interrupt(const uint8_t *code, unsigned vector)
{
    const uint8_t *at = code + vector * INTERRUPT_SIZE;

    if (sigsetjmp(recover, 1) == 0) {
        __asm__ volatile("call *%[at]"
                         :
                         : [at] "r"(at)
                         : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
        return false;
    }
    return fault_trap == GENERAL_PROTECTION && fault_error == (greg_t)(vector << 3 | 2) &&
           fault_rip == (greg_t)(uintptr_t)at;
}

static void try_interrupts(uint8_t *code)
{
    for (unsigned vector = 0; vector < VECTORS; vector++)
        memcpy(code + vector * INTERRUPT_SIZE, (const uint8_t[]){0xcd, (uint8_t)vector, 0xc3}, 3);
    mprotect(code, PAGE, PROT_READ | PROT_EXEC);
    for (unsigned vector = 0; vector < VECTORS; vector++)
        interrupt_faults[vector] =
            vector != BREAKPOINT && vector != OVERFLOW && vector != SYSTEM_CALL && try_interrupt(code, vector);
}

bool host_probe(void)
{
    static uint8_t stack[64 << 10];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK}, before[FAULT_SIGNALS];
    uint8_t *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t old;

    if (pages == MAP_FAILED || sigaltstack(&other, &old) < 0)
        return false;
    for (unsigned i = 0; i < FAULT_SIGNALS; i++)
        sigaction(fault_signals[i], &action, &before[i]);
    fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) != 0;
    wild_stack = try_wild_stack(pages);
    try_interrupts(pages + PAGE);
    for (unsigned i = 0; i < FAULT_SIGNALS; i++)
        sigaction(fault_signals[i], &before[i], NULL);
    sigaltstack(&old, NULL);
    munmap(pages, 2 * PAGE);
    return true;
}

/* ---- the answers ---- */

bool host_has_fsgsbase(void)
{
    return fsgsbase;
}

bool host_keeps_wild_stack(void)
{
    return wild_stack;
}

bool host_faults_interrupt(uint8_t vector)
{
    return interrupt_faults[vector];
}

void host_print_limits(FILE *to)
{
    unsigned odd = 0;

    if (!fsgsbase)
        fprintf(to, "left out: RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE; this kernel does not carry the bases\n");
    if (!wild_stack)
        fprintf(to,
                "tried twice: faults with an RSP that is not canonical; this kernel cannot return to such a program\n");
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        if (interrupt_faults[vector] || vector == BREAKPOINT || vector == OVERFLOW || vector == SYSTEM_CALL)
            continue;
        fprintf(to, odd++ ? ", %#x" : "left out: INT of vectors that are not faults here: %#x", vector);
    }
    if (odd)
        fprintf(to, "\n");
}
