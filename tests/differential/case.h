/*
 * One case of the differential fuzzer: a few instructions, the state that they start from, and what
 * became of it on the processor and on the engine.
 *
 * Everything lies at fixed linear addresses below 4 GiB, the same in the native child and in the guest:
 *
 *     CODE_BASE   the slots for sequences, readable and executable
 *     EXIT_PAGE   where every sequence ends: leaves the child, HLT (so #GP) in the guest
 *     DATA_BASE   read-write, read-write, read-only, nothing, read-write; nothing before and behind
 */
#ifndef LODGE_TESTS_DIFFERENTIAL_CASE_H
#define LODGE_TESTS_DIFFERENTIAL_CASE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CASE_SLOTS = 256,  /* sequences in a batch */
    CASE_VARIANTS = 2, /* states that each sequence runs from */
    CASE_INSNS = 10,
    CASE_SLOT_SIZE = 200, /* room for CASE_INSNS of 15 bytes and the jump out; not a divisor of a page */
    CASE_BUFFERS = 2,
    CASE_DATA_PAGES = 4, /* the mapped ones */
    CASE_DATA_SIZE = CASE_DATA_PAGES * 4096,
    CASE_XSAVE_SIZE = 2816, /* of the components in XSAVE_COMPONENTS, rounded up */
};

#define CODE_BASE 0x10000000ull
#define CODE_AREA 0x10000ull
#define EXIT_PAGE 0x1a5b7000ull
#define DATA_BASE 0x20000000ull
#define DATA_WINDOW 0x5000ull /* with the hole */
#define DATA_HOLE 3           /* index of the page in the window that is not mapped */
#define DATA_READ_ONLY 2      /* and of the one that is read-only */

#define XSAVE_COMPONENTS 0xe7ull

/* Trap numbers beyond the processor's. */
enum { TRAP_HANG = 0x100, TRAP_LOST = 0x101 };

/* Registers as one side shows them; offsets are native.S's too. */
struct image {
    uint64_t gpr[16];
    uint64_t rip, rflags, fs_base, gs_base;
    _Alignas(64) uint8_t xsave[CASE_XSAVE_SIZE];
};

struct outcome {
    struct image image;
    uint64_t trap, error, cr2; /* leaving through EXIT_PAGE counts as #GP(0) there */
    uint8_t data[CASE_DATA_SIZE];
};

/* A sequence. Where instruction i starts is offset[i]; offset[count] is the jump out. */
struct sequence {
    uint64_t address;
    unsigned count;
    uint16_t offset[CASE_INSNS + 1];
    uint16_t length; /* with the jump out */
    uint8_t bytes[CASE_SLOT_SIZE];
};

struct one_case {
    uint64_t seed;
    struct sequence code;
    struct image start;
    uint32_t data;   /* which of the batch's data patterns memory starts with */
    uint32_t reload; /* the engine is given its state through set_state(), which empties its TLBs */
    struct outcome native;
};

enum { CASE_PATTERNS = 8, BATCH_CASES = CASE_SLOTS * CASE_VARIANTS };

struct batch {
    uint32_t count;
    volatile uint32_t progress; /* the case that the child is at */
    uint8_t pattern[CASE_PATTERNS][CASE_DATA_SIZE];
    struct one_case cases[BATCH_CASES];
};

/* Shared with the child. */
struct shared {
    struct batch batch[CASE_BUFFERS];
    volatile uint64_t current_seed; /* for whoever finds the process dead */
    volatile uint64_t done;
};

/* The window page of mapped data page i. */
static inline unsigned data_window_page(unsigned i)
{
    return i < DATA_HOLE ? i : i + 1;
}

/* The address of a slot. */
static inline uint64_t slot_address(unsigned slot)
{
    return CODE_BASE + (uint64_t)slot * CASE_SLOT_SIZE;
}

#endif
