/* Moving translated code to another guest address (relocate.c). Everything holds dbt_engine.lock. */
#ifndef LODGE_ENGINE_DBT_RELOCATE_H
#define LODGE_ENGINE_DBT_RELOCATE_H

#include "engine/dbt/cache.h"

/*
 * A copy of a block, for the same page at another linear address: rip, at the same place in it. The cache has room
 * (cache_has_room). The vector state is saved. NULL: it has to be translated.
 */
struct block *relocate_block(struct code_cache *cache, const struct block *origin, uint64_t rip);

/* Where in a vCPU's state the id of the mapping is that code at a linear address is seen through. */
uint32_t itlb_offset(uint32_t mode, uint64_t linear);

#endif
