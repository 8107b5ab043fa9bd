/*
 * Plain computation, no interrupts, no faults: the first thing a translator must get right. Every
 * result is compared with a constant worked out beforehand, or with the same value found another way.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/console.h"

_Noreturn void guest_start(void);

static unsigned failures;

static void expect(const char *what, uint64_t got, uint64_t want)
{
    if (got == want)
        return;
    failures++;
    print("FAIL user64: %s: expected 0x%lx, got 0x%lx\n", what, want, got);
}

static uint64_t fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint32_t crc32(const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~0u;

    while (size-- > 0) {
        crc ^= *bytes++;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static unsigned count_primes(unsigned below)
{
    static bool composite[10000];
    unsigned count = 0;

    for (unsigned i = 2; i < below; i++) {
        if (composite[i])
            continue;
        count++;
        for (unsigned j = 2 * i; j < below; j += i)
            composite[j] = true;
    }
    return count;
}

/* Each flag result of one ADD and one SUB, gathered by SETcc, for small and extreme operands. */
static uint64_t flags_digest(void)
{
    static const uint64_t operands[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0x7fffffffffffffff,
                                         0x8000000000000000, ~0ull };
    enum { COUNT = sizeof(operands) / sizeof(operands[0]) };
    uint64_t digest = 0;

    for (unsigned i = 0; i < COUNT; i++) {
        for (unsigned j = 0; j < COUNT; j++) {
            uint64_t sum = operands[i], difference = operands[i], flags;
            __asm__("addq %3, %0; pushfq; popq %2; subq %3, %1; pushfq; xorq (%%rsp), %2; addq $8, %%rsp"
                    : "+r"(sum), "+r"(difference), "=&r"(flags)
                    : "r"(operands[j])
                    : "cc", "memory");
            digest = (digest << 7 | digest >> 57) ^ sum ^ difference ^ (flags & 0x8d5);
        }
    }
    return digest;
}

/* The same digest without the processor's flags: they follow from the operands. */
static uint64_t model_flags(uint64_t a, uint64_t b, uint64_t result, bool carry, bool overflow)
{
    uint64_t parity = !__builtin_parity((unsigned)(result & 0xff));

    return (carry ? 0x1u : 0) | parity << 2 | ((a ^ b ^ result) & 0x10) | (result == 0 ? 0x40u : 0) |
           (result >> 63) << 7 | (overflow ? 0x800u : 0);
}

static uint64_t model_digest(void)
{
    static const uint64_t operands[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0x7fffffffffffffff,
                                         0x8000000000000000, ~0ull };
    enum { COUNT = sizeof(operands) / sizeof(operands[0]) };
    uint64_t digest = 0;

    for (unsigned i = 0; i < COUNT; i++) {
        for (unsigned j = 0; j < COUNT; j++) {
            uint64_t a = operands[i], b = operands[j], sum = a + b, difference = a - b;
            uint64_t flags = model_flags(a, b, sum, sum < a, (~(a ^ b) & (a ^ sum)) >> 63) ^
                             model_flags(a, b, difference, a < b, ((a ^ b) & (a ^ difference)) >> 63);
            digest = (digest << 7 | digest >> 57) ^ sum ^ difference ^ flags;
        }
    }
    return digest;
}

static void check_shifts(void)
{
    uint64_t value = 0x123456789abcdef0;

    for (unsigned i = 1; i < 64; i++) {
        uint64_t rotated = value;
        __asm__("rolq %%cl, %0" : "+r"(rotated) : "c"(i) : "cc");
        expect("rol", rotated, value << i | value >> (64 - i));
        rotated = value;
        __asm__("shldq %%cl, %1, %0" : "+r"(rotated) : "r"(~value), "c"(i) : "cc");
        expect("shld", rotated, value << i | ~value >> (64 - i));
    }
}

static void check_wide_arithmetic(void)
{
    volatile uint64_t a = 0xfedcba9876543210, b = 0x0f1e2d3c4b5a6978;
    unsigned __int128 product = (unsigned __int128)a * b;
    uint64_t quotient, remainder;

    expect("mul high", (uint64_t)(product >> 64), 0xf0cf9d5a05a0299);
    expect("mul low", (uint64_t)product, a * b);
    __asm__("divq %4"
            : "=a"(quotient), "=d"(remainder)
            : "0"((uint64_t)product), "1"((uint64_t)(product >> 64)), "r"(b)
            : "cc");
    expect("div quotient", quotient, a);
    expect("div remainder", remainder, 0);
    expect("idiv", (uint64_t)((int64_t)a / -7), 0x299c335ccf6690);
}

static void check_string(void)
{
    static uint8_t from[5000], to[5000];
    uint8_t *destination = to;
    const uint8_t *source = from;
    uint64_t count = sizeof(from);

    for (unsigned i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i * 7 + i / 251);
    __asm__ volatile("rep movsb" : "+D"(destination), "+S"(source), "+c"(count) : : "memory");
    expect("rep movsb count", count, 0);
    expect("rep movsb destination", (uint64_t)destination, (uint64_t)(to + sizeof(to)));
    expect("rep movsb contents", crc32(to, sizeof(to)), crc32(from, sizeof(from)));
}

typedef uint64_t operation(uint64_t);

static uint64_t operation_increment(uint64_t x) { return x + 1; }
static uint64_t operation_double(uint64_t x) { return x * 2; }
static uint64_t operation_square(uint64_t x) { return x * x; }
static uint64_t operation_invert(uint64_t x) { return ~x; }

/* Indirect calls whose target changes at one site. */
static void check_indirect(void)
{
    static operation *const volatile table[] = { operation_increment, operation_double, operation_square,
                                                 operation_invert };
    uint64_t value = 3, model = 3;

    for (unsigned i = 0; i < 1000; i++)
        value = table[i * i / 3 & 3](value);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned which = i * i / 3 & 3;
        model = which == 0 ? model + 1 : which == 1 ? model * 2 : which == 2 ? model * model : ~model;
    }
    expect("indirect calls", value, model);
}

void guest_start(void)
{
    console_select(CONSOLE_SERIAL);
    print("user64: start\n");
    expect("fibonacci", fibonacci(20), 6765);
    expect("crc32", crc32((const uint8_t *)"123456789", 9), 0xcbf43926);
    expect("primes", count_primes(10000), 1229);
    expect("flags", flags_digest(), model_digest());
    check_shifts();
    check_wide_arithmetic();
    check_string();
    check_indirect();
    print("user64: %u failures\n", failures);
    guest_exit(failures != 0);
}
