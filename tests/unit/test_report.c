/* The report on a processor that shut down, from states made by hand. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "unit.h"

#include "fake_engine.h"
#include "fake_port.h"
#include "vmm/report.h"
#include "x86/paging.h"
#include "x86/regs.h"

enum { PAGES = 16, CODE = 0x8000 };

static _Alignas(4096) uint8_t backing[PAGES * PAGE_SIZE];
static struct machine machine;
static struct fake_engine fake;
static char text[8192];

static void collect(const char *line)
{
    size_t used = strlen(text);

    (void)snprintf(text + used, sizeof(text) - used, "%s\n", line);
}

static enum vcpu_exit crashing_guest(struct vcpu *vcpu)
{
    (void)vcpu;
    return VCPU_EXIT_SHUTDOWN;
}

static enum vcpu_exit failing_guest(struct vcpu *vcpu)
{
    (void)vcpu;
    return VCPU_EXIT_FAILED;
}

/* The state that the next report is about. */
static struct cpu_state *set_up(enum vcpu_exit (*guest)(struct vcpu *vcpu))
{
    struct cpu_state *state = &fake.states[0];

    fake_engine_init(&fake, &machine, guest);
    machine.crashed = report_crash;
    memset(backing, 0, sizeof(backing));
    assert_int_equal(memory_init(&machine.memory, backing, -1, sizeof(backing)), STATUS_OK);
    memset(state->segment, 0, sizeof(state->segment));
    return state;
}

/* Linear addresses of the first 2 MiB are physical, but for the page at `hole`. */
static void map_64(struct cpu_state *state, uint64_t hole)
{
    state->cr0 = CR0_PE | CR0_PG;
    state->cr4 = CR4_PAE;
    state->cr3 = 0x1000;
    state->efer = EFER_LME | EFER_LMA;
    state->segment[SEG_CS].attributes = SEGMENT_P | SEGMENT_S | SEGMENT_L | 0xb;
    store_le(backing + 0x1000, 8, 0x2000 | PTE_P);
    store_le(backing + 0x2000, 8, 0x3000 | PTE_P);
    store_le(backing + 0x3000, 8, 0x4000 | PTE_P);
    for (uint64_t page = 0; page < PAGES; page++)
        store_le(backing + 0x4000 + 8 * page, 8, page * PAGE_SIZE == hole ? 0 : page * PAGE_SIZE | PTE_P);
}

static const char *report(void)
{
    text[0] = '\0';
    fake_log_listener = collect;
    vcpu_loop(machine.vcpus[0]);
    fake_log_listener = NULL;
    return text;
}

static void says(const char *line)
{
    char whole[256];

    (void)snprintf(whole, sizeof(whole), "%s\n", line);
    if (!strstr(text, whole))
        fail_msg("'%s' is not in:\n%s", line, text);
}

static void says_not(const char *part)
{
    if (strstr(text, part))
        fail_msg("'%s' is in:\n%s", part, text);
}

static void registers_are_printed(void **unused)
{
    struct cpu_state *state = set_up(crashing_guest);

    (void)unused;
    map_64(state, 0);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        state->gpr[i] = 0x1111111111111111u * i;
    state->rip = CODE;
    state->rflags = RFLAGS_FIXED | RFLAGS_IF;
    state->cr2 = 0xdeadbeef;
    state->gdt_base = 0xfffffe0000001000;
    state->gdt_limit = 0x7f;
    state->idt_base = 0xfffffe0000000000;
    state->idt_limit = 0xfff;
    state->segment[SEG_SS].attributes = 3 << SEGMENT_DPL_SHIFT;
    state->segment[SEG_FS] = (struct segment_state){.base = 0x7000, .limit = 0xfffff, .selector = 0x33};
    report();
    assert_memory_equal(text, "triple fault on CPU 0; its registers:\n", 38);
    says("rip 0000000000008000 rflags 0000000000000202 cpl 3");
    says("rax 0000000000000000 rcx 1111111111111111 rdx 2222222222222222 rbx 3333333333333333");
    says("r12 cccccccccccccccc r13 dddddddddddddddd r14 eeeeeeeeeeeeeeee r15 ffffffffffffffff");
    says("cr0 0000000080000001 cr2 00000000deadbeef cr3 0000000000001000 cr4 0000000000000020 efer 0000000000000500");
    says("gdt fffffe0000001000/007f idt fffffe0000000000/0fff");
    says("FS   0033 base 0000000000007000 limit 000fffff attributes 0000");
    assert_int_equal(machine.end, MACHINE_TRIPLE_FAULT);
}

static void an_engine_that_gives_up_is_reported_too(void **unused)
{
    struct cpu_state *state = set_up(failing_guest);

    (void)unused;
    map_64(state, 0);
    state->rip = CODE;
    report();
    assert_memory_equal(text, "the engine gave up on CPU 0; its registers:\n", 44);
    says("rip 0000000000008000 rflags 0000000000000002 cpl 0");
    assert_int_equal(machine.end, MACHINE_FAILED);
}

static void code_before_rip_lines_up_with_it(void **unused)
{
    static const uint8_t code[] = {
        0x48, 0xb8, 0x0f, 0x0b, 0x0f, 0x0b, 0x0f, 0x0b, 0x0f, 0x0b, /* mov rax, imm64, that looks like ud2s */
        0x0f, 0x01, 0x5c, 0x24, 0x06,                               /* lidt [rsp + 6] */
        0x0f, 0x0b,                                                 /* ud2: RIP */
        0xe8, 0x01, 0x00, 0x00, 0x00,                               /* call */
        0xc3,
    };
    struct cpu_state *state = set_up(crashing_guest);

    (void)unused;
    map_64(state, 0);
    memset(backing + CODE, 0x90, PAGE_SIZE);
    memcpy(backing + CODE + 0x100, code, sizeof(code));
    state->rip = CODE + 0x10f;
    report();
    says("64-bit code around rip, at linear address 000000000000810f:");
    says("  00000000000080fd 90                   nop");
    says_not("00000000000080fb");
    says("  0000000000008100 48b80f0b0f0b0f0b0f0b mov rax, 0xb0f0b0f0b0f0b0f");
    says("  000000000000810a 0f015c2406           lidt [rsp+0x06]");
    says("> 000000000000810f 0f0b                 ud2");
    says("  0000000000008111 e801000000           call 0x0000000000008117");
    says("  0000000000008116 c3                   ret");
    says("  0000000000008119 90                   nop");
    says_not("000000000000811a");
}

static void what_is_no_instruction_is_said(void **unused)
{
    struct cpu_state *state = set_up(crashing_guest);

    (void)unused;
    map_64(state, 0);
    backing[CODE] = 0x06; /* PUSH ES is not in 64-bit code */
    memset(backing + CODE + 1, 0x90, 100);
    state->rip = CODE;
    report();
    says("> 0000000000008000 06                   (no instruction)");
    says("  0000000000008001 90                   nop");
}

static void code_that_is_not_mapped_is_said(void **unused)
{
    struct cpu_state *state = set_up(crashing_guest);

    (void)unused;
    map_64(state, CODE);
    state->rip = CODE + 8;
    report();
    says("the code at rip is not mapped (linear address 0000000000008008)");

    state = set_up(crashing_guest);
    map_64(state, 0);
    state->rip = 0x0000800000000000; /* not canonical */
    report();
    says("the code at rip is not mapped (linear address 0000800000000000)");
}

static void the_neighbouring_pages_need_not_be_mapped(void **unused)
{
    struct cpu_state *state = set_up(crashing_guest);

    (void)unused;
    map_64(state, CODE - PAGE_SIZE);
    memset(backing + CODE, 0x90, PAGE_SIZE);
    state->rip = CODE + 2;
    report();
    says("  0000000000008000 90                   nop");
    says("> 0000000000008002 90                   nop");

    state = set_up(crashing_guest);
    map_64(state, CODE + PAGE_SIZE);
    memset(backing + CODE, 0x90, PAGE_SIZE);
    backing[CODE + PAGE_SIZE - 1] = 0x0f; /* and its second byte is missing */
    state->rip = CODE + PAGE_SIZE - 2;
    report();
    says("> 0000000000008ffe 90                   nop");
    says("from 0000000000009000 on, nothing is mapped");
}

static void sixteen_bit_code_starts_at_the_segment(void **unused)
{
    static const uint8_t code[] = {0xb8, 0x34, 0x12, 0xcd, 0x10, 0xf4}; /* mov ax, 0x1234; int 0x10; hlt */
    struct cpu_state *state = set_up(crashing_guest);

    (void)unused;
    memcpy(backing + 0x7c00, code, sizeof(code));
    state->segment[SEG_CS] = (struct segment_state){.base = 0x7c00, .limit = 0xffff, .selector = 0x7c0};
    state->rip = 3;
    state->cr0 = 0;
    report();
    says("16-bit code around rip, at linear address 0000000000007c03:");
    says("  0000000000000000 b83412               mov ax, 0x1234");
    says("> 0000000000000003 cd10                 int 0x10");
    says("rip 0000000000000003 rflags 0000000000000002 cpl 0");
}

static void thirty_two_bit_code(void **unused)
{
    static const uint8_t code[] = {0xb8, 0x78, 0x56, 0x34, 0x12, 0x06}; /* mov eax, 0x12345678; push es */
    struct cpu_state *state = set_up(crashing_guest);

    (void)unused;
    memset(backing + CODE - 100, 0x90, 100);
    memcpy(backing + CODE, code, sizeof(code));
    state->cr0 = CR0_PE;
    state->segment[SEG_CS] = (struct segment_state){.base = 0x1000, .limit = 0xffffffff, .selector = 8};
    state->segment[SEG_CS].attributes = SEGMENT_P | SEGMENT_S | SEGMENT_DB | 0xb;
    state->rip = CODE - 0x1000 + 5;
    report();
    says("32-bit code around rip, at linear address 0000000000008005:");
    says("  0000000000007000 b878563412           mov eax, 0x12345678");
    says("> 0000000000007005 06                   push es");
}

static void exceptions_are_listed(void **unused)
{
    const struct exception_record exceptions[] = {
        {.rip = 0x1000, .vector = 6},
        {.rip = 0x1000, .vector = 13, .has_error = true, .error = 0x32},
        {.rip = 0x1002, .vector = 14, .has_error = true, .error = 2, .address = 0xffff800000000000},
    };
    struct cpu_state state = {.rip = CODE};
    struct report subject = {.what = "triple fault", .cpu = 3, .engine = "fake", .state = &state};

    (void)unused;
    (void)set_up(crashing_guest);
    subject.memory = &machine.memory;
    subject.exceptions = exceptions;
    subject.exception_count = 3;
    fake_log_listener = collect;
    text[0] = '\0';
    report_print(&subject);
    says("exception 6 at rip 0000000000001000");
    says("exception 13 at rip 0000000000001000 error 0032");
    says("exception 14 at rip 0000000000001002 error 0002 address ffff800000000000");

    subject.exception_count = 0;
    text[0] = '\0';
    report_print(&subject);
    says("there were no exceptions before");

    subject.exceptions = NULL;
    text[0] = '\0';
    report_print(&subject);
    fake_log_listener = NULL;
    says("the last exceptions are not known: engine fake does not see them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_are_printed),
        cmocka_unit_test(an_engine_that_gives_up_is_reported_too),
        cmocka_unit_test(code_before_rip_lines_up_with_it),
        cmocka_unit_test(what_is_no_instruction_is_said),
        cmocka_unit_test(code_that_is_not_mapped_is_said),
        cmocka_unit_test(the_neighbouring_pages_need_not_be_mapped),
        cmocka_unit_test(sixteen_bit_code_starts_at_the_segment),
        cmocka_unit_test(thirty_two_bit_code),
        cmocka_unit_test(exceptions_are_listed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
