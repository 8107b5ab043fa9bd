/*
 * Runs of PUSH, and of POP with the RET that often follows, under one TLB check.
 *
 * Prologues and epilogues are a large part of all memory accesses. If the whole run lies on one page that the TLB
 * knows, nothing in it can fault; otherwise the out-of-line code takes the instructions one by one, so that a
 * fault finds exactly those done that came before it.
 */
#include "engine/dbt/translate.h"

enum { GROUP_MOST = 16, GROUP_WIDTH = 8 };

static bool plain_register(const struct op *op, unsigned *guest)
{
    if (op->operand[0].type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    *guest = op->operand[0].encoding == ZYDIS_OPERAND_ENCODING_OPCODE ? op->fields.embedded : op->fields.rm;
    return *guest != GPR_RSP;
}

static bool joins(const struct op *op, enum op_kind kind)
{
    unsigned guest;

    if (op->kind != kind || op->z.operand_width != 64 || op->memory)
        return false;
    return plain_register(op, &guest) || (kind == OP_PUSH && op->operand[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE);
}

/* How many instructions from index on can go together; 1: it is on its own. */
static unsigned run_length(const struct translator *t, unsigned index)
{
    enum op_kind kind = t->ops[index].kind;
    unsigned count = 0;

    if ((kind != OP_PUSH && kind != OP_POP) || !in_64(t) || (t->mode & (MODE_ALIGN | MODE_STEP)))
        return 1;
    while (count < GROUP_MOST && index + count < t->count && joins(&t->ops[index + count], kind))
        count++;
    if (count && kind == OP_POP && index + count < t->count && t->ops[index + count].kind == OP_RET &&
        t->ops[index + count].z.operand_width == 64)
        count++;
    return count ? count : 1;
}

/* The value of one PUSH to [S1 + offset]. */
static void store_operand(struct translator *t, const struct op *op, int32_t offset)
{
    unsigned guest;
    int host;

    if (!plain_register(op, &guest)) {
        emit_mov_imm(&t->e, HOST_S2, op->insn.immediate);
        host = HOST_S2;
    } else {
        host = emit_host_of(guest);
        if (host < 0) {
            emit_load_guest(t, HOST_S2, guest);
            host = HOST_S2;
        }
    }
    emit_rm(&t->e, true, 0x89, (unsigned)host, HOST_S1, offset);
}

/* One POP, or a RET's target, from [S1 + offset]. */
static void load_operand(struct translator *t, const struct op *op, int32_t offset)
{
    unsigned guest = 0;
    int host;

    if (op->kind == OP_RET) {
        emit_rm(&t->e, true, 0x8b, HOST_S1, HOST_S1, offset);
        return;
    }
    plain_register(op, &guest);
    host = emit_host_of(guest);
    emit_rm(&t->e, true, 0x8b, host < 0 ? HOST_S2 : (unsigned)host, HOST_S1, offset);
    if (host < 0)
        emit_store_guest(t, guest, HOST_S2);
}

static void place(struct translator *t, unsigned index)
{
    const struct op *op = &t->ops[index];

    t->map[index] = (struct insn_map){(uint16_t)(op->rip - t->block->rip),
                                      (uint16_t)(t->e.at - (t->cache->write + t->block->code)), 0};
    t->saved_before[index] = t->flags == FLAGS_SAVED;
    if (t->flags == FLAGS_SAVED)
        t->map[index].guest |= MAP_SAVED_BEFORE | MAP_SAVED_AFTER;
}

unsigned emit_group(struct translator *t, unsigned index)
{
    unsigned count = run_length(t, index);
    const struct op *first = &t->ops[index];
    bool push = first->kind == OP_PUSH;
    bool returns = t->ops[index + count - 1].kind == OP_RET;
    int32_t bytes = (int32_t)(GROUP_WIDTH * count);
    uint32_t kind = push ? ACCESS_WRITE : ACCESS_READ;

    if (count < 2 || t->slow_count == BLOCK_SLOW)
        return 0;
    if (t->flags == FLAGS_HOST && first->live_in)
        emit_flags_save(t);
    emit_stack_address(t, push ? -bytes : 0);
    emit_group_check(t, first, stack_descriptor(t, (unsigned)bytes, kind), count);
    for (unsigned i = 0; i < count; i++) {
        place(t, index + i);
        if (push)
            store_operand(t, first + i, bytes - (int32_t)(GROUP_WIDTH * (i + 1)));
        else
            load_operand(t, first + i, (int32_t)(GROUP_WIDTH * i));
    }
    emit_stack_adjust(t, push ? -bytes : returns ? bytes - GROUP_WIDTH : bytes);
    t->slow[t->slow_count - 1].resume = t->e.at;
    if (returns)
        emit_return(t, first + count - 1);
    return count;
}

/* The same instructions one by one, out of line. */
void emit_group_slow(struct translator *t, const struct slow *slow)
{
    bool push = slow->op->kind == OP_PUSH;
    uint32_t descriptor = stack_descriptor(t, GROUP_WIDTH, push ? ACCESS_WRITE : ACCESS_READ);

    for (unsigned i = 0; i < slow->group; i++) {
        const struct op *op = slow->op + i;

        t->map[op - t->ops].slow = (uint16_t)(t->e.at - (t->cache->write + t->block->code));
        emit_stack_address(t, push ? -GROUP_WIDTH : 0);
        emit_lookup(t, descriptor);
        if (push)
            store_operand(t, op, 0);
        else
            load_operand(t, op, 0);
        if (push)
            emit_call_shared(t, SHARED_POST, 0);
        if (op->kind != OP_RET)
            emit_stack_adjust(t, push ? -GROUP_WIDTH : GROUP_WIDTH);
    }
    emit_jump_to(&t->e, CONDITION_ALWAYS, slow->resume);
}
