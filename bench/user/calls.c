/* Calls and returns: a doubly recursive function, and calls through a table in an unpredictable order. */
#include "user/programs.h"

enum {
    FIB_ARGUMENT = 25,
    INDIRECT_CALLS = 120000,
};

__attribute__((noinline)) static uint64_t fib(uint64_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

typedef uint64_t operation(uint64_t value);

static uint64_t add(uint64_t value)
{
    return value + 0x1234567;
}

static uint64_t multiply(uint64_t value)
{
    return value * 0x10001;
}

static uint64_t rotate(uint64_t value)
{
    return (value << 13) | (value >> 51);
}

static uint64_t invert(uint64_t value)
{
    return ~value;
}

static uint64_t fold(uint64_t value)
{
    return value ^ (value >> 17);
}

static uint64_t swap(uint64_t value)
{
    return __builtin_bswap64(value);
}

static uint64_t choose(uint64_t value)
{
    return (value & 1) != 0 ? add(value) : rotate(value);
}

static uint64_t subtract(uint64_t value)
{
    return value - 0x7654321;
}

/* volatile, or the compiler turns the indirect calls into a switch. */
static operation *volatile const operations[] = {add, multiply, rotate, invert, fold, swap, choose, subtract};

static uint64_t iterate_recursion(void)
{
    return fib(FIB_ARGUMENT);
}

static uint64_t iterate_indirect(void)
{
    uint64_t state = 1;
    uint64_t value = 0;

    for (uint32_t i = 0; i < INDIRECT_CALLS; i++) {
        value = operations[bench_random(&state) % 8](value);
    }
    return value;
}

const struct bench_program bench_calls = {
    .name = "calls",
    .summary = "recursive calls and returns",
    .iterations = 1000,
    .operations = 1,
    .iterate = iterate_recursion,
};

const struct bench_program bench_indirect = {
    .name = "indirect",
    .summary = "calls through a table of functions, unpredictable",
    .iterations = 300,
    .operations = 1,
    .iterate = iterate_indirect,
};
