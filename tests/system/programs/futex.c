/* Futexes between processes over shared memory, without a library in between. */
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 3000 };

static void futex_wait(uint32_t *word, uint32_t value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
        syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void futex_set(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int main(void)
{
    uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec limit = {.tv_nsec = 20000000}, before, after;

    if (fork() == 0) {
        for (uint32_t i = 0; i < ROUNDS; i++) {
            futex_wait(&shared[0], i);
            shared[2] += i;
            futex_set(&shared[1], i + 1);
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < ROUNDS; i++) {
        futex_set(&shared[0], i + 1);
        futex_wait(&shared[1], i);
    }
    wait(NULL);
    printf("rounds %u sum %u\n", shared[1], shared[2]);

    clock_gettime(CLOCK_MONOTONIC, &before);
    long result = syscall(SYS_futex, &shared[3], FUTEX_WAIT, 0, &limit, NULL, 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    double waited = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    printf("timeout %ld %s\n", result, waited >= 0.02 && waited < 2 ? "in time" : "at the wrong time");
    return 0;
}
