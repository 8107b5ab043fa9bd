/* The interrupt controllers' and the timer's state on the way from our models to KVM and back. */
#include <string.h>

#include "unit.h"

#include "base/bits.h"
#include "dev/chipset/pic_chip.h"
#include "dev/chipset/pit_channel.h"
#include "engine/kvm/irqchip_convert.h"
#include "fake_port.h"
#include "x86/msr.h"

/* --- 8259A --- */

static void a_pic_comes_back_as_it_went(void **state)
{
    const struct pic_chip chips[] = {
        {.lines = 0x21, .irr = 0x21, .isr = 0x04, .imr = 0x5a, .elcr = 0x20, .icw1 = 1, .icw2 = 0x70, .lowest = 3},
        {.imr = 0xff, .lowest = 7},
        {.icw1 = 1, .icw2 = 8, .icw4 = 2, .expect = 4, .lowest = 0, .read_isr = 1, .rotate_aeoi = 1},
        {.icw2 = 0xf8, .icw4 = 0x10, .expect = 2, .lowest = 6, .poll = 1, .special_mask = 1},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(chips); i++) {
        struct kvm_pic_state kvm;
        struct pic_chip back;

        assert_true(pic_chip_valid(&chips[i]));
        pic_chip_to_kvm(&kvm, &chips[i], false);
        pic_chip_from_kvm(&back, &kvm, false, chips[i].lines);
        assert_memory_equal(&back, &chips[i], sizeof(back));
    }
}

/* The highest priority is the one after the lowest; KVM keeps it the other way round. */
static void priorities_are_turned_round(void **state)
{
    struct pic_chip chip = {.lowest = 7};
    struct kvm_pic_state kvm;

    (void)state;
    pic_chip_to_kvm(&kvm, &chip, true);
    assert_int_equal(kvm.priority_add, 0);
    assert_int_equal(kvm.elcr_mask, 0xf8);
    chip.lowest = 2;
    pic_chip_to_kvm(&kvm, &chip, false);
    assert_int_equal(kvm.priority_add, 3);
    assert_int_equal(kvm.elcr_mask, 0xde);
}

static void whatever_kvm_gives_is_a_valid_pic(void **state)
{
    struct kvm_pic_state kvm;
    struct pic_chip chip;

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(&kvm, (int)byte, sizeof(kvm));
        pic_chip_from_kvm(&chip, &kvm, byte & 1, (uint8_t)byte);
        assert_true(pic_chip_valid(&chip));
    }
}

/* --- I/O APIC --- */

static void an_ioapic_comes_back_as_it_went(void **state)
{
    struct ioapic_state ioapic = {.id = 0x05000000, .lines = 0x00a00600, .select = 0x12}, back;
    struct kvm_ioapic_state kvm;

    (void)state;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic.redirection[pin] = (uint64_t)pin << 56 | (pin % 3 == 0 ? 0x1c000 : 0) | (0x30 + pin);
    ioapic_to_kvm(&kvm, &ioapic);
    ioapic_from_kvm(&back, &kvm, ioapic.lines);
    assert_memory_equal(&back, &ioapic, sizeof(back));
}

/* KVM delivers at once what is set in irr: an edge has been delivered already, a level comes until it falls. */
static void only_levels_are_asserted_anew(void **state)
{
    struct ioapic_state ioapic = {.lines = 1u << 4 | 1u << 9};
    struct kvm_ioapic_state kvm;

    (void)state;
    ioapic.redirection[4] = 0x34;
    ioapic.redirection[9] = 0x8039;
    ioapic_to_kvm(&kvm, &ioapic);
    assert_int_equal(kvm.irr, 1u << 9);
    assert_int_equal(kvm.base_address, 0xfec00000);
}

static void an_ioapic_of_kvm_is_made_valid(void **state)
{
    struct ioapic_state ioapic;
    struct kvm_ioapic_state kvm;

    (void)state;
    memset(&kvm, 0xff, sizeof(kvm));
    kvm.redirtbl[1].bits = 0x4031; /* remote IRR of an edge, which KVM may leave */
    ioapic_from_kvm(&ioapic, &kvm, UINT32_MAX);
    assert_int_equal(ioapic.redirection[0], 0xff0000000001efff);
    assert_int_equal(ioapic.redirection[1], 0x31);
    assert_int_equal(ioapic.lines, 0xffffff);
    assert_int_equal(ioapic.id, 0x0f000000);
}

/* --- local APIC --- */

static struct lapic_state busy_lapic(uint64_t mode)
{
    struct lapic_state lapic = {
        .apic_base = 0xfee00000 | APIC_BASE_EN | APIC_BASE_BSP | mode,
        .icr = 0x0000000300004031,
        .isr = {0, 0x10},
        .irr = {0x00010000, 0, 0x80000000},
        .tmr = {0, 0x10},
        .lvt = {0x20031, 0x10000, 0x10000, 0x700, 0x400, 0xfe},
        .dfr = UINT32_MAX,
        .svr = 0x1ff,
        .timer_initial = 1000000,
        .timer_divide = 0xb,
        .timer_running = 1,
        .timer_left_ns = 400000,
        .tpr = 0x20,
    };

    if (!mode) {
        lapic.ldr = 0x04000000;
        lapic.dfr = 0x0fffffff;
    }
    return lapic;
}

static void a_lapic_comes_back_as_it_went(void **state)
{
    const uint64_t modes[] = {0, APIC_BASE_EXTD};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LENGTH(modes); i++) {
        struct lapic_state lapic = busy_lapic(modes[i]), back;
        struct kvm_lapic_state kvm;

        lapic_to_kvm(&kvm, &lapic, 3);
        lapic_from_kvm(&back, &kvm, lapic.apic_base, 0);
        assert_memory_equal(&back, &lapic, sizeof(back));
    }
}

/* Registers are where a guest finds them in its page. */
static void a_lapics_registers_have_their_places(void **state)
{
    struct lapic_state lapic = busy_lapic(APIC_BASE_EXTD);
    struct kvm_lapic_state kvm;

    (void)state;
    lapic_to_kvm(&kvm, &lapic, 0x13);
    assert_int_equal(load_le(kvm.regs + 0x20, 4), 0x13);
    assert_int_equal(load_le(kvm.regs + 0xd0, 4), 0x00010008); /* cluster 1, its fourth processor */
    assert_int_equal(load_le(kvm.regs + 0x80, 4), 0x20);
    assert_int_equal(load_le(kvm.regs + 0x390, 4), 400000);
    lapic = busy_lapic(0);
    lapic_to_kvm(&kvm, &lapic, 2);
    assert_int_equal(load_le(kvm.regs + 0x20, 4), 0x02000000);
    assert_int_equal(load_le(kvm.regs + 0xd0, 4), 0x04000000);
}

static void deadline_and_divisor(void **state)
{
    struct lapic_state lapic = busy_lapic(0), back;
    struct kvm_lapic_state kvm;

    (void)state;
    lapic.timer_divide = 0x1; /* by 4 */
    lapic_to_kvm(&kvm, &lapic, 0);
    assert_int_equal(load_le(kvm.regs + 0x390, 4), 100000);
    lapic.lvt[LAPIC_LVT_TIMER] = 0x40031;
    lapic_to_kvm(&kvm, &lapic, 0);
    lapic_from_kvm(&back, &kvm, lapic.apic_base, 123456789);
    assert_int_equal(back.tsc_deadline, 123456789);
    assert_int_equal(back.timer_running, 0);
}

/* --- 8254 --- */

static void channels_come_back_as_they_went(void **state)
{
    struct pit_state pit = {.nmi_sc = 3}, back;
    struct kvm_pit_state2 kvm;

    (void)state;
    pit.channels[0] = (struct pit_channel){.period = 11932,
                                           .count = 11932,
                                           .control = 0x34,
                                           .activity = PIT_COUNTING,
                                           .start = PIT_FIRST_TICK,
                                           .load_at = PIT_NEVER,
                                           .gate = 1,
                                           .written = 1};
    pit.channels[1] = (struct pit_channel){
        .period = PIT_LONGEST, .control = 0x30, .activity = PIT_IDLE, .load_at = PIT_NEVER, .gate = 1, .null_count = 1};
    pit.channels[2] = (struct pit_channel){.period = 0xb6,
                                           .count = 0xb6,
                                           .control = 0x36,
                                           .activity = PIT_COUNTING,
                                           .start = PIT_FIRST_TICK,
                                           .load_at = PIT_NEVER,
                                           .gate = 1,
                                           .written = 1,
                                           .latch = 0x1234,
                                           .latched = 1,
                                           .write_msb = 1,
                                           .write_lsb = 0x77,
                                           .read_msb = 1,
                                           .status = 0xb6,
                                           .status_latched = 1};
    pit_to_kvm(&kvm, &pit);
    assert_int_equal(kvm.channels[1].mode, 0xff);
    pit_from_kvm(&back, &kvm, 0, 0);
    assert_memory_equal(&back, &pit, sizeof(back));
}

/* KVM says when a count was loaded; our model the tick. */
static void the_phase_is_kept_on_the_way_out(void **state)
{
    struct kvm_pit_state2 kvm = {0};
    struct pit_state pit;
    const uint64_t loaded = 5000000000, now = loaded + 1000000, elapsed = 20000000;

    (void)state;
    for (unsigned i = 0; i < PIT_CHANNELS; i++)
        kvm.channels[i] = (struct kvm_pit_channel_state){
            .count = 2000, .mode = 2, .rw_mode = 3, .gate = 1, .count_load_time = (int64_t)loaded};
    kvm.channels[1].mode = 0;
    pit_from_kvm(&pit, &kvm, now, elapsed);
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        uint64_t tick = PIT_FIRST_TICK + elapsed * PIT_HZ / 1000000000;

        assert_true(pit_channel_valid(&pit.channels[i], tick));
        assert_int_equal(tick - pit.channels[i].start, 1193); /* a millisecond */
    }
}

static void whatever_kvm_gives_is_a_valid_pit(void **state)
{
    struct kvm_pit_state2 kvm;
    struct pit_state pit;

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(&kvm, (int)byte, sizeof(kvm));
        for (unsigned i = 0; i < PIT_CHANNELS; i++)
            kvm.channels[i].mode = (uint8_t)(byte % 7);
        pit_from_kvm(&pit, &kvm, (uint64_t)byte << 40, (uint64_t)byte << 20);
        for (unsigned i = 0; i < PIT_CHANNELS; i++)
            assert_true(
                pit_channel_valid(&pit.channels[i], PIT_FIRST_TICK + ((uint64_t)byte << 20) * PIT_HZ / 1000000000));
        assert_int_equal(pit.nmi_sc & 1, pit.channels[2].gate);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pic_comes_back_as_it_went),
        cmocka_unit_test(priorities_are_turned_round),
        cmocka_unit_test(whatever_kvm_gives_is_a_valid_pic),
        cmocka_unit_test(an_ioapic_comes_back_as_it_went),
        cmocka_unit_test(only_levels_are_asserted_anew),
        cmocka_unit_test(an_ioapic_of_kvm_is_made_valid),
        cmocka_unit_test(a_lapic_comes_back_as_it_went),
        cmocka_unit_test(a_lapics_registers_have_their_places),
        cmocka_unit_test(deadline_and_divisor),
        cmocka_unit_test(channels_come_back_as_they_went),
        cmocka_unit_test(the_phase_is_kept_on_the_way_out),
        cmocka_unit_test(whatever_kvm_gives_is_a_valid_pit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
