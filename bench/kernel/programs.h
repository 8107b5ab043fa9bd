/* The rows of kernel work, in the order of the table. */
#ifndef LODGE_BENCH_KERNEL_PROGRAMS_H
#define LODGE_BENCH_KERNEL_PROGRAMS_H

#include "common/bench.h"

extern const struct bench_program bench_null;
extern const struct bench_program bench_read;
extern const struct bench_program bench_open;
extern const struct bench_program bench_pipe;
extern const struct bench_program bench_yield;
extern const struct bench_program bench_futex;
extern const struct bench_program bench_signal;
extern const struct bench_program bench_thread;
extern const struct bench_program bench_fork;
extern const struct bench_program bench_exec;
extern const struct bench_program bench_touch;
extern const struct bench_program bench_mmap;
extern const struct bench_program bench_fault;

/*
 * Keeps the calling thread on the first processor it may run on, so that two threads or processes must
 * switch to take turns. Threads and processes that it starts afterwards inherit this.
 */
void kernel_pin_to_one_processor(void);

#endif
