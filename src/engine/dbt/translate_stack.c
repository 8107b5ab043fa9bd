/* PUSH, POP and LEAVE. RSP changes last, when nothing can fault any more. */
#include "engine/dbt/translate.h"

enum { SPILL_VALUE = OFF_SPILL + 8 }; /* a value between two accesses of one instruction */

static bool register_operand(const struct op *op, unsigned *guest)
{
    if (op->operand[0].type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    *guest = op->operand[0].encoding == ZYDIS_OPERAND_ENCODING_OPCODE ? op->fields.embedded : op->fields.rm;
    return true;
}

static void push_register(struct translator *t, const struct op *op)
{
    unsigned guest = 0;
    int host;

    register_operand(op, &guest);
    host = emit_host_of(guest);
    if (host < 0) {
        emit_load_guest(t, HOST_S2, guest);
        host = HOST_S2;
    }
    emit_move_sized(t, 0x89, (unsigned)host, HOST_S1, operand_bytes(op));
}

static void push_immediate(struct translator *t, const struct op *op)
{
    emit_mov_imm(&t->e, HOST_S2, op->insn.immediate);
    emit_move_sized(t, 0x89, HOST_S2, HOST_S1, operand_bytes(op));
}

static void push_spilled(struct translator *t, const struct op *op)
{
    emit_gs(&t->e, true, 0x8b, HOST_S2, SPILL_VALUE);
    emit_move_sized(t, 0x89, HOST_S2, HOST_S1, operand_bytes(op));
}

/* The operand of PUSH, or the top of the stack for POP, to SPILL_VALUE. */
static void load_to_spill(struct translator *t, const struct op *op)
{
    emit_move_sized(t, 0x8b, HOST_S2, HOST_S1, operand_bytes(op));
    emit_gs(&t->e, true, 0x89, HOST_S2, SPILL_VALUE);
}

void emit_push(struct translator *t, const struct op *op)
{
    int32_t size = (int32_t)operand_bytes(op);
    uint32_t descriptor = stack_descriptor(t, (unsigned)size, ACCESS_WRITE);
    unsigned guest;

    if (op->memory) {
        emit_address(t, op, 0);
        emit_access(t, op, operand_descriptor(t, op), load_to_spill);
    }
    emit_stack_address(t, -size);
    if (op->memory)
        emit_access(t, op, descriptor, push_spilled);
    else
        emit_access(t, op, descriptor, register_operand(op, &guest) ? push_register : push_immediate);
    emit_stack_adjust(t, -size);
}

static void pop_register(struct translator *t, const struct op *op)
{
    unsigned guest = 0;
    int host;

    register_operand(op, &guest);
    host = emit_host_of(guest);
    if (operand_bytes(op) == 2) {
        emit_move_sized(t, 0x8b, HOST_S2, HOST_S1, 2);
        return;
    }
    if (host >= 0 && guest != GPR_RSP) {
        emit_move_sized(t, 0x8b, (unsigned)host, HOST_S1, operand_bytes(op));
        return;
    }
    emit_move_sized(t, 0x8b, HOST_S2, HOST_S1, operand_bytes(op));
    if (host < 0)
        emit_store_guest(t, guest, HOST_S2);
    else
        emit_gs(&t->e, true, 0x89, HOST_S2, SPILL_VALUE);
}

/* What a 16-bit POP has in S2 goes to the low half of the register; POP RSP sets it after the adjustment. */
static void finish_pop(struct translator *t, const struct op *op, unsigned guest)
{
    int host = emit_host_of(guest);

    if (operand_bytes(op) == 2) {
        if (host < 0) {
            emit_byte(&t->e, 0x66);
            emit_gs(&t->e, false, 0x89, HOST_S2, gpr_offset(guest));
        }
        if (guest != GPR_RSP && host >= 0) {
            emit_byte(&t->e, 0x66);
            emit_rr(&t->e, false, 0x89, HOST_S2, (unsigned)host);
        }
        if (guest == GPR_RSP)
            emit_mov_rr(&t->e, HOST_S1, HOST_S2);
        emit_stack_adjust(t, 2);
        if (guest == GPR_RSP) {
            emit_byte(&t->e, 0x66);
            emit_rr(&t->e, false, 0x89, HOST_S1, HOST_GUEST_RSP);
        }
        return;
    }
    emit_stack_adjust(t, (int32_t)operand_bytes(op));
    if (guest == GPR_RSP)
        emit_gs(&t->e, true, 0x8b, HOST_GUEST_RSP, SPILL_VALUE);
}

void emit_pop(struct translator *t, const struct op *op)
{
    int32_t size = (int32_t)operand_bytes(op);
    unsigned guest;

    emit_stack_address(t, 0);
    if (register_operand(op, &guest)) {
        emit_access(t, op, stack_descriptor(t, (unsigned)size, ACCESS_READ), pop_register);
        finish_pop(t, op, guest);
        return;
    }
    emit_access(t, op, stack_descriptor(t, (unsigned)size, ACCESS_READ), load_to_spill);
    /* An address that uses RSP uses it as it will be. */
    emit_address(t, op, op->insn.base == GPR_RSP ? size : 0);
    emit_access(t, op, operand_descriptor(t, op) | ACCESS_UNFINISHED, push_spilled);
    emit_stack_adjust(t, size);
}

static void leave_load(struct translator *t, const struct op *op)
{
    emit_move_sized(t, 0x8b, HOST_S2, HOST_S1, operand_bytes(op));
}

/* RSP := RBP; pop RBP. */
void emit_leave(struct translator *t, const struct op *op)
{
    unsigned stack = stack_size(t);
    unsigned size = operand_bytes(op);

    emit_lea(&t->e, stack == 8, HOST_S1, GPR_RBP, HOST_NONE, 1, 0);
    if (stack == 2)
        emit_rr(&t->e, false, 0x0fb7, HOST_S1, HOST_S1);
    emit_access(t, op, stack_descriptor(t, size, ACCESS_READ), leave_load);
    emit_lea(&t->e, stack == 8, HOST_S1, GPR_RBP, HOST_NONE, 1, (int32_t)size);
    if (stack == 2) {
        emit_byte(&t->e, 0x66);
        emit_rr(&t->e, false, 0x89, HOST_S1, HOST_GUEST_RSP);
    } else {
        emit_mov_rr(&t->e, HOST_GUEST_RSP, HOST_S1);
    }
    if (size == 2)
        emit_byte(&t->e, 0x66);
    emit_rr(&t->e, size == 8, 0x89, HOST_S2, GPR_RBP);
}
