/* Pointer chasing: each load gives the address of the next, through working sets that fit L1, L2, and neither. */
#include "user/programs.h"

struct node {
    struct node *next;
    uint64_t value;
    uint64_t padding[6]; /* to one cache line */
};

static struct node *nodes;

/* One random cycle through all the nodes (Sattolo's shuffle), so that no prefetcher can guess it. */
static void setup(size_t size)
{
    size_t count = size / sizeof(struct node);
    uint32_t *order = bench_allocate(count * sizeof(*order));
    uint64_t state = 3;

    nodes = bench_allocate(count * sizeof(*nodes));
    for (size_t i = 0; i < count; i++) {
        order[i] = (uint32_t)i;
    }
    for (size_t i = count - 1; i > 0; i--) {
        size_t other = bench_random(&state) % i;
        uint32_t saved = order[i];

        order[i] = order[other];
        order[other] = saved;
    }
    for (size_t i = 0; i < count; i++) {
        nodes[i].next = &nodes[order[i]];
        nodes[i].value = i * UINT64_C(0x9E3779B1);
    }
    __builtin_free(order);
}

static void setup_32k(void)
{
    setup(UINT32_C(32) << 10);
}

static void setup_1m(void)
{
    setup(UINT32_C(1) << 20);
}

static void setup_32m(void)
{
    setup(UINT32_C(32) << 20);
}

static uint64_t chase(uint32_t steps)
{
    const struct node *at = nodes;
    uint64_t checksum = 0;

    for (uint32_t i = 0; i < steps; i++) {
        checksum += at->value;
        at = at->next;
    }
    return checksum;
}

/* Whole rounds of the cycle each: everything is visited, and the last 32 MiB fit no private cache. */
static uint64_t iterate_32k(void)
{
    return chase(512 * 800);
}

static uint64_t iterate_1m(void)
{
    return chase(16384 * 12);
}

static uint64_t iterate_32m(void)
{
    return chase(524288);
}

const struct bench_program bench_chase_32k = {
    .name = "chase-32k",
    .summary = "dependent loads within 32 KiB",
    .iterations = 300,
    .operations = 1,
    .setup = setup_32k,
    .iterate = iterate_32k,
};

const struct bench_program bench_chase_1m = {
    .name = "chase-1m",
    .summary = "dependent loads within 1 MiB",
    .iterations = 150,
    .operations = 1,
    .setup = setup_1m,
    .iterate = iterate_1m,
};

const struct bench_program bench_chase_32m = {
    .name = "chase-32m",
    .summary = "dependent loads within 32 MiB",
    .iterations = 4,
    .operations = 1,
    .setup = setup_32m,
    .iterate = iterate_32m,
};
