/* Integer work with much control flow: sorting, a small interpreter, recursion, longjmp, wide arithmetic. */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 88172645463325252ull;

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return a < b ? -1 : a > b;
}

static unsigned ackermann(unsigned m, unsigned n)
{
    if (m == 0)
        return n + 1;
    return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static uint64_t interpret(const unsigned char *code, int steps)
{
    uint64_t registers[4] = {1, 2, 3, 4};
    unsigned at = 0;

    while (steps-- > 0) {
        unsigned char op = code[at], a = (op >> 3) & 3, b = (op >> 5) & 3;
        at = (at + 1) % 256;
        switch (op & 7) {
        case 0: registers[a] += registers[b]; break;
        case 1: registers[a] -= registers[b]; break;
        case 2: registers[a] ^= registers[b] << 7; break;
        case 3: registers[a] *= registers[b] | 1; break;
        case 4: registers[a] = registers[a] >> 9 | registers[a] << 55; break;
        case 5: if (registers[a] & 1) at = (at + 17) % 256; break;
        case 6: registers[a] /= (registers[b] & 0xffff) + 3; break;
        default: registers[a] += (uint64_t)__builtin_popcountll(registers[b]); break;
        }
    }
    return registers[0] ^ registers[1] ^ registers[2] ^ registers[3];
}

static void unwind(jmp_buf where, int depth)
{
    if (depth > 0)
        unwind(where, depth - 1);
    else
        longjmp(where, 1);
    __asm__ volatile(""); /* no tail call: these frames are to be thrown away */
}

int main(void)
{
    enum { COUNT = 50000 };
    static uint32_t numbers[COUNT];
    unsigned char code[256];
    uint64_t sum = 0;

    for (int i = 0; i < COUNT; i++)
        numbers[i] = (uint32_t)next();
    qsort(numbers, COUNT, sizeof(numbers[0]), compare);
    for (int i = 0; i < COUNT; i++)
        sum = sum * 31 + numbers[i];
    printf("sorted %016llx\n", (unsigned long long)sum);
    printf("ackermann %u\n", ackermann(2, 300));
    for (int i = 0; i < 256; i++)
        code[i] = (unsigned char)next();
    printf("interpreter %016llx\n", (unsigned long long)interpret(code, 500000));
    volatile int jumps = 0;
    for (int i = 0; i < 2000; i++) {
        jmp_buf where;
        if (setjmp(where) == 0)
            unwind(where, i % 50);
        else
            jumps++;
    }
    printf("longjmp %d\n", jumps);
    int64_t divided = 0;
    for (int i = 1; i < 20000; i++)
        divided += (int64_t)next() / i + (int64_t)(next() % (uint64_t)i) - (int32_t)next() / (i | 1);
    printf("divided %lld\n", (long long)divided);
#ifdef __SIZEOF_INT128__
    unsigned __int128 wide = 1;
    for (int i = 0; i < 1000; i++) {
        wide = wide * 6364136223846793005ull + next();
        wide = wide / ((next() & 0xffffffff) + 1) + (wide << 64);
    }
    printf("64-bit: wide %016llx%016llx\n", (unsigned long long)(wide >> 64), (unsigned long long)wide);
#endif
    return 0;
}
