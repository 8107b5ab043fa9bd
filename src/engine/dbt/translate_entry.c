/*
 * How a block is entered and left.
 *
 *     checked:    cmp dword gs:[itlb slot], page id ; jne verify   from other pages
 *     attention:  cmp dword gs:[attention], 0 ; jne attention      from behind, and from indirect jumps
 *     body:                                                        from before, on the same page
 *
 * A block depends on the linear page being mapped where it was when the block was made. A jump within a
 * page may take that for granted: the jumping code is on it. Every loop has a jump backwards or an
 * indirect one, so those two entries are where interrupts are noticed.
 *
 * Where the first instructions need the flags, the checks are made with JRCXZ, which keeps them.
 */
#include "engine/dbt/relocate.h"
#include "engine/dbt/translate.h"

static uint16_t here(const struct translator *t)
{
    return (uint16_t)(t->e.at - (t->cache->write + t->block->code));
}

/* Compare a 32-bit word of the vCPU; returns the hole of the jump that is taken when it differs. */
static uint8_t *emit_check(struct translator *t, uint32_t offset, uint32_t expected, bool mapping)
{
    uint8_t *hole;

    if (!t->entry_live) {
        emit_gs(&t->e, false, 0x81, 7, offset);
        emit_u32(&t->e, expected);
        if (mapping) {
            note_move(t, MOVE_ITLB, 8);
            note_move(t, MOVE_PAGE, 4);
        }
        return emit_jump(&t->e, 5);
    }
    emit_mov_rr(&t->e, HOST_S2, HOST_RCX);
    emit_gs(&t->e, false, 0x8b, HOST_RCX, offset);
    if (mapping)
        note_move(t, MOVE_ITLB, 4);
    emit_lea(&t->e, false, HOST_RCX, HOST_RCX, HOST_NONE, 1, (int32_t)(0 - expected));
    if (mapping)
        note_move(t, MOVE_MINUS_PAGE, 4);
    emit_byte(&t->e, 0xe3); /* jrcxz over the next two */
    emit_byte(&t->e, 3 + 5);
    emit_mov_rr(&t->e, HOST_RCX, HOST_S2);
    hole = emit_jump(&t->e, CONDITION_ALWAYS);
    emit_mov_rr(&t->e, HOST_RCX, HOST_S2);
    return hole;
}

static uint8_t *emit_mapping_check(struct translator *t, uint64_t linear, uint32_t page_id)
{
    return emit_check(t, itlb_offset(t->mode, linear), page_id, true);
}

void emit_entries(struct translator *t)
{
    struct block *block = t->block;
    uint64_t linear = block->cs_base + block->rip;

    t->verify_hole[0] = t->verify_hole[1] = t->attention_hole = NULL;
    if (!(t->mode & MODE_STEP)) {
        t->verify_hole[0] = emit_mapping_check(t, linear, block->page_id[0]);
        if (block->page_id[1])
            t->verify_hole[1] = emit_mapping_check(t, linear + PAGE_SIZE, block->page_id[1]);
        block->entry_attention = here(t);
        t->attention_hole = emit_check(t, OFF_ATTENTION, 0, false);
    }
    block->entry_body = here(t);
}

static void emit_leave_to(struct translator *t, uint64_t rip)
{
    emit_mov_rip(t, HOST_S1, rip);
    emit_jump_shared(t, SHARED_ATTENTION, 0);
}

static uint8_t entry_kind(const struct translator *t, uint64_t target, uint64_t from)
{
    const struct block *block = t->block;

    if (block->page_id[1] || ((block->cs_base + target) ^ (block->cs_base + block->rip)) >> PAGE_SHIFT)
        return CHAIN_CHECKED;
    return target <= from ? CHAIN_ATTENTION : CHAIN_BODY;
}

/* While single-stepping every exit goes through the run loop. */
static void emit_step_exit(struct translator *t, unsigned condition, uint64_t target)
{
    uint8_t *hole = NULL;

    if (condition < 16)
        hole = emit_jump(&t->e, condition ^ 1);
    emit_leave_to(t, target);
    if (hole)
        emit_patch(&t->e, hole, t->e.at);
}

void emit_exit(struct translator *t, unsigned condition, uint64_t target, uint64_t from)
{
    struct exit_record *record = &t->exits[t->exit_count];
    struct chain *chain;

    if (t->mode & MODE_STEP) {
        emit_step_exit(t, condition, target);
        return;
    }
    if (t->exit_count == BLOCK_EXITS) {
        t->e.full = true;
        return;
    }
    emit_align_hole(&t->e, condition < 16 ? 2 : 1);
    record->hole = condition == EXIT_CALL ? emit_call(&t->e) : emit_jump(&t->e, condition);
    record->number = t->cache->chain_count++;
    chain = &t->cache->chains[record->number];
    *chain = (struct chain){
        .target_rip = target, .entry = entry_kind(t, target, from), .site = (uint32_t)(record->hole - t->cache->write)};
    t->exit_count++;
}

static void emit_saved_entry(struct translator *t)
{
    struct block *block = t->block;
    uint8_t *start = t->cache->write + block->code;

    /* On two pages, both mappings are checked whoever comes. */
    uint16_t entry = block->page_id[1] ? 0 : block->entry_attention;

    if (!t->entry_live) {
        block->entry_saved = entry;
        return;
    }
    block->entry_saved = here(t);
    emit_flags_restore(t);
    emit_jump_to(&t->e, CONDITION_ALWAYS, start + entry);
}

void emit_stubs(struct translator *t)
{
    uint64_t rip = t->block->rip;

    if (t->attention_hole) {
        /* The run loop finds out which of them it was. */
        emit_patch(&t->e, t->attention_hole, t->e.at);
        emit_patch(&t->e, t->verify_hole[0], t->e.at);
        if (t->verify_hole[1])
            emit_patch(&t->e, t->verify_hole[1], t->e.at);
        emit_leave_to(t, rip);
    }
    for (unsigned i = 0; i < t->exit_count; i++) {
        struct exit_record *record = &t->exits[i];

        t->cache->chains[record->number].stub = (uint16_t)(t->e.at - record->hole);
        emit_patch(&t->e, record->hole, t->e.at);
        emit_call_shared(t, SHARED_CHAIN, 0);
        emit_u32(&t->e, record->number);
        note_move(t, MOVE_CHAIN, 4);
    }
    emit_saved_entry(t);
}
