/* Guest page tables: one walk. */
#ifndef LODGE_ENGINE_DBT_WALK_H
#define LODGE_ENGINE_DBT_WALK_H

#include "engine/dbt/mmu.h"

struct walk {
    uint64_t physical; /* of the address itself */
    bool writable;     /* a write needs no further walk: permitted and D is set */
    bool readable;     /* data reads are permitted */
    bool global;
    bool large;     /* the leaf maps more than 4 KiB */
    uint32_t error; /* of the #PF, when walk_page() says no */
};

/*
 * Translate by the rules of mmu, setting A and D bits as the access does (SDM volume 3, 4.3-4.8).
 * False: a page fault with walk->error. update false: change nothing (for probes by a debugger).
 */
bool walk_page(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, enum mmu_access access, bool update,
               struct walk *walk);

#endif
