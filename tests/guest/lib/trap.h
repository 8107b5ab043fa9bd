/*
 * Exceptions and interrupts: handlers, and code that is expected to trap.
 *
 * TRY runs a few instructions and comes back whatever they do; last_trap then says which exception
 * ended them, with every register as it was. context_run does the same for code in another privilege
 * level or mode. Only the boot processor may use either; handlers run on all.
 */
#ifndef LODGE_TESTS_GUEST_TRAP_H
#define LODGE_TESTS_GUEST_TRAP_H

#include <stdbool.h>
#include <stdint.h>

/* As the stubs push it; lib/trap.S knows the offsets. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error; /* error is 0 where the processor pushes none */
    uint64_t rip, cs, rflags, rsp, ss;
};

struct trap {
    bool taken;
    struct trap_frame frame;
    uint64_t cr2;
    uint64_t stack; /* where the frame lay */
};

/* An IDT gate. */
struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type; /* type: P, DPL and kind */
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

enum { GATE_INTERRUPT = 0x8e, GATE_TRAP = 0x8f, GATE_DPL3 = 0x60 };

/* INT with this vector, allowed from ring 3, ends a context_run(). */
enum { VECTOR_RETURN = 0x80 };

/* True: served, resume as the frame says. False: as if there were no handler. */
typedef bool trap_handler(struct trap_frame *frame);

extern struct gate idt[256];
extern struct trap last_trap;
extern uint64_t trap_recover_rip, trap_recover_rsp, trap_try_start, trap_try_end;

void trap_tables_load(void);
void trap_set_handler(unsigned vector, trap_handler *handler);

/* type: enum GATE_*; ist 0: none. */
void gate_set(unsigned vector, const void *entry, uint16_t selector, uint8_t type, unsigned ist);
/* The usual stub, on this interrupt stack. */
void gate_set_ist(unsigned vector, unsigned ist);
void gate_set_type(unsigned vector, uint8_t type);
/* The stub's address. */
const void *trap_stub(unsigned vector);

/* Enters the context (every general register, RIP, CS, RFLAGS, RSP, SS, by IRETQ) and comes back when
 * an exception without handler ends it; that one is in last_trap, with the registers. */
void context_run(const struct trap_frame *context);

/* A ring-3 64-bit context at this address, interrupts off, with a stack. */
struct trap_frame context_user(const void *rip);
/* The same in 32-bit compatibility mode: ring 3 or ring 0. */
struct trap_frame context_compat(const void *rip, unsigned ring);

void trap_forget(void);
void trap_print(const struct trap *trap);

/* Checks last_trap. rip: the return address wanted. */
void trap_expect_at(const char *file, int line, const char *what, unsigned vector, uint64_t error, uint64_t rip);
void trap_expect_none_at(const char *file, int line, const char *what);
void trap_expect_cr2_at(const char *file, int line, const char *what, uint64_t cr2);

/*
 * Runs the assembly text. The remaining arguments are its operands, from the first colon on. An
 * exception inside it resumes behind it, at CPL 0 with the stack as before; general registers keep the
 * values that they had at the exception. setup runs before the part that last_trap is about.
 */
#define TRY_AFTER(setup, code, ...)                                                                                    \
    do {                                                                                                               \
        trap_forget();                                                                                                 \
        __asm__ volatile("movq $.Ltry_start%=, trap_try_start\n\t"                                                     \
                         "movq $.Ltry_end%=, trap_try_end\n\t"                                                         \
                         "movq $.Ltry_end%=, trap_recover_rip\n\t"                                                     \
                         "movq %%rsp, trap_recover_rsp\n\t" setup "\n"                                                \
                         ".Ltry_start%=: " code "\n"                                                                   \
                         ".Ltry_end%=: movq $0, trap_recover_rip\n\t"                                                  \
                         "movq trap_recover_rsp, %%rsp" __VA_ARGS__);                                                  \
    } while (0)

#define TRY(code, ...) TRY_AFTER("", code, __VA_ARGS__)

/* The code must fault: the saved RIP is its first instruction. */
#define EXPECT_FAULT(vector, error, code, ...)                                                                         \
    do {                                                                                                               \
        TRY(code, __VA_ARGS__);                                                                                        \
        trap_expect_at(__FILE__, __LINE__, code, vector, error, trap_try_start);                                       \
    } while (0)

/* The same, where the instruction in question needs preparations that are undone by leaving: a stack
 * pointer for example. The saved RIP is code's first instruction. */
#define EXPECT_FAULT_AFTER(vector, error, setup, code, ...)                                                            \
    do {                                                                                                               \
        TRY_AFTER(setup, code, __VA_ARGS__);                                                                           \
        trap_expect_at(__FILE__, __LINE__, setup "; " code, vector, error, trap_try_start);                            \
    } while (0)

/* The code must trap: the saved RIP is behind its last instruction. */
#define EXPECT_TRAP(vector, code, ...)                                                                                 \
    do {                                                                                                               \
        TRY(code, __VA_ARGS__);                                                                                        \
        trap_expect_at(__FILE__, __LINE__, code, vector, 0, trap_try_end);                                             \
    } while (0)

/* A page fault at the code's first instruction, with this error code and CR2. */
#define EXPECT_PF(error, address, code, ...)                                                                           \
    do {                                                                                                               \
        EXPECT_FAULT(VECTOR_PF, error, code, __VA_ARGS__);                                                             \
        trap_expect_cr2_at(__FILE__, __LINE__, code, (uint64_t)(address));                                             \
    } while (0)

#define EXPECT_NO_TRAP(code, ...)                                                                                      \
    do {                                                                                                               \
        TRY(code, __VA_ARGS__);                                                                                        \
        trap_expect_none_at(__FILE__, __LINE__, code);                                                                 \
    } while (0)

/*
 * A piece of code for context_run(): name is its first instruction, name_end the INT that comes back.
 * bits: 16, 32 or 64. It lies in memory that every ring may execute and write.
 */
#define SNIPPET(name, bits, code)                                                                                      \
    __asm__(".pushsection user_text, \"ax\", @progbits\n\t.code" #bits "\n" #name ": " code "\n" #name               \
            "_end: int $0x80\n\t.code64\n\t.popsection");                                                             \
    extern const char name[], name##_end[]

/* Runs a context that must end with this exception at this address. */
#define EXPECT_RUN(context, vector, error, rip_wanted)                                                                 \
    do {                                                                                                               \
        struct trap_frame expect_run_frame = (context);                                                                \
        context_run(&expect_run_frame);                                                                                \
        trap_expect_at(__FILE__, __LINE__, #context, vector, error, (uint64_t)(rip_wanted));                           \
    } while (0)

/* Runs a snippet's context that must come to its end. */
#define EXPECT_END(context, name) EXPECT_RUN(context, VECTOR_RETURN, 0, name##_end + 2)

#endif
