/* System instructions of the translator: segments, interrupts, returns, far transfers, flags, control registers. */
#include "unit.h"

#include "dbt_fixture.h"
#include "engine/dbt/sys.h"

enum { RAX = GPR_RAX, RCX = GPR_RCX, RDX = GPR_RDX, RBX = GPR_RBX, RSP = GPR_RSP };

/* ---- segments ---- */

static void test_load_data_segment(void **state)
{
    (void)state;
    fixture_long(3);
    cpu.gpr[RAX] = FRESH_DATA;
    assert_true(RUN(0x8e, 0xd8)); /* mov ds, ax */
    assert_int_equal(cpu.segment[SEG_DS].selector, FRESH_DATA);
    assert_int_equal(cpu.segment[SEG_DS].limit, UINT32_MAX);
    assert_int_equal(peek(AT_GDT + 0x58 + 5, 1), 0xf3); /* accessed now */

    cpu.gpr[RAX] = 0;
    cpu.segment[SEG_FS].base = 0x1234;
    assert_true(RUN(0x8e, 0xe0)); /* mov fs, ax */
    assert_true(cpu.segment[SEG_FS].attributes & SEGMENT_UNUSABLE);
    assert_int_equal(cpu.segment[SEG_FS].base, 0x1234); /* an older processor of AMD's */
    fixture_intel();
    assert_true(RUN(0x8e, 0xe0));
    assert_int_equal(cpu.segment[SEG_FS].base, 0);

    cpu.gpr[RAX] = KERNEL_DATA;
    EXPECT_FAULT(VECTOR_GP, KERNEL_DATA, 0x8e, 0xd8);
    cpu.gpr[RAX] = 0xff3; /* beyond the table */
    EXPECT_FAULT(VECTOR_GP, 0xff0, 0x8e, 0xd8);
    cpu.gpr[RAX] = USER_DATA | SELECTOR_TI; /* no LDT */
    EXPECT_FAULT(VECTOR_GP, 0x24, 0x8e, 0xd8);

    fixture_long(0);
    cpu.gpr[RAX] = ABSENT_DATA;
    EXPECT_FAULT(VECTOR_NP, ABSENT_DATA, 0x8e, 0xd8);
    EXPECT_FAULT(VECTOR_SS, ABSENT_DATA, 0x8e, 0xd0);
    cpu.gpr[RAX] = READ_ONLY;
    assert_true(RUN(0x8e, 0xd8));
    EXPECT_FAULT(VECTOR_GP, READ_ONLY, 0x8e, 0xd0);
}

static void test_load_stack_segment(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RAX] = KERNEL_DATA;
    assert_true(RUN(0x8e, 0xd0));
    assert_int_equal(cpu.interrupt_shadow, 2);
    assert_int_equal(cpu.rip, AT_CODE + 2);
    cpu.gpr[RAX] = 0;
    assert_true(RUN(0x8e, 0xd0));
    cpu.gpr[RAX] = 3; /* null, RPL is not CPL */
    EXPECT_FAULT(VECTOR_GP, 0, 0x8e, 0xd0);

    fixture_long(3);
    cpu.gpr[RAX] = 3;
    EXPECT_FAULT(VECTOR_GP, 0, 0x8e, 0xd0);
    fixture_protected(0);
    cpu.gpr[RAX] = 0;
    EXPECT_FAULT(VECTOR_GP, 0, 0x8e, 0xd0);
}

static void test_push_pop_segment(void **state)
{
    (void)state;
    fixture_long(3);
    cpu.segment[SEG_FS].selector = 0x53;
    assert_true(RUN(0x0f, 0xa0)); /* push fs */
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK - 8);
    assert_int_equal(peek(AT_USER_STACK - 8, 8), 0x53);
    poke(AT_USER_STACK - 8, 8, FRESH_DATA);
    assert_true(RUN(0x0f, 0xa1)); /* pop fs */
    assert_int_equal(cpu.segment[SEG_FS].selector, FRESH_DATA);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK);
    poke(AT_USER_STACK, 8, KERNEL_DATA);
    EXPECT_FAULT(VECTOR_GP, KERNEL_DATA, 0x0f, 0xa1);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK);
    fx.unmapped_page = (AT_USER_STACK - 1) >> 12;
    EXPECT_FAULT(VECTOR_PF, 2, 0x0f, 0xa0);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK);

    fixture_protected(0);
    assert_true(RUN(0x06)); /* push es */
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0x104);
    assert_true(RUN(0x66, 0x1e)); /* push ds, 16 bits */
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0x106);
    assert_true(RUN(0x66, 0x1f));
    assert_true(RUN(0x17)); /* pop ss */
    assert_int_equal(cpu.interrupt_shadow, 2);
}

static void test_real_mode_segments(void **state)
{
    (void)state;
    fixture_real();
    cpu.segment[SEG_DS].limit = UINT32_MAX; /* unreal */
    cpu.gpr[RAX] = 0x2000;
    assert_true(RUN(0x8e, 0xd8));
    assert_int_equal(cpu.segment[SEG_DS].base, 0x20000);
    assert_int_equal(cpu.segment[SEG_DS].limit, UINT32_MAX);
    poke(0x20010, 4, 0x30001234);
    assert_true(RUN(0xc4, 0x1e, 0x10, 0x00)); /* les bx, [0x10] */
    assert_int_equal(cpu.gpr[RBX], 0x1234);
    assert_int_equal(cpu.segment[SEG_ES].base, 0x30000);
    EXPECT_FAULT(VECTOR_UD, -1, 0x0f, 0x00, 0xd8); /* ltr ax */
}

static void test_ltr_lldt(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RAX] = TSS;
    assert_true(RUN(0x0f, 0x00, 0xd8));
    assert_int_equal(cpu.segment[SEG_TR].base, AT_TSS);
    assert_int_equal(peek(AT_GDT + TSS + 5, 1), 0x8b);
    EXPECT_FAULT(VECTOR_GP, TSS, 0x0f, 0x00, 0xd8); /* busy */
    cpu.gpr[RAX] = LDT;
    assert_true(RUN(0x0f, 0x00, 0xd0));
    poke(AT_LDT + 8, 8, 0x00cff3000000ffff);
    cpu.gpr[RAX] = 8 | SELECTOR_TI;
    assert_true(RUN(0x8e, 0xd8));
    poke(AT_GDT + LDT + 12, 4, 0x1f00); /* a second half with a type */
    cpu.gpr[RAX] = LDT;
    EXPECT_FAULT(VECTOR_GP, LDT, 0x0f, 0x00, 0xd0);
    cpu.cpl = 3;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x00, 0xd0);
}

static void test_lar_lsl_verw(void **state)
{
    (void)state;
    fixture_long(3);
    cpu.gpr[RCX] = USER_DATA;
    assert_true(RUN(0x0f, 0x02, 0xc1)); /* lar eax, ecx */
    assert_true(cpu.alu_flags & RFLAGS_ZF);
    assert_int_equal(cpu.gpr[RAX], 0xc0f300);
    assert_true(RUN(0x0f, 0x03, 0xc1)); /* lsl eax, ecx */
    assert_int_equal(cpu.gpr[RAX], UINT32_MAX);
    cpu.gpr[RCX] = KERNEL_DATA;
    assert_true(RUN(0x0f, 0x02, 0xc1));
    assert_false(cpu.alu_flags & RFLAGS_ZF);
    cpu.gpr[RCX] = CONFORMING;
    assert_true(RUN(0x0f, 0x02, 0xc1));
    assert_true(cpu.alu_flags & RFLAGS_ZF);
    cpu.gpr[RCX] = USER_DATA;
    assert_true(RUN(0x0f, 0x00, 0xe9)); /* verw cx */
    assert_true(cpu.alu_flags & RFLAGS_ZF);
    cpu.gpr[RCX] = USER_CODE32;
    assert_true(RUN(0x0f, 0x00, 0xe9));
    assert_false(cpu.alu_flags & RFLAGS_ZF);
    assert_true(RUN(0x0f, 0x00, 0xe1)); /* verr cx */
    assert_true(cpu.alu_flags & RFLAGS_ZF);
}

static void test_descriptor_tables(void **state)
{
    (void)state;
    fixture_long(0);
    poke(AT_DATA, 2, 0x7f);
    poke(AT_DATA + 2, 8, 0xffff888000001000);
    cpu.gpr[RAX] = AT_DATA;
    assert_true(RUN(0x0f, 0x01, 0x10)); /* lgdt [rax] */
    assert_int_equal(cpu.gdt_limit, 0x7f);
    assert_int_equal(cpu.gdt_base, 0xffff888000001000);
    poke(AT_DATA + 2, 8, 0x1000000000001000);
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x01, 0x10);
    cpu.cpl = 3;
    assert_true(RUN(0x0f, 0x01, 0x00)); /* sgdt [rax] */
    assert_int_equal(peek(AT_DATA + 2, 8), 0xffff888000001000);
    cpu.cr4 |= CR4_UMIP;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x01, 0x00);

    fixture_real();
    poke(0x500, 2, 0x27);
    poke(0x502, 4, 0x12345678);
    assert_true(RUN(0x0f, 0x01, 0x16, 0x00, 0x05)); /* lgdt [0x500]: 24 bits of base */
    assert_int_equal(cpu.gdt_base, 0x345678);
}

static void test_fsgsbase_swapgs(void **state)
{
    (void)state;
    fixture_long(3);
    cpu.gpr[RAX] = 0x7fff00001234;
    assert_true(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd8)); /* wrgsbase rax */
    assert_true(RUN(0xf3, 0x48, 0x0f, 0xae, 0xc9)); /* rdgsbase rcx */
    assert_int_equal(cpu.gpr[RCX], 0x7fff00001234);
    cpu.gpr[RAX] = 0x8000000000000000;
    EXPECT_FAULT(VECTOR_GP, 0, 0xf3, 0x48, 0x0f, 0xae, 0xd8);
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x01, 0xf8); /* swapgs */
    cpu.cpl = 0;
    cpu.kernel_gs_base = 0xffff800000000000;
    assert_true(RUN(0x0f, 0x01, 0xf8));
    assert_int_equal(cpu.segment[SEG_GS].base, 0xffff800000000000);
    assert_int_equal(cpu.kernel_gs_base, 0x7fff00001234);
    cpu.cr4 &= ~CR4_FSGSBASE;
    EXPECT_FAULT(VECTOR_UD, -1, 0xf3, 0x48, 0x0f, 0xae, 0xd8);
}

/* ---- interrupts ---- */

static void test_interrupt_long_from_user(void **state)
{
    (void)state;
    fixture_long(3);
    fixture_gate(VECTOR_GP, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE, 0xffffffff81000000);
    rflags_set(&cpu, RFLAGS_IF | RFLAGS_TF | RFLAGS_CF);
    assert_true(fixture_deliver(VECTOR_GP, true, 0x1234));
    assert_int_equal(cpu.rip, 0xffffffff81000000);
    assert_int_equal(cpu.cpl, 0);
    assert_int_equal(cpu.segment[SEG_CS].selector, KERNEL_CODE);
    assert_int_equal(cpu.segment[SEG_SS].selector, 0);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 48);
    assert_int_equal(peek(AT_KERNEL_STACK - 8, 8), USER_DATA);
    assert_int_equal(peek(AT_KERNEL_STACK - 16, 8), AT_USER_STACK);
    assert_int_equal(peek(AT_KERNEL_STACK - 24, 8), RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF | RFLAGS_CF | RFLAGS_RF);
    assert_int_equal(peek(AT_KERNEL_STACK - 32, 8), USER_CODE64);
    assert_int_equal(peek(AT_KERNEL_STACK - 40, 8), AT_CODE);
    assert_int_equal(peek(AT_KERNEL_STACK - 48, 8), 0x1234);
    assert_int_equal(rflags_get(&cpu), RFLAGS_FIXED | RFLAGS_CF);
    assert_int_equal(cpu.mmu, MMU_KERNEL);
}

static void test_interrupt_long_same_level(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RSP] = AT_KERNEL_STACK - 0x108; /* is aligned down first */
    fixture_gate(0x40, SYSTEM_TRAP, 0, 0, KERNEL_CODE, AT_CODE);
    assert_true(fixture_deliver(0x40, false, 0));
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0x110 - 40);
    assert_int_equal(peek(cpu.gpr[RSP] + 24, 8), AT_KERNEL_STACK - 0x108);
    assert_true(cpu.sys_flags & RFLAGS_IF); /* a trap gate */
    assert_int_equal(cpu.segment[SEG_SS].selector, KERNEL_DATA);

    fixture_gate(VECTOR_NMI, SYSTEM_INTERRUPT, 0, 1, KERNEL_CODE, AT_CODE);
    assert_true(fixture_deliver(VECTOR_NMI, false, 0));
    assert_int_equal(cpu.gpr[RSP], AT_IST - 40);
}

static void test_interrupt_long_faults(void **state)
{
    (void)state;
    fixture_long(3);
    fixture_gate(0x40, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE, AT_CODE);
    fixture_gate(0x80, SYSTEM_INTERRUPT, 3, 0, KERNEL_CODE, AT_CODE);
    EXPECT_FAULT(VECTOR_GP, 0x40 * 8 + 2, 0xcd, 0x40); /* DPL */
    assert_true(fixture_deliver(0x40, false, 0));

    fixture_long(3);
    fixture_gate(0x80, SYSTEM_INTERRUPT, 3, 0, KERNEL_CODE, AT_CODE);
    assert_true(RUN(0xcd, 0x80));
    assert_int_equal(peek(AT_KERNEL_STACK - 40, 8), AT_CODE + 2);

    fixture_long(3);
    assert_false(fixture_deliver(0x41, false, 0)); /* no gate at all */
    assert_int_equal(fx.vector, VECTOR_GP);
    assert_int_equal(fx.error, 0x41 * 8 + 2 + 1);
    fixture_gate(0x41, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE32, AT_CODE); /* not 64-bit code */
    assert_false(fixture_deliver(0x41, false, 0));
    assert_int_equal(fx.error, KERNEL_CODE32 + 1);
    fixture_gate(0x41, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE, 0x8000000000000000);
    assert_false(fixture_deliver(0x41, false, 0));
    assert_int_equal(fx.vector, VECTOR_GP);
    assert_int_equal(fx.error, 1);
    cpu.idt_limit = 0x41 * 16 + 14;
    assert_false(fixture_deliver(0x41, false, 0));
    assert_int_equal(fx.error, 0x41 * 8 + 2 + 1);

    fixture_long(3);
    fixture_gate(0x41, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE, AT_CODE);
    poke(AT_IDT + 0x41 * 16 + 5, 1, 0x0e); /* not present */
    assert_false(fixture_deliver(0x41, false, 0));
    assert_int_equal(fx.vector, VECTOR_NP);
    poke(AT_IDT + 0x41 * 16 + 5, 1, 0x8e);
    fx.unmapped_page = (AT_KERNEL_STACK - 1) >> 12;
    assert_false(fixture_deliver(0x41, false, 0));
    assert_int_equal(fx.vector, VECTOR_PF);
    assert_int_equal(cpu.cpl, 3);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK);
    assert_int_equal(cpu.rip, AT_CODE);
}

static void test_interrupt_protected(void **state)
{
    (void)state;
    fixture_protected(3);
    fixture_gate(VECTOR_PF, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE32, 0x12345);
    assert_true(fixture_deliver(VECTOR_PF, true, 7));
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 24);
    assert_int_equal(peek(AT_KERNEL_STACK - 4, 4), USER_DATA);
    assert_int_equal(peek(AT_KERNEL_STACK - 24, 4), 7);
    assert_int_equal(cpu.segment[SEG_SS].selector, KERNEL_DATA);
    assert_int_equal(cpu.rip, 0x12345);

    fixture_protected(3);
    fixture_gate(VECTOR_PF, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE32, 0x12345);
    poke(AT_TSS + 8, 4, USER_DATA); /* not a ring 0 stack */
    assert_false(fixture_deliver(VECTOR_PF, true, 7));
    assert_int_equal(fx.vector, VECTOR_TS);
    assert_int_equal(fx.error, (USER_DATA & ~3) | 1);

    fixture_protected(0);
    fixture_gate(3, SYSTEM_TRAP_16, 0, 0, KERNEL_CODE32, 0x9999);
    assert_true(RUN(0xcc));
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0x106);
    assert_int_equal(peek(cpu.gpr[RSP], 2), (AT_CODE + 1) & 0xffff);
    fixture_gate(8, SYSTEM_TASK, 0, 0, TSS, 0);
    assert_false(fixture_deliver(8, true, 0));
    assert_int_equal(fx.vector, VECTOR_TS);
}

static void test_interrupt_real(void **state)
{
    (void)state;
    fixture_real();
    poke(0x10 * 4, 4, 0xc0001234);
    assert_true(RUN(0xcd, 0x10));
    assert_int_equal(cpu.segment[SEG_CS].base, 0xc0000);
    assert_int_equal(cpu.rip, 0x1234);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 6);
    assert_int_equal(peek(AT_KERNEL_STACK - 6, 2), 0x102);
    assert_int_equal(peek(AT_KERNEL_STACK - 4, 2), 0x1000);
    assert_int_equal(peek(AT_KERNEL_STACK - 2, 2), RFLAGS_FIXED | RFLAGS_IF);
    assert_false(cpu.sys_flags & RFLAGS_IF);
    cpu.rip = 0x100;
    assert_true(RUN(0xcf)); /* iret */
    assert_int_equal(cpu.segment[SEG_CS].base, 0x10000);
    assert_int_equal(cpu.rip, 0x102);
    assert_true(cpu.sys_flags & RFLAGS_IF);
    cpu.idt_limit = 0x10 * 4 + 2;
    assert_false(RUN(0xcd, 0x10));
    assert_int_equal(fx.vector, VECTOR_GP);
}

/* ---- returns ---- */

static void push_frame(unsigned size, uint64_t rip, uint64_t cs, uint64_t flags, uint64_t rsp, uint64_t ss)
{
    const uint64_t words[] = {rip, cs, flags, rsp, ss};

    for (unsigned i = 0; i < 5; i++)
        poke(cpu.gpr[RSP] + i * size, size, words[i]);
}

static void test_iretq(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.nmi_blocked = 1;
    push_frame(8, 0x400000, USER_CODE64, RFLAGS_IF | RFLAGS_RF | RFLAGS_ZF, 0x7ffff0, USER_DATA);
    assert_true(RUN(0x48, 0xcf));
    assert_int_equal(cpu.cpl, 3);
    assert_int_equal(cpu.rip, 0x400000);
    assert_int_equal(cpu.gpr[RSP], 0x7ffff0);
    assert_int_equal(cpu.segment[SEG_SS].selector, USER_DATA);
    assert_int_equal(rflags_get(&cpu), RFLAGS_FIXED | RFLAGS_IF | RFLAGS_RF | RFLAGS_ZF);
    assert_int_equal(cpu.nmi_blocked, 0);
    assert_true(cpu.segment[SEG_DS].attributes & SEGMENT_UNUSABLE); /* was a kernel segment */

    fixture_long(0); /* within the kernel: SS:RSP too, and a null SS */
    push_frame(8, 0xffffffff81000000, KERNEL_CODE, 2, 0xffff888000000000, 0);
    assert_true(RUN(0x48, 0xcf));
    assert_int_equal(cpu.gpr[RSP], 0xffff888000000000);
    assert_int_equal(cpu.segment[SEG_SS].selector, 0);

    fixture_long(0); /* to compatibility mode: ESP, 32-bit code */
    push_frame(8, 0x400000, USER_CODE32, RFLAGS_IF, 0x123456789, USER_DATA);
    assert_true(RUN(0x48, 0xcf));
    assert_int_equal(cpu.mode & MODE_SIZE, MODE_32);
    assert_int_equal(cpu.gpr[RSP], 0x23456789);
}

static void test_iretq_faults(void **state)
{
    (void)state;
    fixture_long(0);
    push_frame(8, 0x400000, USER_CODE64, RFLAGS_IF, 0x7ffff0, 3); /* a null SS for ring 3 */
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0xcf);
    push_frame(8, 0x8000000000000000, USER_CODE64, RFLAGS_IF, 0x7ffff0, USER_DATA);
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0xcf);
    push_frame(8, 0x400000, 0, RFLAGS_IF, 0x7ffff0, USER_DATA);
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0xcf);
    push_frame(8, 0x400000, USER_DATA, RFLAGS_IF, 0x7ffff0, USER_DATA);
    EXPECT_FAULT(VECTOR_GP, USER_DATA & ~3, 0x48, 0xcf);
    push_frame(8, 0x400000, USER_CODE64, RFLAGS_IF, 0x7ffff0, KERNEL_DATA);
    EXPECT_FAULT(VECTOR_GP, KERNEL_DATA, 0x48, 0xcf);
    push_frame(8, 0x400000, USER_CODE64, RFLAGS_IF, 0x7ffff0, USER_DATA);
    cpu.sys_flags |= RFLAGS_NT;
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0xcf);
    assert_int_equal(cpu.cpl, 0);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0x100);

    fixture_long(3); /* a user may not leave his ring, nor set IF or IOPL */
    rflags_set(&cpu, RFLAGS_FIXED);
    push_frame(8, 0x400000, KERNEL_CODE, RFLAGS_IF, 0x7ffff0, KERNEL_DATA);
    EXPECT_FAULT(VECTOR_GP, KERNEL_CODE, 0x48, 0xcf);
    push_frame(8, 0x400000, USER_CODE64, RFLAGS_IF | RFLAGS_IOPL | RFLAGS_CF | RFLAGS_VM, 0x7ffff0, USER_DATA);
    assert_true(RUN(0x48, 0xcf));
    assert_int_equal(rflags_get(&cpu), RFLAGS_FIXED | RFLAGS_CF);
}

static void test_iret_protected(void **state)
{
    (void)state;
    fixture_protected(0);
    push_frame(4, 0x5000, USER_CODE32, RFLAGS_IF | RFLAGS_IOPL, AT_USER_STACK, USER_DATA);
    assert_true(RUN(0xcf));
    assert_int_equal(cpu.cpl, 3);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK);
    assert_true(cpu.segment[SEG_ES].attributes & SEGMENT_UNUSABLE);
    assert_int_equal(cpu.sys_flags & RFLAGS_IOPL, RFLAGS_IOPL);

    fixture_protected(0); /* same level: the stack stays */
    push_frame(4, 0x5000, KERNEL_CODE32, RFLAGS_IF, 0, 0);
    assert_true(RUN(0xcf));
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0x100 + 12);

    fixture_protected(0); /* to a 16-bit stack: the upper half of ESP stays */
    fixture_descriptor(USER_DATA, 0x0000f3000000ffff);
    push_frame(4, 0x5000, USER_CODE32, RFLAGS_IF, 0x12345678, USER_DATA);
    cpu.gpr[RSP] |= 0;
    assert_true(RUN(0xcf));
    assert_int_equal(cpu.gpr[RSP], ((AT_KERNEL_STACK - 0x100) & ~0xffff) | 0x5678);

    fixture_protected(0);
    cpu.sys_flags |= RFLAGS_NT;
    EXPECT_FAULT(VECTOR_TS, 0, 0xcf);
}

static void test_v8086(void **state)
{
    (void)state;
    fixture_protected(0);
    push_frame(4, 0x100, 0x2000, RFLAGS_IF | RFLAGS_VM | RFLAGS_IOPL, 0xfff0, 0x3000);
    poke(cpu.gpr[RSP] + 20, 4, 0x4000); /* ES, DS, FS, GS */
    poke(cpu.gpr[RSP] + 24, 4, 0x5000);
    assert_true(RUN(0xcf));
    assert_int_equal(cpu.cpl, 3);
    assert_int_equal(cpu.segment[SEG_CS].base, 0x20000);
    assert_int_equal(cpu.segment[SEG_SS].base, 0x30000);
    assert_int_equal(cpu.segment[SEG_DS].base, 0x50000);
    assert_int_equal(cpu.segment[SEG_DS].limit, 0xffff);
    assert_int_equal(cpu.mode & MODE_SIZE, MODE_16);

    fixture_gate(0x21, SYSTEM_INTERRUPT, 3, 0, KERNEL_CODE32, 0x777);
    assert_true(RUN(0xcd, 0x21));
    assert_int_equal(cpu.cpl, 0);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 36);
    assert_int_equal(peek(AT_KERNEL_STACK - 12, 4), 0x5000); /* DS */
    assert_int_equal(peek(AT_KERNEL_STACK - 20, 4), 0x3000); /* SS */
    assert_true(peek(AT_KERNEL_STACK - 28, 4) & RFLAGS_VM);
    assert_false(cpu.sys_flags & RFLAGS_VM);
    assert_true(cpu.segment[SEG_DS].attributes & SEGMENT_UNUSABLE);

    assert_true(RUN(0xcf)); /* and back; then without IOPL */
    assert_true(cpu.sys_flags & RFLAGS_VM);
    assert_int_equal(cpu.rip, 0x102);
    cpu.sys_flags &= ~RFLAGS_IOPL;
    EXPECT_FAULT(VECTOR_GP, 0, 0xcd, 0x21);
    EXPECT_FAULT(VECTOR_GP, 0, 0xfa);
    EXPECT_FAULT(VECTOR_GP, 0, 0x9c);
    cpu.cr4 |= CR4_VME; /* a virtual interrupt flag, and the task's own vectors */
    assert_true(RUN(0xfb));
    assert_true(cpu.sys_flags & RFLAGS_VIF);
    poke(0x21 * 4, 4, 0x60000042);
    assert_true(RUN(0xcd, 0x21));
    assert_int_equal(cpu.segment[SEG_CS].base, 0x60000);
    assert_int_equal(cpu.rip, 0x42);
    assert_false(cpu.sys_flags & RFLAGS_VIF);
    assert_int_equal(peek(0x30000 + cpu.gpr[RSP] + 4, 2) & (RFLAGS_IF | RFLAGS_IOPL), RFLAGS_IF | RFLAGS_IOPL);
    assert_true(RUN(0xcf));
    assert_true(cpu.sys_flags & RFLAGS_VIF);
    assert_int_equal(cpu.sys_flags & RFLAGS_IOPL, 0);
}

/* ---- far transfers ---- */

static void test_far_transfers(void **state)
{
    (void)state;
    fixture_long(0);
    poke(AT_KERNEL_STACK - 0x100, 8, 0xffffffff81000000); /* lretq, as head_64.S does */
    poke(AT_KERNEL_STACK - 0xf8, 8, KERNEL_CODE);
    assert_true(RUN(0x48, 0xcb));
    assert_int_equal(cpu.rip, 0xffffffff81000000);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0xf0);

    fixture_long(0);
    poke(AT_DATA, 4, 0x5000);
    poke(AT_DATA + 4, 2, KERNEL_CODE32);
    cpu.gpr[RAX] = AT_DATA;
    assert_true(RUN(0xff, 0x28)); /* ljmp *(rax) to compatibility mode */
    assert_int_equal(cpu.mode & MODE_SIZE, MODE_32);
    assert_int_equal(cpu.rip, 0x5000);

    for (unsigned intel = 0; intel < 2; intel++) { /* REX.W: only Intel's pointers grow, both push 64 bits */
        fixture_long(0);
        poke(AT_DATA, 8, 0xffff800000005000);
        poke(AT_DATA + (intel ? 8 : 4), 2, KERNEL_CODE);
        if (intel)
            fixture_intel();
        cpu.gpr[RAX] = AT_DATA;
        assert_true(RUN(0x48, 0xff, 0x18)); /* rex.w lcall *(rax) */
        assert_int_equal(cpu.rip, intel ? 0xffff800000005000 : 0x5000);
        assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 0x110);
        assert_int_equal(peek(cpu.gpr[RSP], 8), AT_CODE + 3);
    }

    fixture_protected(0);
    assert_true(RUN(0xea, 0x00, 0x60, 0x00, 0x00, KERNEL_CODE32, 0x00));
    assert_int_equal(cpu.rip, 0x6000);
    assert_true(RUN(0x9a, 0x00, 0x70, 0x00, 0x00, KERNEL_CODE32, 0x00));
    assert_int_equal(peek(cpu.gpr[RSP], 4), 0x6007);
    assert_int_equal(peek(cpu.gpr[RSP] + 4, 4), KERNEL_CODE32);
    assert_true(RUN(0xcb));
    assert_int_equal(cpu.rip, 0x6007);
    EXPECT_FAULT(VECTOR_GP, KERNEL_DATA, 0xea, 0x00, 0x60, 0x00, 0x00, KERNEL_DATA, 0x00);
    EXPECT_FAULT(VECTOR_TS, TSS, 0xea, 0x00, 0x60, 0x00, 0x00, TSS, 0x00);
    EXPECT_FAULT(VECTOR_GP, 0, 0xea, 0x00, 0x60, 0x00, 0x00, 0x00, 0x00);

    fixture_protected(3);
    assert_true(RUN(0xea, 0x00, 0x60, 0x00, 0x00, CONFORMING, 0x00));
    assert_int_equal(cpu.cpl, 3);
    assert_int_equal(cpu.segment[SEG_CS].selector, CONFORMING | 3);
    EXPECT_FAULT(VECTOR_GP, KERNEL_CODE32, 0xea, 0x00, 0x60, 0x00, 0x00, KERNEL_CODE32, 0x00);

    fixture_real();
    assert_true(RUN(0xea, 0x34, 0x12, 0x00, 0xf0));
    assert_int_equal(cpu.segment[SEG_CS].base, 0xf0000);
    assert_int_equal(cpu.rip, 0x1234);
}

static void test_call_gate(void **state)
{
    (void)state;
    fixture_protected(3);
    fixture_descriptor(GATE, 0x0000ec0200004000 | KERNEL_CODE32 << 16); /* two parameters, DPL 3 */
    poke(AT_USER_STACK, 4, 0x11111111);
    poke(AT_USER_STACK + 4, 4, 0x22222222);
    assert_true(RUN(0x9a, 0, 0, 0, 0, GATE, 0));
    assert_int_equal(cpu.cpl, 0);
    assert_int_equal(cpu.rip, 0x4000);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 24);
    assert_int_equal(peek(AT_KERNEL_STACK - 4, 4), USER_DATA);
    assert_int_equal(peek(AT_KERNEL_STACK - 8, 4), AT_USER_STACK);
    assert_int_equal(peek(AT_KERNEL_STACK - 12, 4), 0x22222222);
    assert_int_equal(peek(AT_KERNEL_STACK - 16, 4), 0x11111111);
    assert_int_equal(peek(AT_KERNEL_STACK - 20, 4), USER_CODE32);
    assert_int_equal(peek(AT_KERNEL_STACK - 24, 4), AT_CODE + 7);
    assert_true(RUN(0xca, 8, 0)); /* retf 8: releases them on both stacks */
    assert_int_equal(cpu.cpl, 3);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK + 8);
    assert_int_equal(cpu.rip, AT_CODE + 7);
    EXPECT_FAULT(VECTOR_GP, KERNEL_CODE32, 0xea, 0, 0, 0, 0, GATE, 0); /* a jump may not go inward */

    fixture_long(3);
    fixture_descriptor(GATE, 0x8100ec0000000000 | KERNEL_CODE << 16);
    fixture_descriptor(GATE + 8, 0xffffffff);
    poke(AT_DATA, 4, 0);
    poke(AT_DATA + 4, 2, GATE);
    cpu.gpr[RAX] = AT_DATA;
    assert_true(RUN(0xff, 0x18));
    assert_int_equal(cpu.rip, 0xffffffff81000000);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK - 32);
    assert_int_equal(peek(AT_KERNEL_STACK - 32, 8), AT_CODE + 2);
    assert_int_equal(cpu.segment[SEG_SS].selector, 0);
}

/* ---- fast calls ---- */

static void test_syscall_sysret(void **state)
{
    (void)state;
    fixture_long(3);
    cpu.star = (uint64_t)0x1b << 48 | (uint64_t)KERNEL_CODE << 32;
    cpu.lstar = 0xffffffff81800000;
    cpu.sfmask = RFLAGS_IF | RFLAGS_TF | RFLAGS_DF;
    rflags_set(&cpu, RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
    assert_true(RUN(0x0f, 0x05));
    assert_int_equal(cpu.rip, 0xffffffff81800000);
    assert_int_equal(cpu.gpr[RCX], AT_CODE + 2);
    assert_int_equal(cpu.gpr[GPR_R11], RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
    assert_int_equal(rflags_get(&cpu), RFLAGS_FIXED | RFLAGS_CF);
    assert_int_equal(cpu.segment[SEG_CS].selector, KERNEL_CODE);
    assert_int_equal(cpu.segment[SEG_SS].selector, KERNEL_DATA);
    assert_int_equal(cpu.mode & MODE_SIZE, MODE_64);
    assert_int_equal(cpu.gpr[RSP], AT_USER_STACK);

    assert_true(RUN(0x48, 0x0f, 0x07));
    assert_int_equal(cpu.cpl, 3);
    assert_int_equal(cpu.rip, AT_CODE + 2);
    assert_int_equal(cpu.segment[SEG_CS].selector, USER_CODE64);
    assert_int_equal(cpu.segment[SEG_SS].selector, USER_DATA);
    assert_int_equal(rflags_get(&cpu), RFLAGS_FIXED | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0x0f, 0x07);

    cpu.cpl = 0; /* 32-bit return */
    cpu.gpr[RCX] = 0x123456789;
    assert_true(RUN(0x0f, 0x07));
    assert_int_equal(cpu.rip, 0x23456789);
    assert_int_equal(cpu.segment[SEG_CS].selector, USER_CODE32);
    assert_int_equal(cpu.mode & MODE_SIZE, MODE_32);
    cpu.cstar = 0xffffffff81900000;
    assert_true(RUN(0x0f, 0x05));
    assert_int_equal(cpu.rip, 0xffffffff81900000);
    EXPECT_FAULT(VECTOR_UD, -1, 0x0f, 0x34);
}

static void test_syscall_vendors(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RCX] = 0x8000000000000000;
    assert_true(RUN(0x48, 0x0f, 0x07)); /* AMD: the fault is the user's fetch */
    fixture_long(0);
    fixture_intel();
    cpu.gpr[RCX] = 0x8000000000000000;
    EXPECT_FAULT(VECTOR_GP, 0, 0x48, 0x0f, 0x07);
    cpu.efer &= ~EFER_SCE;
    EXPECT_FAULT(VECTOR_UD, -1, 0x0f, 0x05);
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x34); /* no SYSENTER_CS */
    cpu.sysenter_cs = KERNEL_CODE;
    cpu.sysenter_eip = 0xffffffff81000000;
    cpu.sysenter_esp = AT_KERNEL_STACK;
    assert_true(RUN(0x0f, 0x34));
    assert_int_equal(cpu.rip, 0xffffffff81000000);
    assert_int_equal(cpu.gpr[RSP], AT_KERNEL_STACK);
    cpu.gpr[RDX] = 0x400000;
    cpu.gpr[RCX] = 0x500000;
    assert_true(RUN(0x48, 0x0f, 0x35));
    assert_int_equal(cpu.segment[SEG_CS].selector, (KERNEL_CODE + 32) | 3);
    assert_int_equal(cpu.gpr[RSP], 0x500000);
}

static void test_hypercall_and_halt(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RAX] = 5;
    assert_true(RUN(0x0f, 0x01, 0xd9)); /* vmmcall */
    assert_int_equal(cpu.gpr[RAX], (uint64_t)-1000);
    cpu.gpr[RAX] = 10; /* two IPIs */
    cpu.gpr[RBX] = 0x5;
    cpu.gpr[RCX] = 0;
    cpu.gpr[RDX] = 4;
    cpu.gpr[GPR_RSI] = 0xfd;
    assert_true(RUN(0x0f, 0x01, 0xc1));
    assert_int_equal(cpu.gpr[RAX], 2);
    assert_int_equal(fx.apic_msr, 0xfd | (uint64_t)6 << 32);
    assert_true(RUN(0xf4));
    assert_int_equal(cpu.halted, 1);
    cpu.cpl = 3;
    EXPECT_FAULT(VECTOR_GP, 0, 0xf4);
    cpu.gpr[RAX] = 10;
    assert_true(RUN(0x0f, 0x01, 0xc1));
    assert_int_equal(cpu.gpr[RAX], (uint64_t)-1);
}

/* ---- flags ---- */

static void test_flags(void **state)
{
    (void)state;
    fixture_long(3);
    assert_true(RUN(0x9c));
    assert_int_equal(peek(cpu.gpr[RSP], 8), RFLAGS_FIXED | RFLAGS_IF);
    poke(cpu.gpr[RSP], 8, RFLAGS_IOPL | RFLAGS_AC | RFLAGS_ID | RFLAGS_CF | RFLAGS_VM | RFLAGS_RF);
    assert_true(RUN(0x9d)); /* no right to IF and IOPL */
    assert_int_equal(rflags_get(&cpu), RFLAGS_FIXED | RFLAGS_IF | RFLAGS_AC | RFLAGS_ID | RFLAGS_CF);
    EXPECT_FAULT(VECTOR_GP, 0, 0xfa);
    EXPECT_FAULT(VECTOR_GP, 0, 0xfb);
    EXPECT_FAULT(VECTOR_UD, -1, 0x0f, 0x01, 0xca);

    fixture_long(0);
    assert_true(RUN(0xfb));
    assert_int_equal(cpu.interrupt_shadow, 0); /* IF was set already */
    assert_true(RUN(0xfa));
    assert_false(cpu.sys_flags & RFLAGS_IF);
    assert_true(RUN(0xfb));
    assert_int_equal(cpu.interrupt_shadow, 1);
    assert_true(RUN(0x0f, 0x01, 0xcb)); /* stac */
    assert_true(cpu.sys_flags & RFLAGS_AC);
    poke(cpu.gpr[RSP], 8, RFLAGS_IOPL | RFLAGS_NT);
    assert_true(RUN(0x66, 0x9d)); /* popf of 16 bits leaves AC */
    assert_int_equal(rflags_get(&cpu), RFLAGS_FIXED | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC);
}

/* ---- control and debug registers ---- */

static void test_control_registers(void **state)
{
    (void)state;
    fixture_protected(0);
    cpu.cr4 = CR4_PAE;
    cpu.efer = EFER_LME;
    cpu.gpr[RAX] = CR0_PE | CR0_PG;
    assert_true(RUN(0x0f, 0x22, 0xc0)); /* mov cr0, eax: into compatibility mode */
    assert_true(cpu.efer & EFER_LMA);
    assert_true(cpu.cr0 & CR0_ET);
    assert_int_equal(cpu.mode & MODE_SIZE, MODE_32);
    assert_int_equal(fx.flushes_all, 1);
    cpu.gpr[RAX] = 0; /* PAE may not go now */
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xe0);
    cpu.gpr[RAX] = CR0_PE;
    assert_true(RUN(0x0f, 0x22, 0xc0));
    assert_false(cpu.efer & EFER_LMA);

    fixture_protected(0);
    cpu.efer = EFER_LME;
    cpu.gpr[RAX] = CR0_PE | CR0_PG; /* without PAE */
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xc0);
    cpu.gpr[RAX] = CR0_PG;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xc0);
    cpu.gpr[RAX] = CR0_PE | CR0_NW;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xc0);
    cpu.gpr[RAX] = 0;
    assert_true(RUN(0x0f, 0x01, 0xf0)); /* lmsw cannot clear PE */
    assert_true(cpu.cr0 & CR0_PE);

    fixture_long(0);
    cpu.gpr[RAX] = CR0_PE; /* paging off in 64-bit code */
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xc0);
    cpu.gpr[RAX] = 1ull << 52;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xd8);
    cpu.gpr[RAX] = CR3_NO_FLUSH | 0x5000; /* without PCIDE */
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xd8);
    cpu.gpr[RAX] = cpu.cr4 | CR4_PCIDE;
    assert_true(RUN(0x0f, 0x22, 0xe0));
    cpu.gpr[RAX] = CR3_NO_FLUSH | 0x5001;
    assert_true(RUN(0x0f, 0x22, 0xd8));
    assert_int_equal(cpu.cr3, 0x5001);
    assert_int_equal(fx.flushes_local, 1); /* another address space: nothing to keep */
    assert_true(RUN(0x0f, 0x22, 0xd8));
    assert_int_equal(fx.flushes_local, 1);
    cpu.gpr[RAX] = cpu.cr4 | CR4_LA57;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x22, 0xe0);
    cpu.gpr[RAX] = 0x10;
    EXPECT_FAULT(VECTOR_GP, 0, 0x44, 0x0f, 0x22, 0xc0);
    cpu.gpr[RAX] = 0x9;
    assert_true(RUN(0x44, 0x0f, 0x22, 0xc0)); /* mov cr8, rax */
    assert_int_equal(fx.tpr, 9);
    assert_true(RUN(0x44, 0x0f, 0x20, 0xc1));
    assert_int_equal(cpu.gpr[RCX], 9);
    cpu.cpl = 3;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x20, 0xc0);
}

static void test_debug_registers(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RAX] = 0xffff;
    assert_true(RUN(0x0f, 0x23, 0xf0)); /* mov dr6, rax */
    assert_int_equal(cpu.dr[6], 0xffffefff);
    cpu.gpr[RAX] = 1ull << 32;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x23, 0xf8);
    assert_true(RUN(0x0f, 0x21, 0xe1)); /* dr4 is dr6 */
    assert_int_equal(cpu.gpr[RCX], 0xffffefff);
    cpu.cr4 |= CR4_DE;
    EXPECT_FAULT(VECTOR_UD, -1, 0x0f, 0x21, 0xe1);
    cpu.dr[6] = DR6_RESET;
    cpu.dr[7] |= DR7_GD;
    EXPECT_FAULT(VECTOR_DB, -1, 0x0f, 0x21, 0xc1);
    assert_true(cpu.dr[6] & DR6_BD);
    fixture_gate(VECTOR_DB, SYSTEM_INTERRUPT, 0, 0, KERNEL_CODE, AT_CODE);
    assert_true(fixture_deliver(VECTOR_DB, false, 0));
    assert_false(cpu.dr[7] & DR7_GD);
}

static void test_invalidation(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RAX] = AT_DATA;
    assert_true(RUN(0x0f, 0x01, 0x38)); /* invlpg [rax] */
    assert_int_equal(fx.flushes_page, 1);
    poke(AT_DATA, 8, 1); /* a PCID without PCIDE */
    cpu.gpr[RCX] = 1;
    EXPECT_FAULT(VECTOR_GP, 0, 0x66, 0x0f, 0x38, 0x82, 0x08); /* invpcid rcx, [rax] */
    poke(AT_DATA, 8, 0);
    cpu.gpr[RCX] = 2;
    assert_true(RUN(0x66, 0x0f, 0x38, 0x82, 0x08));
    assert_int_equal(fx.flushes_all, 1);
    cpu.gpr[RCX] = 4;
    EXPECT_FAULT(VECTOR_GP, 0, 0x66, 0x0f, 0x38, 0x82, 0x08);
    cpu.gpr[RAX] = 0x8000000000000000;
    assert_true(RUN(0x0f, 0x01, 0x38));
    assert_int_equal(fx.flushes_page, 1);
}

static void test_xcr0(void **state)
{
    (void)state;
    fixture_long(0);
    cpu.gpr[RCX] = cpu.gpr[RDX] = 0;
    cpu.gpr[RAX] = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    assert_true(RUN(0x0f, 0x01, 0xd1));
    assert_true(RUN(0x0f, 0x01, 0xd0));
    assert_int_equal(cpu.gpr[RAX], 7);
    cpu.gpr[RAX] = XCR0_X87 | XCR0_AVX;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x01, 0xd1);
    cpu.gpr[RAX] = XCR0_SSE;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x01, 0xd1);
    cpu.gpr[RAX] = 7 | XCR0_OPMASK;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x01, 0xd1);
    cpu.gpr[RAX] = 7 | XCR0_PKRU;
    EXPECT_FAULT(VECTOR_GP, 0, 0x0f, 0x01, 0xd1);
    cpu.cr4 &= ~CR4_OSXSAVE;
    EXPECT_FAULT(VECTOR_UD, -1, 0x0f, 0x01, 0xd0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_data_segment),
        cmocka_unit_test(test_load_stack_segment),
        cmocka_unit_test(test_push_pop_segment),
        cmocka_unit_test(test_real_mode_segments),
        cmocka_unit_test(test_ltr_lldt),
        cmocka_unit_test(test_lar_lsl_verw),
        cmocka_unit_test(test_descriptor_tables),
        cmocka_unit_test(test_fsgsbase_swapgs),
        cmocka_unit_test(test_interrupt_long_from_user),
        cmocka_unit_test(test_interrupt_long_same_level),
        cmocka_unit_test(test_interrupt_long_faults),
        cmocka_unit_test(test_interrupt_protected),
        cmocka_unit_test(test_interrupt_real),
        cmocka_unit_test(test_iretq),
        cmocka_unit_test(test_iretq_faults),
        cmocka_unit_test(test_iret_protected),
        cmocka_unit_test(test_v8086),
        cmocka_unit_test(test_far_transfers),
        cmocka_unit_test(test_call_gate),
        cmocka_unit_test(test_syscall_sysret),
        cmocka_unit_test(test_syscall_vendors),
        cmocka_unit_test(test_hypercall_and_halt),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_control_registers),
        cmocka_unit_test(test_debug_registers),
        cmocka_unit_test(test_invalidation),
        cmocka_unit_test(test_xcr0),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
