/* Bits, alignment, checked arithmetic and unaligned little-endian access. Freestanding. */
#ifndef LODGE_BASE_BITS_H
#define LODGE_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Bits high..low of value, shifted down. high <= 63. */
static inline uint64_t bits_get(uint64_t value, unsigned high, unsigned low)
{
    unsigned width = high - low + 1;
    return (value >> low) & (width == 64 ? ~0ull : BIT64(width) - 1);
}

/* All ones below bit n; n may be 64. */
static inline uint64_t bits_mask(unsigned n)
{
    return n >= 64 ? ~0ull : BIT64(n) - 1;
}

/* alignment is a power of two. */
static inline uint64_t align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

/* alignment is a power of two; wraps to 0 at the top of the range, so check before. */
static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* Is [offset, offset + length) inside [0, limit)? Never overflows. */
static inline bool range_inside(uint64_t offset, uint64_t length, uint64_t limit)
{
    return offset <= limit && length <= limit - offset;
}

/* Little-endian access to bytes of any alignment; size is 1, 2, 4 or 8. */
static inline uint64_t load_le(const void *from, size_t size)
{
    const uint8_t *byte = from;
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)byte[i] << (8 * i);
    return value;
}

static inline void store_le(void *to, size_t size, uint64_t value)
{
    uint8_t *byte = to;

    for (size_t i = 0; i < size; i++)
        byte[i] = (uint8_t)(value >> (8 * i));
}

#endif
