/* Mappings: faults that fill, protections that change, moves, page boundaries, string instructions. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static sigjmp_buf back;
static volatile long fault_offset;
static char *base;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    fault_offset = (char *)info->si_addr - base;
    siglongjmp(back, 1);
}

static uint32_t checksum(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    uint32_t sum = 1;

    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + byte[i];
    return sum;
}

int main(void)
{
    enum { SIZE = 64 * 4096 };
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &action, NULL);
    base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < SIZE / 4096; i++)
        base[i * 4096 + i] = (char)(i + 1);
    printf("touched %08x\n", checksum(base, SIZE));

    for (volatile int round = 0; round < 50; round++) {
        for (int i = 0; i < SIZE / 4096; i++)
            mprotect(base + i * 4096, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE);
        for (volatile int i = 0; i < SIZE / 4096; i++) {
            fault_offset = -1;
            if (!sigsetjmp(back, 1))
                base[i * 4096 + 5]++;
            if ((fault_offset == i * 4096 + 5) != (i % 2 == 1))
                printf("wrong fault %d %ld\n", i, fault_offset);
        }
        mprotect(base, SIZE, PROT_READ | PROT_WRITE);
    }
    printf("protected %08x\n", checksum(base, SIZE));

    /* Accesses over a page boundary into a page that is not there. */
    mprotect(base + 4096, 4096, PROT_NONE);
    for (volatile int offset = 4089; offset < 4096; offset++) {
        fault_offset = -1;
        if (!sigsetjmp(back, 1))
            *(volatile uint64_t *)(base + offset) = ~0ull;
        printf("%zu-bit: crossing write at %d: fault at %ld, before %02x\n", 8 * sizeof(long), offset, fault_offset,
               base[offset] & 0xff);
    }
    fault_offset = -1;
    if (!sigsetjmp(back, 1))
        memset(base + 4000, 0x55, 200);
    printf("memset: fault at %s\n", fault_offset >= 4096 && fault_offset < 8192 ? "the page" : "a wrong place");
    mprotect(base + 4096, 4096, PROT_READ | PROT_WRITE);

    for (int i = 0; i < SIZE; i++)
        base[i] = (char)(i * 7 + (i >> 8));
    for (int shift = 1; shift < 70; shift += 13) {
        void *to = base + shift + 29999, *from = base + 29999;
        size_t count = 30000;
        __asm__ volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        memmove(base + 100000, base + 100000 + shift, 60000);
    }
    printf("strings %08x\n", checksum(base, SIZE));

    char *moved = mremap(base, SIZE, 4 * SIZE, MREMAP_MAYMOVE);
    printf("moved %08x\n", checksum(moved, SIZE));
    madvise(moved, SIZE, MADV_DONTNEED);
    printf("dropped %08x\n", checksum(moved, 4 * SIZE));

    size_t large = 32u << 20;
    unsigned char *big = mmap(NULL, large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < large; i += 4096)
        big[i] = (unsigned char)(i >> 12);
    unsigned sum = 0;
    for (size_t i = 0; i < large; i += 4096)
        sum += big[i];
    printf("large %u\n", sum);
    return 0;
}
