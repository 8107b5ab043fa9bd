/* The part of a benchmark program that is not the benchmark: arguments, timing, the result line. */
#include "common/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

struct measurement {
    uint64_t iterations;
    uint64_t first_ns; /* of the untimed iteration, which pays for cold caches and for translation */
    uint64_t ns;       /* of all timed iterations together */
    uint64_t checksum;
};

uint64_t bench_clock_ns(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        bench_die("clock_gettime");
    }
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

_Noreturn void bench_die(const char *what)
{
    (void)fprintf(stderr, "bench: %s%s%s\n", what, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
    exit(EXIT_FAILURE);
}

void *bench_allocate(size_t size)
{
    void *memory = malloc(size);

    if (memory == NULL) {
        bench_die("out of memory");
    }
    return memory;
}

uint64_t bench_mix_bytes(uint64_t checksum, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint64_t word;

    for (; size >= sizeof(word); size -= sizeof(word), at += sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        checksum = bench_mix(checksum, word);
    }
    for (; size > 0; size--, at++) {
        checksum = bench_mix(checksum, *at);
    }
    return checksum;
}

void bench_fill_text(char *text, size_t size, uint64_t seed)
{
    static const char *const words[] = {
        "the",    "of",     "machine",  "and",     "a",       "to",      "in",     "memory", "is",
        "page",   "that",   "for",      "virtual", "it",      "as",      "with",   "on",     "guest",
        "be",     "at",     "by",       "this",    "kernel",  "from",    "or",     "an",     "which",
        "device", "not",    "every",    "block",   "return",  "address", "when",   "table",  "one",
        "each",   "signal", "interval", "process", "through", "never",   "because"};
    const size_t count = sizeof(words) / sizeof(words[0]);
    size_t column = 0;
    size_t at = 0;

    while (at < size) {
        /* The smaller of two draws: frequent words stand first in the table, as they do in English. */
        size_t one = bench_random(&seed) % count;
        size_t two = bench_random(&seed) % count;
        const char *word = words[one < two ? one : two];

        for (; *word != '\0' && at < size; word++, column++) {
            text[at++] = *word;
        }
        if (at < size) {
            text[at++] = column > 68 ? '\n' : ' ';
            column = column > 68 ? 0 : column + 1;
        }
    }
}

/* Counts the time-stamp counter's ticks over a fifth of a second of the clock's. */
static void print_frequency(void)
{
    const uint64_t period_ns = UINT64_C(200000000);
    uint64_t start_ns = bench_clock_ns();
    uint64_t start = __rdtsc();
    uint64_t ticks;
    uint64_t ns;

    do {
        ns = bench_clock_ns() - start_ns;
        ticks = __rdtsc() - start;
    } while (ns < period_ns);
    printf("%" PRIu64 "\n", ticks * UINT64_C(1000000) / ns);
}

static void list_programs(const struct bench_program *const *programs)
{
    for (; *programs != NULL; programs++) {
        printf("%s\t%" PRIu32 "\t%" PRIu32 "\t%s\n", (*programs)->name, (*programs)->iterations,
               (*programs)->operations, (*programs)->summary);
    }
}

static const struct bench_program *find_program(const struct bench_program *const *programs, const char *name)
{
    while (*programs != NULL && strcmp((*programs)->name, name) != 0) {
        programs++;
    }
    return *programs;
}

static struct measurement measure(const struct bench_program *program, uint64_t iterations, uint64_t budget_ns)
{
    struct measurement result = {0};
    uint64_t start = bench_clock_ns();
    uint64_t now;

    result.checksum = program->iterate();
    now = bench_clock_ns();
    result.first_ns = now - start;
    start = now;
    do {
        if (program->iterate() != result.checksum) {
            errno = 0;
            bench_die("two iterations of the same work had different results");
        }
        result.iterations++;
        now = bench_clock_ns();
    } while (result.iterations < iterations && (budget_ns == 0 || now - start < budget_ns));
    result.ns = now - start;
    return result;
}

static int run_program(const struct bench_program *program, uint64_t iterations, uint64_t budget_ns)
{
    uint64_t entered = bench_clock_ns();
    struct measurement result;

    if (program->setup != NULL) {
        program->setup();
    }
    result = measure(program, iterations, budget_ns);
    if (program->teardown != NULL) {
        program->teardown();
    }
    /* One write, so that nothing else on the console comes between. */
    printf("BENCH-RESULT name=%s iterations=%" PRIu64 " operations=%" PRIu32 " ns=%" PRIu64 " first_ns=%" PRIu64
           " total_ns=%" PRIu64 " checksum=%016" PRIx64 " variant=%s\n",
           program->name, result.iterations, program->operations, result.ns, result.first_ns,
           bench_clock_ns() - entered, result.checksum, program->variant != NULL ? program->variant() : "-");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A whole decimal number, or the program ends. */
static uint64_t parse_number(const char *text)
{
    char *end = NULL;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-') {
        errno = 0;
        bench_die("ITERATIONS and BUDGET_MS are decimal numbers");
    }
    return value;
}

int bench_main(int argc, char **argv, const struct bench_program *const *programs)
{
    const struct bench_program *program;
    uint64_t iterations;

    if (argc == 2 && strcmp(argv[1], "exit") == 0) {
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        list_programs(programs);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (argc == 2 && strcmp(argv[1], "frequency") == 0) {
        print_frequency();
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (argc < 3 || argc > 5 || strcmp(argv[1], "run") != 0) {
        (void)fprintf(stderr, "usage: %s list | frequency | run NAME [ITERATIONS [BUDGET_MS]]\n", argv[0]);
        return 2;
    }
    program = find_program(programs, argv[2]);
    if (program == NULL) {
        (void)fprintf(stderr, "bench: no program is called %s; see '%s list'\n", argv[2], argv[0]);
        return 2;
    }
    iterations = argc > 3 ? parse_number(argv[3]) : program->iterations;
    return run_program(program, iterations, argc > 4 ? parse_number(argv[4]) * UINT64_C(1000000) : 0);
}
