/* The code cache: finding, chaining and forgetting blocks. No code is run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/dbt/cache.h"

enum { PAGES = 8 };

static struct code_cache cache;
static struct jump_entry jumps[JUMP_CACHE];

static int setup(void **state)
{
    (void)state;
    memset(&cache, 0, sizeof(cache));
    memset(jumps, 0xff, sizeof(jumps));
    if (cache_init(&cache, PAGES))
        return -1;
    cache.jumps[0] = jumps;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cache_destroy(&cache);
    return 0;
}

/* A block of `length` guest bytes at a physical address, with 64 bytes of host code and so many places that move. */
static struct block *make_moving(uint64_t rip, uint64_t physical, uint16_t length, uint32_t mode, uint16_t moves)
{
    struct block *block = cache_alloc(&cache, sizeof(*block));
    uint64_t page = physical >> PAGE_SHIFT;

    assert_non_null(block);
    block->rip = rip;
    block->physical = physical;
    block->length = length;
    block->mode = mode;
    block->move_count = moves;
    block->code = cache.used;
    block->code_size = 64;
    block->entry_attention = 8;
    block->entry_body = 16;
    block->page_id[0] = cache_view(&cache, rip & ~0xfffull, physical & ~0xfffull, false);
    if ((physical & 0xfff) + length > PAGE_SIZE)
        block->page_id[1] = cache_view(&cache, (rip & ~0xfffull) + PAGE_SIZE, (page + 1) << PAGE_SHIFT, false);
    cache.used += 64;
    assert_true(cache_insert(&cache, block, page, page + 1));
    return block;
}

static struct block *make(uint64_t rip, uint64_t physical, uint16_t length, uint32_t mode)
{
    return make_moving(rip, physical, length, mode, 0);
}

static struct block *make_movable(uint64_t rip, uint64_t physical, uint16_t length, uint32_t mode)
{
    return make_moving(rip, physical, length, mode, 1);
}

static uint32_t displacement(const struct chain *chain)
{
    uint32_t value;

    memcpy(&value, cache.write + chain->site, sizeof(value));
    return value;
}

static struct chain *make_chain(struct block *from, enum chain_entry entry)
{
    struct chain *chain = &cache.chains[cache.chain_count++];

    *chain = (struct chain){.target_rip = 0, .site = from->code + 20, .stub = 30, .entry = (uint8_t)entry};
    return chain;
}

static void test_find(void **state)
{
    struct block *first = make(0x401000, 0x1000, 10, 0);
    struct block *other_mode = make(0x401000, 0x1000, 10, 4);
    struct block *alias = make(0x801000, 0x1000, 10, 0);

    (void)state;
    assert_ptr_equal(cache_find(&cache, 0x401000, 0, 0x1000, 0), first);
    assert_ptr_equal(cache_find(&cache, 0x401000, 0, 0x1000, 4), other_mode);
    assert_ptr_equal(cache_find(&cache, 0x801000, 0, 0x1000, 0), alias);
    assert_null(cache_find(&cache, 0x401000, 0, 0x2000, 0));
    assert_null(cache_find(&cache, 0x401000, 16, 0x1000, 0));
    assert_null(cache_find(&cache, 0x401001, 0, 0x1001, 0));
}

static void test_views(void **state)
{
    uint32_t id = cache_view(&cache, 0x401000, 0x1000, false);

    (void)state;
    assert_int_not_equal(id, 0);
    assert_int_equal(cache_view(&cache, 0x401000, 0x1000, false), id);
    assert_int_not_equal(cache_view(&cache, 0x401000, 0x1000, true), id);
    assert_int_not_equal(cache_view(&cache, 0x402000, 0x1000, false), id);
    assert_int_not_equal(cache_view(&cache, 0x401000, 0x2000, false), id);
}

static void test_block_at(void **state)
{
    struct block *first = make(0x401000, 0x1000, 10, 0);
    struct block *second = make(0x402000, 0x2000, 10, 0);
    uint64_t exec = (uint64_t)(uintptr_t)cache.exec;

    (void)state;
    assert_ptr_equal(cache_block_at(&cache, exec + first->code), first);
    assert_ptr_equal(cache_block_at(&cache, exec + first->code + 63), first);
    assert_ptr_equal(cache_block_at(&cache, exec + second->code + 5), second);
    assert_null(cache_block_at(&cache, exec));
    assert_null(cache_block_at(&cache, exec + second->code + 1000));
    assert_true(cache_contains(&cache, exec + cache.limits.code - 1));
    assert_false(cache_contains(&cache, exec + cache.limits.code));
    assert_false(cache_contains(&cache, exec - 1));
}

static void test_write_forgets(void **state)
{
    struct block *low = make(0x401000, 0x1000, 10, 0);
    struct block *high = make(0x401080, 0x1080, 10, 0);

    (void)state;
    assert_false(cache_written(&cache, 1, 0x40, 64)); /* a granule without code */
    assert_false(cache_written(&cache, 2, 0, 64));
    assert_false(cache_written(&cache, PAGES, 0, 64)); /* no such page */
    assert_true(cache_written(&cache, 1, 0x8f, 1));   /* same granule as the second block */
    assert_false(high->valid);
    assert_true(low->valid);
    assert_null(cache_find(&cache, 0x401080, 0, 0x1080, 0));
    assert_ptr_equal(cache_find(&cache, 0x401000, 0, 0x1000, 0), low);
    assert_false(cache_written(&cache, 1, 0x80, 64)); /* its bit is gone */
    assert_true(cache_written(&cache, 1, 0, PAGE_SIZE));
    assert_false(low->valid);
}

static void test_two_pages(void **state)
{
    struct block *crossing = make(0x401ffe, 0x1ffe, 5, 0);
    struct block *next = make(0x402040, 0x2040, 5, 0);

    (void)state;
    assert_true(cache_written(&cache, 2, 0, 1)); /* the second page's part */
    assert_false(crossing->valid);
    assert_true(next->valid);
    assert_false(cache_written(&cache, 1, 0xffe, 2)); /* and no trace of it on the first */
    crossing = make(0x401ffe, 0x1ffe, 5, 0);
    assert_true(cache_written(&cache, 1, 0xfff, 1));
    assert_false(crossing->valid);
    assert_true(cache_written(&cache, 2, 0x40, 1));
    assert_false(next->valid);
}

/* Two linear pages may show one physical page: the block crosses from its end to its start. */
static void test_wrap_on_one_page(void **state)
{
    struct block *block = cache_alloc(&cache, sizeof(*block));

    (void)state;
    block->rip = 0x401ffe;
    block->physical = 0x1ffe;
    block->length = 5;
    block->page_id[0] = cache_view(&cache, 0x401000, 0x1000, false);
    block->page_id[1] = cache_view(&cache, 0x402000, 0x1000, false);
    assert_true(cache_insert(&cache, block, 1, 1));
    assert_true(cache_written(&cache, 1, 2, 1));
    assert_false(block->valid);
    assert_false(cache_written(&cache, 1, 0, PAGE_SIZE));
}

/* Bytes that a block looked at without translating them count as its own. */
static void test_peek(void **state)
{
    struct block *block = cache_alloc(&cache, sizeof(*block));

    (void)state;
    block->rip = 0x401000;
    block->physical = 0x1000;
    block->length = 4;
    block->peek[0].start = 0x200;
    block->peek[0].length = 6;
    block->page_id[0] = cache_view(&cache, 0x401000, 0x1000, false);
    assert_true(cache_insert(&cache, block, 1, 0));
    assert_false(cache_written(&cache, 1, 0x100, 64));
    assert_true(cache_written(&cache, 1, 0x204, 1));
    assert_false(block->valid);
}

static void test_chains(void **state)
{
    struct block *from = make(0x401000, 0x1000, 10, 0);
    struct block *to = make(0x401100, 0x1100, 10, 0);
    struct chain *body = make_chain(from, CHAIN_BODY);
    struct chain *checked;

    (void)state;
    cache_link(&cache, body, to);
    assert_int_equal(displacement(body), to->code + to->entry_body - (body->site + 4));
    from = make(0x401200, 0x1200, 10, 0);
    checked = make_chain(from, CHAIN_CHECKED);
    cache_link(&cache, checked, to);
    assert_int_equal(displacement(checked), to->code - (checked->site + 4));
    assert_true(cache_written(&cache, 1, 0x100, 1));
    assert_null(body->target);
    assert_null(checked->target);
    assert_int_equal(displacement(body), body->stub - 4); /* back to their stubs */
    assert_int_equal(displacement(checked), checked->stub - 4);
}

/* A block on two pages is only ever entered where both mappings are checked. */
static void test_chain_to_two_pages(void **state)
{
    struct block *from = make(0x401000, 0x1000, 10, 0);
    struct block *to = make(0x401ffe, 0x1ffe, 5, 0);
    struct chain *chain = make_chain(from, CHAIN_BODY);

    (void)state;
    cache_link(&cache, chain, to);
    assert_int_equal(displacement(chain), to->code - (chain->site + 4));
}

static void test_jump_cache(void **state)
{
    struct block *block = make(0x401000, 0x1000, 10, 0);
    struct jump_entry *entry = &jumps[block->rip & (JUMP_CACHE - 1)];

    (void)state;
    *entry = (struct jump_entry){0x999000, 7, 1, 0};
    assert_true(cache_written(&cache, 1, 0, 1));
    assert_int_equal(entry->generation, 7); /* somebody else's */
    block = make(0x401000, 0x1000, 10, 0);
    *entry = (struct jump_entry){block->rip, 7, 1, 0};
    assert_true(cache_written(&cache, 1, 0, 1));
    assert_int_equal(entry->generation, ~0ull);
}

static void test_flush_and_room(void **state)
{
    (void)state;
    make(0x401000, 0x1000, 10, 0);
    assert_true(cache_page_has_code(&cache, 1));
    assert_false(cache_page_has_code(&cache, PAGES));
    cache_flush(&cache);
    assert_null(cache_find(&cache, 0x401000, 0, 0x1000, 0));
    assert_false(cache_page_has_code(&cache, 1));
    assert_int_equal(cache.block_count, 0);
    assert_true(cache_has_room(&cache));
    cache.used = cache.limits.code - BLOCK_CODE_MAX;
    assert_false(cache_has_room(&cache));
    cache.used = 0;
    assert_null(cache_alloc(&cache, cache.limits.data + 1));
    assert_null(cache_alloc(&cache, UINT64_MAX - 7));
}

/* A mapping that another machine has left is taken by one that needs the same size. */
static void test_sizes_of_machines(void **state)
{
    uint32_t small = cache.limits.code;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        cache_destroy(&cache);
        assert_int_equal(cache_init(&cache, (1ull << 30) >> PAGE_SHIFT), STATUS_OK);
        assert_in_range(cache.limits.code, small + 1, CACHE_CODE_MAX);
        cache.write[cache.limits.code - 1] = 0xc3;
        assert_int_equal(cache.exec[cache.limits.code - 1], 0xc3);
        cache_destroy(&cache);
        assert_int_equal(cache_init(&cache, PAGES), STATUS_OK);
        assert_int_equal(cache.limits.code, small);
        cache.write[small - 1] = 0xc3;
        assert_int_equal(cache.exec[small - 1], 0xc3);
    }
}

/* Only what can be moved is an origin, the first of its kind alone, and for as long as it is valid. */
static void test_origins(void **state)
{
    struct block *block;
    struct block *other;

    (void)state;
    make(1ull << 44, 0x1000, 10, 0); /* of no weight in a hash of 44 bits */
    assert_null(cache_find_origin(&cache, 0x1000, 0));
    block = make_movable(0x7f0000001000, 0x1000, 10, 0);
    assert_ptr_equal(cache_find_origin(&cache, 0x1000, 0), block);
    assert_null(cache_find_origin(&cache, 0x1000, MODE_USER));
    assert_null(cache_find_origin(&cache, 0x1001, 0));
    other = make_movable(0x7f1111111000, 0x1000, 10, 0);
    assert_ptr_equal(cache_find_origin(&cache, 0x1000, 0), block);
    assert_true(cache_written(&cache, 1, 0, 1));
    assert_null(cache_find_origin(&cache, 0x1000, 0));
    assert_false(other->valid);
    make_movable(0x7f0000001000, 0x1000, 10, 0);
    cache_flush(&cache);
    assert_null(cache_find_origin(&cache, 0x1000, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_views, setup, teardown),
        cmocka_unit_test_setup_teardown(test_block_at, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrap_on_one_page, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peek, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chains, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chain_to_two_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_jump_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes_of_machines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_origins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush_and_room, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
