/*
 * Delivery of exceptions and interrupts (Intel SDM volume 3, chapter 6; section 20.1.4 for real mode), and the
 * instructions that cause them.
 *
 * Everything is checked, read and pushed before a register changes: a fault on the way leaves the
 * state of the interrupted instruction, apart from bytes below its stack.
 *
 * Task gates are not served: hardware task switching is refused with #TS(selector of the task).
 */
#include "engine/dbt/debug.h"
#include "engine/dbt/run.h"
#include "engine/dbt/sys.h"

struct gate {
    uint64_t offset;
    uint16_t selector;
    unsigned type, dpl, ist;
    bool present;
};

static _Noreturn void raise_gate(struct dbt_vcpu *c, unsigned vector, const struct event *event)
{
    raise_fault(c, vector, (int32_t)(event->vector << 3 | 2u | event->ext));
}

static struct gate gate_fetch(struct dbt_vcpu *c, const struct event *event)
{
    unsigned size = long_mode(c) ? 16 : 8;
    uint64_t linear = c->idt_base + event->vector * size, words;
    uint64_t address = long_mode(c) ? linear : (uint32_t)linear;
    struct gate gate;

    if (event->vector * size + size - 1 > c->idt_limit)
        raise_gate(c, VECTOR_GP, event);
    words = mmu_read_as(c, MMU_KERNEL, address, 8);
    gate.offset = (words & 0xffff) | (words >> 32 & 0xffff0000);
    gate.selector = (uint16_t)(words >> 16);
    gate.ist = words >> 32 & 7;
    gate.type = words >> 40 & 0x1f; /* with the S bit, so that a segment is no gate */
    gate.dpl = words >> 45 & 3;
    gate.present = words >> 47 & 1;
    if (long_mode(c))
        gate.offset |= mmu_read_as(c, MMU_KERNEL, address + 8, 4) << 32;
    return gate;
}

/* The gate of an event, fit to be used. */
static struct gate gate_open(struct dbt_vcpu *c, const struct event *event)
{
    unsigned types = BIT(SYSTEM_INTERRUPT) | BIT(SYSTEM_TRAP);
    struct gate gate = gate_fetch(c, event);

    if (!long_mode(c))
        types |= BIT(SYSTEM_TASK) | BIT(SYSTEM_INTERRUPT_16) | BIT(SYSTEM_TRAP_16);
    if (!(types & BIT(gate.type)) || (event->software && gate.dpl < c->cpl))
        raise_gate(c, VECTOR_GP, event);
    if (!gate.present)
        raise_gate(c, VECTOR_NP, event);
    if (gate.type == SYSTEM_TASK)
        raise_selector(c, VECTOR_TS, gate.selector, event->ext);
    if (!(gate.type & 8))
        gate.offset &= 0xffff;
    return gate;
}

/* The handler's code segment and privilege level. */
static unsigned gate_target(struct dbt_vcpu *c, const struct event *event, const struct gate *gate,
                            struct descriptor *d)
{
    const uint16_t selector = gate->selector;
    unsigned cpl;

    if (selector_null(selector))
        raise_fault(c, VECTOR_GP, event->ext);
    if (!descriptor_fetch(c, selector, d) || !segment_is_code(&d->segment) || segment_dpl(&d->segment) > c->cpl)
        raise_selector(c, VECTOR_GP, selector, event->ext);
    if (long_mode(c) && (d->segment.attributes & (SEGMENT_L | SEGMENT_DB)) != SEGMENT_L)
        raise_selector(c, VECTOR_GP, selector, event->ext);
    if (!segment_is_present(&d->segment))
        raise_selector(c, VECTOR_NP, selector, event->ext);
    cpl = segment_is_conforming(&d->segment) ? c->cpl : segment_dpl(&d->segment);
    if (v8086_mode(c) && cpl != 0)
        raise_selector(c, VECTOR_GP, selector, event->ext);
    return cpl;
}

static void gate_open_stack(struct dbt_vcpu *c, const struct event *event, const struct gate *gate, unsigned cpl,
                            struct stack *stack)
{
    struct segment_state ss = cpl < c->cpl ? segment_null_stack(cpl) : c->segment[SEG_SS];
    uint64_t pointer = c->gpr[GPR_RSP];

    if (!long_mode(c)) {
        if (cpl < c->cpl) {
            stack_open_inner(c, cpl, event->ext, stack);
        } else {
            stack_open(c, stack);
            stack->error = event->ext;
        }
        return;
    }
    if (gate->ist != 0)
        pointer = tss_stack_64(c, 3 + gate->ist, event->ext);
    else if (cpl < c->cpl)
        pointer = tss_stack_64(c, cpl, event->ext);
    stack_open_level(stack, &ss, pointer & ~15ull, cpl, true, event->ext);
    stack->error = event->ext;
}

/* SS and RSP go on the stack on every 64-bit delivery, else when the level changes. */
static void gate_push_frame(struct dbt_vcpu *c, const struct event *event, unsigned size, bool with_stack,
                            struct stack *stack)
{
    static const uint8_t v8086_data[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};

    for (unsigned i = 0; v8086_mode(c) && i < ARRAY_LENGTH(v8086_data); i++)
        stack_push(c, stack, size, c->segment[v8086_data[i]].selector);
    if (with_stack) {
        stack_push(c, stack, size, c->segment[SEG_SS].selector);
        stack_push(c, stack, size, c->gpr[GPR_RSP]);
    }
    stack_push(c, stack, size, event->flags);
    stack_push(c, stack, size, c->segment[SEG_CS].selector);
    stack_push(c, stack, size, event->return_rip);
    if (event->has_error)
        stack_push(c, stack, size, event->error);
}

static void event_deliver_protected(struct dbt_vcpu *c, const struct event *event)
{
    struct gate gate = gate_open(c, event);
    struct descriptor code;
    unsigned cpl = gate_target(c, event, &gate, &code);
    bool inner = cpl < c->cpl;
    unsigned size = long_mode(c) ? 8 : gate.type & 8 ? 4 : 2;
    struct stack stack;

    gate_open_stack(c, event, &gate, cpl, &stack);
    code_check_offset(c, &code.segment, gate.offset, event->ext);
    gate_push_frame(c, event, size, inner || long_mode(c), &stack);
    descriptor_set_accessed(c, &code);

    if (v8086_mode(c)) {
        c->segment[SEG_ES] = c->segment[SEG_DS] = segment_null(0);
        c->segment[SEG_FS] = c->segment[SEG_GS] = segment_null(0);
    }
    segment_commit_code(c, &code, cpl);
    if (inner)
        c->segment[SEG_SS] = stack.ss;
    stack_commit(c, &stack);
    c->rip = gate.offset;
    c->sys_flags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
    if (!(gate.type & 1))
        c->sys_flags &= ~RFLAGS_IF;
}

static void event_deliver_real(struct dbt_vcpu *c, const struct event *event)
{
    struct stack stack;
    uint32_t handler;

    if (event->vector * 4 + 3 > c->idt_limit)
        raise_gate(c, VECTOR_GP, event);
    handler = (uint32_t)mmu_read_as(c, MMU_KERNEL, c->idt_base + event->vector * 4, 4);
    stack_open(c, &stack);
    stack_push(c, &stack, 2, event->flags);
    stack_push(c, &stack, 2, c->segment[SEG_CS].selector);
    stack_push(c, &stack, 2, event->return_rip);
    stack_commit(c, &stack);
    segment_load_real(c, SEG_CS, (uint16_t)(handler >> 16));
    c->rip = handler & 0xffff;
    c->sys_flags &= ~(RFLAGS_TF | RFLAGS_IF | RFLAGS_RF | RFLAGS_AC);
}

void event_deliver(struct dbt_vcpu *c, const struct event *event)
{
    if (real_mode(c))
        event_deliver_real(c, event);
    else
        event_deliver_protected(c, event);
    if (event->vector == VECTOR_DB)
        c->dr[7] &= ~DR7_GD;
    c->interrupt_shadow = 0;
    mode_update(c);
}

/* Exceptions of the fault class push RF, so that an instruction breakpoint does not hit again on return. */
static bool vector_is_fault(unsigned vector)
{
    return vector < VECTOR_FIRST_EXTERNAL && vector != VECTOR_DB && vector != VECTOR_NMI && vector != VECTOR_BP &&
           vector != VECTOR_OF && vector != VECTOR_DF && vector != VECTOR_MC;
}

void interrupt_deliver(struct dbt_vcpu *c, unsigned vector, bool software, bool has_error, uint32_t error)
{
    struct event event = {
        .vector = vector,
        .software = software,
        .has_error = has_error,
        .ext = !software,
        .error = error,
        .return_rip = c->rip,
        .flags = rflags_get(c),
    };

    if (!software && vector_is_fault(vector))
        event.flags |= RFLAGS_RF;
    event_deliver(c, &event);
}

/* An instruction that interrupts: its own faults are reported at itself, the return goes behind it. */
static void interrupt_from(struct dbt_vcpu *c, const struct insn *insn, unsigned vector, bool software)
{
    struct event event = {
        .vector = vector,
        .software = software,
        .ext = !software,
        .return_rip = insn_next(c, insn),
        .flags = rflags_get(c) & ~RFLAGS_RF,
    };

    event_deliver(c, &event);
}

void op_int(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned vector = insn->immediate & 0xff;

    if (v8086_mode(c)) {
        if (v8086_interrupt(c, vector, insn_next(c, insn)))
            return;
        if (iopl(c) < 3)
            raise_fault(c, VECTOR_GP, 0);
    }
    interrupt_from(c, insn, vector, true);
}

void op_int3(struct dbt_vcpu *c, const struct insn *insn)
{
    if (c->debug.breakpoints && debug_takes_breakpoint(c))
        leave_now(c);
    interrupt_from(c, insn, VECTOR_BP, true);
}

void op_into(struct dbt_vcpu *c, const struct insn *insn)
{
    if (c->alu_flags & RFLAGS_OF)
        interrupt_from(c, insn, VECTOR_OF, true);
    else
        insn_done(c, insn);
}

/* INT1 is a debug exception that asks no gate for its privilege level. */
void op_int1(struct dbt_vcpu *c, const struct insn *insn)
{
    interrupt_from(c, insn, VECTOR_DB, false);
}

void op_bound(struct dbt_vcpu *c, const struct insn *insn)
{
    unsigned size = insn->operand_size, shift = 64 - 8 * size;
    uint64_t linear = insn_linear(c, insn, 2 * size, MMU_READ);
    int64_t lower = (int64_t)(mmu_read(c, linear, size) << shift);
    int64_t upper = (int64_t)(mmu_read(c, linear + size, size) << shift);
    int64_t index = (int64_t)(reg_get(c, insn->reg, size, false) << shift);

    if (index < lower || index > upper)
        raise_fault(c, VECTOR_BR, -1);
    insn_done(c, insn);
}
