/*
 * The same code seen at many addresses, as libraries are by programs: what the translator moves instead of translating
 * it again has to do what it does anywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "guest.h"
#include "x86/cpu_state.h"
#include "x86/vectors.h"

enum {
    ALIASES = 200, /* the first ones are not moved: too few pages are known */
    SPACING = 0x10000,
    DATA = 0x1000,
    SECOND_PAGE = 0x2000,
    CARRY = 0x17, /* where STC is */
    END = 0x2005,
    RETURN_ADDRESS = 0x13,
    LOOPS = 5
};

#define FIRST 0x7f1234500000ull
#define WORD 0x1122334455667788ull

static const uint8_t first_page[] = {
    0x48, 0x8d, 0x35, 0xf9, 0x0f, 0x00, 0x00, /* lea rsi, [rip + DATA] */
    0x48, 0x8b, 0x05, 0xf2, 0x0f, 0x00, 0x00, /* mov rax, [rip + DATA] */
    0xe8, 0x0d, 0x00, 0x00, 0x00,             /* call 20 */
    0xff, 0xc9,                               /* 13: dec ecx */
    0x75, 0xfc,                               /* jnz 13 */
    0xf9,                                     /* stc */
    0xe9, 0xe3, 0x1f, 0x00, 0x00,             /* jmp SECOND_PAGE, with a live flag */
    0x90, 0x90, 0x90,                         /* */
    0x48, 0x8b, 0x1c, 0x24,                   /* 20: mov rbx, [rsp] */
    0xc3                                      /* ret */
};

static const uint8_t second_page[] = {
    0x0f, 0x92, 0xc2, /* setc dl */
    0x9c, 0x9d,       /* pushf; popf: a helper */
    0x0f, 0x0b        /* END: ud2 */
};

static uint8_t code[CODE_AREA];
static struct guest *guest;

static void run_at(uint64_t base, bool carry)
{
    static const uint8_t pattern[CASE_DATA_SIZE];
    static struct one_case one;
    static struct outcome outcome;

    memset(&one, 0, sizeof(one));
    one.start.rip = base;
    one.start.rflags = 2;
    one.start.gpr[GPR_RCX] = LOOPS;
    one.start.gpr[GPR_RSP] = DATA_BASE + 0x800;
    one.reload = true;
    guest_run(guest, &one, pattern, &outcome);
    assert_int_equal(outcome.trap, VECTOR_UD);
    assert_int_equal(outcome.image.rip, base + END);
    assert_int_equal(outcome.image.gpr[GPR_RSI], base + DATA);
    assert_int_equal(outcome.image.gpr[GPR_RAX], WORD);
    assert_int_equal(outcome.image.gpr[GPR_RBX], base + RETURN_ADDRESS);
    assert_int_equal(outcome.image.gpr[GPR_RCX], 0);
    assert_int_equal(outcome.image.gpr[GPR_RDX], carry);
    assert_int_equal(outcome.image.gpr[GPR_RSP], DATA_BASE + 0x800);
}

static uint64_t moves(void)
{
    uint64_t translations, moved, flushes;

    guest_figures(guest, &translations, &moved, &flushes);
    return moved;
}

static void run_everywhere(bool carry)
{
    for (unsigned i = 0; i < ALIASES; i++)
        run_at(FIRST + (uint64_t)i * SPACING, carry);
}

static void test_many_addresses(void **state)
{
    uint64_t before;

    (void)state;
    run_everywhere(true);
    before = moves();
    assert_in_range(before, 100, UINT64_MAX);
    run_everywhere(true);
    assert_int_equal(moves(), before); /* they are all there */
}

/* Where an address does not need 64 bits, and so high that one a little further is not canonical. */
static void test_addresses_that_are_translated(void **state)
{
    static const uint64_t bases[] = {0x40000000, 0x1fffe0000, 0x7fff00000000, 0x7fffffe00000};
    uint64_t before = moves();

    (void)state;
    for (unsigned i = 0; i < sizeof(bases) / sizeof(*bases); i++) {
        guest_see_code_at(guest, bases[i]);
        run_at(bases[i], true);
    }
    assert_int_equal(moves(), before);
}

static void test_far_away(void **state)
{
    uint64_t before = moves();

    (void)state;
    guest_see_code_at(guest, 0x555500000000);
    run_at(0x555500000000, true);
    guest_see_code_at(guest, 0x200010000);
    run_at(0x200010000, true);
    assert_in_range(moves() - before, 8, UINT64_MAX);
}

/* Code that is overwritten is overwritten at all of its addresses. */
static void test_overwritten(void **state)
{
    (void)state;
    code[CARRY] = 0xf8; /* clc */
    guest_set_code(guest, code);
    run_everywhere(false);
}

static int setup(void **state)
{
    uint64_t word = WORD;

    (void)state;
    memcpy(code, first_page, sizeof(first_page));
    memcpy(code + DATA, &word, sizeof(word));
    memcpy(code + SECOND_PAGE, second_page, sizeof(second_page));
    guest = guest_create();
    if (!guest)
        return -1;
    for (unsigned i = 0; i < ALIASES; i++)
        guest_see_code_at(guest, FIRST + (uint64_t)i * SPACING);
    guest_set_code(guest, code);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    guest_destroy(guest);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_addresses),
        cmocka_unit_test(test_addresses_that_are_translated),
        cmocka_unit_test(test_far_away),
        cmocka_unit_test(test_overwritten),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
