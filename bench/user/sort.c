/* Sorting: a quicksort whose comparisons are inline, and the C library's with a comparison function. */
#include "user/programs.h"

#include <stdlib.h>
#include <string.h>

enum {
    NUMBERS = 20000,
    RECORDS = 6000,
    INSERTION_LIMIT = 12, /* shorter runs are sorted by insertion */
};

struct record {
    uint32_t key;
    uint32_t payload;
};

static uint32_t original[NUMBERS];
static uint32_t numbers[NUMBERS];
static struct record records[RECORDS];

static void sort_by_insertion(uint32_t *first, uint32_t *last)
{
    for (uint32_t *next = first + 1; next <= last; next++) {
        uint32_t value = *next;
        uint32_t *hole = next;

        for (; hole > first && hole[-1] > value; hole--) {
            *hole = hole[-1];
        }
        *hole = value;
    }
}

/* Hoare's partition around the middle element; first and last are both included. */
static void sort_numbers(uint32_t *first, uint32_t *last)
{
    while (last - first > INSERTION_LIMIT) {
        uint32_t pivot = first[(last - first) / 2];
        uint32_t *low = first;
        uint32_t *high = last;

        while (low <= high) {
            while (*low < pivot) {
                low++;
            }
            while (*high > pivot) {
                high--;
            }
            if (low <= high) {
                uint32_t saved = *low;

                *low++ = *high;
                *high-- = saved;
            }
        }
        sort_numbers(first, high);
        first = low;
    }
    sort_by_insertion(first, last);
}

static int compare_records(const void *left, const void *right)
{
    const struct record *a = left;
    const struct record *b = right;

    return (a->key > b->key) - (a->key < b->key);
}

static void setup(void)
{
    uint64_t state = 2;

    for (size_t i = 0; i < NUMBERS; i++) {
        original[i] = (uint32_t)(bench_random(&state) >> 32);
    }
}

static uint64_t iterate(void)
{
    uint64_t checksum = 0;

    memcpy(numbers, original, sizeof(numbers));
    for (uint32_t i = 0; i < RECORDS; i++) {
        records[i] = (struct record){.key = original[i], .payload = i};
    }
    sort_numbers(numbers, numbers + NUMBERS - 1);
    qsort(records, RECORDS, sizeof(records[0]), compare_records);
    for (size_t i = 0; i < NUMBERS; i += 97) {
        checksum = bench_mix(checksum, numbers[i]);
    }
    for (size_t i = 0; i < RECORDS; i += 31) {
        checksum = bench_mix(checksum, records[i].payload);
    }
    return checksum;
}

const struct bench_program bench_sort = {
    .name = "sort",
    .summary = "quicksort of 20,000 numbers, qsort() of 6,000 records",
    .iterations = 200,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
};
