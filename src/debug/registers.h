/*
 * The registers that a debugger sees, numbered as the target description lists them (debug/description.h), and where
 * they are in the canonical state of a CPU.
 */
#ifndef LODGE_DEBUG_REGISTERS_H
#define LODGE_DEBUG_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/cpu_state.h"

/* What a description is for: 64-bit registers, or those of a 32-bit processor; with AVX or without. */
struct register_view {
    bool wide;
    bool avx;
};

enum register_kind {
    REGISTER_GPR, /* index: enum gpr */
    REGISTER_RIP,
    REGISTER_FLAGS,
    REGISTER_SELECTOR, /* index: enum segment */
    REGISTER_BASE,     /* index: enum segment */
    REGISTER_SYSTEM,   /* index: offset of a uint64_t in struct cpu_state */
    REGISTER_ST,       /* index: 0..7 from the top of the stack */
    REGISTER_X87,      /* index: enum x87_register */
    REGISTER_XMM,
    REGISTER_MXCSR,
    REGISTER_YMM_HIGH,
};

struct register_info {
    const char *name;
    const char *type;    /* of the target description */
    const char *group;   /* "general", "float", ..., or NULL */
    const char *feature; /* in which it is described */
    uint16_t index;
    uint8_t kind; /* enum register_kind */
    uint8_t size; /* bytes */
};

enum { REGISTER_SIZE_MAX = 16 };

/* Fills info; false: there is no such number. */
bool register_describe(struct register_view view, unsigned number, struct register_info *info);

/* Little-endian, info->size bytes. */
void register_get(const struct cpu_state *cpu, const struct register_info *info, uint8_t *bytes);

/* False: the register cannot take this value, and nothing changed. The state as a whole is the caller's to check. */
bool register_set(struct cpu_state *cpu, const struct register_info *info, const uint8_t *bytes);

#endif
