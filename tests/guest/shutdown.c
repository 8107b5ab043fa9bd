/*
 * Ways into the shutdown state (SDM volume 3, 6.15): each case= ends in a triple fault. The program
 * announces it; the run is good when the machine then reports a shutdown, and bad when it hangs, goes
 * on, or takes the emulator with it.
 */
#include "lib/check.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/paging.h"
#include "lib/runtime.h"
#include "lib/trap.h"

const char test_name[] = "shutdown";

#define NOWHERE 0xd0000000ull /* no memory, no device: reads as all ones */

static void load_idt(uint64_t base, uint16_t limit)
{
    struct table_pointer pointer = { limit, base };
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void undefined(void)
{
    __asm__ volatile("ud2");
}

static void no_idt(void)
{
    load_idt(0, 0);
    undefined();
}

static void idt_nowhere(void)
{
    load_idt(NOWHERE, 4095);
    undefined();
}

static void idt_unmapped(void)
{
    load_idt(TEST_SLOT(1), 4095);
    undefined();
}

static void tables_nowhere(void)
{
    write_cr3(NOWHERE);
    undefined();
}

static void tables_empty(void)
{
    write_cr3((uint64_t)page_alloc());
    undefined();
}

static void double_fault_absent(void)
{
    gate_set_type(VECTOR_DF, 0);
    gate_set_type(VECTOR_GP, 0);
    gate_set_type(VECTOR_NP, 0);
    gate_set_type(VECTOR_UD, 0);
    undefined();
}

/* The stack of the double fault is itself missing. */
static void double_fault_stack(void)
{
    cpu_tss[0].ist[IST_DOUBLE_FAULT] = TEST_SLOT(1) + 4096;
    __asm__ volatile("movq %0, %%rsp; ud2" : : "r"(TEST_SLOT(1) + 4096));
}

static void double_fault_non_canonical(void)
{
    cpu_tss[0].ist[IST_DOUBLE_FAULT] = 0x1234567812345678;
    __asm__ volatile("movq %0, %%rsp; ud2" : : "r"(TEST_SLOT(1) + 4096));
}

static void gdt_nowhere(void)
{
    struct table_pointer pointer = { 0xffff, NOWHERE };

    __asm__ volatile("lgdt %0" : : "m"(pointer));
    undefined();
}

static void stack_and_everything(void)
{
    load_idt(0x0000800000000000 - 8, 4095);
    __asm__ volatile("movq %0, %%rsp; pushq %%rax" : : "r"(TEST_SLOT(1)));
}

/* From an interrupt, not an exception: HLT wakes into a missing IDT. */
static void machine_check_like(void)
{
    load_idt(0, 0);
    __asm__ volatile("int $0x60");
}

void test_main(void)
{
    static void (*const cases[])(void) = {
        no_idt, idt_nowhere, idt_unmapped, tables_nowhere, tables_empty, double_fault_absent, double_fault_stack,
        double_fault_non_canonical, gdt_nowhere, stack_and_everything, machine_check_like,
    };
    unsigned which = option_number("case=", 0);

    if (which >= sizeof(cases) / sizeof(cases[0])) {
        fail("no such case: %u", which);
        return;
    }
    print("SHUTDOWN EXPECTED: case %u\n", which);
    cases[which]();
    fail("case %u came back", which);
}
