/* The translator as its users see it (translate.h has what its parts share). */
#ifndef LODGE_ENGINE_DBT_TRANSLATOR_H
#define LODGE_ENGINE_DBT_TRANSLATOR_H

#include "base/status.h"
#include "engine/dbt/cache.h"
#include "engine/dbt/state.h"

struct translator;

enum status translator_create(struct code_cache *cache, struct translator **translator) MUST_CHECK;
void translator_destroy(struct translator *translator);

/*
 * Translate the code at c->rip in c->mode. page is the host address of the guest page that physical lies on. If the first
 * instruction crosses into the next page and that is not given, NULL. Also NULL when the cache is full. Holds
 * dbt_engine.lock; the vector state is saved.
 */
struct block *translator_run(struct translator *translator, struct dbt_vcpu *c, const uint8_t *page, uint64_t physical,
                             const uint8_t *next_page, uint64_t next_physical);

#endif
