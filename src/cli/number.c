#include "cli/number.h"

#include <stddef.h>

/* The digits at *text, which moves behind them. */
static bool digits_parse(const char **text, uint64_t *value)
{
    const char *at = *text;

    *value = 0;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(*value, 10u, value) || __builtin_add_overflow(*value, (uint64_t)(*at - '0'), value))
            return false;
    }
    *text = at;
    return true;
}

bool number_parse(const char *text, uint64_t *value)
{
    return digits_parse(&text, value) && *text == '\0';
}

/* How far a unit letter shifts, or -1. */
static int unit_shift(char letter)
{
    switch (letter) {
    case 'K':
    case 'k':
        return 10;
    case 'M':
    case 'm':
    case '\0':
        return 20;
    case 'G':
    case 'g':
        return 30;
    case 'T':
    case 't':
        return 40;
    default:
        return -1;
    }
}

bool size_parse(const char *text, uint64_t *bytes)
{
    uint64_t count;

    if (!digits_parse(&text, &count))
        return false;
    int shift = unit_shift(*text);
    if (shift < 0 || (text[0] != '\0' && text[1] != '\0') || count > UINT64_MAX >> shift)
        return false;
    *bytes = count << shift;
    return true;
}
