/* The KVM engine against a real /dev/kvm: state there and back, the dirty log, doorbells, debugging, kicks. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "base/bits.h"
#include "bench.h"
#include "dev/chipset/pit_channel.h"
#include "engine/kvm/kvm.h"
#include "x86/msr.h"
#include "x86/regs.h"

#define GUEST(name) extern const uint8_t guest_##name[], guest_##name##_end[]
GUEST(write_pages);
GUEST(spin);
GUEST(ring);
GUEST(debug);
GUEST(read_port);

static struct bench bench;

/* --- CPU state --- */

static uint64_t seed = 1;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* A state that a guest could be in, different in all that can differ. */
static void scramble(struct cpu_state *state)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        state->gpr[i] = random64();
    state->rip = random64() >> 17;
    state->rflags = RFLAGS_FIXED | (random64() & 0x240cd5);
    state->segment[SEG_FS].base = random64() >> 17;
    state->segment[SEG_GS].base = random64() >> 17;
    state->segment[SEG_DS].selector = 0x18;
    state->gdt_base = random64() >> 17;
    state->idt_base = random64() >> 17;
    state->gdt_limit = (uint16_t)random64();
    state->idt_limit = (uint16_t)random64();
    state->cr2 = random64();
    state->cr8 = 5;
    for (unsigned i = 0; i < 4; i++)
        state->dr[i] = random64() >> 17;
    state->star = random64();
    state->lstar = random64() >> 17;
    state->cstar = random64() >> 17;
    state->sfmask = random64() >> 32;
    state->kernel_gs_base = random64() >> 17;
    state->sysenter_cs = 0x10;
    state->sysenter_esp = random64() >> 33; /* AMD's have 32 bits */
    state->sysenter_eip = random64() >> 33;
    state->pat = 0x0007040600070406ull ^ (random64() & 1) << 8;
    state->mtrr_def_type = 0xc06;
    state->mtrr_fixed[3] = 0x0606060606060606ull;
    state->mtrr_base[2] = 0x80000006;
    state->mtrr_mask[2] = 0xff80000800;
    for (unsigned i = 32; i < 512 - 96; i++) /* ST, XMM */
        state->xsave[i] = i >= 160 || i % 16 < 10 ? (uint8_t)random64() : 0;
    state->xsave[512] = 3;
}

#define SAME(member) assert_memory_equal(&back.member, &state.member, sizeof(back.member))

static void a_cpu_comes_back_as_it_went(void **unused)
{
    struct cpu_state state, back;

    (void)unused;
    bench_init(&bench, 1);
    for (unsigned i = 0; i < 50; i++) {
        bench_load(&bench, 0, guest_spin, guest_spin_end, &state);
        scramble(&state);
        state.activity = i % 3 == 0 ? CPU_HALTED : i % 3 == 1 ? CPU_WAIT_FOR_SIPI : CPU_RUNNING;
        state.nmi_blocked = i & 1;
        state.interrupt_shadow = i & 2 ? 1 : 0;
        bench_set(&bench, 0, &state);
        vcpu_get_state(bench.machine.vcpus[0], &back);
        SAME(gpr);
        SAME(rip);
        SAME(rflags);
        SAME(segment);
        SAME(gdt_base);
        SAME(idt_base);
        SAME(gdt_limit);
        SAME(idt_limit);
        SAME(cr0);
        SAME(cr2);
        SAME(cr3);
        SAME(cr4);
        SAME(cr8);
        SAME(efer);
        SAME(dr[0]);
        SAME(dr[3]);
        SAME(dr[6]);
        SAME(dr[7]);
        SAME(star);
        SAME(lstar);
        SAME(cstar);
        SAME(sfmask);
        SAME(kernel_gs_base);
        SAME(sysenter_cs);
        SAME(sysenter_esp);
        SAME(sysenter_eip);
        SAME(pat);
        SAME(mtrr_def_type);
        SAME(mtrr_fixed);
        SAME(mtrr_base);
        SAME(mtrr_mask);
        SAME(activity);
        SAME(nmi_blocked);
        SAME(interrupt_shadow);
        assert_memory_equal(back.xsave, state.xsave, 416);
        assert_true(back.tsc - state.tsc < 10000000000ull);
        assert_true(cpu_state_schema.valid(&back));
    }
    bench_destroy(&bench);
}

static void events_on_their_way_come_back(void **unused)
{
    const struct {
        uint8_t vector, has_error;
        uint32_t error;
    } events[] = {{14, 1, 2}, {6, 0, 0}, {0x31, 0, 0}, {2, 0, 0}};
    struct cpu_state state, back;

    (void)unused;
    bench_init(&bench, 1);
    for (unsigned i = 0; i < ARRAY_LENGTH(events); i++) {
        bench_load(&bench, 0, guest_spin, guest_spin_end, &state);
        state.exception_pending = 1;
        state.exception_vector = events[i].vector;
        state.exception_has_error = events[i].has_error;
        state.exception_error = events[i].error;
        bench_set(&bench, 0, &state);
        vcpu_get_state(bench.machine.vcpus[0], &back);
        assert_int_equal(back.exception_pending, 1);
        assert_int_equal(back.exception_vector, events[i].vector);
        assert_int_equal(back.exception_has_error, events[i].has_error);
        assert_int_equal(back.exception_error, events[i].error);
    }
    bench_destroy(&bench);
}

/* --- interrupt controllers and timer --- */

static enum status chip_set(enum irqchip_part part, const void *chip)
{
    return kvm_engine_ops.irqchip->set(bench.machine.engine, part, 0, chip);
}

static enum status chip_get(enum irqchip_part part, void *chip)
{
    return kvm_engine_ops.irqchip->get(bench.machine.engine, part, 0, chip);
}

static void the_pics_come_back_as_they_went(void **unused)
{
    struct pic_state pic = {0}, back;

    (void)unused;
    bench_init(&bench, 1);
    pic.chips[0] = (struct pic_chip){.imr = 0xfb, .icw1 = 1, .icw2 = 0x20, .icw4 = 0, .lowest = 2, .isr = 4, .elcr = 8};
    pic.chips[1] = (struct pic_chip){.imr = 0x5f, .icw1 = 1, .icw2 = 0x28, .lowest = 7, .elcr = 0x0e, .read_isr = 1};
    assert_int_equal(chip_set(IRQCHIP_PIC, &pic), STATUS_OK);
    assert_int_equal(chip_get(IRQCHIP_PIC, &back), STATUS_OK);
    assert_memory_equal(&back, &pic, sizeof(pic));
    /* What devices drive is in it. */
    lock_acquire(&bench.machine.lock);
    kvm_engine_ops.irqchip->set_pic(bench.machine.engine, 11, true);
    lock_release(&bench.machine.lock);
    assert_int_equal(chip_get(IRQCHIP_PIC, &back), STATUS_OK);
    assert_int_equal(back.chips[1].lines, 8);
    assert_int_equal(back.chips[1].irr, 8);
    bench_destroy(&bench);
}

static void the_ioapic_comes_back_as_it_went(void **unused)
{
    struct ioapic_state ioapic = {.select = 0x10, .id = 0x02000000}, back;

    (void)unused;
    bench_init(&bench, 1);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic.redirection[pin] = 0x10000 | (uint64_t)(0x30 + pin) | (pin & 1 ? 0x8000 : 0);
    assert_int_equal(chip_set(IRQCHIP_IOAPIC, &ioapic), STATUS_OK);
    assert_int_equal(chip_get(IRQCHIP_IOAPIC, &back), STATUS_OK);
    assert_memory_equal(&back, &ioapic, sizeof(ioapic));
    lock_acquire(&bench.machine.lock);
    kvm_engine_ops.irqchip->set_ioapic(bench.machine.engine, 17, true);
    lock_release(&bench.machine.lock);
    assert_int_equal(chip_get(IRQCHIP_IOAPIC, &back), STATUS_OK);
    assert_int_equal(back.lines, 1u << 17);
    bench_destroy(&bench);
}

static void a_lapic_comes_back_as_it_went(void **unused)
{
    struct lapic_state lapic, back;

    (void)unused;
    bench_init(&bench, 1);
    for (unsigned x2apic = 0; x2apic < 2; x2apic++) {
        assert_int_equal(chip_get(IRQCHIP_LAPIC, &lapic), STATUS_OK);
        lapic.apic_base = 0xfee00000 | APIC_BASE_EN | APIC_BASE_BSP | (x2apic ? APIC_BASE_EXTD : 0);
        lapic.svr = 0x1ff;
        lapic.tpr = 0x40;
        lapic.lvt[LAPIC_LVT_TIMER] = 0x400ef;
        lapic.lvt[LAPIC_LVT_LINT0] = 0x700;
        lapic.lvt[LAPIC_LVT_ERROR] = 0xfe;
        lapic.irr[2] = 0x10;
        lapic.isr[1] = 0x2;
        lapic.ldr = x2apic ? 0 : 0x01000000;
        lapic.dfr = UINT32_MAX;
        lapic.tsc_deadline = 0x7fffffffffffull;
        assert_int_equal(chip_set(IRQCHIP_LAPIC, &lapic), STATUS_OK);
        assert_int_equal(chip_get(IRQCHIP_LAPIC, &back), STATUS_OK);
        assert_memory_equal(&back, &lapic, sizeof(lapic));
    }
    bench_destroy(&bench);
}

/* KVM counts from the moment it was told; all else is as it was. */
static void the_pit_comes_back_running(void **unused)
{
    struct pit_state pit, back;

    (void)unused;
    bench_init(&bench, 1);
    assert_int_equal(chip_get(IRQCHIP_PIT, &pit), STATUS_OK);
    pit.channels[0] = (struct pit_channel){.period = 50000,
                                           .count = 50000,
                                           .control = 0x34,
                                           .activity = PIT_COUNTING,
                                           .start = PIT_FIRST_TICK,
                                           .load_at = PIT_NEVER,
                                           .gate = 1,
                                           .written = 1};
    pit.channels[2].gate = 1;
    pit.nmi_sc = 1;
    assert_int_equal(chip_set(IRQCHIP_PIT, &pit), STATUS_OK);
    assert_int_equal(chip_get(IRQCHIP_PIT, &back), STATUS_OK);
    assert_int_equal(back.channels[0].period, 50000);
    assert_int_equal(back.channels[0].control, 0x34);
    assert_int_equal(back.channels[0].activity, PIT_COUNTING);
    assert_int_equal(back.channels[1].activity, PIT_IDLE);
    assert_int_equal(back.channels[2].gate, 1);
    assert_int_equal(back.nmi_sc, 1);
    bench_destroy(&bench);
}

/* --- the dirty log --- */

enum { FIRST = 0x200000, STRIDE = 3 * PAGE_SIZE, WRITTEN = 600, PAGES = BENCH_MEMORY / PAGE_SIZE };

static bool is_dirty(const uint64_t *bitmap, uint64_t page)
{
    return bitmap[page / 64] >> (page % 64) & 1;
}

/* Exactly the pages that the guest wrote, and the one that a device did. */
static void written_pages_are_logged(const char *kind)
{
    static uint64_t bitmap[PAGES / 64];
    struct cpu_state state;
    unsigned dirty = 0;

    assert_int_equal(setenv("LODGE_KVM_DIRTY_LOG", kind, 1), 0);
    bench_init(&bench, 1);
    bench_load(&bench, 0, guest_write_pages, guest_write_pages_end, &state);
    state.gpr[GPR_RDI] = FIRST;
    state.gpr[GPR_RSI] = STRIDE;
    state.gpr[GPR_RCX] = WRITTEN;
    bench_set(&bench, 0, &state);
    assert_int_equal(kvm_engine_ops.dirty_log(bench.machine.engine, true), STATUS_OK);
    bench_start(&bench);
    assert_true(bench_wait(&bench, &bench.device.told, 1));
    memory_wrote(&bench.machine.memory, 0x100000 + 100, 10);
    assert_int_equal(kvm_engine_ops.dirty_fetch(bench.machine.engine, bitmap, PAGES), STATUS_OK);
    for (uint64_t i = 0; i < WRITTEN; i++)
        assert_true(is_dirty(bitmap, (FIRST + i * STRIDE) / PAGE_SIZE));
    assert_true(is_dirty(bitmap, 0x100000 / PAGE_SIZE));
    for (uint64_t page = 0x100000 / PAGE_SIZE; page < PAGES; page++) /* code and page tables are below */
        dirty += is_dirty(bitmap, page);
    assert_int_equal(dirty, WRITTEN + 1);
    assert_int_equal(kvm_engine_ops.dirty_fetch(bench.machine.engine, bitmap, PAGES), STATUS_OK);
    for (uint64_t page = FIRST / PAGE_SIZE; page < PAGES; page++)
        assert_false(is_dirty(bitmap, page));
    assert_int_equal(kvm_engine_ops.dirty_log(bench.machine.engine, false), STATUS_OK);
    bench_stop(&bench);
    bench_destroy(&bench);
}

static void written_pages_are_logged_in_bitmaps(void **unused)
{
    (void)unused;
    written_pages_are_logged("bitmap");
}

static void written_pages_are_logged_in_rings(void **unused)
{
    (void)unused;
    written_pages_are_logged("ring");
}

/* --- doorbells --- */

static void doorbells_ring_in_another_thread(void **unused)
{
    struct cpu_state state;
    struct region *bells = &bench.device.bells;

    (void)unused;
    bench_init(&bench, 1);
    bench_load(&bench, 0, guest_ring, guest_ring_end, &state);
    state.gpr[GPR_RDI] = BENCH_BELL;
    state.gpr[GPR_RCX] = 10;
    bench_set(&bench, 0, &state);
    bench_start(&bench);
    assert_true(bench_wait(&bench, &bench.device.told, 1));
    assert_true(bench_wait(&bench, &bench.device.rung[0], 1));
    assert_true(bench_wait(&bench, &bench.device.rung[1], 1));
    assert_false(pthread_equal(bench.device.ringer, bench.threads[0]));
    bench_stop(&bench);
    assert_int_equal(bench.device.rung[2] + bench.device.rung[3], 0);
    lock_acquire(&bench.machine.lock);
    assert_int_equal(bus_place(&bench.machine.bus, bells, BENCH_BELL, false), STATUS_OK);
    lock_release(&bench.machine.lock);
    bench_destroy(&bench);
}

/* --- debugging --- */

static void run_to_stop(unsigned stops)
{
    assert_true(bench_wait(&bench, &bench.stops, stops));
    while (!bench.machine.vcpus[0]->paused)
        usleep(100);
}

static void go_on(const struct debug_control *control)
{
    assert_int_equal(kvm_engine_ops.set_debug(bench.machine.vcpus[0], control), STATUS_OK);
    vcpu_resume(bench.machine.vcpus[0]);
}

static uint64_t offset_now(void)
{
    struct cpu_state state;

    vcpu_get_state(bench.machine.vcpus[0], &state);
    return state.rip - BENCH_CODE;
}

static void set_offset(uint64_t offset)
{
    struct cpu_state state;

    vcpu_get_state(bench.machine.vcpus[0], &state);
    state.rip = BENCH_CODE + offset;
    bench_set(&bench, 0, &state);
}

static void a_debugger_stops_the_guest(void **unused)
{
    const struct debug_control step = {.single_step = true};
    const struct debug_control breakpoint = {.breakpoints = true};
    const struct debug_control execute = {.point_count = 1, .points = {{BENCH_CODE + 4, 1, DEBUG_EXECUTE}}};
    const struct debug_control watch = {.point_count = 2,
                                        .points = {{0x5000, 4, DEBUG_ACCESS}, {0x3000, 1, DEBUG_WRITE}}};
    const struct debug_event *event;
    struct cpu_state state;

    (void)unused;
    bench_init(&bench, 1);
    event = &bench.machine.vcpus[0]->debug_event;
    bench_load(&bench, 0, guest_debug, guest_debug_end, &state);
    bench_set(&bench, 0, &state);
    assert_int_equal(kvm_engine_ops.set_debug(bench.machine.vcpus[0], &step), STATUS_OK);
    bench_start(&bench);
    run_to_stop(1);
    assert_int_equal(event->reason, DEBUG_STEPPED);
    assert_int_equal(offset_now(), 1);
    go_on(&breakpoint);
    run_to_stop(2);
    assert_int_equal(event->reason, DEBUG_BREAKPOINT);
    assert_int_equal(offset_now(), 1);
    set_offset(2);
    go_on(&execute);
    run_to_stop(3);
    assert_int_equal(event->reason, DEBUG_POINT);
    assert_int_equal(event->point, 0);
    assert_int_equal(offset_now(), 4);
    if (kvm_engine_ops.set_debug(bench.machine.vcpus[0], &watch) == STATUS_OK) {
        set_offset(5);
        go_on(&watch);
        run_to_stop(4);
        assert_int_equal(event->reason, DEBUG_POINT);
        assert_int_equal(event->point, 1);
        assert_int_equal(offset_now(), 13);
    } else {
        print_message("watchpoints are not tested: this host's KVM has none\n");
    }
    bench_stop(&bench);
    bench_destroy(&bench);
}

/* --- kicks and exits --- */

static void a_spinning_guest_pauses_at_once(void **unused)
{
    struct cpu_state state;

    (void)unused;
    bench_init(&bench, 2);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        bench_load(&bench, cpu, guest_spin, guest_spin_end, &state);
        bench_set(&bench, cpu, &state);
    }
    bench_start(&bench);
    for (unsigned i = 0; i < 200; i++) {
        struct vcpu *vcpu = bench.machine.vcpus[i % 2];

        vcpu_attend(vcpu, ATTENTION_PAUSE);
        for (unsigned waited = 0; !vcpu->paused; waited++) {
            assert_true(waited < 100000);
            usleep(100);
        }
        vcpu_resume(vcpu);
    }
    bench_stop(&bench);
    bench_destroy(&bench);
}

/* Whenever it is stopped, what it has read is in its register. */
static void an_instruction_is_finished_before_a_pause(void **unused)
{
    struct cpu_state state;

    (void)unused;
    bench_init(&bench, 1);
    bench_load(&bench, 0, guest_read_port, guest_read_port_end, &state);
    state.gpr[GPR_RAX] = 0;
    bench_set(&bench, 0, &state);
    bench_start(&bench);
    for (unsigned i = 0; i < 50; i++) {
        struct vcpu *vcpu = bench.machine.vcpus[0];

        assert_true(bench_wait(&bench, &bench.device.reads, bench.device.reads + 1));
        vcpu_attend(vcpu, ATTENTION_PAUSE);
        while (!vcpu->paused)
            usleep(100);
        vcpu_get_state(vcpu, &state);
        assert_int_equal(state.gpr[GPR_RAX], 0x12345678);
        state.gpr[GPR_RAX] = 0;
        state.rip = BENCH_CODE;
        bench_set(&bench, 0, &state);
        vcpu_resume(vcpu);
    }
    bench_stop(&bench);
    bench_destroy(&bench);
}

static void a_triple_fault_is_a_shutdown(void **unused)
{
    struct cpu_state state;

    (void)unused;
    bench_init(&bench, 1);
    bench_load(&bench, 0, guest_debug, guest_debug_end, &state); /* INT3 without an interrupt table */
    state.idt_limit = 0;
    bench_set(&bench, 0, &state);
    bench_start(&bench);
    pthread_join(bench.threads[0], NULL);
    assert_int_equal(bench.machine.end, MACHINE_TRIPLE_FAULT);
    bench_destroy(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cpu_comes_back_as_it_went),
        cmocka_unit_test(events_on_their_way_come_back),
        cmocka_unit_test(the_pics_come_back_as_they_went),
        cmocka_unit_test(the_ioapic_comes_back_as_it_went),
        cmocka_unit_test(a_lapic_comes_back_as_it_went),
        cmocka_unit_test(the_pit_comes_back_running),
        cmocka_unit_test(written_pages_are_logged_in_bitmaps),
        cmocka_unit_test(written_pages_are_logged_in_rings),
        cmocka_unit_test(doorbells_ring_in_another_thread),
        cmocka_unit_test(a_debugger_stops_the_guest),
        cmocka_unit_test(a_spinning_guest_pauses_at_once),
        cmocka_unit_test(an_instruction_is_finished_before_a_pause),
        cmocka_unit_test(a_triple_fault_is_a_shutdown),
    };

    if (!bench_possible())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
