/* fuzz-dbt: the translator against the processor itself. README.md tells how to use it. */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "host.h"

enum { MOST_JOBS = 64, EXIT_MISMATCH = 1, EXIT_TROUBLE = 2 };

struct options {
    uint64_t seed, cases, one;
    unsigned seconds, jobs;
    bool only_one, keep_going, coverage;
};

static void usage(FILE *to)
{
    fprintf(to, "usage: fuzz-dbt [--cases N | --seconds N] [--seed S] [--jobs J] [--keep-going] [--coverage]\n"
                "       fuzz-dbt --one SEED\n");
}

static bool parse(int count, char **arguments, struct options *o)
{
    static const struct option names[] = {
        {"cases", 1, NULL, 'c'},    {"seconds", 1, NULL, 't'}, {"seed", 1, NULL, 's'},
        {"jobs", 1, NULL, 'j'},     {"one", 1, NULL, 'o'},     {"keep-going", 0, NULL, 'k'},
        {"coverage", 0, NULL, 'v'}, {"help", 0, NULL, 'h'},    {NULL, 0, NULL, 0},
    };
    int which;

    while ((which = getopt_long(count, arguments, "h", names, NULL)) != -1) {
        uint64_t value = optarg ? strtoull(optarg, NULL, 0) : 0;

        switch (which) {
        case 'c':
            o->cases = value;
            break;
        case 't':
            o->seconds = (unsigned)value;
            break;
        case 's':
            o->seed = value;
            break;
        case 'j':
            o->jobs = value < 1 ? 1 : value > MOST_JOBS ? MOST_JOBS : (unsigned)value;
            break;
        case 'o':
            o->one = value;
            o->only_one = true;
            break;
        case 'k':
            o->keep_going = true;
            break;
        case 'v':
            o->coverage = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            return false;
        }
    }
    return optind == count;
}

static int work(struct fuzz *fuzz, const struct options *o, unsigned job)
{
    time_t start = time(NULL);
    bool went = o->only_one ? fuzz_one(fuzz, o->one) : fuzz_run(fuzz, o->seed + job, o->cases / o->jobs, o->seconds);
    uint64_t elapsed = (uint64_t)(time(NULL) - start);

    if (!o->only_one) {
        printf("job %u: %" PRIu64 " cases in %" PRIu64 " s, %" PRIu64 " mismatches, %" PRIu64 " without an answer\n",
               job, fuzz->cases, elapsed, fuzz->mismatches, fuzz->hangs);
        fuzz_print_coverage(fuzz, o->coverage);
    }
    fflush(stdout);
    fuzz_close(fuzz);
    return !went ? EXIT_TROUBLE : fuzz->mismatches ? EXIT_MISMATCH : 0;
}

/* A worker process, so that the seed of a case that kills it is known. */
static int start_worker(struct fuzz *fuzz, const struct options *o, unsigned job)
{
    int process = fork();

    if (process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(work(fuzz, o, job));
    }
    return process;
}

static int await_worker(const struct fuzz *fuzz, int process, unsigned job)
{
    int status;

    if (process < 0 || waitpid(process, &status, 0) != process)
        return EXIT_TROUBLE;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    printf("job %u: killed by signal %d in the case of seed %#" PRIx64 " after %" PRIu64 " cases\n", job,
           WTERMSIG(status), fuzz->native.shared->current_seed, fuzz->native.shared->done);
    return EXIT_MISMATCH;
}

int main(int count, char **arguments)
{
    static struct fuzz fuzz[MOST_JOBS];
    struct options o = {.jobs = 1, .seconds = 15};
    int process[MOST_JOBS], worst = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getrandom(&o.seed, 4, 0) != 4)
        o.seed = (uint64_t)time(NULL);
    if (!parse(count, arguments, &o)) {
        usage(stderr);
        return EXIT_TROUBLE;
    }
    if (!host_probe())
        return EXIT_TROUBLE;
    if (!o.only_one)
        printf("seed %" PRIu64 "\n", o.seed);
    if (o.only_one)
        o.jobs = 1;
    host_print_limits(stdout);
    for (unsigned job = 0; job < o.jobs; job++) {
        if (!fuzz_open(&fuzz[job]))
            return EXIT_TROUBLE;
        fuzz[job].keep_going = o.keep_going;
        process[job] = start_worker(&fuzz[job], &o, job);
    }
    for (unsigned job = 0; job < o.jobs; job++) {
        int result = await_worker(&fuzz[job], process[job], job);

        worst = result > worst ? result : worst;
    }
    return worst;
}
