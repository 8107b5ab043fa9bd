/* Code that is written while it runs: fresh, patched, shared by two mappings, moved under the same address. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int (*function)(int);

/* mov eax, imm32; ret */
static void write_constant(unsigned char *to, int value)
{
    to[0] = 0xb8;
    memcpy(to + 1, &value, 4);
    to[5] = 0xc3;
}

int main(void)
{
    unsigned char *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long sum = 0;

    for (int i = 0; i < 2000; i++) {
        write_constant(code, i);
        sum += ((function)(void *)code)(0);
    }
    printf("same place %ld\n", sum);

    for (int i = 0; i < 300; i++)
        write_constant(code + 6 * i, i);
    sum = 0;
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < 300; i++) {
            sum += ((function)(void *)(code + 6 * i))(0);
            write_constant(code + 6 * ((i + 150) % 300), i + round);
        }
    printf("one page %ld\n", sum);

    /* A loop that changes its own immediate: mov eax,0; L: add eax,1; inc dword [L+1]; dec ecx; jnz L; ret */
    unsigned char *at = code + 4096 - 7; /* over a page boundary */
    static const unsigned char head[] = {0x89, 0xf9, 0x31, 0xc0, 0x05, 1, 0, 0, 0};
    memcpy(at, head, sizeof(head));
    unsigned char *imm = at + 5, *p = at + sizeof(head);
#ifdef __x86_64__
    *p++ = 0xff; *p++ = 0x05; /* inc dword [rip + rel] */
    int32_t relative = (int32_t)(imm - (p + 4));
    memcpy(p, &relative, 4);
    p += 4;
    *p++ = 0xff; *p++ = 0xc9; /* dec ecx */
    *p++ = 0x75;
    *p = (unsigned char)(at + 4 - (p + 1));
    p++;
    *p = 0xc3;
    printf("64-bit: self-changing %d\n", ((function)(void *)at)(500));
#else
    (void)imm;
    (void)p;
#endif

    int fd = memfd_create("code", 0);
    if (fd < 0 || ftruncate(fd, 4096) != 0)
        return 1;
    unsigned char *writable = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *executable = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    sum = 0;
    for (int i = 0; i < 1000; i++) {
        write_constant(writable + 8 * (i % 500), i);
        sum += ((function)(void *)(executable + 8 * (i % 500)))(0);
    }
    printf("two mappings %ld\n", sum);

    sum = 0;
    for (int i = 0; i < 300; i++) {
        unsigned char *page = mmap(code, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        write_constant(page, i);
        mprotect(page, 4096, PROT_READ | PROT_EXEC);
        sum += ((function)(void *)page)(0);
    }
    printf("remapped %ld\n", sum);

    lseek(fd, 0, SEEK_SET);
    sum = 0;
    for (int i = 0; i < 300; i++) {
        unsigned char bytes[6];
        write_constant(bytes, i); /* the kernel writes it */
        if (pwrite(fd, bytes, sizeof(bytes), 16) != sizeof(bytes))
            return 1;
        sum += ((function)(void *)(executable + 16))(0);
    }
    printf("written by the kernel %ld\n", sum);
    return 0;
}
