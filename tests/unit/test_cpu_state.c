#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "base/bits.h"
#include "x86/cpu_state.h"
#include "x86/regs.h"

static struct cpu_state cpu, copy;
static uint8_t bytes[16384];

static int reset(void **state)
{
    (void)state;
    cpu_state_reset(&cpu, 0x00a10f11);
    return 0;
}

static enum status through_the_wire(void)
{
    size_t size = 0;

    assert_int_equal(state_encode(&cpu_state_schema, &cpu, bytes, sizeof(bytes), &size), STATUS_OK);
    return state_decode(&cpu_state_schema, &copy, bytes, size);
}

static void reset_is_as_the_manual_says(void **state)
{
    (void)state;
    assert_int_equal(cpu.segment[SEG_CS].base + cpu.rip, 0xfffffff0);
    assert_int_equal(cpu.segment[SEG_CS].selector, 0xf000);
    assert_int_equal(cpu.rflags, 2);
    assert_int_equal(cpu.cr0, 0x60000010);
    assert_int_equal(cpu.gpr[GPR_RDX], 0x00a10f11);
    assert_int_equal(cpu.dr[6], 0xffff0ff0);
    assert_int_equal(cpu.dr[7], 0x400);
    assert_int_equal(cpu.idt_limit, 0xffff);
    assert_int_equal(cpu.segment[SEG_SS].attributes, 0x93);
    assert_true(cpu.pat == 0x0007040600070406ull);
    assert_int_equal(load_le(cpu.xsave, 2), 0x40);
    assert_int_equal(load_le(cpu.xsave + 24, 4), 0x1f80);
    assert_int_equal(cpu.activity, CPU_RUNNING);
}

static void init_keeps_what_reset_does_not(void **state)
{
    (void)state;
    cpu.cr0 = CR0_PE | CR0_PG | CR0_ET;
    cpu.efer = EFER_LME | EFER_LMA;
    cpu.gpr[GPR_RAX] = 1;
    cpu.lstar = 0x1234;
    cpu.xcr0 = 7;
    cpu.xsave[200] = 0x55;
    cpu.mtrr_def_type = 0xc06;
    cpu.activity = CPU_HALTED;
    cpu_state_init(&cpu, 0x600);
    assert_int_equal(cpu.cr0, CR0_ET);
    assert_int_equal(cpu.efer, 0);
    assert_int_equal(cpu.gpr[GPR_RAX], 0);
    assert_int_equal(cpu.gpr[GPR_RDX], 0x600);
    assert_int_equal(cpu.lstar, 0x1234);
    assert_int_equal(cpu.xcr0, 7);
    assert_int_equal(cpu.xsave[200], 0x55);
    assert_int_equal(cpu.mtrr_def_type, 0xc06);
    assert_int_equal(cpu.activity, CPU_RUNNING);
}

static void a_reset_processor_travels(void **state)
{
    (void)state;
    assert_int_equal(through_the_wire(), STATUS_OK);
    assert_null(state_compare(&cpu_state_schema, &cpu, &copy));
}

static void a_processor_in_long_mode_travels(void **state)
{
    (void)state;
    cpu.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE;
    cpu.cr4 = CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMAP;
    cpu.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    cpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;
    cpu.rip = 0xffffffff81000000ull;
    cpu.segment[SEG_GS].base = 0xffff888000000000ull;
    cpu.xsave[CPU_XSAVE_SIZE - 1] = 1;
    assert_int_equal(through_the_wire(), STATUS_OK);
    assert_null(state_compare(&cpu_state_schema, &cpu, &copy));
}

/* Every byte of the struct that holds something is in the table: a change to it must be seen. */
static void the_table_misses_nothing(void **state)
{
    size_t described = 0;

    (void)state;
    for (size_t i = 0; i < cpu_state_schema.field_count; i++)
        described += (size_t)cpu_state_schema.fields[i].width * cpu_state_schema.fields[i].count;
    assert_in_range(sizeof(struct cpu_state) - described, 0, 32); /* padding */
}

#define REFUSES(change)                                                                                                \
    do {                                                                                                               \
        cpu_state_reset(&cpu, 0);                                                                                      \
        change;                                                                                                        \
        assert_int_equal(through_the_wire(), STATUS_INVALID);                                                          \
    } while (0)

static void states_that_cannot_be_are_refused(void **state)
{
    (void)state;
    REFUSES(cpu.rflags = 0);
    REFUSES(cpu.rflags |= BIT64(63));
    REFUSES(cpu.cr0 |= CR0_PG);
    REFUSES(cpu.cr0 &= ~CR0_CD);
    REFUSES(cpu.cr0 |= BIT64(32));
    REFUSES(cpu.cr3 = BIT64(63));
    REFUSES(cpu.cr4 = CR4_LA57);
    REFUSES(cpu.cr4 = CR4_PCIDE);
    REFUSES(cpu.cr8 = 16);
    REFUSES(cpu.efer = EFER_LMA);
    REFUSES(cpu.efer = EFER_SVME);
    REFUSES(cpu.xcr0 = 0);
    REFUSES(cpu.xcr0 = XCR0_X87 | XCR0_PKRU);
    REFUSES(cpu.lstar = BIT64(47));
    REFUSES(cpu.segment[SEG_FS].base = BIT64(47));
    REFUSES(cpu.segment[SEG_FS].attributes = 0x0200);
    REFUSES(cpu.xsave[27] = 1);         /* a reserved bit of MXCSR */
    REFUSES(cpu.xsave[513] = 0x80);     /* a component that no engine has */
    REFUSES(cpu.xsave[520 + 7] = 0x80); /* the compacted format */
    REFUSES(cpu.xsave[575] = 1);
    REFUSES(cpu.activity = 4);
    REFUSES(cpu.interrupt_shadow = 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reset_is_as_the_manual_says, reset),
        cmocka_unit_test_setup(init_keeps_what_reset_does_not, reset),
        cmocka_unit_test_setup(a_reset_processor_travels, reset),
        cmocka_unit_test_setup(a_processor_in_long_mode_travels, reset),
        cmocka_unit_test_setup(the_table_misses_nothing, reset),
        cmocka_unit_test_setup(states_that_cannot_be_are_refused, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
