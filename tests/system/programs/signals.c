/* Faults and signals: the right signal, code and address, and life goes on after them. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int last_signal, last_code;
static void *volatile last_address;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    last_signal = number;
    last_code = info->si_code;
    last_address = info->si_addr;
    siglongjmp(back, 1);
}

static void report(const char *what, void *base)
{
    printf("%s: signal %d code %d offset %ld\n", what, last_signal, last_code,
           (long)((uintptr_t)last_address - (uintptr_t)base));
}

static int skipped;

/* Steps over a two-byte UD2 and changes a register of the interrupted code. */
static void on_ud2(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)number;
    (void)info;
    skipped++;
#ifdef __x86_64__
    uc->uc_mcontext.gregs[REG_RIP] += 2;
    uc->uc_mcontext.gregs[REG_RAX] = 4711;
#else
    uc->uc_mcontext.gregs[REG_EIP] += 2;
    uc->uc_mcontext.gregs[REG_EAX] = 4711;
#endif
}

static void on_alarm(int number)
{
    last_signal = number;
}

int main(void)
{
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction skip = {.sa_sigaction = on_ud2, .sa_flags = SA_SIGINFO};
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile int *volatile at = (volatile int *)16;
    int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &fault, NULL);

    if (!sigsetjmp(back, 1))
        *at = 1;
    report("low write", NULL);
    mprotect(page, 4096, PROT_READ);
    if (!sigsetjmp(back, 1))
        page[123] = 1;
    report("read-only write", page);
    mprotect(page, 4096, PROT_NONE);
    if (!sigsetjmp(back, 1))
        printf("%d\n", *(volatile char *)(page + 7));
    report("no access", page);
    if (!sigsetjmp(back, 1))
        ((void (*)(void))(page + 4096))();
    report("execute data", page);
    if (!sigsetjmp(back, 1)) {
        volatile int one = 1, zero = 0;
        printf("%d\n", one / zero);
    }
    printf("divide: signal %d code %d\n", last_signal, last_code);
    if (!sigsetjmp(back, 1))
        __asm__ volatile("int3");
    printf("int3: signal %d code %d\n", last_signal, last_code);
    if (!sigsetjmp(back, 1))
        __asm__ volatile("hlt");
    report("hlt", NULL);
    if (!sigsetjmp(back, 1))
        raise(SIGILL);
    printf("raise: %d\n", last_signal);

    sigaction(SIGILL, &skip, NULL);
    long sum = 0;
    for (int i = 0; i < 1000; i++) {
        long value = i;
        __asm__ volatile("ud2" : "+a"(value));
        sum += value;
    }
    printf("ud2: %d skipped, sum %ld\n", skipped, sum);

    signal(SIGALRM, on_alarm);
    last_signal = 0;
    alarm(1);
    while (!last_signal)
        ; /* an interrupt must get in here */
    printf("alarm: %d\n", last_signal);
    return 0;
}
