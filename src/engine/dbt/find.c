/*
 * From a guest instruction pointer to translated code, and back from a host address to the guest
 * instruction.
 */
#include "engine/dbt/descriptor.h"
#include "engine/dbt/engine.h"
#include "engine/dbt/mmu.h"
#include "engine/dbt/relocate.h"
#include "engine/dbt/thunks.h"
#include "engine/dbt/translator.h"
#include "engine/dbt/walk.h"
#include "x86/paging.h"

/* Where the code at a linear address is. */
struct fetch {
    uint64_t physical;
    uint64_t page;       /* of the RAM backing */
    const uint8_t *host; /* of the page's first byte */
    bool global;
};

static uint64_t code_base(const struct dbt_vcpu *c)
{
    return code64(c) ? 0 : c->segment[SEG_CS].base;
}

static void fetch_page(struct dbt_vcpu *c, uint64_t linear, struct fetch *fetch)
{
    struct walk walk;
    bool read_only;

    if (!walk_page(c, c->mmu, linear, MMU_FETCH, true, &walk)) {
        c->cr2 = linear;
        raise_fault(c, VECTOR_PF, (int32_t)walk.error);
    }
    /* A fetch from a device reads all ones, and FF FF is undefined. */
    if (!ram_page(c->dbt, walk.physical, &fetch->page, &read_only))
        raise_fault(c, VECTOR_UD, -1);
    fetch->physical = walk.physical;
    fetch->host = c->dbt->memory->host + (fetch->page << PAGE_SHIFT);
    fetch->global = walk.global;
}

static uint64_t check_rip(struct dbt_vcpu *c)
{
    if (code64(c)) {
        if (!canonical(c->rip))
            raise_fault(c, VECTOR_GP, 0);
        return c->rip;
    }
    if (c->rip > c->segment[SEG_CS].limit)
        raise_fault(c, VECTOR_GP, 0);
    return code_linear(c);
}

/* Let the entry checks of blocks on this page pass, until a mapping changes. */
static void note_mapping(struct dbt_vcpu *c, uint64_t linear, uint32_t id, bool global)
{
    unsigned user = c->mode & MODE_USER ? 1 : 0;
    uint64_t page = linear >> PAGE_SHIFT;

    c->itlb[user][page & (ITLB_ENTRIES - 1)] = id;
    c->code_pages[user][(page >> 6) & 15] |= 1ull << (page & 63);
    if (!user && !global)
        c->itlb_local = 1;
}

/* With the lock: whoever forgets the block erases the entry, so a block that is forgotten already must not get one. */
static void remember_target(struct dbt_vcpu *c, const struct block *block)
{
    struct jump_entry *entry = &c->jump[block->rip & (JUMP_CACHE - 1)];

    if (c->generation == 0 || !block->valid)
        return;
    entry->rip = block->rip;
    entry->generation = c->generation;
    entry->code = (uint64_t)(uintptr_t)c->dbt->cache.exec + block->code + block->entry_saved;
}

/* Forget all translations. The caller has the world stopped (exclusive_begin) and the lock. */
static void flush_cache(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;

    dbt->flushes++;
    cache_flush(&dbt->cache);
    for (unsigned i = 0; i < dbt->cpu_count; i++)
        if (dbt->vcpus[i])
            forget_all_code(dbt->vcpus[i]);
}

/*
 * A page gets its first code. The order makes it safe: mark the page first, then look who may have a TLB entry to
 * write to it. Whoever fills an entry does it the other way round (mmu.c, fill), so either he sees the mark or we see
 * him. Once all such entries are gone, writes to the page are followed by code_written(), which waits for the
 * lock that translation holds: no block can be made from bytes that a store has just replaced.
 */
static bool claim(struct dbt_vcpu *c, const struct fetch *fetch)
{
    return !fetch || cache_claim_page(&c->dbt->cache, fetch->page);
}

static bool others_write(const struct dbt_vcpu *c, const struct fetch *fetch)
{
    const struct dbt_engine *dbt = c->dbt;
    uint16_t mine = (uint16_t)(1u << (c->vcpu.index & 15));

    if (!fetch || dbt->cpu_count == 1)
        return false;
    return (__atomic_load_n(&dbt->writers[fetch->page], __ATOMIC_SEQ_CST) & (dbt->cpu_count > 16 ? 0xffff : ~mine)) !=
           0;
}

/* Writes to this page must ask from now on. all: of the other vCPUs too, which are stopped. */
static void revoke_writes(struct dbt_vcpu *c, const struct fetch *fetch, bool all)
{
    struct dbt_engine *dbt = c->dbt;
    uint64_t host;
    uint16_t writers;

    if (!fetch || !dbt->writers[fetch->page])
        return;
    host = (uint64_t)(uintptr_t)dbt->memory->host + (fetch->page << PAGE_SHIFT);
    writers = __atomic_exchange_n(&dbt->writers[fetch->page], 0, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < dbt->cpu_count; i++)
        if ((writers >> (i & 15) & 1) && (all || i == c->vcpu.index))
            mmu_revoke_write(dbt->vcpus[i], host);
}

/* The same code seen at another address. A stop of a debugger's is at one address alone, so then nothing is moved. */
static struct block *move(struct dbt_vcpu *c, const struct fetch *first)
{
    struct code_cache *cache = &c->dbt->cache;
    const struct block *origin = c->dbt->stop_count ? NULL : cache_find_origin(cache, first->physical, c->mode);
    struct block *block = origin ? relocate_block(cache, origin, c->rip) : NULL;

    if (block)
        c->stat_moves++;
    return block;
}

/* With the lock: make the block. Raises nothing. NULL: needs the second page, or the cache is full. */
static struct block *make(struct dbt_vcpu *c, const struct fetch *first, const struct fetch *second)
{
    struct dbt_engine *dbt = c->dbt;
    struct block *block = move(c, first);

    if (!block) {
        block = translator_run(dbt->translator, c, first->host, first->physical, second ? second->host : NULL,
                               second ? second->physical : 0);
        c->stat_translations++;
    }
    if (block && !cache_insert(&dbt->cache, block, first->page, second ? second->page : 0))
        return NULL;
    return block;
}

struct block *block_find_quick(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;
    uint64_t linear = code_linear(c);
    uint32_t id = c->itlb[c->mode & MODE_USER ? 1 : 0][(linear >> PAGE_SHIFT) & (ITLB_ENTRIES - 1)];
    const struct page_view *view = &dbt->cache.views[id];
    struct block *block;

    if (!id || view->linear != (linear & ~(uint64_t)(PAGE_SIZE - 1)) ||
        (!code64(c) && c->rip > c->segment[SEG_CS].limit))
        return NULL;
    lock_acquire(&dbt->lock);
    block = cache_find(&dbt->cache, c->rip, code_base(c), view->physical | (linear & (PAGE_SIZE - 1)), c->mode);
    if (block && block->page_id[1])
        block = NULL;
    if (block)
        remember_target(c, block);
    lock_release(&dbt->lock);
    return block;
}

static bool same_second_page(struct dbt_vcpu *c, const struct block *block, uint64_t linear, struct fetch *second)
{
    fetch_page(c, (linear & ~(uint64_t)(PAGE_SIZE - 1)) + PAGE_SIZE, second);
    return second->physical == c->dbt->cache.views[block->page_id[1]].physical;
}

static void entered(struct dbt_vcpu *c, const struct block *block, uint64_t linear, const struct fetch *first,
                    const struct fetch *second)
{
    note_mapping(c, linear, block->page_id[0], first->global);
    if (block->page_id[1])
        note_mapping(c, linear + PAGE_SIZE, block->page_id[1], second->global);
    lock_acquire(&c->dbt->lock);
    remember_target(c, block);
    lock_release(&c->dbt->lock);
}

/* Translate with whatever has to be stopped stopped. NULL: the block reaches into the next page. */
static struct block *translate_now(struct dbt_vcpu *c, const struct fetch *first, const struct fetch *second)
{
    struct dbt_engine *dbt = c->dbt;
    struct block *block = NULL;
    bool stop;

    vector_save(c);
    lock_acquire(&dbt->lock);
    stop = !cache_has_room(&dbt->cache) || !claim(c, first) || !claim(c, second);
    lock_release(&dbt->lock);
    stop = stop || others_write(c, first) || others_write(c, second);
    if (stop)
        exclusive_begin(c);
    lock_acquire(&dbt->lock);
    if (!stop && !cache_has_room(&dbt->cache)) { /* another vCPU was quicker */
        lock_release(&dbt->lock);
        exclusive_begin(c);
        stop = true;
        lock_acquire(&dbt->lock);
    }
    if (!cache_has_room(&dbt->cache))
        flush_cache(c);
    if (claim(c, first) && claim(c, second)) {
        revoke_writes(c, first, stop);
        revoke_writes(c, second, stop);
        block = cache_find(&dbt->cache, c->rip, code_base(c), first->physical, c->mode);
        if (!block || (block->page_id[1] && second && dbt->cache.views[block->page_id[1]].physical != second->physical))
            block = make(c, first, second);
    }
    lock_release(&dbt->lock);
    if (stop)
        exclusive_end(c);
    return block;
}

struct block *block_find(struct dbt_vcpu *c)
{
    struct dbt_engine *dbt = c->dbt;
    uint64_t linear = check_rip(c);
    struct fetch first = {0};
    struct fetch second = {0};
    struct block *block;

    fetch_page(c, linear, &first);
    for (;;) {
        lock_acquire(&dbt->lock);
        block = cache_find(&dbt->cache, c->rip, code_base(c), first.physical, c->mode);
        lock_release(&dbt->lock);
        if (block && (!block->page_id[1] || same_second_page(c, block, linear, &second)))
            break;
        if (block) {
            code_written(c, first.physical, 1); /* made for another second page */
            c->exit_wanted = 0;
        }
        block = translate_now(c, &first, NULL);
        if (block)
            continue;
        fetch_page(c, (linear & ~(uint64_t)(PAGE_SIZE - 1)) + PAGE_SIZE, &second);
        block = translate_now(c, &first, &second);
        if (!block)
            raise_fault(c, VECTOR_MC, -1); /* cannot happen: a flush made room for it */
    }
    entered(c, block, linear, &first, &second);
    return block;
}

void code_written(struct dbt_vcpu *c, uint64_t physical, uint64_t size)
{
    struct dbt_engine *dbt = c->dbt;
    uint64_t page;
    bool read_only;

    if (!ram_page(dbt, physical, &page, &read_only))
        return;
    lock_acquire(&dbt->lock);
    if (cache_written(&dbt->cache, page, (unsigned)(physical & (PAGE_SIZE - 1)), size))
        c->exit_wanted = 1;
    lock_release(&dbt->lock);
}

/* The instruction whose main (slow: out-of-line) code holds the offset. */
static const struct insn_map *map_at(const struct block *block, uint64_t offset, bool slow)
{
    unsigned low = 0;
    unsigned high = block->map_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        uint16_t start = slow ? block->map[middle].slow : block->map[middle].host;

        if (start <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &block->map[low - 1] : NULL;
}

bool code_locate(struct dbt_vcpu *c, uint64_t host, struct code_place *place)
{
    struct dbt_engine *dbt = c->dbt;
    const struct insn_map *map = NULL;
    struct block *block;

    lock_acquire(&dbt->lock);
    block = cache_block_at(&dbt->cache, host);
    lock_release(&dbt->lock);
    if (block) {
        uint64_t offset = host - (uint64_t)(uintptr_t)dbt->cache.exec - block->code;

        map = map_at(block, offset, offset > block->slow);
    }
    if (!map)
        return false;
    place->rip = block->rip + (map->guest & MAP_OFFSET);
    place->next_rip = block->rip + (map[1].guest & MAP_OFFSET);
    place->saved_before = (map->guest & MAP_SAVED_BEFORE) != 0;
    place->saved_after = (map->guest & MAP_SAVED_AFTER) != 0;
    return true;
}
