/*
 * One counter of the 8254, against a second one that is written straight from the data sheet: it
 * takes every single clock pulse, and decrements. Random programs run on both.
 */
#include "chipset_bench.h"

#include "base/bits.h"
#include "dev/chipset/pit_channel.h"

struct reference {
    unsigned mode, ce, cr;
    bool bcd, gate, out;
    bool written; /* a count since the control word */
    bool load;    /* with the next pulse */
    bool loaded;
    bool null_count;
    bool odd;     /* the square wave's count */
    bool strobe;  /* has still to come */
};

static unsigned reference_counts(const struct reference *ref)
{
    return ref->bcd ? 10000 : 65536;
}

static void reference_control(struct reference *ref, unsigned mode, bool bcd)
{
    *ref = (struct reference){.mode = mode, .bcd = bcd, .gate = ref->gate, .out = mode != 0, .null_count = true};
}

static void reference_write(struct reference *ref, unsigned count)
{
    ref->cr = count;
    ref->written = true;
    ref->null_count = true;
    if (ref->mode == 0) {
        ref->out = false;
        ref->loaded = false;
    }
    if (ref->mode == 0 || ref->mode == 4 || ((ref->mode == 2 || ref->mode == 3) && !ref->loaded))
        ref->load = true;
}

static void reference_gate(struct reference *ref, bool gate)
{
    bool rises = gate && !ref->gate, falls = !gate && ref->gate;

    ref->gate = gate;
    if (rises && ref->mode != 0 && ref->mode != 4 && ref->written)
        ref->load = true;
    if (falls && (ref->mode == 2 || ref->mode == 3))
        ref->out = true;
}

static void reference_load(struct reference *ref)
{
    ref->ce = ref->cr ? ref->cr : reference_counts(ref);
    ref->odd = ref->ce & 1;
    if (ref->mode == 3)
        ref->ce &= ~1u;
    ref->load = false;
    ref->loaded = true;
    ref->null_count = false;
}

static void reference_square_wave(struct reference *ref)
{
    if (ref->odd && ref->out && ref->ce > 0) {
        ref->ce -= 2;
        return;
    }
    if (!(ref->odd && ref->out))
        ref->ce -= 2;
    if (ref->ce == 0) {
        ref->out = !ref->out;
        reference_load(ref);
    }
}

static void reference_count(struct reference *ref)
{
    if (ref->mode == 3) {
        reference_square_wave(ref);
        return;
    }
    ref->ce = (ref->ce + reference_counts(ref) - 1) % reference_counts(ref);
    switch (ref->mode) {
    case 0:
    case 1:
        ref->out |= ref->ce == 0;
        break;
    case 2:
        ref->out = ref->ce != 1;
        if (ref->ce == 0)
            reference_load(ref);
        break;
    default:
        ref->out = !(ref->strobe && ref->ce == 0);
        ref->strobe &= ref->out;
    }
}

static void reference_clock(struct reference *ref)
{
    if (ref->load) {
        reference_load(ref);
        ref->out = ref->mode != 0 && ref->mode != 1;
        ref->strobe = true;
    } else if (ref->loaded && (ref->gate || ref->mode == 1 || ref->mode == 5)) {
        reference_count(ref);
    }
}

static unsigned shown(const struct reference *ref)
{
    unsigned ce = ref->ce % reference_counts(ref);

    return ref->bcd ? ce / 1000 << 12 | ce / 100 % 10 << 8 | ce / 10 % 10 << 4 | ce % 10 : ce;
}

static unsigned to_register(const struct reference *ref, unsigned count)
{
    return ref->bcd ? count / 1000 << 12 | count / 100 % 10 << 8 | count / 10 % 10 << 4 | count % 10 : count;
}

static unsigned latched_count(struct pit_channel *channel, uint64_t now)
{
    unsigned low;

    pit_channel_latch_count(channel, now);
    low = pit_channel_read(channel, now);
    return low | (unsigned)pit_channel_read(channel, now) << 8;
}

static void compare(const struct reference *ref, struct pit_channel *channel, uint64_t now)
{
    assert_int_equal(pit_channel_out(channel, now), ref->out);
    assert_int_equal(channel->null_count, ref->null_count);
    if (ref->loaded)
        assert_int_equal(latched_count(channel, now), shown(ref));
    assert_true(pit_channel_valid(channel, now));
}

static unsigned random_count(uint64_t *seed, const struct reference *ref)
{
    uint64_t random = fake_random(seed);
    unsigned count = (unsigned)(random >> 8 & 63 ? random >> 16 & 15 : random >> 32) % reference_counts(ref);

    return (ref->mode == 2 || ref->mode == 3) && count == 1 ? 2 : count;
}

static void random_step(struct reference *ref, struct pit_channel *channel, uint64_t now, uint64_t *seed)
{
    unsigned mode, count, operation = (unsigned)(fake_random(seed) % 100);
    bool bcd, gate;

    if (operation < 3) {
        mode = (unsigned)(fake_random(seed) % 6);
        bcd = fake_random(seed) % 4 == 0;
        reference_control(ref, mode, bcd);
        /* Modes 2 and 3 also as 6 and 7. */
        if ((mode == 2 || mode == 3) && fake_random(seed) % 2)
            mode += 4;
        pit_channel_control(channel, (uint8_t)(0x30 | mode << 1 | bcd));
    } else if (operation < 13) {
        count = random_count(seed, ref);
        reference_write(ref, count);
        count = to_register(ref, count);
        pit_channel_write(channel, now, (uint8_t)count);
        pit_channel_write(channel, now, (uint8_t)(count >> 8));
    } else if (operation < 25) {
        gate = fake_random(seed) & 1;
        reference_gate(ref, gate);
        pit_channel_set_gate(channel, now, gate);
    }
}

static void test_against_reference(void **state)
{
    struct reference ref = {.gate = true};
    struct pit_channel channel = {.gate = 1}, lazy;
    uint64_t seed = 42, now = PIT_FIRST_TICK, quiet;

    (void)state;
    reference_control(&ref, 0, false);
    pit_channel_control(&channel, 0x30);
    for (unsigned i = 0; i < 40000; i++) {
        random_step(&ref, &channel, now, &seed);
        compare(&ref, &channel, now);
        lazy = channel;
        quiet = fake_random(&seed) % (fake_random(&seed) % 50 ? 20 : 700);
        for (uint64_t n = 0; n < quiet; n++) {
            uint64_t rise = pit_channel_next_rise(&channel, now);
            bool was = ref.out;

            reference_clock(&ref);
            now++;
            if (!was && ref.out)
                assert_int_equal(rise, now);
            else
                assert_true(rise > now);
            compare(&ref, &channel, now);
        }
        compare(&ref, &lazy, now); /* nobody asked it in the meantime */
    }
}

static void test_first_byte_stops_mode_0(void **state)
{
    struct pit_channel channel = {.gate = 1};
    uint64_t now = PIT_FIRST_TICK;

    (void)state;
    pit_channel_control(&channel, 0x30);
    pit_channel_write(&channel, now, 10);
    pit_channel_write(&channel, now, 0);
    assert_true(pit_channel_out(&channel, now + 100));
    now += 100;
    pit_channel_write(&channel, now, 5);
    assert_false(pit_channel_out(&channel, now));
    assert_false(pit_channel_out(&channel, now + 1000));
    assert_int_equal(pit_channel_next_rise(&channel, now), PIT_NEVER);
    now += 1000;
    pit_channel_write(&channel, now, 0);
    assert_int_equal(pit_channel_next_rise(&channel, now), now + 6);
    assert_false(pit_channel_out(&channel, now + 5));
    assert_true(pit_channel_out(&channel, now + 6));
}

static void test_first_byte_leaves_other_modes_alone(void **state)
{
    struct pit_channel channel = {.gate = 1};
    uint64_t now = PIT_FIRST_TICK;

    (void)state;
    pit_channel_control(&channel, 0x34);
    pit_channel_write(&channel, now, 10);
    pit_channel_write(&channel, now, 0);
    assert_int_equal(latched_count(&channel, now + 4), 7);
    pit_channel_write(&channel, now + 4, 99);
    assert_int_equal(latched_count(&channel, now + 15), 6);
    assert_int_equal(pit_channel_next_rise(&channel, now + 15), now + 21);
}

static void test_one_byte_access(void **state)
{
    struct pit_channel channel = {.gate = 1};
    uint64_t now = PIT_FIRST_TICK;

    (void)state;
    pit_channel_control(&channel, 0x10); /* LSB, mode 0 */
    pit_channel_write(&channel, now, 200);
    assert_int_equal(pit_channel_next_rise(&channel, now), now + 201);
    assert_int_equal(pit_channel_read(&channel, now + 101), 100);
    pit_channel_latch_count(&channel, now + 101);
    assert_int_equal(pit_channel_read(&channel, now + 111), 100);
    assert_int_equal(pit_channel_read(&channel, now + 111), 90);

    pit_channel_control(&channel, 0x20); /* MSB */
    pit_channel_write(&channel, now + 200, 2);
    assert_int_equal(pit_channel_next_rise(&channel, now + 200), now + 200 + 513);
    assert_int_equal(pit_channel_read(&channel, now + 202), 1);
    pit_channel_latch_count(&channel, now + 202);
    assert_int_equal(pit_channel_read(&channel, now + 700), 1);
    assert_int_equal(pit_channel_read(&channel, now + 700), 0);
}

static void test_reads_alternate(void **state)
{
    struct pit_channel channel = {.gate = 1};
    uint64_t now = PIT_FIRST_TICK;

    (void)state;
    pit_channel_control(&channel, 0x30);
    pit_channel_write(&channel, now, 0x34);
    pit_channel_write(&channel, now, 0x12);
    now++;
    assert_int_equal(pit_channel_read(&channel, now), 0x34);
    assert_int_equal(pit_channel_read(&channel, now + 0x35), 0x11); /* not latched: the count goes on */
    pit_channel_latch_count(&channel, now);
    pit_channel_latch_count(&channel, now + 5); /* the second latch does nothing */
    assert_int_equal(pit_channel_read(&channel, now + 6), 0x34);
    assert_int_equal(pit_channel_read(&channel, now + 6), 0x12);
    assert_int_equal(pit_channel_read(&channel, now + 6), 0x2e);
}

static void test_status(void **state)
{
    struct pit_channel channel = {.gate = 1};
    uint64_t now = PIT_FIRST_TICK;

    (void)state;
    pit_channel_control(&channel, 0x3e); /* mode 3, as 7 */
    pit_channel_latch_status(&channel, now);
    assert_int_equal(pit_channel_read(&channel, now), 0x80 | 0x40 | 0x3e);
    pit_channel_write(&channel, now, 100);
    pit_channel_write(&channel, now, 0);
    pit_channel_latch_status(&channel, now);
    pit_channel_latch_count(&channel, now + 11);
    pit_channel_latch_status(&channel, now + 99); /* does nothing */
    assert_int_equal(pit_channel_read(&channel, now + 70), 0x80 | 0x40 | 0x3e); /* status first */
    assert_int_equal(pit_channel_read(&channel, now + 70), 80);
    assert_int_equal(pit_channel_read(&channel, now + 70), 0);
    pit_channel_latch_status(&channel, now + 70);
    assert_int_equal(pit_channel_read(&channel, now + 70), 0x3e);
    pit_channel_latch_status(&channel, now + 70);
    pit_channel_latch_count(&channel, now + 70);
    pit_channel_control(&channel, 0x30); /* forgets what was latched */
    assert_int_equal(channel.latched | channel.status_latched, 0);
}

/* A count that the data sheet forbids, and digits that BCD does not have. */
static void test_illegal_counts(void **state)
{
    struct pit_channel channel = {.gate = 1};
    uint64_t now = PIT_FIRST_TICK;

    (void)state;
    for (unsigned mode = 2; mode <= 3; mode++) {
        pit_channel_control(&channel, (uint8_t)(0x10 | mode << 1));
        pit_channel_write(&channel, now, 1);
        assert_int_equal(pit_channel_next_rise(&channel, now), now + 3);
    }
    for (unsigned mode = 0; mode <= 5; mode++) {
        pit_channel_control(&channel, (uint8_t)(0x31 | mode << 1));
        pit_channel_write(&channel, now, 0xff);
        pit_channel_write(&channel, now, 0xff);
        pit_channel_set_gate(&channel, now, false);
        pit_channel_set_gate(&channel, now, true);
        for (unsigned i = 0; i < 40000; i += 17) {
            unsigned count = latched_count(&channel, now + i);

            assert_true((count & 15) < 10 && (count >> 4 & 15) < 10 && (count >> 8 & 15) < 10 && count >> 12 < 10);
        }
        now += 40000;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_first_byte_stops_mode_0),
        cmocka_unit_test(test_first_byte_leaves_other_modes_alone),
        cmocka_unit_test(test_one_byte_access),
        cmocka_unit_test(test_reads_alternate),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_illegal_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
