#include <string.h>

#include "unit.h"

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/status.h"

/* The freestanding functions under other names, for libc's are linked too. */
#define memcpy base_memcpy
#define memmove base_memmove
#define memset base_memset
#define memcmp base_memcmp
#define strlen base_strlen
#define strcmp base_strcmp
#include "base/memory.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen
#undef strcmp

static void crc32c_knows_the_vectors_of_rfc_3720(void **state)
{
    uint8_t bytes[32];

    (void)state;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
    assert_int_equal(crc32c(crc32c(0, bytes, 11), bytes + 11, 21), 0x46dd794e);
    assert_int_equal(crc32c(0, bytes, 0), 0);
}

static void range_inside_never_overflows(void **state)
{
    (void)state;
    assert_true(range_inside(0, 10, 10));
    assert_true(range_inside(10, 0, 10));
    assert_false(range_inside(11, 0, 10));
    assert_false(range_inside(1, UINT64_MAX, 10));
    assert_false(range_inside(UINT64_MAX, UINT64_MAX, 10));
    assert_true(range_inside(UINT64_MAX, 0, UINT64_MAX));
}

static void bits_and_little_endian(void **state)
{
    uint8_t bytes[9] = {0};

    (void)state;
    assert_int_equal(bits_get(0xabcd1234, 15, 8), 0x12);
    assert_true(bits_get(~0ull, 63, 0) == ~0ull);
    assert_true(bits_mask(64) == ~0ull && bits_mask(0) == 0 && bits_mask(12) == 0xfff);
    store_le(bytes + 1, 8, 0x0123456789abcdefull);
    assert_int_equal(bytes[1], 0xef);
    assert_true(load_le(bytes + 1, 8) == 0x0123456789abcdefull);
    assert_int_equal(load_le(bytes + 1, 2), 0xcdef);
    assert_int_equal(align_up(4097, 4096), 8192);
    assert_int_equal(align_down(8191, 4096), 4096);
}

static void memory_functions_agree_with_libc(void **state)
{
    char ours[64], theirs[64];

    (void)state;
    for (size_t from = 0; from < 20; from++) {
        for (size_t to = 0; to < 20; to++) {
            for (size_t size = 0; size < 40; size += 3) {
                for (unsigned i = 0; i < sizeof(ours); i++)
                    ours[i] = theirs[i] = (char)i;
                assert_ptr_equal(base_memmove(ours + to, ours + from, size), ours + to);
                memmove(theirs + to, theirs + from, size);
                assert_memory_equal(ours, theirs, sizeof(ours));
            }
        }
    }
    assert_ptr_equal(base_memset(ours, 0x1ff, 10), ours);
    assert_int_equal((unsigned char)ours[9], 0xff);
    assert_ptr_equal(base_memcpy(ours, theirs, sizeof(ours)), ours);
    assert_int_equal(base_memcmp(ours, theirs, sizeof(ours)), 0);
    ours[63]++;
    assert_true(base_memcmp(ours, theirs, sizeof(ours)) > 0);
    assert_int_equal(base_strlen(""), 0);
    assert_int_equal(base_strlen("lodge"), 5);
    assert_int_equal(base_strcmp("lodge", "lodge"), 0);
    assert_true(base_strcmp("lodge", "lodges") < 0);
    assert_true(base_strcmp("\xff", "a") > 0);
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (enum status status = STATUS_OK; status <= STATUS_EXISTS; status++)
        assert_string_not_equal(status_name(status), "unknown");
    assert_string_equal(status_name((enum status)999), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_knows_the_vectors_of_rfc_3720),
        cmocka_unit_test(range_inside_never_overflows),
        cmocka_unit_test(bits_and_little_endian),
        cmocka_unit_test(memory_functions_agree_with_libc),
        cmocka_unit_test(every_status_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
