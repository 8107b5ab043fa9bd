/* A debugger: single steps, breakpoints, registers, memory, hardware watchpoints, syscall stops. */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile long watched, result;

/* A few instructions between two labels, a loop among them. */
__attribute__((noinline)) static long stepped(void)
{
    long value;

    __asm__ volatile(".globl step_start\nstep_start:\n"
                     "mov $5, %%ecx\n"
                     "xor %%eax, %%eax\n"
                     "1: add %%rcx, %%rax\n"
                     "dec %%ecx\n"
                     "jnz 1b\n"
                     "push %%rax\n"
                     "pop %%rcx\n"
                     "cld\n"
                     ".globl step_end\nstep_end:\n"
                     "nop\n"
                     : "=a"(value)
                     :
                     : "rcx", "cc", "memory");
    return value;
}
extern char step_start[], step_end[];

static void child(void)
{
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    result = stepped();
    watched = 1;
    watched = 2;
    result += (long)getppid() * 0;
    _exit((int)result & 0x7f);
}

static void wait_stop(pid_t pid, const char *what)
{
    int status;

    waitpid(pid, &status, 0);
    if (WIFSTOPPED(status))
        printf("%s: stopped by %d\n", what, WSTOPSIG(status));
    else
        printf("%s: ended with %d\n", what, WEXITSTATUS(status));
}

int main(void)
{
    struct user_regs_struct registers;
    pid_t pid = fork();
    int steps = 0, status;

    if (pid == 0)
        child();
    wait_stop(pid, "start");

    long original = ptrace(PTRACE_PEEKTEXT, pid, step_start, 0);
    ptrace(PTRACE_POKETEXT, pid, step_start, (original & ~0xffl) | 0xcc);
    ptrace(PTRACE_CONT, pid, 0, 0);
    wait_stop(pid, "breakpoint");
    ptrace(PTRACE_GETREGS, pid, 0, &registers);
    printf("at start + %ld\n", (long)(registers.rip - (uintptr_t)step_start));
    ptrace(PTRACE_POKETEXT, pid, step_start, original);
    registers.rip = (uintptr_t)step_start;
    ptrace(PTRACE_SETREGS, pid, 0, &registers);
    do {
        ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
        waitpid(pid, &status, 0);
        ptrace(PTRACE_GETREGS, pid, 0, &registers);
        printf("+%ld ", (long)(registers.rip - (uintptr_t)step_start));
        steps++;
    } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && registers.rip != (uintptr_t)step_end && steps < 100);
    printf("\n%d steps, rax %lld\n", steps, (long long)registers.rax);

    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), &watched);
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 0xd0001 | 1 << 18); /* write, 8 bytes */
    for (int i = 0; i < 2; i++) {
        ptrace(PTRACE_CONT, pid, 0, 0);
        wait_stop(pid, "watchpoint");
        printf("value %ld, dr6 %lx\n", ptrace(PTRACE_PEEKDATA, pid, &watched, 0),
               ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[6]), 0) & 0xf);
    }
    ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 0);
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
    wait_stop(pid, "syscall");
    ptrace(PTRACE_GETREGS, pid, 0, &registers);
    printf("number %lld\n", (long long)registers.orig_rax);
    ptrace(PTRACE_CONT, pid, 0, 0);
    wait_stop(pid, "end");
    return 0;
}
