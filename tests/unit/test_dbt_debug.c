/*
 * A debugger over the translator: real code of a guest in flat 32-bit protected mode, run by the engine in this thread.
 * Every exit is checked with the registers that it leaves.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "unit.h"

#include "base/bits.h"
#include "core/machine.h"
#include "engine/dbt/dbt.h"
#include "x86/regs.h"
#include "x86/vectors.h"

enum { RAM = 2 << 20, AT_GDT = 0x1000, AT_IDT = 0x2000, AT_HANDLER = 0x3000, AT_STACK = 0x8000, AT_CODE = 0x10000 };
enum { AT_DATA = 0x20000 };

static struct machine machine;
static struct vcpu *vcpu;
static struct cpu_state cpu;
static uint8_t *ram;
static int interrupt; /* what the APIC has; -1: nothing */

/* ---- what the machine has around the CPU ---- */

static int apic_acknowledge(void *apic)
{
    int vector = interrupt;

    (void)apic;
    interrupt = -1;
    return vector;
}

static bool apic_pending(void *apic)
{
    (void)apic;
    return interrupt >= 0;
}

static uint64_t apic_get_tpr(void *apic)
{
    (void)apic;
    return 0;
}

static void apic_set_tpr(void *apic, uint64_t cr8)
{
    (void)apic;
    (void)cr8;
}

static uint64_t apic_base(void *apic)
{
    (void)apic;
    return 0;
}

static const struct apic_ops apic_ops = {
    .acknowledge = apic_acknowledge,
    .pending = apic_pending,
    .get_tpr = apic_get_tpr,
    .set_tpr = apic_set_tpr,
    .base = apic_base,
};

static uint64_t clock_zero(struct clock *clock)
{
    (void)clock;
    return 0;
}

static void alarm_ignore(struct alarm *alarm, uint64_t deadline_ns)
{
    (void)alarm;
    (void)deadline_ns;
}

static struct clock no_clock = {clock_zero, clock_zero};
static struct alarm no_alarm = {alarm_ignore};

static void gate(unsigned vector, unsigned type)
{
    store_le(ram + AT_IDT + 8 * vector, 8, (AT_HANDLER + 16 * vector) | 8 << 16 | (uint64_t)(0x80 | type) << 40);
}

/* Handlers of 16 bytes each: IRET, and that is all. */
static void make_tables(void)
{
    store_le(ram + AT_GDT + 8, 8, 0x00cf9b000000ffff);
    store_le(ram + AT_GDT + 16, 8, 0x00cf93000000ffff);
    for (unsigned vector = 0; vector < 64; vector++) {
        gate(vector, 0xe);
        ram[AT_HANDLER + 16 * vector] = 0xcf;
    }
}

static int setup(void **state)
{
    const struct cpuid_request request = {.model = "host", .cpus = 1, .xcr0_allowed = 7};

    (void)state;
    ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ram, MAP_FAILED);
    memset(&machine, 0, sizeof(machine));
    machine_init(&machine, &no_clock, &no_alarm);
    machine.cpu_count = 1;
    assert_int_equal(memory_init(&machine.memory, ram, -1, RAM), STATUS_OK);
    assert_int_equal(cpuid_build(&machine.cpuid, &request), STATUS_OK);
    assert_int_equal(dbt_engine_ops.create(&machine, &machine.engine), STATUS_OK);
    assert_int_equal(dbt_engine_ops.vcpu_create(machine.engine, 0, &vcpu), STATUS_OK);
    machine.vcpus[0] = vcpu;
    vcpu->apic_ops = &apic_ops;
    interrupt = -1;
    make_tables();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dbt_engine_ops.destroy(machine.engine);
    munmap(ram, RAM);
    return 0;
}

/* The processor at AT_CODE with this code. */
static void start(const char *code, size_t size, uint64_t flags)
{
    memset(ram + AT_CODE, 0x90, 0x100);
    memcpy(ram + AT_CODE, code, size);
    memory_wrote(&machine.memory, AT_CODE, 0x100);
    cpu_state_reset(&cpu, 0);
    cpu.cr0 = CR0_PE | CR0_ET | CR0_NE;
    cpu.gdt_base = AT_GDT;
    cpu.gdt_limit = 0xff;
    cpu.idt_base = AT_IDT;
    cpu.idt_limit = 0x7ff;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        cpu.segment[i] = (struct segment_state){0, UINT32_MAX, 16, 0xc093};
    cpu.segment[SEG_CS] = (struct segment_state){0, UINT32_MAX, 8, 0xc09b};
    cpu.rip = AT_CODE;
    cpu.rflags = RFLAGS_FIXED | flags;
    cpu.gpr[GPR_RSP] = AT_STACK;
    cpu.dr[6] = DR6_RESET;
    cpu.dr[7] = DR7_RESET;
    assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
    vcpu->attention = 0;
}

#define START(code, flags) start(code, sizeof(code) - 1, flags)

static void control(const struct debug_control *what)
{
    assert_int_equal(dbt_engine_ops.set_debug(vcpu, what), STATUS_OK);
}

static void watch_nothing(void)
{
    control(&(struct debug_control){0});
}

static void expect_stop(enum debug_reason reason, uint64_t rip)
{
    assert_int_equal(dbt_engine_ops.run(vcpu), VCPU_EXIT_DEBUG);
    assert_int_equal(vcpu->debug_event.reason, reason);
    vcpu_get_state(vcpu, &cpu);
    assert_int_equal(cpu.rip, rip);
}

/* To the HLT at AT_CODE + offset. */
static void expect_halt(uint64_t offset)
{
    assert_int_equal(dbt_engine_ops.run(vcpu), VCPU_EXIT_HALT);
    vcpu_get_state(vcpu, &cpu);
    assert_int_equal(cpu.rip, AT_CODE + offset + 1);
}

static void step(uint64_t rip)
{
    control(&(struct debug_control){.single_step = true});
    expect_stop(DEBUG_STEPPED, rip);
}

static const char loop_code[] = "\xb9\x10\x00\x00\x00" /* mov $16, %ecx */
                                "\x40"                 /* 5: inc %eax */
                                "\x49"                 /* 6: dec %ecx */
                                "\x75\xfc"             /* 7: jnz 5 */
                                "\xf4";                /* 9: hlt */

static void steps(void **state)
{
    (void)state;
    START(loop_code, 0);
    step(AT_CODE + 5);
    step(AT_CODE + 6);
    step(AT_CODE + 7);
    step(AT_CODE + 5);
    assert_int_equal(cpu.gpr[GPR_RAX], 1);
    assert_int_equal(cpu.gpr[GPR_RCX], 15);
    assert_int_equal(cpu.dr[6], DR6_RESET);
    assert_int_equal(cpu.rflags & RFLAGS_TF, 0);
    /* Without set_debug() in between it is a step again. */
    expect_stop(DEBUG_STEPPED, AT_CODE + 6);
    watch_nothing();
    expect_halt(9);
    assert_int_equal(cpu.gpr[GPR_RAX], 16);
}

/* Each iteration is a step, as with TF. */
static void steps_in_repeats(void **state)
{
    (void)state;
    START("\xf3\xaa\xf4", 0); /* rep stosb; hlt */
    cpu.gpr[GPR_RDI] = AT_DATA;
    cpu.gpr[GPR_RCX] = 3;
    cpu.gpr[GPR_RAX] = 0x5a;
    assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
    step(AT_CODE);
    step(AT_CODE);
    assert_int_equal(cpu.gpr[GPR_RCX], 1);
    assert_int_equal(ram[AT_DATA + 1], 0x5a);
    assert_int_equal(ram[AT_DATA + 2], 0);
    step(AT_CODE + 2);
}

/* STI holds interrupts off for one instruction, whoever steps; then delivery itself is a step. */
static void steps_over_shadows(void **state)
{
    (void)state;
    START("\xfb\x40\x40\x8e\xd2\x40\xf4", 0); /* sti; inc; inc; mov %edx, %ss; inc; hlt */
    cpu.gpr[GPR_RDX] = 16;
    assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
    interrupt = 0x21;
    vcpu->attention |= ATTENTION_INTERRUPT;
    step(AT_CODE + 1);
    assert_int_equal(cpu.interrupt_shadow, 1);
    step(AT_CODE + 2);
    step(AT_HANDLER + 16 * 0x21);
    assert_int_equal(cpu.rflags & RFLAGS_IF, 0);
    step(AT_CODE + 2);
    step(AT_CODE + 3);
    step(AT_CODE + 5);
    assert_int_equal(cpu.interrupt_shadow, 2);
    step(AT_CODE + 6);
    step(AT_CODE + 7);
    assert_int_equal(cpu.activity, CPU_HALTED);
    interrupt = 0x22;
    vcpu->attention |= ATTENTION_INTERRUPT;
    step(AT_HANDLER + 16 * 0x22);
    step(AT_CODE + 7);
}

/* Interrupts that wait for the debugger come when it lets go, and wake a halted processor all the same. */
static void steps_hold_interrupts(void **state)
{
    const struct debug_control hold = {.single_step = true, .hold_interrupts = true};

    (void)state;
    START("\x40\x40\x40\xf4", RFLAGS_IF);
    interrupt = 0x21;
    vcpu->attention |= ATTENTION_INTERRUPT;
    control(&hold);
    expect_stop(DEBUG_STEPPED, AT_CODE + 1);
    control(&hold);
    expect_stop(DEBUG_STEPPED, AT_CODE + 2);
    step(AT_HANDLER + 16 * 0x21);
    step(AT_CODE + 2);
    step(AT_CODE + 3);
    step(AT_CODE + 4);
    interrupt = 0x22;
    vcpu->attention |= ATTENTION_INTERRUPT;
    control(&hold);
    expect_stop(DEBUG_STEPPED, AT_HANDLER + 16 * 0x22);
}

static void steps_into_exceptions(void **state)
{
    (void)state;
    START("\x0f\x0b", 0); /* ud2 */
    step(AT_HANDLER + 16 * VECTOR_UD);
    START("\xcd\x30", 0); /* int $0x30 */
    step(AT_HANDLER + 16 * 0x30);
    step(AT_CODE + 2);
}

/* The guest steps itself: its traps come, and the debugger sees each. */
static void steps_beside_tf(void **state)
{
    (void)state;
    START("\x40\x40\xf4", RFLAGS_TF);
    step(AT_HANDLER + 16 * VECTOR_DB);
    assert_int_equal(cpu.dr[6], DR6_RESET | DR6_BS);
    assert_int_equal(load_le(ram + cpu.gpr[GPR_RSP], 4), AT_CODE + 1);
    assert_int_equal(load_le(ram + cpu.gpr[GPR_RSP] + 8, 4) & RFLAGS_TF, RFLAGS_TF);
    step(AT_CODE + 1);
    step(AT_HANDLER + 16 * VECTOR_DB);
}

/* POPF that clears TF is itself trapped, also when where it leads is in the jump cache. */
static void guest_clears_tf(void **state)
{
    (void)state;
    START("\x40\x40\x40\xf4", 0);
    expect_halt(3);
    START("\x9d\x40\x40\x40\xf4", RFLAGS_TF); /* popf; ... */
    store_le(ram + AT_STACK, 4, RFLAGS_FIXED);
    step(AT_HANDLER + 16 * VECTOR_DB);
    assert_int_equal(load_le(ram + cpu.gpr[GPR_RSP], 4), AT_CODE + 1);
}

static void breakpoints(void **state)
{
    (void)state;
    START("\x40\xcc\x40\xf4", 0);
    control(&(struct debug_control){.breakpoints = true});
    expect_stop(DEBUG_BREAKPOINT, AT_CODE + 1);
    assert_int_equal(cpu.gpr[GPR_RAX], 1);
    /* Not passed on: it is met again. */
    control(&(struct debug_control){.breakpoints = true});
    expect_stop(DEBUG_BREAKPOINT, AT_CODE + 1);
    /* Passed on, and seen on its way into the handler. */
    control(&(struct debug_control){.breakpoints = true, .pass_breakpoint = true, .single_step = true});
    expect_stop(DEBUG_STEPPED, AT_HANDLER + 16 * VECTOR_BP);
    assert_int_equal(load_le(ram + cpu.gpr[GPR_RSP], 4), AT_CODE + 2);
    /* Nobody asks: the guest's own. */
    watch_nothing();
    expect_halt(3);
}

/* A loop that has been translated and chained meets an INT3 that appears in it. */
static void breakpoint_in_hot_code(void **state)
{
    (void)state;
    START(loop_code, 0);
    expect_halt(9);
    START(loop_code, 0);
    step(AT_CODE + 5);
    ram[AT_CODE + 6] = 0xcc;
    memory_wrote(&machine.memory, AT_CODE + 6, 1);
    control(&(struct debug_control){.breakpoints = true});
    expect_stop(DEBUG_BREAKPOINT, AT_CODE + 6);
    ram[AT_CODE + 6] = 0x49;
    memory_wrote(&machine.memory, AT_CODE + 6, 1);
    watch_nothing();
    expect_halt(9);
    assert_int_equal(cpu.gpr[GPR_RAX], 16);
}

static struct debug_control at(uint64_t address)
{
    return (struct debug_control){.point_count = 1, .points = {{address, 1, DEBUG_EXECUTE}}};
}

static void execute_points(void **state)
{
    struct debug_control point = at(AT_CODE + 6);

    (void)state;
    START(loop_code, 0);
    expect_halt(9); /* hot */
    START(loop_code, 0);
    control(&point);
    expect_stop(DEBUG_POINT, AT_CODE + 6);
    assert_int_equal(vcpu->debug_event.point, 0);
    assert_int_equal(cpu.gpr[GPR_RAX], 1);
    /* It is before its instruction, so it is met again at once. */
    control(&point);
    expect_stop(DEBUG_POINT, AT_CODE + 6);
    for (unsigned round = 2; round <= 4; round++) {
        step(AT_CODE + 7);
        control(&point);
        expect_stop(DEBUG_POINT, AT_CODE + 6);
        assert_int_equal(cpu.gpr[GPR_RAX], round);
    }
    assert_int_equal(cpu.dr[6], DR6_RESET);
    assert_int_equal(cpu.dr[7], DR7_RESET);
    watch_nothing();
    expect_halt(9);
    assert_int_equal(cpu.gpr[GPR_RAX], 16);
}

static void four_execute_points(void **state)
{
    struct debug_control points = {.point_count = 4,
                                   .points = {{AT_CODE + 9, 1, DEBUG_EXECUTE},
                                              {AT_DATA, 1, DEBUG_EXECUTE},
                                              {AT_CODE, 1, DEBUG_EXECUTE},
                                              {AT_CODE + 7, 1, DEBUG_EXECUTE}}};

    (void)state;
    START(loop_code, 0);
    control(&points);
    expect_stop(DEBUG_POINT, AT_CODE);
    assert_int_equal(vcpu->debug_event.point, 2);
    step(AT_CODE + 5);
    control(&points);
    expect_stop(DEBUG_POINT, AT_CODE + 7);
    assert_int_equal(vcpu->debug_event.point, 3);
    points.point_count = 1;
    control(&points);
    expect_stop(DEBUG_POINT, AT_CODE + 9);
    assert_int_equal(vcpu->debug_event.point, 0);
}

/* mov (data), %eax; mov %eax, (data + 4); rep movsb; push (data); hlt */
static const char data_code[] = "\xa1\x00\x00\x02\x00"
                                "\xa3\x04\x00\x02\x00"
                                "\xf3\xa4"
                                "\xff\x35\x00\x00\x02\x00"
                                "\xf4";

static void prepare_copy(void)
{
    cpu.gpr[GPR_RSI] = AT_DATA + 0x100;
    cpu.gpr[GPR_RDI] = AT_DATA - 4;
    cpu.gpr[GPR_RCX] = 8;
    assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
}

static void access_points(void **state)
{
    struct debug_control points = {.point_count = 1, .points = {{AT_DATA, 4, DEBUG_ACCESS}}};

    (void)state;
    START(data_code, 0);
    prepare_copy();
    control(&points);
    expect_stop(DEBUG_POINT, AT_CODE + 5);
    expect_stop(DEBUG_POINT, AT_CODE + 10); /* rep movsb, four elements before the next would be there */
    assert_int_equal(cpu.gpr[GPR_RCX], 3);
    for (unsigned i = 0; i < 2; i++)
        expect_stop(DEBUG_POINT, AT_CODE + 10);
    expect_stop(DEBUG_POINT, AT_CODE + 12);
    assert_int_equal(cpu.gpr[GPR_RCX], 0);
    expect_stop(DEBUG_POINT, AT_CODE + 18);
    assert_int_equal(cpu.dr[6], DR6_RESET);
    expect_halt(18);
}

static void write_points(void **state)
{
    struct debug_control points = {.point_count = 2,
                                   .points = {{AT_DATA + 0x800, 8, DEBUG_WRITE}, {AT_DATA + 6, 2, DEBUG_WRITE}}};

    (void)state;
    START(data_code, 0);
    prepare_copy();
    cpu.gpr[GPR_RCX] = 1;
    assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
    ram[AT_DATA] = 0x77;
    control(&points);
    expect_stop(DEBUG_POINT, AT_CODE + 10);
    assert_int_equal(vcpu->debug_event.point, 1);
    assert_int_equal(ram[AT_DATA + 4], 0x77);
    expect_halt(18);
}

/* The guest's own debug registers work as before beside the debugger's points. */
static void guest_debug_registers(void **state)
{
    struct debug_control points = {.point_count = 1, .points = {{AT_DATA + 4, 4, DEBUG_WRITE}}};

    (void)state;
    START(data_code, 0);
    prepare_copy();
    cpu.dr[1] = AT_DATA;
    cpu.dr[7] = DR7_RESET | DR7_L1 | 3u << DR7_RW_SHIFT(1) | 3u << DR7_LEN_SHIFT(1);
    assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
    points.single_step = true;
    control(&points);
    expect_stop(DEBUG_STEPPED, AT_HANDLER + 16 * VECTOR_DB);
    assert_int_equal(cpu.dr[6], DR6_RESET | DR6_B1);
    expect_stop(DEBUG_STEPPED, AT_CODE + 5);
    expect_stop(DEBUG_POINT, AT_CODE + 10);
    assert_int_equal(cpu.dr[6], DR6_RESET | DR6_B1);
}

/* A fault takes back what its instruction met. */
static void faulting_access(void **state)
{
    struct debug_control points = {.point_count = 1, .points = {{AT_DATA, 4, DEBUG_ACCESS}}};

    (void)state;
    START("\xa1\x00\x00\x02\x00\xf4", 0);
    cpu.segment[SEG_DS].limit = AT_DATA + 1;
    cpu.segment[SEG_DS].attributes = 0x4093;
    assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
    points.single_step = true;
    control(&points);
    expect_stop(DEBUG_STEPPED, AT_HANDLER + 16 * VECTOR_GP);
}

/* A repetition that would go a stretch at a time stops at the element that is watched. */
static void repeated_writes(void **state)
{
    const struct debug_control points = {.point_count = 1, .points = {{AT_DATA + 4, 4, DEBUG_WRITE}}};
    static const char *const codes[] = {"\xf3\xaa\xf4", "\xf3\xa4\xf4"}; /* rep stosb; rep movsb; hlt */

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        start(codes[i], 3, 0);
        memset(ram + AT_DATA, 0, 16);
        memset(ram + AT_DATA + 0x1000, 0x5a, 16);
        cpu.gpr[GPR_RDI] = AT_DATA;
        cpu.gpr[GPR_RSI] = AT_DATA + 0x1000;
        cpu.gpr[GPR_RCX] = 8;
        cpu.gpr[GPR_RAX] = 0x5a;
        assert_int_equal(vcpu_set_state(vcpu, &cpu), STATUS_OK);
        control(&points);
        expect_stop(DEBUG_POINT, AT_CODE);
        assert_int_equal(cpu.gpr[GPR_RCX], 3);
        assert_int_equal(ram[AT_DATA + 4], 0x5a);
        assert_int_equal(ram[AT_DATA + 5], 0);
        watch_nothing();
        expect_halt(2);
        assert_int_equal(ram[AT_DATA + 7], 0x5a);
    }
}

static void bad_points_are_refused(void **state)
{
    struct debug_control points = {.point_count = 1, .points = {{AT_DATA + 1, 4, DEBUG_ACCESS}}};

    (void)state;
    START(loop_code, 0);
    assert_int_equal(dbt_engine_ops.set_debug(vcpu, &points), STATUS_INVALID);
    points.points[0] = (struct debug_point){AT_DATA, 3, DEBUG_WRITE};
    assert_int_equal(dbt_engine_ops.set_debug(vcpu, &points), STATUS_INVALID);
    points.points[0] = (struct debug_point){AT_DATA, 2, DEBUG_EXECUTE};
    assert_int_equal(dbt_engine_ops.set_debug(vcpu, &points), STATUS_INVALID);
    points.point_count = DEBUG_POINTS + 1;
    assert_int_equal(dbt_engine_ops.set_debug(vcpu, &points), STATUS_INVALID);
}

static void time_is_held_back(void **state)
{
    (void)state;
    START(loop_code, 0);
    uint64_t before = dbt_engine_ops.tsc(vcpu);
    dbt_engine_ops.delay_tsc(vcpu, 1ull << 40);
    uint64_t after = dbt_engine_ops.tsc(vcpu);
    assert_true(before - after > (1ull << 40) - (1ull << 36) && before - after <= 1ull << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(steps, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_in_repeats, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_over_shadows, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_hold_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_into_exceptions, setup, teardown),
        cmocka_unit_test_setup_teardown(steps_beside_tf, setup, teardown),
        cmocka_unit_test_setup_teardown(guest_clears_tf, setup, teardown),
        cmocka_unit_test_setup_teardown(breakpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(breakpoint_in_hot_code, setup, teardown),
        cmocka_unit_test_setup_teardown(execute_points, setup, teardown),
        cmocka_unit_test_setup_teardown(four_execute_points, setup, teardown),
        cmocka_unit_test_setup_teardown(access_points, setup, teardown),
        cmocka_unit_test_setup_teardown(write_points, setup, teardown),
        cmocka_unit_test_setup_teardown(repeated_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(guest_debug_registers, setup, teardown),
        cmocka_unit_test_setup_teardown(faulting_access, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_points_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(time_is_held_back, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
