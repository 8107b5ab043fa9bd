#include "lib/trap.h"

#include "lib/check.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/runtime.h"

enum { STUB_SIZE = 16, USER_STACK_SIZE = 8192 };

extern const uint8_t trap_stubs[256][STUB_SIZE];

void trap_dispatch(struct trap_frame *frame);

struct gate idt[256] __attribute__((aligned(64)));
struct trap last_trap;
uint64_t trap_recover_rip, trap_recover_rsp, trap_try_start, trap_try_end;

static trap_handler *handlers[256];
static uint8_t user_stack[USER_STACK_SIZE] USER_DATA __attribute__((aligned(64)));

const void *trap_stub(unsigned vector)
{
    return trap_stubs[vector];
}

void gate_set(unsigned vector, const void *entry, uint16_t selector, uint8_t type, unsigned ist)
{
    uint64_t offset = (uint64_t)entry;

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)offset,
        .selector = selector,
        .ist = (uint8_t)ist,
        .type = type,
        .offset_middle = (uint16_t)(offset >> 16),
        .offset_high = (uint32_t)(offset >> 32),
    };
}

void gate_set_ist(unsigned vector, unsigned ist)
{
    idt[vector].ist = (uint8_t)ist;
}

void gate_set_type(unsigned vector, uint8_t type)
{
    idt[vector].type = type;
}

void trap_tables_load(void)
{
    struct table_pointer pointer = { sizeof(idt) - 1, (uint64_t)idt };

    if (idt[0].type == 0) {
        for (unsigned vector = 0; vector < 256; vector++)
            gate_set(vector, trap_stub(vector), KERNEL_CS, GATE_INTERRUPT, 0);
        gate_set_ist(VECTOR_DF, IST_DOUBLE_FAULT);
        gate_set_ist(VECTOR_NMI, IST_NMI);
        gate_set_ist(VECTOR_MC, IST_NMI);
        gate_set_type(VECTOR_RETURN, GATE_INTERRUPT | GATE_DPL3);
    }
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

void trap_set_handler(unsigned vector, trap_handler *handler)
{
    handlers[vector] = handler;
}

void trap_forget(void)
{
    last_trap.taken = false;
}

void trap_print(const struct trap *trap)
{
    const struct trap_frame *f = &trap->frame;

    print("  vector %lu error 0x%lx rip 0x%lx cs 0x%lx rflags 0x%lx rsp 0x%lx ss 0x%lx cr2 0x%lx\n", f->vector,
          f->error, f->rip, f->cs, f->rflags, f->rsp, f->ss, trap->cr2);
    print("  rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx rbp %lx r8 %lx\n", f->rax, f->rbx, f->rcx, f->rdx,
          f->rsi, f->rdi, f->rbp, f->r8);
    print("  r9 %lx r10 %lx r11 %lx r12 %lx r13 %lx r14 %lx r15 %lx\n", f->r9, f->r10, f->r11, f->r12, f->r13,
          f->r14, f->r15);
}

static _Noreturn void trap_unexpected(const struct trap *trap)
{
    static unsigned nested;

    if (nested++ == 0) {
        fail("unexpected exception on CPU %u", cpu_index());
        trap_print(trap);
        test_end();
    }
    guest_exit(1);
}

/* Every exception and interrupt of every CPU. */
void trap_dispatch(struct trap_frame *frame)
{
    struct trap trap = { .taken = true, .frame = *frame, .cr2 = read_cr2(), .stack = (uint64_t)frame };

    if (handlers[frame->vector] != 0 && handlers[frame->vector](frame))
        return;
    if (trap_recover_rip == 0 || cpu_index() != 0)
        trap_unexpected(&trap);
    last_trap = trap;
    frame->rip = trap_recover_rip;
    frame->cs = KERNEL_CS;
    frame->rflags = RFLAGS_FIXED;
    frame->rsp = trap_recover_rsp;
    frame->ss = KERNEL_DS;
    trap_recover_rip = 0;
}

struct trap_frame context_user(const void *rip)
{
    return (struct trap_frame){
        .rip = (uint64_t)rip,
        .cs = USER_CS,
        .rflags = RFLAGS_FIXED,
        .rsp = (uint64_t)user_stack + USER_STACK_SIZE - 64,
        .ss = USER_DS,
    };
}

struct trap_frame context_compat(const void *rip, unsigned ring)
{
    struct trap_frame context = context_user(rip);

    context.cs = ring == 3 ? USER_CS32 : KERNEL_CS32;
    context.ss = ring == 3 ? USER_DS : KERNEL_DS;
    return context;
}

static const char *vector_name(uint64_t vector)
{
    static const char *const names[] = {
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9", "#TS",
        "#NP", "#SS", "#GP", "#PF", "#15", "#MF", "#AC", "#MC", "#XM",
    };
    return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : "vector";
}

void trap_expect_at(const char *file, int line, const char *what, unsigned vector, uint64_t error, uint64_t rip)
{
    const struct trap_frame *f = &last_trap.frame;

    check_at(file, line, what, last_trap.taken);
    if (!last_trap.taken) {
        print("  expected %s (%u) error 0x%lx, got no exception\n", vector_name(vector), vector, error);
        return;
    }
    bool good = f->vector == vector && f->error == error && f->rip == rip;
    check_at(file, line, what, good);
    if (!good) {
        print("  expected %s (%u) error 0x%lx rip 0x%lx, got %s\n", vector_name(vector), vector, error, rip,
              vector_name(f->vector));
        trap_print(&last_trap);
    }
}

void trap_expect_none_at(const char *file, int line, const char *what)
{
    check_at(file, line, what, !last_trap.taken);
    if (last_trap.taken) {
        print("  expected no exception, got %s\n", vector_name(last_trap.frame.vector));
        trap_print(&last_trap);
    }
}

void trap_expect_cr2_at(const char *file, int line, const char *what, uint64_t cr2)
{
    check_at(file, line, what, last_trap.cr2 == cr2);
    if (last_trap.cr2 != cr2)
        print("  expected cr2 0x%lx, got 0x%lx\n", cr2, last_trap.cr2);
}
