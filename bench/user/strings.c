/* Searching text: the C library's scanners, and one written as a plain loop. */
#include "user/programs.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE = 128 << 10 };

static char text[SIZE + 1];

/* The usual loop, one byte at a time. */
static const char *find_plain(const char *haystack, const char *needle)
{
    for (; *haystack != '\0'; haystack++) {
        size_t i = 0;

        while (needle[i] != '\0' && haystack[i] == needle[i]) {
            i++;
        }
        if (needle[i] == '\0') {
            return haystack;
        }
    }
    return NULL;
}

static uint64_t count_with(const char *(*find)(const char *, const char *), const char *needle)
{
    uint64_t count = 0;

    for (const char *at = find(text, needle); at != NULL; at = find(at + 1, needle)) {
        count++;
    }
    return count;
}

static const char *find_library(const char *haystack, const char *needle)
{
    return strstr(haystack, needle);
}

/* Lines, found by memchr(), compared with the one before. */
static uint64_t compare_lines(void)
{
    const char *previous = text;
    const char *at = text;
    uint64_t checksum = 0;

    for (;;) {
        const char *end = memchr(at, '\n', (size_t)(text + SIZE - at));

        if (end == NULL) {
            return checksum;
        }
        size_t length = (size_t)(end - at);

        checksum = bench_mix(checksum, length + (memcmp(previous, at, length) > 0));
        previous = at;
        at = end + 1;
    }
}

static uint64_t measure_words(void)
{
    uint64_t checksum = 0;
    const char *at = text;

    while (*at != '\0') {
        size_t length = strcspn(at, " \n");

        checksum = bench_mix(checksum, length);
        at += length;
        at += strspn(at, " \n");
    }
    return checksum;
}

static void setup(void)
{
    bench_fill_text(text, SIZE, 8);
    text[SIZE] = '\0';
}

static uint64_t iterate(void)
{
    uint64_t checksum = compare_lines();

    for (size_t at = 0; at < SIZE; at += 1024) {
        checksum = bench_mix(checksum, strlen(text + at));
    }
    checksum = bench_mix(checksum, count_with(find_library, "virtual machine"));
    checksum = bench_mix(checksum, count_with(find_plain, "each device"));
    return bench_mix(checksum, measure_words());
}

const struct bench_program bench_strings = {
    .name = "strings",
    .summary = "strlen, memchr, memcmp, strcspn, strstr, and a plain search",
    .iterations = 400,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
};
