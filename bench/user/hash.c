/* A hash table with open addressing and linear probing: insert, look up, delete by shifting back. */
#include "user/programs.h"

#include <string.h>

enum {
    SLOTS = 1 << 16,
    MASK = SLOTS - 1,
    KEYS = 24000,
};

struct slot {
    uint64_t key; /* 0: free */
    uint64_t value;
};

static struct slot slots[SLOTS];

static uint32_t home_of(uint64_t key)
{
    return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 48);
}

static uint32_t find(uint64_t key)
{
    uint32_t at = home_of(key);

    while (slots[at].key != 0 && slots[at].key != key) {
        at = (at + 1) & MASK;
    }
    return at;
}

static void insert(uint64_t key, uint64_t value)
{
    slots[find(key)] = (struct slot){.key = key, .value = value};
}

/* Closes the gap with later entries of the same run that may stand there. */
static void delete (uint64_t key)
{
    uint32_t gap = find(key);
    uint32_t at = gap;

    while (slots[gap].key != 0) {
        at = (at + 1) & MASK;
        if (slots[at].key == 0) {
            slots[gap].key = 0;
        } else if (((at - home_of(slots[at].key)) & MASK) >= ((at - gap) & MASK)) {
            slots[gap] = slots[at];
            gap = at;
        }
    }
}

static uint64_t key_of(uint32_t number)
{
    uint64_t state = number + UINT64_C(1);

    return bench_random(&state) | 1;
}

static uint64_t iterate(void)
{
    uint64_t checksum = 0;

    memset(slots, 0, sizeof(slots));
    for (uint32_t i = 0; i < KEYS; i++) {
        insert(key_of(i), i);
    }
    for (uint32_t i = 0; i < KEYS; i += 2) {
        delete (key_of(i));
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        const struct slot *slot = &slots[find(key_of(i))];

        if (slot->key != 0) {
            checksum += slot->value;
        }
    }
    return checksum;
}

const struct bench_program bench_hash = {
    .name = "hash",
    .summary = "hash table: insert, delete and find 24,000 keys",
    .iterations = 700,
    .operations = 1,
    .iterate = iterate,
};
