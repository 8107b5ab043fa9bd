/* The oracle: a child process that runs sequences on the processor itself. */
#ifndef LODGE_TESTS_DIFFERENTIAL_NATIVE_H
#define LODGE_TESTS_DIFFERENTIAL_NATIVE_H

#include "case.h"

struct native {
    struct shared *shared;
    int code_fd;   /* memfd of both code areas */
    uint8_t *code; /* this process's mapping of it */
    int child;     /* process id, or 0 */
    int to_child, from_child;
};

/* Shared memory and the code mapping; false (reported) if the system refuses. */
bool native_open(struct native *native);
void native_close(struct native *native);

/* Run a batch's cases from its number `first` on. The child is started if there is none. */
bool native_start(struct native *native, unsigned buffer, unsigned first);

/* Wait for it. A case that hangs or kills the child has TRAP_HANG or TRAP_LOST; the others are run all the same. */
bool native_finish(struct native *native, unsigned buffer);

#endif
