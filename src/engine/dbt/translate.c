#include "engine/dbt/translate.h"

#include <stdlib.h>
#include <string.h>

#include "engine/dbt/debug.h"
#include "engine/dbt/translator.h"
#include "port/log.h"

/* ---- decoding a block ---- */

static bool ends_block(const struct op *op)
{
    switch (op->kind) {
    case OP_JUMP:
    case OP_JCC:
    case OP_LOOP:
    case OP_CALL:
    case OP_JUMP_INDIRECT:
    case OP_CALL_INDIRECT:
    case OP_RET:
    case OP_UNDEFINED:
    case OP_STAC:
        return true;
    case OP_HELPER:
        return op->helper_ends;
    default:
        return false;
    }
}

/* The one instruction that begins on this page and ends on the next. */
static void decode_crossing(struct translator *t, unsigned offset, const uint8_t *next_page)
{
    uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
    unsigned first = PAGE_SIZE - offset;

    memcpy(bytes, t->page + offset, first);
    memcpy(bytes + first, next_page, sizeof(bytes) - first);
    decode_op(t, &t->ops[0], bytes, sizeof(bytes), t->block->rip);
    t->count = 1;
    t->end_rip = t->block->rip + t->ops[0].z.length;
}

/* Decode until the block ends. False: its first instruction needs the next page. */
static bool decode_block(struct translator *t, unsigned offset)
{
    uint64_t rip = t->block->rip;
    uint64_t limit = in_64(t) ? UINT64_MAX : t->c->segment[SEG_CS].limit;
    unsigned most = t->mode & MODE_STEP ? 1 : BLOCK_INSNS;

    t->count = 0;
    while (t->count < most && offset < PAGE_SIZE) {
        struct op *op = &t->ops[t->count];

        if (!decode_op(t, op, t->page + offset, PAGE_SIZE - offset, rip))
            break;
        if (t->count && (limit - rip < op->z.length - 1u || debug_stop_at(t->c->dbt, t->block->cs_base + rip)))
            break;
        t->count++;
        offset += op->z.length;
        rip += op->z.length;
        if (ends_block(op))
            break;
    }
    t->end_rip = in_64(t) ? rip : (uint32_t)rip;
    return t->count != 0;
}

/* A debugger stops here: the block is the stop and no more. It is stepped over in another mode (debug.c). */
static void stop_first(struct translator *t)
{
    struct op *op = &t->ops[0];

    if ((t->mode & MODE_STEP) || !debug_stop_at(t->c->dbt, t->block->cs_base + t->block->rip))
        return;
    op->kind = OP_HELPER;
    op->helper = op_debug_stop;
    op->helper_ends = true;
    op->memory = NULL;
    op->flags_read = op->flags_touched = LIVE_FLAGS;
    op->flags_killed = 0;
    t->count = 1;
    t->end_rip = op->rip + op->z.length;
}

/* ---- liveness ---- */

static uint32_t live_after_block(struct translator *t)
{
    const struct op *last = &t->ops[t->count - 1];

    t->return_live = LIVE_FLAGS;
    if (t->mode & MODE_STEP)
        return LIVE_FLAGS;
    switch (last->kind) {
    case OP_JUMP:
        return decode_peek(t, last->target, 0);
    case OP_JCC:
        return decode_peek(t, last->target, 0) | decode_peek(t, t->end_rip, 1);
    case OP_STAC:
        return decode_peek(t, t->end_rip, 0);
    case OP_CALL:
        t->return_live = decode_peek(t, t->end_rip, 1);
        return decode_peek(t, last->target, 0);
    case OP_CALL_INDIRECT:
        t->return_live = decode_peek(t, t->end_rip, 1);
        return LIVE_FLAGS;
    case OP_LOOP:
    case OP_JUMP_INDIRECT:
    case OP_RET:
    case OP_UNDEFINED:
        return LIVE_FLAGS;
    default:
        return ends_block(last) ? LIVE_FLAGS : decode_peek(t, t->end_rip, 0);
    }
}

static void find_liveness(struct translator *t)
{
    uint32_t live = live_after_block(t);

    for (unsigned i = t->count; i-- > 0;) {
        struct op *op = &t->ops[i];

        op->live_out = live;
        live = (live & ~op->flags_killed) | op->flags_read;
        op->live_in = live;
    }
    t->entry_live = live;
}

/* ---- emitting ---- */

/* What follows the TLB check, or all of an instruction without memory. */
static void body_copy(struct translator *t, const struct op *op)
{
    if (op->flags_touched || op->flags_read)
        emit_flags_need(t, op->flags_read | (op->flags_touched ? op->live_out & ~op->flags_killed : 0));
    copy_op(t, op);
    if (op->flags_touched)
        t->flags = FLAGS_HOST;
}

static void emit_copy(struct translator *t, const struct op *op)
{
    if (!op->memory) {
        body_copy(t, op);
        return;
    }
    emit_address(t, op, 0);
    emit_access(t, op, operand_descriptor(t, op), body_copy);
}

static void emit_lea_op(struct translator *t, const struct op *op)
{
    const struct insn *insn = &op->insn;
    int to = emit_host_of(op->fields.reg);
    int base = insn->base < 0 || insn->base == 16 ? HOST_NONE : emit_host_of((unsigned)insn->base);
    int index = insn->index < 0 ? HOST_NONE : emit_host_of((unsigned)insn->index);
    bool plain = (insn->base >= 0 && insn->base != 16 && base >= 0) && (insn->index < 0 || index >= 0);
    unsigned size = op->z.operand_width / 8;

    if (plain && to >= 0 && size >= 4 && insn->address_size == 8) {
        emit_lea(&t->e, size == 8, (unsigned)to, base, index, insn->scale, (int32_t)insn->displacement);
        return;
    }
    /* Segment bases play no part; emit_address() adds them for FS and GS only. */
    {
        struct op bare = *op;

        bare.insn.segment = SEG_DS;
        emit_address(t, &bare, 0);
    }
    if (size == 4)
        emit_rr(&t->e, false, 0x89, HOST_S1, HOST_S1);
    if (size == 2) {
        emit_byte(&t->e, 0x66);
        if (to >= 0)
            emit_rr(&t->e, false, 0x89, HOST_S1, (unsigned)to);
        else
            emit_gs(&t->e, false, 0x89, HOST_S1, gpr_offset(op->fields.reg));
        return;
    }
    emit_store_guest(t, op->fields.reg, HOST_S1);
}

static void body_moffs(struct translator *t, const struct op *op)
{
    emit_move_sized(t, op->reads_memory ? 0x8b : 0x89, HOST_RAX, HOST_S1, op->memory_size);
}

static void emit_moffs(struct translator *t, const struct op *op)
{
    emit_address(t, op, 0);
    emit_access(t, op, operand_descriptor(t, op), body_moffs);
}

/* [S1] is the element; the bit in it is the register modulo its width. */
static void body_bit_string(struct translator *t, const struct op *op)
{
    unsigned size = op->memory_size;
    static const uint16_t by_mnemonic[] = {0x0fa3, 0x0fab, 0x0fb3, 0x0fbb};
    unsigned which = op->z.mnemonic == ZYDIS_MNEMONIC_BT    ? 0
                     : op->z.mnemonic == ZYDIS_MNEMONIC_BTS ? 1
                     : op->z.mnemonic == ZYDIS_MNEMONIC_BTR ? 2
                                                            : 3;

    emit_load_guest(t, HOST_S2, op->fields.reg);
    emit_alu_imm(&t->e, false, 4, HOST_S2, (int32_t)(8 * size - 1));
    emit_gs(&t->e, true, 0x89, HOST_S2, OFF_SPILL);
    emit_flags_need(t, op->live_out & ~op->flags_killed);
    emit_gs(&t->e, true, 0x8b, HOST_S2, OFF_SPILL);
    if (op->z.attributes & ZYDIS_ATTRIB_HAS_LOCK)
        emit_byte(&t->e, 0xf0);
    if (size == 2)
        emit_byte(&t->e, 0x66);
    emit_rm(&t->e, size == 8, by_mnemonic[which], HOST_S2, HOST_S1, 0);
    t->flags = FLAGS_HOST;
}

/* BT m, r and its kin: the register is a signed bit offset from the operand's address. */
static void emit_bit_string(struct translator *t, const struct op *op)
{
    unsigned size = op->memory_size;
    unsigned log_bits = size == 8 ? 6 : size == 4 ? 5 : 4;
    struct op bare = *op;
    bool segment_base = in_64(t) && (op->insn.segment == SEG_FS || op->insn.segment == SEG_GS);

    if (t->flags == FLAGS_HOST && op->live_in)
        emit_flags_save(t);
    bare.insn.segment = SEG_DS; /* the base is added after the offset, which is cut to the address size */
    emit_address(t, &bare, 0);
    emit_load_guest(t, HOST_S2, op->fields.reg);
    if (size == 2)
        emit_rr(&t->e, true, 0x0fbf, HOST_S2, HOST_S2);
    else if (size == 4)
        emit_rr(&t->e, true, 0x63, HOST_S2, HOST_S2);
    emit_shift_imm(&t->e, true, 7, HOST_S2, log_bits);
    emit_lea(&t->e, op->insn.address_size == 8, HOST_S1, HOST_S1, HOST_S2, size, 0);
    if (op->insn.address_size == 2)
        emit_rr(&t->e, false, 0x0fb7, HOST_S1, HOST_S1);
    if (segment_base) {
        emit_gs(&t->e, true, 0x8b, HOST_S2, (uint32_t)offsetof(struct dbt_vcpu, segment[op->insn.segment].base));
        emit_lea(&t->e, true, HOST_S1, HOST_S1, HOST_S2, 1, 0);
    }
    emit_access(t, op, operand_descriptor(t, op), body_bit_string);
}

static void emit_op(struct translator *t, const struct op *op)
{
    switch (op->kind) {
    case OP_COPY:
        emit_copy(t, op);
        break;
    case OP_HELPER:
        emit_helper(t, op);
        break;
    case OP_NOP:
        break;
    case OP_LEA:
        emit_lea_op(t, op);
        break;
    case OP_MOFFS:
        emit_moffs(t, op);
        break;
    case OP_BIT_STRING:
        emit_bit_string(t, op);
        break;
    case OP_PUSH:
        emit_push(t, op);
        break;
    case OP_POP:
        emit_pop(t, op);
        break;
    case OP_LEAVE:
        emit_leave(t, op);
        break;
    case OP_CLI:
        emit_cli(t, op);
        break;
    case OP_STI:
        emit_sti(t, op);
        break;
    case OP_STAC:
        emit_stac(t, op);
        break;
    case OP_SWAPGS:
        emit_swapgs(t);
        break;
    case OP_PUSHF:
        emit_pushf(t, op);
        break;
    case OP_UNDEFINED:
        emit_undefined(t, op);
        break;
    default:
        emit_flow(t, op);
        break;
    }
}

static void emit_block(struct translator *t)
{
    const uint8_t *start = t->cache->write + t->block->code;

    t->flags = FLAGS_HOST;
    t->slow_count = t->exit_count = t->move_count = 0;
    t->fixed = false;
    t->operand_at = (struct host_address){HOST_S1, HOST_NONE, 0};
    t->canonical_hole = NULL;
    emit_entries(t);
    for (unsigned i = 0; i < t->count; i++) {
        const struct op *op = &t->ops[i];
        struct insn_map *map = &t->map[i];
        unsigned group;

        if (!op->live_in)
            t->flags = FLAGS_HOST; /* whatever they are, nobody asks */
        group = emit_group(t, i);
        if (group) {
            i += group - 1;
            continue;
        }
        *map = (struct insn_map){(uint16_t)(op->rip - t->block->rip), (uint16_t)(t->e.at - start), 0};
        t->saved_before[i] = t->flags == FLAGS_SAVED;
        emit_op(t, op);
        map->guest |=
            (uint16_t)((t->saved_before[i] ? MAP_SAVED_BEFORE : 0) | (t->flags == FLAGS_SAVED ? MAP_SAVED_AFTER : 0));
    }
    t->map[t->count] = (struct insn_map){(uint16_t)(t->end_rip - t->block->rip), (uint16_t)(t->e.at - start), 0};
    if (!ends_block(&t->ops[t->count - 1])) {
        emit_flags_need(t, t->ops[t->count - 1].live_out);
        emit_exit(t, CONDITION_ALWAYS, t->end_rip, t->ops[t->count - 1].rip);
    }
    t->block->slow = (uint16_t)(t->e.at - start);
    emit_slow_paths(t);
    emit_canonical_slow(t, &t->ops[t->count - 1]);
    emit_stubs(t);
}

static void begin(struct translator *t, struct dbt_vcpu *c, struct block *block, const uint8_t *page, uint64_t physical)
{
    uint64_t linear_page;

    t->c = c;
    t->mode = c->mode;
    t->block = block;
    t->page = page;
    block->rip = c->rip;
    block->cs_base = in_64(t) ? 0 : (uint32_t)c->segment[SEG_CS].base;
    block->mode = t->mode;
    block->physical = physical;
    block->code = t->cache->used;
    linear_page = (block->cs_base + block->rip) & ~(uint64_t)(PAGE_SIZE - 1);
    block->page_id[0] = cache_view(t->cache, linear_page, physical & ~(uint64_t)(PAGE_SIZE - 1), t->mode & MODE_USER);
}

static bool finish(struct translator *t)
{
    struct code_cache *cache = t->cache;
    struct block *block = t->block;
    size_t map_size = (t->count + 1) * sizeof(*block->map);

    block->length = (uint16_t)(t->end_rip - block->rip);
    block->map_count = (uint8_t)t->count;
    block->move_count = block_is_movable(t) ? (uint16_t)t->move_count : 0;
    block->map = cache_alloc(cache, map_size + block->move_count * sizeof(*t->moves));
    if (t->e.full || !block->map) {
        log_error("translation of a block at %#llx does not fit", (unsigned long long)block->rip);
        return false;
    }
    memcpy(block->map, t->map, map_size);
    memcpy((uint8_t *)block->map + map_size, t->moves, block->move_count * sizeof(*t->moves));
    block->code_size = (uint16_t)(t->e.at - (cache->write + block->code));
    cache_keep(cache, block->code_size);
    return true;
}

struct block *translator_run(struct translator *t, struct dbt_vcpu *c, const uint8_t *page, uint64_t physical,
                             const uint8_t *next_page, uint64_t next_physical)
{
    unsigned offset = (unsigned)(physical & (PAGE_SIZE - 1));
    struct block *block = cache_alloc(t->cache, sizeof(*block));

    if (!block)
        return NULL;
    begin(t, c, block, page, physical);
    if (!decode_block(t, offset)) {
        if (!next_page)
            return NULL;
        block->page_id[1] =
            cache_view(t->cache, ((block->cs_base + block->rip) & ~(uint64_t)(PAGE_SIZE - 1)) + PAGE_SIZE,
                       next_physical, t->mode & MODE_USER);
        decode_crossing(t, offset, next_page);
    }
    stop_first(t);
    find_liveness(t);
    t->e = (struct emitter){t->cache->write + t->cache->used, t->cache->write + t->cache->used + BLOCK_CODE_MAX, false};
    emit_block(t);
    return finish(t) ? block : NULL;
}

enum status translator_create(struct code_cache *cache, struct translator **translator)
{
    struct translator *t = calloc(1, sizeof(*t));
    enum status status;

    if (!t) {
        log_error("out of memory for the translator");
        return STATUS_NO_MEMORY;
    }
    t->cache = cache;
    status = decode_init(t);
    if (status) {
        translator_destroy(t);
        return status;
    }
    *translator = t;
    return STATUS_OK;
}

void translator_destroy(struct translator *t)
{
    if (!t)
        return;
    decode_destroy(t);
    free(t);
}
