/* Random bytes from the kernel. */
#ifndef LODGE_HOST_ENTROPY_H
#define LODGE_HOST_ENTROPY_H

#include "port/entropy.h"

/* Nothing to destroy. */
void host_entropy_init(struct entropy *entropy);

#endif
