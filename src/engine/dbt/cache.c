#define _GNU_SOURCE
#include "engine/dbt/cache.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "port/log.h"

enum { POPULATE_AT_ONCE = 256 << 10 };

static void *reserve(uint64_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

static void release(void *at, uint64_t size)
{
    if (at)
        munmap(at, size);
}

/* Two mappings of one memory: one to write, one to run. */
struct mapping {
    int fd;
    uint32_t size;
    uint8_t *write, *exec;
};

/*
 * Of an engine that has been destroyed, for the next one of the same size: a machine that starts again does so where
 * nothing executable can be mapped any more.
 */
static struct mapping spare;
static atomic_int spare_is; /* SPARE_NONE, ... */

enum { SPARE_NONE, SPARE_BUSY, SPARE_THERE };

static bool spare_claim(int state)
{
    return atomic_compare_exchange_strong(&spare_is, &state, SPARE_BUSY);
}

static bool take_spare(struct code_cache *cache)
{
    bool fits;

    if (!spare_claim(SPARE_THERE))
        return false;
    fits = spare.size == cache->limits.code;
    if (fits) {
        cache->fd = spare.fd;
        cache->write = spare.write;
        cache->exec = spare.exec;
    }
    atomic_store(&spare_is, fits ? SPARE_NONE : SPARE_THERE);
    return fits;
}

/* Its pages go back to the host. False: there is one already. */
static bool leave_spare(const struct code_cache *cache)
{
    bool empty;

    if (!spare_claim(SPARE_NONE))
        return false;
    empty = fallocate(cache->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, cache->limits.code) == 0;
    if (empty)
        spare = (struct mapping){cache->fd, cache->limits.code, cache->write, cache->exec};
    atomic_store(&spare_is, empty ? SPARE_THERE : SPARE_NONE);
    return empty;
}

static enum status map_code(struct code_cache *cache)
{
    if (take_spare(cache))
        return STATUS_OK;
    cache->fd = memfd_create("lodge-code", MFD_CLOEXEC);
    if (cache->fd < 0 || ftruncate(cache->fd, cache->limits.code) < 0) {
        log_error("cannot create the code cache: the host refuses memfd_create");
        return STATUS_NO_MEMORY;
    }
    cache->write = mmap(NULL, cache->limits.code, PROT_READ | PROT_WRITE, MAP_SHARED, cache->fd, 0);
    cache->exec = mmap(NULL, cache->limits.code, PROT_READ | PROT_EXEC, MAP_SHARED, cache->fd, 0);
    if (cache->write == MAP_FAILED || cache->exec == MAP_FAILED) {
        log_error("cannot map the code cache: the host forbids executable memory or has none left");
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/*
 * A guest with much memory runs more programs. Where they are started one after the other, as while it boots, all of
 * them want room, and a flush is the way to make it.
 */
static void set_limits(struct cache_limits *limits, uint64_t ram_pages)
{
    uint32_t scale = 1;

    while (scale * 2 <= CACHE_CODE_MAX / CACHE_CODE_MIN &&
           scale * 2ull * CACHE_CODE_MIN * CACHE_RAM_SHARE <= ram_pages << PAGE_SHIFT)
        scale *= 2;
    *limits = (struct cache_limits){
        .code = scale * CACHE_CODE_MIN,
        .data = scale * 2ull * CACHE_CODE_MIN,
        .blocks = scale << 18,
        .chains = scale << 20,
        .views = scale << 16,
        .hash = scale << 17,
        .view_hash = scale << 14,
    };
}

enum status cache_init(struct code_cache *cache, uint64_t ram_pages)
{
    enum status status;

    set_limits(&cache->limits, ram_pages);
    status = map_code(cache);
    if (status)
        return status;
    cache->page_count = ram_pages;
    cache->data = reserve(cache->limits.data);
    cache->blocks = reserve(cache->limits.blocks * sizeof(*cache->blocks));
    cache->chains = reserve(cache->limits.chains * sizeof(*cache->chains));
    cache->hash = reserve(cache->limits.hash * sizeof(*cache->hash));
    cache->origins = reserve(cache->limits.hash * sizeof(*cache->origins));
    cache->views = reserve(cache->limits.views * sizeof(*cache->views));
    cache->view_hash = reserve(cache->limits.view_hash * sizeof(*cache->view_hash));
    cache->pages = reserve(ram_pages * sizeof(*cache->pages));
    if (!cache->data || !cache->blocks || !cache->chains || !cache->hash || !cache->origins || !cache->views ||
        !cache->view_hash || !cache->pages) {
        log_error("cannot reserve address space for the code cache");
        return STATUS_NO_MEMORY;
    }
    cache->used = STUBS_SIZE;
    cache->chain_count = 1;
    cache->view_count = 1;
    return STATUS_OK;
}

void cache_destroy(struct code_cache *cache)
{
    release(cache->pages, cache->page_count * sizeof(*cache->pages));
    release(cache->view_hash, cache->limits.view_hash * sizeof(*cache->view_hash));
    release(cache->views, cache->limits.views * sizeof(*cache->views));
    release(cache->origins, cache->limits.hash * sizeof(*cache->origins));
    release(cache->hash, cache->limits.hash * sizeof(*cache->hash));
    release(cache->chains, cache->limits.chains * sizeof(*cache->chains));
    release(cache->blocks, cache->limits.blocks * sizeof(*cache->blocks));
    release(cache->data, cache->limits.data);
    if (cache->write && cache->write != MAP_FAILED && cache->exec && cache->exec != MAP_FAILED && leave_spare(cache)) {
        memset(cache, 0, sizeof(*cache));
        return;
    }
    if (cache->exec && cache->exec != MAP_FAILED)
        munmap(cache->exec, cache->limits.code);
    if (cache->write && cache->write != MAP_FAILED)
        munmap(cache->write, cache->limits.code);
    if (cache->fd > 0)
        close(cache->fd);
    memset(cache, 0, sizeof(*cache));
}

void cache_flush(struct code_cache *cache)
{
    madvise(cache->pages, cache->page_count * sizeof(*cache->pages), MADV_DONTNEED);
    madvise(cache->data, cache->limits.data, MADV_DONTNEED);
    memset(cache->hash, 0, cache->limits.hash * sizeof(*cache->hash));
    memset(cache->origins, 0, cache->limits.hash * sizeof(*cache->origins));
    memset(cache->view_hash, 0, cache->limits.view_hash * sizeof(*cache->view_hash));
    cache->used = STUBS_SIZE;
    cache->stubs_used = 0;
    memset(cache->stubs, 0, sizeof(cache->stubs));
    cache->data_used = 0;
    cache->block_count = 0;
    cache->chain_count = 1;
    cache->view_count = 1;
}

bool cache_has_room(const struct code_cache *cache)
{
    return cache->used + BLOCK_CODE_MAX + 64 <= cache->limits.code &&
           cache->data_used + (64 << 10) <= cache->limits.data && cache->block_count + 2 < cache->limits.blocks &&
           cache->chain_count + 256 < cache->limits.chains && cache->view_count + 4 < cache->limits.views;
}

void *cache_alloc(struct code_cache *cache, uint64_t size)
{
    void *at = cache->data + cache->data_used;

    size = align_up(size, 8);
    if (!range_inside(cache->data_used, size, cache->limits.data))
        return NULL;
    cache->data_used += size;
    return at;
}

/* Each page would fault twice, in both mappings, and that costs as much as writing its code. */
void cache_keep(struct code_cache *cache, uint32_t size)
{
    cache->used = (uint32_t)align_up(cache->used + size, 16);
    if (cache->used <= cache->populated || cache->populated == cache->limits.code)
        return;
    (void)madvise(cache->write + cache->populated, POPULATE_AT_ONCE, MADV_POPULATE_WRITE);
    (void)madvise(cache->exec + cache->populated, POPULATE_AT_ONCE, MADV_POPULATE_READ);
    cache->populated += POPULATE_AT_ONCE;
}

uint32_t cache_view(struct code_cache *cache, uint64_t linear, uint64_t physical, bool user)
{
    uint64_t mix = (linear >> 12) * 0x9e3779b97f4a7c15ull ^ (physical >> 12) * 0xc2b2ae3d27d4eb4full;
    uint32_t *bucket = &cache->view_hash[(mix >> 40) & (cache->limits.view_hash - 1)];
    struct page_view *view;

    for (uint32_t id = *bucket; id; id = cache->views[id].next) {
        view = &cache->views[id];
        if (view->linear == linear && view->physical == physical && view->user == user)
            return id;
    }
    if (cache->view_count >= cache->limits.views)
        return 0;
    view = &cache->views[cache->view_count];
    *view = (struct page_view){linear, physical, *bucket, user};
    *bucket = cache->view_count;
    return cache->view_count++;
}

static uint64_t hash_of(const struct code_cache *cache, uint64_t physical, uint64_t rip)
{
    return ((physical ^ rip << 20) * 0x9e3779b97f4a7c15ull) >> 40 & (cache->limits.hash - 1);
}

static struct block **hash_bucket(const struct code_cache *cache, uint64_t physical, uint64_t rip)
{
    return &cache->hash[hash_of(cache, physical, rip)];
}

struct block *cache_find(const struct code_cache *cache, uint64_t rip, uint64_t cs_base, uint64_t physical,
                         uint32_t mode)
{
    struct block *block = *hash_bucket(cache, physical, rip);

    while (block &&
           (block->rip != rip || block->physical != physical || block->mode != mode || block->cs_base != cs_base))
        block = block->hash_next;
    return block;
}

static struct block **origin_bucket(const struct code_cache *cache, uint64_t physical)
{
    return &cache->origins[hash_of(cache, physical, 0)];
}

struct block *cache_find_origin(const struct code_cache *cache, uint64_t physical, uint32_t mode)
{
    struct block *block = *origin_bucket(cache, physical);

    while (block && (block->physical != physical || block->mode != mode))
        block = block->origin_next;
    return block;
}

/* The granules of a page that [start, start + length) touches; length > 0. */
static uint64_t granule_mask(uint64_t start, uint64_t length)
{
    uint64_t first = start >> GRANULE_SHIFT;
    uint64_t last = (start + length - 1) >> GRANULE_SHIFT;

    return bits_mask((unsigned)(last > 63 ? 63 : last) + 1) & ~bits_mask((unsigned)first);
}

/* Bytes of the block in its first page (which 0) or its second. */
static uint64_t block_granules(const struct block *block, unsigned which)
{
    uint64_t start = block->physical & (PAGE_SIZE - 1);
    uint64_t in_first = PAGE_SIZE - start;
    uint64_t mask;

    if (which == 1)
        return granule_mask(0, block->length - in_first);
    mask = granule_mask(start, block->length < in_first ? block->length : in_first);
    if (block->page_id[1] && block->page[0] == block->page[1])
        mask |= granule_mask(0, block->length - in_first);
    for (unsigned i = 0; i < 2; i++)
        if (block->peek[i].length)
            mask |= granule_mask(block->peek[i].start, block->peek[i].length);
    return mask;
}

bool cache_claim_page(struct code_cache *cache, uint64_t page)
{
    struct code_page *code = cache->pages[page];

    if (code)
        return true;
    code = cache_alloc(cache, sizeof(*code));
    if (!code)
        return false;
    __atomic_store_n(&cache->pages[page], code, __ATOMIC_SEQ_CST);
    return true;
}

static bool add_to_page(struct code_cache *cache, struct block *block, unsigned which, uint64_t page)
{
    struct code_page *code;

    if (!cache_claim_page(cache, page))
        return false;
    code = cache->pages[page];
    __atomic_store_n(&code->granules, code->granules | block_granules(block, which), __ATOMIC_RELEASE);
    block->page_next[which] = code->blocks;
    code->blocks = block;
    return true;
}

bool cache_insert(struct code_cache *cache, struct block *block, uint64_t page, uint64_t next_page)
{
    struct block **bucket = hash_bucket(cache, block->physical, block->rip);

    block->page[0] = (uint32_t)page;
    block->page[1] = (uint32_t)(block->page_id[1] ? next_page : page);
    if (!add_to_page(cache, block, 0, page) || (block->page[1] != page && !add_to_page(cache, block, 1, next_page)))
        return false;
    block->valid = 1;
    block->hash_next = *bucket;
    *bucket = block;
    if (block->move_count && !cache_find_origin(cache, block->physical, block->mode)) {
        bucket = origin_bucket(cache, block->physical);
        block->origin_next = *bucket;
        *bucket = block;
    }
    cache->blocks[cache->block_count++] = block;
    return true;
}

struct block *cache_block_at(const struct code_cache *cache, uint64_t host)
{
    uint64_t offset = host - (uint64_t)(uintptr_t)cache->exec;
    uint32_t low = 0;
    uint32_t high = cache->block_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (cache->blocks[middle]->code <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || offset - cache->blocks[low - 1]->code > cache->blocks[low - 1]->code_size)
        return NULL;
    return cache->blocks[low - 1];
}

/* One aligned store: a vCPU that runs into it meets the old displacement or the new one. */
static void point_site(struct code_cache *cache, uint32_t site, uint32_t target)
{
    __atomic_store_n((uint32_t *)(void *)(cache->write + site), target - (site + 4), __ATOMIC_RELEASE);
}

void cache_link(struct code_cache *cache, struct chain *chain, struct block *target)
{
    uint32_t entry = target->code;

    if (chain->entry == CHAIN_ATTENTION && !target->page_id[1])
        entry += target->entry_attention;
    else if (chain->entry == CHAIN_BODY && !target->page_id[1])
        entry += target->entry_body;
    chain->target = target;
    chain->next = target->incoming;
    target->incoming = chain;
    point_site(cache, chain->site, entry);
}

static void unlink_incoming(struct code_cache *cache, struct block *block)
{
    struct chain *chain = block->incoming;

    while (chain) {
        struct chain *next = chain->next;

        point_site(cache, chain->site, chain->site + chain->stub);
        chain->target = NULL;
        chain->next = NULL;
        chain = next;
    }
    block->incoming = NULL;
}

static void unhash(struct code_cache *cache, struct block *block)
{
    struct block **at = hash_bucket(cache, block->physical, block->rip);

    while (*at && *at != block)
        at = &(*at)->hash_next;
    if (*at)
        *at = block->hash_next;
    if (!block->move_count) /* a copy, for one */
        return;
    at = origin_bucket(cache, block->physical);
    while (*at && *at != block)
        at = &(*at)->origin_next;
    if (*at)
        *at = block->origin_next;
}

/* Is this list of the block's the one of its second page? */
static unsigned list_of(const struct block *block, uint64_t page)
{
    return block->page[1] == page && block->page[0] != page;
}

/* Take a block out of one of its page lists. */
static void leave_page(struct code_cache *cache, struct block *block, unsigned which)
{
    uint64_t page = block->page[which];
    struct block **at = &cache->pages[page]->blocks;

    while (*at && *at != block)
        at = &(*at)->page_next[list_of(*at, page)];
    if (*at)
        *at = block->page_next[which];
}

/* Other vCPUs may read an entry meanwhile: a generation that never matches is one store. */
static void erase_targets(struct code_cache *cache, const struct block *block)
{
    for (unsigned i = 0; i < MACHINE_CPUS && cache->jumps[i]; i++) {
        struct jump_entry *entry = &cache->jumps[i][block->rip & (JUMP_CACHE - 1)];

        if (entry->rip == block->rip)
            __atomic_store_n(&entry->generation, ~0ull, __ATOMIC_RELEASE);
    }
}

static void forget(struct code_cache *cache, struct block *block)
{
    block->valid = 0;
    erase_targets(cache, block);
    unlink_incoming(cache, block);
    unhash(cache, block);
    leave_page(cache, block, 0);
    if (block->page[1] != block->page[0])
        leave_page(cache, block, 1);
}

bool cache_written(struct code_cache *cache, uint64_t page, unsigned offset, uint64_t size)
{
    struct code_page *code = page < cache->page_count ? cache->pages[page] : NULL;
    uint64_t written = granule_mask(offset, size);
    uint64_t left = 0;
    struct block *next;
    bool any = false;

    if (!code || !(code->granules & written))
        return false;
    for (struct block *block = code->blocks; block; block = next) {
        unsigned which = list_of(block, page);
        uint64_t mask = block_granules(block, which);

        next = block->page_next[which];
        if (mask & written) {
            forget(cache, block);
            any = true;
        } else {
            left |= mask;
        }
    }
    __atomic_store_n(&code->granules, left, __ATOMIC_RELEASE);
    return any;
}

/* One that begins on the page before may reach into this one, or rely on what it saw there. */
void cache_forget_linear(struct code_cache *cache, uint64_t linear)
{
    uint64_t page = linear >> PAGE_SHIFT;

    for (uint32_t i = 0; i < cache->block_count; i++) {
        struct block *block = cache->blocks[i];

        if (block->valid && page - ((block->cs_base + block->rip) >> PAGE_SHIFT) <= 1)
            forget(cache, block);
    }
}
