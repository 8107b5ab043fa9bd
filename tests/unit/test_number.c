/* cli/number.c: numbers and sizes as people write them. */
#include "cli/number.h"
#include "unit.h"

static void check_size(const char *text, bool valid, uint64_t bytes)
{
    uint64_t value = 0;

    assert_int_equal(size_parse(text, &value), valid);
    if (valid)
        assert_int_equal(value, bytes);
}

static void test_sizes(void **state)
{
    (void)state;
    check_size("1", true, 1ull << 20);
    check_size("512M", true, 512ull << 20);
    check_size("4g", true, 4ull << 30);
    check_size("2048k", true, 2ull << 20);
    check_size("1T", true, 1ull << 40);
    check_size("0", true, 0);
    check_size("16777215T", true, 16777215ull << 40);
    check_size("16777216T", false, 0);
    check_size("18446744073709551616", false, 0);
    check_size("", false, 0);
    check_size("M", false, 0);
    check_size("1MB", false, 0);
    check_size("1 M", false, 0);
    check_size("+1M", false, 0);
    check_size("0x10M", false, 0);
}

static void test_numbers(void **state)
{
    uint64_t value;

    (void)state;
    assert_true(number_parse("18446744073709551615", &value));
    assert_int_equal(value, UINT64_MAX);
    assert_false(number_parse("18446744073709551616", &value));
    assert_false(number_parse("", &value));
    assert_false(number_parse("-1", &value));
    assert_false(number_parse("1 ", &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
