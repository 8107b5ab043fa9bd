/*
 * The code cache: blocks of translated code, how they are found, chained and forgotten.
 *
 * One cache for all vCPUs. Everything is changed under dbt_engine.lock; blocks and chains are freed
 * only all at once (cache_flush), while no vCPU is in translated code. An invalidated block stays in
 * memory, unreachable, until then: a vCPU that is inside it finishes it.
 */
#ifndef LODGE_ENGINE_DBT_CACHE_H
#define LODGE_ENGINE_DBT_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/dbt/state.h"

enum {
    CACHE_CODE_MIN = 32 << 20,
    CACHE_CODE_MAX = 256 << 20,
    CACHE_RAM_SHARE = 16,      /* between them: of the guest's RAM */
    BLOCK_CODE_MAX = 48 << 10, /* host bytes of one block at the most */
    STUBS = 256,               /* small pieces of code that blocks share */
    STUBS_SIZE = 16 << 10,
    GRANULE_SHIFT = 6, /* writes to a code page are told apart by 64 bytes */
};

/* Where a guest instruction's host code begins; sorted both ways, one per instruction and a last one for the end. */
struct insn_map {
    uint16_t guest; /* offset from the block's rip | MAP_* */
    uint16_t host;  /* offset from the block's code of its main part */
    uint16_t slow;  /* and of its out-of-line part */
};
enum {
    MAP_SAVED_BEFORE = 1 << 14,
    MAP_SAVED_AFTER = 1 << 15,
    MAP_OFFSET = MAP_SAVED_BEFORE - 1
}; /* flags in saved_flags */

struct block {
    uint64_t rip;
    uint64_t physical; /* of the first byte */
    uint32_t cs_base;
    uint32_t mode;
    uint32_t code;       /* offset in the cache: of the entry that checks the page mapping */
    uint32_t page_id[2]; /* the pages as seen from the linear addresses; [1] 0 when there is no second */
    uint32_t page[2];    /* of the RAM backing; [1] equals [0] when there is no second */
    uint16_t code_size;
    uint16_t slow;            /* offset from code where the out-of-line part begins */
    uint16_t entry_attention; /* offsets from code: the entry that checks for attention, */
    uint16_t entry_body;      /* the one that checks nothing, */
    uint16_t entry_saved;     /* and the one whose flags are in saved_flags */
    uint16_t length;          /* guest bytes */
    struct {
        uint16_t start;
        uint8_t length;
    } peek[2]; /* bytes of the same page that it relies on without translating them */
    uint8_t map_count;
    uint8_t valid;
    uint16_t move_count; /* behind the last element of map; 0: cannot be moved */
    struct insn_map *map;
    struct block *hash_next;
    struct block *origin_next;
    struct block *page_next[2];
    struct chain *incoming;
};

enum chain_entry { CHAIN_CHECKED, CHAIN_ATTENTION, CHAIN_BODY };

/* A direct jump or call of translated code and where it leads. */
struct chain {
    uint64_t target_rip;
    struct block *target; /* NULL: to the stub */
    struct chain *next;   /* of the target's incoming ones */
    uint32_t site;        /* offset in the cache of the 32-bit displacement */
    uint16_t stub;        /* offset from the site of the code that leaves */
    uint8_t entry;        /* enum chain_entry */
};

/*
 * Places in a block's host code that change with the guest address of the block, or with its own. What has none of
 * the kinds, and is no distance within the block, is the same for every address.
 */
enum move_kind {
    MOVE_RIP,     /* 64 bits: an address that is as far away */
    MOVE_OUTSIDE, /* 32 bits: the distance to a shared piece */
    MOVE_ITLB,    /* 32 bits: the offset of the page's word in dbt_vcpu.itlb */
    MOVE_PAGE,    /* 32 bits: the page's id */
    MOVE_MINUS_PAGE,
    MOVE_CHAIN, /* 32 bits: the number of an exit's chain */
};

struct move {
    uint16_t at; /* offset from the block's code */
    uint16_t kind;
};

/* A guest page that code was translated from, as one linear page shows it. */
struct page_view {
    uint64_t linear;
    uint64_t physical;
    uint32_t next;
    uint8_t user;
};

/* What is known of a physical page with code in it. */
struct code_page {
    uint64_t granules; /* bit n: bytes n*64.. belong to a block */
    struct block *blocks;
};

/* How much there can be of everything; all reserved, nothing committed. */
struct cache_limits {
    uint32_t code; /* bytes, a power of two times CACHE_CODE_MIN */
    uint64_t data; /* bytes */
    uint32_t blocks, chains, views;
    uint32_t hash, view_hash; /* buckets, powers of two */
};

struct code_cache {
    struct cache_limits limits;
    uint8_t *write; /* the writable mapping of the code */
    uint8_t *exec;  /* the executable one */
    int fd;
    uint32_t used;
    uint32_t populated;  /* bytes from the start that the host has given memory for, in both mappings */
    uint32_t stubs_used; /* of the first STUBS_SIZE bytes */
    struct {
        uint64_t key;
        uint32_t offset;
    } stubs[STUBS];
    uint8_t *data; /* blocks, maps, helper calls: a bump allocator */
    uint64_t data_used;
    struct block **blocks; /* in order of their code */
    uint32_t block_count;
    struct chain *chains; /* by number; 0 unused */
    uint32_t chain_count;
    struct block **hash;
    struct block **origins;  /* blocks that can be moved, by physical address */
    struct page_view *views; /* by id; 0 unused */
    uint32_t view_count;
    uint32_t *view_hash;
    struct jump_entry *jumps[MACHINE_CPUS]; /* the vCPUs' jump caches: entries for a forgotten block are erased */
    struct code_page **pages;               /* by page of guest RAM backing; NULL: no code */
    uint64_t page_count;
};

enum status cache_init(struct code_cache *cache, uint64_t ram_pages) MUST_CHECK;
void cache_destroy(struct code_cache *cache);

/* Forget everything. No vCPU is in translated code; their jump caches and ITLBs are the caller's to clear. */
void cache_flush(struct code_cache *cache);

/* Is there room for one more block of the largest kind? */
bool cache_has_room(const struct code_cache *cache);

/* From the bump allocator, zeroed, 8-aligned; NULL when exhausted. */
void *cache_alloc(struct code_cache *cache, uint64_t size);

/* The code that was written at `used` is so long. */
void cache_keep(struct code_cache *cache, uint32_t size);

/* The id of (linear page, physical page, user), made if new; 0 when the table is full. */
uint32_t cache_view(struct code_cache *cache, uint64_t linear, uint64_t physical, bool user);

struct block *cache_find(const struct code_cache *cache, uint64_t rip, uint64_t cs_base, uint64_t physical,
                         uint32_t mode);

/* A block for the same code at another linear address that relocate_block() takes, or NULL. */
struct block *cache_find_origin(const struct code_cache *cache, uint64_t physical, uint32_t mode);

/* Mark a page of the RAM backing as one that has code. False: the allocator is exhausted. */
bool cache_claim_page(struct code_cache *cache, uint64_t page);

/* Enter a translated block into hash and page lists. page indices are of the RAM backing. */
bool cache_insert(struct code_cache *cache, struct block *block, uint64_t page, uint64_t next_page);

/* The block whose code holds this executable address, or NULL. */
struct block *cache_block_at(const struct code_cache *cache, uint64_t host);

/* Lead a chain to a block. */
void cache_link(struct code_cache *cache, struct chain *chain, struct block *target);

/* Bytes of a page were written: forget the blocks that they are part of. True if there were any. */
bool cache_written(struct code_cache *cache, uint64_t page, unsigned offset, uint64_t size);

/* Forget the blocks that begin on this linear page or the one before it. */
void cache_forget_linear(struct code_cache *cache, uint64_t linear);

static inline bool cache_page_has_code(const struct code_cache *cache, uint64_t page)
{
    return page < cache->page_count && cache->pages[page] != NULL;
}

static inline bool cache_contains(const struct code_cache *cache, uint64_t host)
{
    return host - (uint64_t)(uintptr_t)cache->exec < cache->limits.code;
}

#endif
