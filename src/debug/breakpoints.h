/* Breakpoints in guest memory, for the rest of debug/target.h. */
#ifndef LODGE_DEBUG_BREAKPOINTS_H
#define LODGE_DEBUG_BREAKPOINTS_H

#include "debug/target.h"

enum { INT3 = 0xcc };

/* The one whose INT3 is at this guest physical address, or NULL. */
struct target_breakpoint *breakpoint_at(struct debug_target *target, uint64_t physical);

/* Put back what our INT3s stand in for, in a copy of guest memory from a physical address. */
void breakpoints_hide(struct debug_target *target, uint64_t physical, uint8_t *bytes, size_t size);

/* Keep our INT3s in what is about to be written there; the bytes under them are written when they go. */
void breakpoints_keep(struct debug_target *target, uint64_t physical, uint8_t *bytes, size_t size);

#endif
