/*
 * Compression by back references (Lempel and Ziv, 1977) and its reverse. The stream is a row of
 * sequences: a count of literals, the literals, the length of the match, and its distance in two
 * bytes. Counts are bytes, 255 meaning that another one follows. A sequence whose match has length
 * zero (and no distance) ends the stream.
 */
#include "user/programs.h"

#include <string.h>

enum {
    SIZE = 192 << 10,
    ROOM = SIZE + SIZE / 128 + 16,
    HASH_BITS = 13,
    LEAST_MATCH = 4,
    FARTHEST = 65535,
};

static unsigned char plain[SIZE];
static unsigned char packed[ROOM];
static unsigned char unpacked[SIZE];
static uint32_t latest[1 << HASH_BITS]; /* position + 1 of the latest string with this hash */

static uint32_t load(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static unsigned char *put_count(unsigned char *out, size_t count)
{
    for (; count >= 255; count -= 255) {
        *out++ = 255;
    }
    *out++ = (unsigned char)count;
    return out;
}

static const unsigned char *get_count(const unsigned char *in, size_t *count)
{
    size_t total = 0;

    while (*in == 255) {
        total += *in++;
    }
    *count = total + *in++;
    return in;
}

static unsigned char *put_literals(unsigned char *out, const unsigned char *from, size_t count)
{
    out = put_count(out, count);
    memcpy(out, from, count);
    return out + count;
}

static size_t match_length(size_t left, size_t right)
{
    size_t start = right;

    while (right < SIZE && plain[left] == plain[right]) {
        left++;
        right++;
    }
    return right - start;
}

static size_t compress(void)
{
    unsigned char *out = packed;
    size_t pending = 0; /* where the literals not yet written begin */
    size_t at = 0;

    memset(latest, 0, sizeof(latest));
    while (at + LEAST_MATCH <= SIZE) {
        uint32_t *entry = &latest[(load(plain + at) * UINT32_C(2654435761)) >> (32 - HASH_BITS)];
        size_t candidate = *entry;

        *entry = (uint32_t)(at + 1);
        if (candidate == 0 || at + 1 - candidate > FARTHEST || load(plain + candidate - 1) != load(plain + at)) {
            at++;
            continue;
        }
        size_t distance = at + 1 - candidate;
        size_t length = match_length(candidate - 1, at);

        out = put_literals(out, plain + pending, at - pending);
        out = put_count(out, length);
        *out++ = (unsigned char)distance;
        *out++ = (unsigned char)(distance >> 8);
        at += length;
        pending = at;
    }
    out = put_literals(out, plain + pending, SIZE - pending);
    out = put_count(out, 0);
    return (size_t)(out - packed);
}

/* The stream is our own, so it is trusted. */
static size_t decompress(void)
{
    const unsigned char *in = packed;
    unsigned char *out = unpacked;

    for (;;) {
        size_t count;
        const unsigned char *from;

        in = get_count(in, &count);
        memcpy(out, in, count);
        out += count;
        in = get_count(in + count, &count);
        if (count == 0) {
            return (size_t)(out - unpacked);
        }
        from = out - (in[0] | in[1] << 8);
        in += 2;
        while (count-- > 0) { /* may overlap, so not memcpy() */
            *out++ = *from++;
        }
    }
}

static void setup(void)
{
    bench_fill_text((char *)plain, sizeof(plain), 7);
}

static uint64_t iterate(void)
{
    size_t size = compress();

    if (decompress() != SIZE || memcmp(plain, unpacked, SIZE) != 0) {
        bench_die("what was compressed does not decompress to the same");
    }
    return bench_mix_bytes(size, packed, size);
}

const struct bench_program bench_compress = {
    .name = "compress",
    .summary = "Lempel-Ziv compression and decompression of 192 KiB of text",
    .iterations = 220,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
};
