/* Which clusters hold tables. */
#include <stdlib.h>

#include "backend/qcow2_internal.h"

#define SET_REMOVED UINT64_MAX

static size_t set_slot(const struct qcow2_set *set, uint64_t cluster)
{
    size_t at = (size_t)((cluster * 0x9e3779b97f4a7c15ull) >> 20) & (set->capacity - 1);

    while (set->slots[at] != 0 && set->slots[at] != cluster)
        at = (at + 1) & (set->capacity - 1);
    return at;
}

static bool set_grow(struct qcow2_set *set)
{
    struct qcow2_set grown = {.capacity = set->capacity ? set->capacity * 2 : 64};

    grown.slots = calloc(grown.capacity, sizeof(*grown.slots));
    if (!grown.slots)
        return false;
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i] == 0 || set->slots[i] == SET_REMOVED)
            continue;
        grown.slots[set_slot(&grown, set->slots[i])] = set->slots[i];
        grown.used++;
    }
    free(set->slots);
    *set = grown;
    return true;
}

bool qcow2_set_add(struct qcow2_set *set, uint64_t cluster, bool *is_new)
{
    if (set->used * 4 >= set->capacity * 3 && !set_grow(set))
        return false;
    size_t at = set_slot(set, cluster);
    *is_new = set->slots[at] == 0;
    set->used += *is_new;
    set->slots[at] = cluster;
    return true;
}

bool qcow2_set_has(const struct qcow2_set *set, uint64_t cluster)
{
    return set->capacity > 0 && cluster != 0 && set->slots[set_slot(set, cluster)] == cluster;
}

void qcow2_set_remove(struct qcow2_set *set, uint64_t cluster)
{
    if (qcow2_set_has(set, cluster))
        set->slots[set_slot(set, cluster)] = SET_REMOVED;
}

void qcow2_set_destroy(struct qcow2_set *set)
{
    free(set->slots);
    *set = (struct qcow2_set){0};
}

static bool overlaps(uint64_t offset, uint64_t length, uint64_t other, uint64_t other_length)
{
    return other_length > 0 && offset < other + other_length && other < offset + length;
}

bool qcow2_is_metadata(const struct qcow2 *qcow2, uint64_t offset, uint64_t length)
{
    uint64_t last = (offset + length - 1) >> qcow2->cluster_bits;

    if (overlaps(offset, length, 0, qcow2_cluster_size(qcow2)) ||
        overlaps(offset, length, qcow2->l1.offset, (uint64_t)qcow2->l1.size * 8) ||
        overlaps(offset, length, qcow2->refcount_table.offset, (uint64_t)qcow2->refcount_table.size * 8) ||
        overlaps(offset, length, qcow2->snapshots_offset, qcow2->snapshots_size))
        return true;
    for (uint64_t cluster = offset >> qcow2->cluster_bits; cluster <= last; cluster++)
        if (qcow2_set_has(&qcow2->metadata, cluster))
            return true;
    return false;
}
