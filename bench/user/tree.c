/* Allocation: binary search trees built of malloc()ed nodes, searched, and freed. */
#include "user/programs.h"

#include <stdlib.h>

enum { NODES = 8000 };

struct node {
    struct node *child[2];
    uint32_t key;
    unsigned char payload[];
};

static void insert(struct node **at, uint32_t key)
{
    struct node *node;

    while (*at != NULL) {
        at = &(*at)->child[key > (*at)->key];
    }
    node = bench_allocate(sizeof(*node) + key % 64);
    *node = (struct node){.key = key};
    *at = node;
}

static uint64_t sum_depths(const struct node *node, uint64_t depth)
{
    return node == NULL ? 0 : depth + sum_depths(node->child[0], depth + 1) + sum_depths(node->child[1], depth + 1);
}

static void destroy(struct node *node)
{
    if (node != NULL) {
        destroy(node->child[0]);
        destroy(node->child[1]);
        free(node);
    }
}

static uint64_t iterate(void)
{
    struct node *root = NULL;
    uint64_t state = 11;
    uint64_t checksum;

    for (int i = 0; i < NODES; i++) {
        insert(&root, (uint32_t)(bench_random(&state) >> 32));
    }
    checksum = sum_depths(root, 1);
    destroy(root);
    return checksum;
}

const struct bench_program bench_tree = {
    .name = "tree",
    .summary = "search tree of 8,000 malloc()ed nodes, built and freed",
    .iterations = 300,
    .operations = 1,
    .iterate = iterate,
};
