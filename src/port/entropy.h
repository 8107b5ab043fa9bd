/* Random bytes, fit for keys. */
#ifndef LODGE_PORT_ENTROPY_H
#define LODGE_PORT_ENTROPY_H

#include <stddef.h>

/* fill() is called with the machine lock held; it does not block for long and always fills all. */
struct entropy {
    void (*fill)(struct entropy *entropy, void *bytes, size_t size);
};

#endif
