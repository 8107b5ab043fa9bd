/*
 * Moving a block: the same code, at another linear address, without translating it again.
 *
 * Programs and libraries lie at random places, so the same page of a library is seen by each process at an address of
 * its own, and each needs its own host code: addresses are part of it. But little of the code: the translator notes
 * where (struct move), and a copy with those places changed is what it would have made.
 */
#include "engine/dbt/relocate.h"

#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "engine/dbt/state.h"
#include "engine/dbt/translate.h"

/*
 * Where an address relative to RIP surely needs 64 bits in an instruction, so that its place is the same for all; and
 * is canonical, as far away as it may be.
 */
#define MOVABLE_FIRST (2ull << 32)
#define MOVABLE_END ((1ull << 47) - (2ull << 32))

/* One whose negative has no short form. */
enum { MOVABLE_PAGE = 0x81 };

uint32_t itlb_offset(uint32_t mode, uint64_t linear)
{
    unsigned user = mode & MODE_USER ? 1 : 0;

    return (uint32_t)(offsetof(struct dbt_vcpu, itlb) + user * ITLB_ENTRIES * 4 +
                      ((linear >> PAGE_SHIFT) & (ITLB_ENTRIES - 1)) * 4);
}

static bool movable(uint64_t rip, uint32_t page_id)
{
    return rip >= MOVABLE_FIRST && rip < MOVABLE_END && page_id >= MOVABLE_PAGE;
}

void note_move(struct translator *t, enum move_kind kind, unsigned bytes)
{
    uint64_t at = (uint64_t)(t->e.at - (t->cache->write + t->block->code)) - bytes;

    if (t->move_count == BLOCK_MOVES)
        t->fixed = true;
    else
        t->moves[t->move_count++] = (struct move){(uint16_t)at, (uint16_t)kind};
}

void emit_mov_rip(struct translator *t, unsigned to, uint64_t value)
{
    emit_mov_imm(&t->e, to, value);
    if (value <= UINT32_MAX || (int64_t)value == (int32_t)value)
        t->fixed = true;
    else
        note_move(t, MOVE_RIP, 8);
}

bool block_is_movable(const struct translator *t)
{
    const struct block *block = t->block;

    return !t->fixed && in_64(t) && (t->mode & MODE_USER) && !(t->mode & MODE_STEP) && !block->page_id[1] &&
           movable(block->rip, block->page_id[0]);
}

/* An exit of the copy: it leads nowhere yet. */
static uint32_t copy_chain(struct code_cache *cache, uint32_t number, const struct block *origin,
                           const struct block *block)
{
    const struct chain *from = &cache->chains[number];
    struct chain *chain = &cache->chains[cache->chain_count];

    *chain = (struct chain){.target_rip = from->target_rip + (block->rip - origin->rip),
                            .site = from->site - origin->code + block->code,
                            .stub = from->stub,
                            .entry = from->entry};
    store_le(cache->write + chain->site, 4, chain->stub - 4u);
    return cache->chain_count++;
}

static void change(struct code_cache *cache, const struct move *move, const struct block *origin,
                   const struct block *block)
{
    uint8_t *at = cache->write + block->code + move->at;

    switch ((enum move_kind)move->kind) {
    case MOVE_RIP:
        store_le(at, 8, load_le(at, 8) + (block->rip - origin->rip));
        break;
    case MOVE_OUTSIDE:
        store_le(at, 4, load_le(at, 4) + origin->code - block->code);
        break;
    case MOVE_ITLB:
        store_le(at, 4, itlb_offset(block->mode, block->rip));
        break;
    case MOVE_PAGE:
        store_le(at, 4, block->page_id[0]);
        break;
    case MOVE_MINUS_PAGE:
        store_le(at, 4, 0 - block->page_id[0]);
        break;
    case MOVE_CHAIN:
        store_le(at, 4, copy_chain(cache, (uint32_t)load_le(at, 4), origin, block));
        break;
    }
}

struct block *relocate_block(struct code_cache *cache, const struct block *origin, uint64_t rip)
{
    const struct move *moves = (const struct move *)(const void *)(origin->map + origin->map_count + 1);
    uint64_t offset = PAGE_SIZE - 1;
    uint32_t page_id = cache_view(cache, rip & ~offset, origin->physical & ~offset, origin->mode & MODE_USER);
    struct block *block;

    if (!movable(rip, page_id))
        return NULL;
    block = cache_alloc(cache, sizeof(*block));
    if (!block)
        return NULL;
    *block = *origin;
    block->rip = rip;
    block->page_id[0] = page_id;
    block->code = cache->used;
    block->move_count = 0;
    block->origin_next = NULL;
    block->incoming = NULL;
    memcpy(cache->write + block->code, cache->write + origin->code, origin->code_size);
    for (unsigned i = 0; i < origin->move_count; i++)
        change(cache, &moves[i], origin, block);
    cache_keep(cache, block->code_size);
    return block;
}
