/* The figures of `lodge run --stats` and of SIGUSR1. */
#ifndef LODGE_VMM_STATS_H
#define LODGE_VMM_STATS_H

struct machine;
struct vcpu_threads;

/*
 * Prints to stderr what the engine has counted and what memory this process uses. The machine may be
 * running. The main thread.
 */
void stats_print(const struct machine *machine, const struct vcpu_threads *threads, const char *name);

#endif
