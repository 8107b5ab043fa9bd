/* The XSAVE area in its standard format (Intel SDM volume 1, sections 10.5 and 13.4), as struct cpu_state has it. */
#ifndef LODGE_X86_XSAVE_H
#define LODGE_X86_XSAVE_H

#include <stdint.h>

#include "x86/regs.h"

/* Offsets in the area. */
enum {
    XSAVE_FCW = 0,
    XSAVE_FSW = 2,
    XSAVE_FTW = 4, /* abridged: one bit for each physical register, set when it is not empty */
    XSAVE_FOP = 6,
    XSAVE_FIP = 8,
    XSAVE_FCS = 12,
    XSAVE_FDP = 16,
    XSAVE_FDS = 20,
    XSAVE_MXCSR = 24,
    XSAVE_MXCSR_MASK = 28,
    XSAVE_ST = 32, /* in the order of the stack, 16 bytes each */
    XSAVE_XMM = 160,
    XSAVE_LEGACY = 512, /* the end of what FXSAVE has; the header begins */
    XSAVE_XSTATE_BV = XSAVE_LEGACY,
    XSAVE_XCOMP_BV = XSAVE_LEGACY + 8,
    XSAVE_EXTENDED = XSAVE_LEGACY + 64, /* the end of the header */
    XSAVE_YMM_HIGH = XSAVE_EXTENDED,    /* 13.4.3: AVX's component has the same place on all processors */
};

/* The components that the state of a CPU may hold. */
#define XSAVE_COMPONENTS (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

/* FSW's TOP: which physical register ST(0) is. */
static inline unsigned fsw_top(unsigned fsw)
{
    return fsw >> 11 & 7;
}

/* The tag word of FSTENV, two bits for each physical register, from an area whose x87 component is in use. */
uint16_t x87_tags_expand(const uint8_t *xsave);

/* FTW as the area has it, from a tag word. */
uint8_t x87_tags_abridge(uint16_t tags);

#endif
