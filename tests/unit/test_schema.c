#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "base/bits.h"
#include "base/crc32c.h"
#include "fake_port.h"
#include "state/schema.h"

struct pair {
    uint16_t low;
    uint32_t high;
};

struct sample {
    uint8_t byte;
    uint64_t wide;
    uint16_t array[5];
    struct pair pairs[3];
    uint32_t newer;
};

static bool sample_valid(const void *candidate)
{
    return ((const struct sample *)candidate)->byte < 200;
}

static const struct state_field fields[] = {
    STATE_SCALAR(struct sample, byte, 1),         STATE_SCALAR(struct sample, wide, 1),
    STATE_ARRAY(struct sample, array, 1),         STATE_MEMBERS(struct sample, pairs, low, 1),
    STATE_MEMBERS(struct sample, pairs, high, 1), STATE_SCALAR(struct sample, newer, 2),
};

static const struct state_schema schema = {
    "sample", 2, fields, ARRAY_LENGTH(fields), sizeof(struct sample), sample_valid,
};

/* As it was before `newer` came. */
static const struct state_schema schema_1 = {
    "sample", 1, fields, ARRAY_LENGTH(fields) - 1, sizeof(struct sample), sample_valid,
};

static const struct sample original = {
    7, 0x1122334455667788ull, {1, 2, 3, 4, 0xffff}, {{10, 11}, {20, 21}, {30, 0xffffffff}}, 99,
};

static uint8_t bytes[512];
static size_t size;

static int encode(void **state)
{
    (void)state;
    return state_encode(&schema, &original, bytes, sizeof(bytes), &size) != STATUS_OK;
}

/* After a change to the bytes, so that the change is seen by more than the checksum. */
static void repair_checksum(void)
{
    store_le(bytes + size - 4, 4, crc32c(0, bytes, size - 4));
}

static void what_was_encoded_is_decoded(void **state)
{
    struct sample copy;

    (void)state;
    assert_int_equal(size, state_encoded_size(&schema));
    assert_int_equal(state_decode(&schema, &copy, bytes, size), STATUS_OK);
    assert_null(state_compare(&schema, &original, &copy));
    assert_int_equal(copy.pairs[2].high, 0xffffffff);
    copy.pairs[1].high++;
    assert_string_equal(state_compare(&schema, &original, &copy), "pairs.high");
}

static void bytes_do_not_change_between_builds(void **state)
{
    (void)state;
    assert_memory_equal(bytes, "LGS1", 4);
    assert_int_equal(load_le(bytes + 8, 2), 2);
    assert_int_equal(load_le(bytes + 10, 2), 6);
    assert_int_equal(crc32c(0, bytes, size), 0x48674bc7); /* the residue of any message with its own CRC-32C */
    assert_int_equal(load_le(bytes + size - 4, 4), 0x77771ead);
}

static void too_little_room_is_an_error(void **state)
{
    size_t written = 0;

    (void)state;
    for (size_t room = 0; room < size; room++)
        assert_int_equal(state_encode(&schema, &original, bytes, room, &written), STATUS_NO_MEMORY);
    assert_int_equal(written, 0);
}

static void every_truncation_is_refused(void **state)
{
    struct sample copy;

    (void)state;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* so that the sanitizer sees a read beyond it */

        assert_non_null(exact);
        memcpy(exact, bytes, cut);
        assert_int_equal(state_decode(&schema, &copy, exact, cut), STATUS_CORRUPT);
        free(exact);
    }
}

static void every_damaged_byte_is_noticed(void **state)
{
    struct sample copy;

    (void)state;
    for (size_t i = 0; i < size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            assert_int_not_equal(state_decode(&schema, &copy, bytes, size), STATUS_OK);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(state_decode(&schema, &copy, bytes, size), STATUS_OK);
}

/* A forger gets the checksum right. Whatever is decoded then must at least satisfy valid(), and nothing may crash. */
static void forged_bytes_do_no_harm(void **state)
{
    struct sample copy;

    (void)state;
    for (size_t i = 0; i < size - 4; i++) {
        uint8_t was = bytes[i];

        for (unsigned value = 0; value < 256; value++) {
            enum status status;

            bytes[i] = (uint8_t)value;
            repair_checksum();
            status = state_decode(&schema, &copy, bytes, size);
            assert_true(status != STATUS_OK || sample_valid(&copy));
        }
        bytes[i] = was;
    }
}

static void impossible_values_are_refused(void **state)
{
    struct sample wrong = original, copy;

    (void)state;
    wrong.byte = 200;
    assert_int_equal(state_encode(&schema, &wrong, bytes, sizeof(bytes), &size), STATUS_OK);
    assert_int_equal(state_decode(&schema, &copy, bytes, size), STATUS_INVALID);
}

static void an_old_version_leaves_new_fields_zero(void **state)
{
    struct sample copy;

    (void)state;
    assert_int_equal(state_encode(&schema_1, &original, bytes, sizeof(bytes), &size), STATUS_OK);
    assert_int_equal(state_decode(&schema, &copy, bytes, size), STATUS_OK);
    assert_int_equal(copy.newer, 0);
    assert_true(copy.wide == original.wide);
}

static void a_newer_version_is_not_supported(void **state)
{
    struct sample copy;

    (void)state;
    (void)fake_log_count();
    assert_int_equal(state_decode(&schema_1, &copy, bytes, size), STATUS_UNSUPPORTED);
    assert_int_equal(fake_log_count(), 1);
}

static void another_section_is_refused(void **state)
{
    struct state_schema other = schema;
    struct sample copy;

    (void)state;
    other.name = "simple";
    assert_int_equal(state_decode(&other, &copy, bytes, size), STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_encoded_is_decoded, encode),
        cmocka_unit_test_setup(bytes_do_not_change_between_builds, encode),
        cmocka_unit_test_setup(too_little_room_is_an_error, encode),
        cmocka_unit_test_setup(every_truncation_is_refused, encode),
        cmocka_unit_test_setup(every_damaged_byte_is_noticed, encode),
        cmocka_unit_test_setup(forged_bytes_do_no_harm, encode),
        cmocka_unit_test_setup(impossible_values_are_refused, encode),
        cmocka_unit_test_setup(an_old_version_leaves_new_fields_zero, encode),
        cmocka_unit_test_setup(a_newer_version_is_not_supported, encode),
        cmocka_unit_test_setup(another_section_is_refused, encode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
