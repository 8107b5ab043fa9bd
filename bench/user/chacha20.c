/* ChaCha20 (RFC 8439) in plain C: additions, exclusive ors and rotations with much parallelism. */
#include "user/programs.h"

#include <string.h>

enum {
    WORDS = 16,
    BLOCK = 64,
    MESSAGE = 128 << 10,
};

static uint32_t message[MESSAGE / 4];

static uint32_t rotate_left(uint32_t value, unsigned int count)
{
    return (value << count) | (value >> (32 - count));
}

static void quarter_round(uint32_t *s, int a, int b, int c, int d)
{
    s[a] += s[b];
    s[d] = rotate_left(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rotate_left(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rotate_left(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rotate_left(s[b] ^ s[c], 7);
}

/* One block of key stream, RFC 8439, 2.3. */
static void make_block(uint32_t *out, const uint32_t *state)
{
    memcpy(out, state, BLOCK);
    for (int i = 0; i < 10; i++) {
        quarter_round(out, 0, 4, 8, 12);
        quarter_round(out, 1, 5, 9, 13);
        quarter_round(out, 2, 6, 10, 14);
        quarter_round(out, 3, 7, 11, 15);
        quarter_round(out, 0, 5, 10, 15);
        quarter_round(out, 1, 6, 11, 12);
        quarter_round(out, 2, 7, 8, 13);
        quarter_round(out, 3, 4, 9, 14);
    }
    for (int i = 0; i < WORDS; i++) {
        out[i] += state[i];
    }
}

/* The state of the example in RFC 8439, 2.3.2: key bytes 0 to 31, counter 1. */
static const uint32_t example[WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, 0x03020100, 0x07060504,
                                        0x0b0a0908, 0x0f0e0d0c, 0x13121110, 0x17161514, 0x1b1a1918, 0x1f1e1d1c,
                                        0x00000001, 0x09000000, 0x4a000000, 0x00000000};

static void setup(void)
{
    uint32_t block[WORDS];

    make_block(block, example);
    if (block[0] != 0xe4e7f110 || block[15] != 0x4e3c50a2) {
        bench_die("ChaCha20 does not produce the block of RFC 8439");
    }
}

static uint64_t iterate(void)
{
    uint32_t state[WORDS];
    uint32_t block[WORDS];

    memset(message, 0x5a, sizeof(message));
    memcpy(state, example, sizeof(state));
    for (size_t at = 0; at < MESSAGE / 4; at += WORDS) {
        make_block(block, state);
        for (size_t i = 0; i < WORDS; i++) {
            message[at + i] ^= block[i];
        }
        state[12]++;
    }
    return bench_mix_bytes(0, message, sizeof(message));
}

const struct bench_program bench_chacha20 = {
    .name = "chacha20",
    .summary = "ChaCha20 over 128 KiB in C",
    .iterations = 400,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
};
