/* Memory accesses of which a vector mask selects the elements. Private to mmu.c. */
#ifndef LODGE_ENGINE_DBT_MASKED_H
#define LODGE_ENGINE_DBT_MASKED_H

#include "engine/dbt/state.h"

/*
 * The bounce buffer, with the selected elements in it if the access reads. descriptor: enum access_descriptor.
 * Faults raise.
 */
void *masked_pre(struct dbt_vcpu *c, uint64_t linear, uint32_t descriptor);

/* After the instruction: write the selected elements. */
void masked_post(struct dbt_vcpu *c);

#endif
