/*
 * Real mode, 16-bit and 32-bit protected mode, and the ways between them and long mode. The code is in
 * real_code.S, which leaves one word for each of these results, in this order.
 */
#include "lib/check.h"
#include "lib/cpu.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "real";

#define RESULTS 0x18000ull

void real_enter(void);

static const struct {
    const char *what;
    uint16_t value;
} expected[] = {
    { "segment arithmetic", 0xbeef },
    { "FFFF:0010 is 1 MiB", 0xb002 },
    { "offsets wrap at 64 KiB", 0x4321 },
    { "word at FFFF: vector", 13 },
    { "word at FFFF: IP", 0 },
    { "stack word at FFFF: vector", 12 },
    { "stack word at FFFF: IP", 0 },
    { "INT: flags inside", 0x08d7 },
    { "INT: pushed IP", 0 },
    { "INT: pushed CS", 0x1000 },
    { "INT: pushed FLAGS", 0x0ad7 },
    { "IRET: flags", 0x0ad7 },
    { "divide error: vector", 0 },
    { "divide error: IP", 0 },
    { "BOUND: vector", 5 },
    { "BOUND: IP", 0 },
    { "INTO", 4 },
    { "LOCK: vector", 6 },
    { "LOCK: IP", 0 },
    { "single step", 4 },
    { "REP STOSW over the end: DI", 4 },
    { "REP STOSW over the end: memory", 0x1111 },
    { "REP MOVSB backwards", 0x0201 },
    { "REP counts CX only", 1 },
    { "far call: argument", 0xaaaa },
    { "far return releases", 0 },
    { "SP wraps", 0xfffe },
    { "SP wraps: memory", 0x7777 },
    { "32-bit push", 4 },
    { "PUSHA, POPA", 0x1357 },
    { "ENTER", 10 },
    { "LEAVE", 0x2468 },
    { "IOPL and NT", 0x7000 },
    { "DAA", 0x14 },
    { "DAS", 0x88 },
    { "AAA", 0x0107 },
    { "AAS", 0x0005 },
    { "AAM", 0x0807 },
    { "AAD", 0x0057 },
    { "XLAT", 0x0099 },
    { "LES: offset", 0x1122 },
    { "LES: segment", 0x3344 },
    { "LOOP counts CX", 3 },
    { "IP wraps", 0x6543 },
    { "offset above 64 KiB: vector", 13 },
    { "offset above 64 KiB: IP", 0 },
    { "unreal mode", 0xb002 },
    { "unreal mode, new base", 0x1bad },
    { "16-bit protected mode", 0xb002 },
    { "32-bit protected mode", 0x1bad },
    { "32-bit protected mode: EIP", 0 },
    { "SMSW", 0 },
    { "CPUID", 1 },
    { "the end", 0x600d },
};

/* Results that come of a segment limit. */
static bool needs_limits(unsigned result)
{
    return (result >= 3 && result <= 6) || result == 44 || result == 45;
}

void test_main(void)
{
    skip_on("qemu", "segment limits are not checked");
    const volatile uint16_t *results = (const volatile uint16_t *)RESULTS;

    for (unsigned round = 0; round < 3; round++) {
        test_group(round == 0 ? "first time" : "again"); /* there and back: all must work twice */
        for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
            ((volatile uint16_t *)RESULTS)[i] = 0xdead;
        real_enter();
        for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
            if (needs_limits(i) && option("oracle=qemu"))
                continue;
            check_equal_at(expected[i].what, (int)i, "result", results[i], expected[i].value);
        }
        EXPECT_FAULT(VECTOR_UD, 0, "ud2", : : : "memory"); /* long mode works as before */
    }
}
