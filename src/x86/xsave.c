#include "x86/xsave.h"

#include <stdbool.h>

#include "base/bits.h"

enum { REGISTERS = 8, TAG_VALID = 0, TAG_ZERO = 1, TAG_SPECIAL = 2, TAG_EMPTY = 3 };

/* The tag of a register that is not empty, from its contents. */
static unsigned tag_of(const uint8_t *st)
{
    uint64_t mantissa = load_le(st, 8);
    unsigned exponent = (unsigned)load_le(st + 8, 2) & 0x7fff;

    if (exponent == 0x7fff)
        return TAG_SPECIAL;
    if (exponent == 0)
        return mantissa == 0 ? TAG_ZERO : TAG_SPECIAL;
    return mantissa >> 63 ? TAG_VALID : TAG_SPECIAL;
}

uint16_t x87_tags_expand(const uint8_t *xsave)
{
    unsigned top = fsw_top((unsigned)load_le(xsave + XSAVE_FSW, 2)), tags = 0;

    for (unsigned i = 0; i < REGISTERS; i++) {
        bool full = xsave[XSAVE_FTW] >> i & 1;
        unsigned tag = full ? tag_of(xsave + XSAVE_ST + 16 * ((i - top) & (REGISTERS - 1))) : TAG_EMPTY;

        tags |= tag << (2 * i);
    }
    return (uint16_t)tags;
}

uint8_t x87_tags_abridge(uint16_t tags)
{
    unsigned abridged = 0;

    for (unsigned i = 0; i < REGISTERS; i++)
        if ((tags >> (2 * i) & 3) != TAG_EMPTY)
            abridged |= 1u << i;
    return (uint8_t)abridged;
}
