/*
 * Control flow: direct branches are chained to their targets, indirect ones go through the jump
 * cache, and calls and returns are paired as host calls and returns.
 *
 * A guest return loads its target into S1 and executes a host RET. That arrives behind the host call
 * of the guest call it belongs to, if the guest nests its calls; the code there compares S1 with the
 * address that the guest call pushed, and takes the slow road when they differ. Flags are in
 * saved_flags on this path, because the load had to check the TLB anyway.
 */
#include "engine/dbt/translate.h"

enum { SPILL_TARGET = OFF_SPILL + 16 };

struct helper_call {
    helper_fn *run;
    struct insn insn;
};
_Static_assert(offsetof(struct helper_call, insn) == 8, "thunks.S relies on it");

void emit_helper(struct translator *t, const struct op *op)
{
    struct helper_call *call = cache_alloc(t->cache, sizeof(*call));

    if (!call) {
        t->e.full = true;
        return;
    }
    call->run = op->helper;
    call->insn = op->insn;
    emit_flags_need(t, op->live_in);
    t->flags = FLAGS_HOST;
    emit_mov_rip(t, HOST_S1, op->rip);
    emit_mov_imm(&t->e, HOST_S2, (uint64_t)(uintptr_t)call);
    if (op->helper_ends)
        emit_jump_shared(t, SHARED_HELPER_END, 0);
    else
        emit_call_shared(t, SHARED_HELPER, 0);
    t->flags = FLAGS_SAVED;
}

static void emit_raise(struct translator *t, const struct op *op, unsigned vector, int32_t error)
{
    emit_mov_rip(t, HOST_S1, op->rip);
    emit_mov_imm(&t->e, HOST_S2, (uint64_t)(uint32_t)error << 32 | vector);
    emit_jump_shared(t, SHARED_RAISE, 0);
}

void emit_undefined(struct translator *t, const struct op *op)
{
    emit_flags_need(t, op->live_in);
    emit_raise(t, op, op->vector, op->vector == VECTOR_GP ? 0 : -1);
}

static uint64_t next_rip(const struct translator *t, const struct op *op)
{
    uint64_t next = op->rip + op->z.length;

    return in_64(t) ? next : (uint32_t)next;
}

/* The target, loaded from memory into S1, zero-extended. */
static void load_target(struct translator *t, const struct op *op)
{
    if (operand_bytes(op) == 2)
        emit_rm(&t->e, false, 0x0fb7, HOST_S1, HOST_S1, 0);
    else
        emit_move_sized(t, 0x8b, HOST_S1, HOST_S1, operand_bytes(op));
}

/* The operand of an indirect branch to S1. */
static void emit_target(struct translator *t, const struct op *op)
{
    if (op->memory) {
        emit_address(t, op, 0);
        emit_access(t, op, operand_descriptor(t, op), load_target);
        return;
    }
    emit_load_guest(t, HOST_S1, op->fields.rm);
    if (operand_bytes(op) == 2)
        emit_rr(&t->e, false, 0x0fb7, HOST_S1, HOST_S1);
    else if (operand_bytes(op) == 4)
        emit_rr(&t->e, false, 0x89, HOST_S1, HOST_S1);
}

static void emit_flags_to_saved(struct translator *t)
{
    if (t->flags == FLAGS_HOST)
        emit_flags_save(t);
}

/*
 * S1 must be canonical, or the branch itself faults. Inline only the half of the address space that the
 * code is likely to branch within; the rest out of line. Flags are in saved_flags. S2 is overwritten.
 */
static void emit_canonical_check(struct translator *t)
{
    if (!in_64(t))
        return;
    emit_mov_rr(&t->e, HOST_S2, HOST_S1);
    if (t->mode & MODE_USER) {
        emit_shift_imm(&t->e, true, 5, HOST_S2, 47);
    } else {
        emit_shift_imm(&t->e, true, 7, HOST_S2, 47);
        emit_alu_imm(&t->e, true, 0, HOST_S2, 1);
    }
    t->canonical_hole = emit_jump(&t->e, 5);
    t->canonical_resume = t->e.at;
}

void emit_canonical_slow(struct translator *t, const struct op *op)
{
    if (!t->canonical_hole)
        return;
    emit_patch(&t->e, t->canonical_hole, t->e.at);
    emit_mov_rr(&t->e, HOST_S2, HOST_S1);
    emit_shift_imm(&t->e, true, 4, HOST_S2, 16);
    emit_shift_imm(&t->e, true, 7, HOST_S2, 16);
    emit_rr(&t->e, true, 0x39, HOST_S1, HOST_S2);
    emit_jump_to(&t->e, 4, t->canonical_resume);
    emit_flags_restore(t);
    emit_raise(t, op, VECTOR_GP, 0);
}

/* ---- calls and returns ---- */

static void store_return_address(struct translator *t, const struct op *op)
{
    emit_mov_rip(t, HOST_S2, next_rip(t, op));
    emit_move_sized(t, 0x89, HOST_S2, HOST_S1, operand_bytes(op));
}

static void emit_push_return(struct translator *t, const struct op *op)
{
    int32_t size = (int32_t)operand_bytes(op);

    emit_stack_address(t, -size);
    emit_access(t, op, stack_descriptor(t, (unsigned)size, ACCESS_WRITE), store_return_address);
    emit_stack_adjust(t, -size);
}

/* Behind the host call: S1 is where the guest wants to return to, the flags are in saved_flags. */
static void emit_return_site(struct translator *t, const struct op *op)
{
    uint64_t next = next_rip(t, op);
    uint8_t *match;

    if (t->mode & MODE_STEP)
        return;
    if ((int64_t)next == (int32_t)next) {
        t->fixed = true;
        emit_alu_imm(&t->e, true, 7, HOST_S1, (int32_t)next);
    } else {
        emit_mov_rip(t, HOST_S2, next);
        emit_rr(&t->e, true, 0x39, HOST_S2, HOST_S1);
    }
    match = emit_jump(&t->e, 4);
    emit_jump_shared(t, SHARED_INDIRECT, 0);
    emit_patch(&t->e, match, t->e.at);
    t->flags = FLAGS_SAVED;
    emit_flags_need(t, t->return_live);
    emit_exit(t, CONDITION_ALWAYS, next, op->rip);
}

static void emit_call_direct(struct translator *t, const struct op *op)
{
    emit_push_return(t, op);
    emit_flags_need(t, op->live_out);
    emit_exit(t, EXIT_CALL, op->target, op->rip);
    emit_return_site(t, op);
}

/*
 * Through the jump cache, looked up in place: an indirect jump of its own at every site lets the host predict each by
 * itself. S1 is the target.
 */
static void emit_lookup_target(struct translator *t)
{
    uint8_t *miss[2];

    emit_rr(&t->e, false, 0x89, HOST_S1, HOST_S2);
    emit_alu_imm(&t->e, false, 4, HOST_S2, JUMP_CACHE - 1);
    emit_shift_imm(&t->e, false, 4, HOST_S2, 5);
    emit_gs_indexed(&t->e, 0x3b, HOST_S1, HOST_S2, OFF_JUMP + offsetof(struct jump_entry, rip));
    miss[0] = emit_jump(&t->e, 5);
    emit_gs(&t->e, true, 0x8b, HOST_S1, OFF_GENERATION);
    emit_gs_indexed(&t->e, 0x3b, HOST_S1, HOST_S2, OFF_JUMP + offsetof(struct jump_entry, generation));
    miss[1] = emit_jump(&t->e, 5);
    emit_gs_indexed(&t->e, 0xff, 4, HOST_S2, OFF_JUMP + offsetof(struct jump_entry, code));
    emit_patch(&t->e, miss[1], t->e.at);
    emit_gs_indexed(&t->e, 0x8b, HOST_S1, HOST_S2, OFF_JUMP + offsetof(struct jump_entry, rip));
    emit_patch(&t->e, miss[0], t->e.at);
    emit_jump_shared(t, SHARED_INDIRECT, 0);
}

static void emit_indirect(struct translator *t, bool call)
{
    emit_flags_to_saved(t);
    if (t->mode & MODE_STEP) {
        emit_jump_shared(t, SHARED_INDIRECT, 0);
        return;
    }
    if (!call) {
        emit_lookup_target(t);
        return;
    }
    /* A host call over the lookup: what it pushes is the return site. */
    t->indirect_hole = emit_call(&t->e);
}

static void emit_call_indirect(struct translator *t, const struct op *op)
{
    emit_target(t, op);
    emit_gs(&t->e, true, 0x89, HOST_S1, SPILL_TARGET);
    emit_flags_to_saved(t);
    emit_canonical_check(t);
    emit_push_return(t, op);
    emit_gs(&t->e, true, 0x8b, HOST_S1, SPILL_TARGET);
    emit_indirect(t, true);
    emit_return_site(t, op);
    if (!(t->mode & MODE_STEP)) {
        emit_patch(&t->e, t->indirect_hole, t->e.at);
        emit_lookup_target(t);
    }
}

void emit_return(struct translator *t, const struct op *op)
{
    unsigned size = operand_bytes(op);

    emit_flags_to_saved(t);
    emit_canonical_check(t);
    emit_stack_adjust(t, (int32_t)(size + (op->insn.immediate & 0xffff)));
    if (t->mode & MODE_STEP)
        emit_jump_shared(t, SHARED_INDIRECT, 0);
    else
        emit_byte(&t->e, 0xc3);
}

static void emit_ret(struct translator *t, const struct op *op)
{
    emit_stack_address(t, 0);
    emit_access(t, op, stack_descriptor(t, operand_bytes(op), ACCESS_READ), load_target);
    emit_return(t, op);
}

/* ---- loops on rCX ---- */

/* With a 16-bit counter: no such instruction in 64-bit code, so the counter is put into RCX alone. */
static void emit_loop_16(struct translator *t, const struct op *op)
{
    bool decrement = op->z.mnemonic != ZYDIS_MNEMONIC_JCXZ;
    uint8_t *not_taken[2] = {NULL, NULL};
    uint8_t *zero;

    emit_rr(&t->e, false, 0x0fb7, HOST_S2, HOST_RCX);
    if (decrement) {
        emit_lea(&t->e, false, HOST_S2, HOST_S2, HOST_NONE, 1, -1);
        emit_byte(&t->e, 0x66);
        emit_rr(&t->e, false, 0x89, HOST_S2, HOST_RCX);
        emit_rr(&t->e, false, 0x0fb7, HOST_S2, HOST_S2);
    }
    emit_mov_rr(&t->e, HOST_S1, HOST_RCX);
    emit_mov_rr(&t->e, HOST_RCX, HOST_S2);
    emit_byte(&t->e, 0xe3); /* jrcxz over the next two */
    emit_byte(&t->e, 3 + 5);
    emit_mov_rr(&t->e, HOST_RCX, HOST_S1);
    zero = emit_jump(&t->e, CONDITION_ALWAYS); /* taken when the counter is not zero */
    emit_mov_rr(&t->e, HOST_RCX, HOST_S1);
    if (decrement) {
        not_taken[0] = emit_jump(&t->e, CONDITION_ALWAYS);
        emit_patch(&t->e, zero, t->e.at);
        if (op->z.mnemonic == ZYDIS_MNEMONIC_LOOPE)
            not_taken[1] = emit_jump(&t->e, 5);
        else if (op->z.mnemonic == ZYDIS_MNEMONIC_LOOPNE)
            not_taken[1] = emit_jump(&t->e, 4);
    } else {
        not_taken[0] = zero;
    }
    emit_exit(t, CONDITION_ALWAYS, op->target, op->rip);
    for (unsigned i = 0; i < 2; i++)
        if (not_taken[i])
            emit_patch(&t->e, not_taken[i], t->e.at);
    emit_exit(t, CONDITION_ALWAYS, next_rip(t, op), op->rip);
}

static void emit_loop(struct translator *t, const struct op *op)
{
    uint8_t *not_taken;

    emit_flags_need(t, op->live_in);
    if (op->insn.address_size == 2) {
        emit_loop_16(t, op);
        return;
    }
    if (op->insn.address_size == 4)
        emit_byte(&t->e, 0x67);
    emit_byte(&t->e, op->z.opcode);
    emit_byte(&t->e, 5);
    not_taken = emit_jump(&t->e, CONDITION_ALWAYS);
    emit_exit(t, CONDITION_ALWAYS, op->target, op->rip);
    emit_patch(&t->e, not_taken, t->e.at);
    emit_exit(t, CONDITION_ALWAYS, next_rip(t, op), op->rip);
}

void emit_flow(struct translator *t, const struct op *op)
{
    switch (op->kind) {
    case OP_JUMP:
        emit_flags_need(t, op->live_out);
        emit_exit(t, CONDITION_ALWAYS, op->target, op->rip);
        break;
    case OP_JCC:
        emit_flags_need(t, op->live_in);
        emit_exit(t, op->z.opcode & 15, op->target, op->rip);
        emit_exit(t, CONDITION_ALWAYS, next_rip(t, op), op->rip);
        break;
    case OP_LOOP:
        emit_loop(t, op);
        break;
    case OP_CALL:
        emit_call_direct(t, op);
        break;
    case OP_CALL_INDIRECT:
        emit_call_indirect(t, op);
        break;
    case OP_JUMP_INDIRECT:
        emit_target(t, op);
        emit_flags_to_saved(t);
        emit_canonical_check(t);
        emit_indirect(t, false);
        break;
    default:
        emit_ret(t, op);
        break;
    }
}
