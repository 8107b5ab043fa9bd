/*
 * The target description: what GDB reads first, to know which registers there are (GDB manual, appendix "Target
 * Descriptions"). Written from the table of debug/registers.h.
 */
#ifndef LODGE_DEBUG_DESCRIPTION_H
#define LODGE_DEBUG_DESCRIPTION_H

#include <stddef.h>

#include "debug/registers.h"

enum { DESCRIPTION_SIZE = 16384 };

/* XML with a NUL behind it; its length. */
size_t description_write(struct register_view view, char text[DESCRIPTION_SIZE]);

#endif
