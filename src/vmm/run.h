/* The program: one machine in this process, from nothing to its end. */
#ifndef LODGE_VMM_RUN_H
#define LODGE_VMM_RUN_H

#include "vmm/options.h"

/* Exit statuses of `lodge run`; a guest that ends through the debug port makes its own: (value << 1) | 1. */
enum vmm_exit {
    VMM_EXIT_OK = 0,           /* powered off, reset with --no-reboot, or left with Ctrl-] */
    VMM_EXIT_FAILED = 1,       /* could not start, or the engine gave up */
    VMM_EXIT_USAGE = 2,        /* the command line is wrong */
    VMM_EXIT_TRIPLE_FAULT = 3, /* the guest shut its processor down */
};

/*
 * Runs the machine in the foreground, its console on stdin and stdout; returns the exit status after
 * everything has been put away. Does not return when a signal ended the run: the process then dies of
 * that signal. The main thread, before there are others.
 */
int vmm_run(const struct vmm_options *options);

#endif
