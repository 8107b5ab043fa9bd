/*
 * For freestanding links only (bare metal); a hosted program takes these from libc.
 *
 * The string instructions: short, and on every processor of the last decade the fastest copy for
 * large blocks. Loops in C would not do, for the compiler recognizes them and calls the very
 * function they implement.
 */
#include "base/memory.h"

#include <stdint.h>

static void copy_up(void *to, const void *from, size_t size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static void copy_down(void *to, const void *from, size_t size)
{
    char *last_to = (char *)to + size - 1;
    const char *last_from = (const char *)from + size - 1;

    __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(last_to), "+S"(last_from), "+c"(size) : : "memory", "cc");
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    copy_up(to, from, size);
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    /* Upwards is wrong only when `to` lies inside the source; below it, the difference wraps. */
    if ((uintptr_t)to - (uintptr_t)from >= size)
        copy_up(to, from, size);
    else
        copy_down(to, from, size);
    return to;
}

void *memset(void *to, int byte, size_t size)
{
    void *at = to;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(byte) : "memory");
    return to;
}

int memcmp(const void *left, const void *right, size_t size)
{
    const unsigned char *l = left, *r = right;

    for (size_t i = 0; i < size; i++) {
        if (l[i] != r[i])
            return l[i] - r[i];
    }
    return 0;
}

size_t strlen(const char *string)
{
    size_t length = 0;

    while (string[length] != 0) {
        length++;
        __asm__ volatile(""); /* or GCC turns the loop into a call of strlen() */
    }
    return length;
}

int strcmp(const char *left, const char *right)
{
    while (*left != 0 && *left == *right) {
        left++;
        right++;
    }
    return (unsigned char)*left - (unsigned char)*right;
}
