/*
 * A small regular-expression matcher that backtracks: literals, ".", classes "[a-z]", and the suffixes
 * "*", "+" and "?". Much recursion, many short loops, hard-to-predict branches.
 */
#include "user/programs.h"

#include <string.h>

enum { SIZE = 24 << 10 };

static char text[SIZE + 1];

static const char *const patterns[] = {"virtual [a-z]+ [a-z]+ the", "[ms][a-z]*e of", "a.*e.*t.*interval", "sig?nals?",
                                       "pro[^ ]+ on [^ ]+ve[^ ]*\n"};

static const char *match_here(const char *pattern, const char *at);

/* The length of the one-character item at the start of the pattern. */
static size_t item_length(const char *pattern)
{
    return *pattern == '[' ? (size_t)(strchr(pattern, ']') - pattern) + 1 : 1;
}

static int class_contains(const char *class, char c)
{
    int negated = class[1] == '^';

    for (class += 1 + negated; *class != ']'; class ++) {
        if (class[1] == '-' && class[2] != ']') {
            if (c >= class[0] && c <= class[2]) {
                return !negated;
            }
            class += 2;
        } else if (*class == c) {
            return !negated;
        }
    }
    return negated;
}

static int item_matches(const char *pattern, char c)
{
    if (c == '\0') {
        return 0;
    }
    if (*pattern == '[') {
        return class_contains(pattern, c);
    }
    return *pattern == '.' ? c != '\n' : *pattern == c;
}

/* As many of the item as there are, then fewer and fewer until the rest matches. */
static const char *match_many(const char *item, const char *rest, const char *at, size_t least)
{
    size_t count = 0;

    while (item_matches(item, at[count])) {
        count++;
    }
    for (; count + 1 > least; count--) {
        const char *end = match_here(rest, at + count);

        if (end != NULL || count == 0) {
            return end;
        }
    }
    return NULL;
}

/* Where the match that starts at this character ends, or NULL. */
static const char *match_here(const char *pattern, const char *at)
{
    size_t length;
    const char *end;

    if (*pattern == '\0') {
        return at;
    }
    length = item_length(pattern);
    switch (pattern[length]) {
    case '*':
        return match_many(pattern, pattern + length + 1, at, 0);
    case '+':
        return match_many(pattern, pattern + length + 1, at, 1);
    case '?':
        end = item_matches(pattern, *at) ? match_here(pattern + length + 1, at + 1) : NULL;
        return end != NULL ? end : match_here(pattern + length + 1, at);
    default:
        return item_matches(pattern, *at) ? match_here(pattern + length, at + 1) : NULL;
    }
}

static void setup(void)
{
    bench_fill_text(text, SIZE, 10);
    text[SIZE] = '\0';
}

static uint64_t iterate(void)
{
    uint64_t checksum = 0;

    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        const char *at = text;

        while (*at != '\0') {
            const char *end = match_here(patterns[i], at);

            if (end != NULL) {
                checksum = bench_mix(checksum, (uint64_t)(at - text) << 20 | (uint64_t)(end - at));
            }
            at = end != NULL && end > at ? end : at + 1;
        }
    }
    return checksum;
}

const struct bench_program bench_regex = {
    .name = "regex",
    .summary = "backtracking regular expressions over 24 KiB of text",
    .iterations = 90,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
};
