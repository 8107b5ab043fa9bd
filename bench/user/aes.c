/* AES-128 in counter mode (FIPS 197), with the processor's AES instructions where it has them. */
#include "user/programs.h"

#include <immintrin.h>
#include <string.h>

enum {
    ROUNDS = 10,
    BLOCK = 16,
    BLOCKS = 8192, /* of the message with AES instructions */
    SAMPLE = 64,   /* every SAMPLE-th block goes into the checksum */
};

static unsigned char substitution[256];
static unsigned char round_keys[(ROUNDS + 1) * BLOCK] __attribute__((aligned(16)));

/* Multiplication by x in GF(2^8), FIPS 197, 4.2.1. */
static unsigned char times_x(unsigned char value)
{
    return (unsigned char)((value << 1) ^ ((value & 0x80) != 0 ? 0x1b : 0));
}

static unsigned char rotate_left(unsigned char value, unsigned int count)
{
    return (unsigned char)((value << count) | (value >> (8 - count)));
}

/* FIPS 197, 5.1.1: runs through the powers of the generator 3 and, backwards, through their inverses. */
static void make_substitution(void)
{
    unsigned char power = 1;
    unsigned char inverse = 1;

    do {
        power = (unsigned char)(power ^ times_x(power));
        inverse = (unsigned char)(inverse ^ (inverse << 1));
        inverse = (unsigned char)(inverse ^ (inverse << 2));
        inverse = (unsigned char)(inverse ^ (inverse << 4));
        inverse = (unsigned char)(inverse ^ ((inverse & 0x80) != 0 ? 0x09 : 0));
        substitution[power] = (unsigned char)(inverse ^ rotate_left(inverse, 1) ^ rotate_left(inverse, 2) ^
                                              rotate_left(inverse, 3) ^ rotate_left(inverse, 4) ^ 0x63);
    } while (power != 1);
    substitution[0] = 0x63;
}

/* FIPS 197, 5.2. */
static void expand_key(const unsigned char *key)
{
    unsigned char constant = 1;

    memcpy(round_keys, key, BLOCK);
    for (size_t at = BLOCK; at < sizeof(round_keys); at += 4) {
        unsigned char word[4];

        memcpy(word, round_keys + at - 4, sizeof(word));
        if (at % BLOCK == 0) {
            unsigned char first = word[0];

            word[0] = (unsigned char)(substitution[word[1]] ^ constant);
            word[1] = substitution[word[2]];
            word[2] = substitution[word[3]];
            word[3] = substitution[first];
            constant = times_x(constant);
        }
        for (size_t i = 0; i < 4; i++) {
            round_keys[at + i] = round_keys[at + i - BLOCK] ^ word[i];
        }
    }
}

static void mix_column(unsigned char *c)
{
    unsigned char all = (unsigned char)(c[0] ^ c[1] ^ c[2] ^ c[3]);
    unsigned char first = c[0];

    c[0] ^= (unsigned char)(all ^ times_x((unsigned char)(c[0] ^ c[1])));
    c[1] ^= (unsigned char)(all ^ times_x((unsigned char)(c[1] ^ c[2])));
    c[2] ^= (unsigned char)(all ^ times_x((unsigned char)(c[2] ^ c[3])));
    c[3] ^= (unsigned char)(all ^ times_x((unsigned char)(c[3] ^ first)));
}

/* FIPS 197, 5.1: one block, in place. */
static void encrypt_plain(unsigned char *block)
{
    for (size_t i = 0; i < BLOCK; i++) {
        block[i] ^= round_keys[i];
    }
    for (size_t round = 1; round <= ROUNDS; round++) {
        unsigned char moved[BLOCK];

        for (size_t i = 0; i < BLOCK; i++) {
            moved[i] = substitution[block[(i + 4 * (i % 4)) % BLOCK]];
        }
        for (size_t column = 0; column < BLOCK && round < ROUNDS; column += 4) {
            mix_column(moved + column);
        }
        for (size_t i = 0; i < BLOCK; i++) {
            block[i] = moved[i] ^ round_keys[round * BLOCK + i];
        }
    }
}

__attribute__((target("aes,sse4.1"))) static void encrypt_instructions(unsigned char *block)
{
    const __m128i *keys = (const __m128i *)round_keys;
    __m128i state = _mm_xor_si128(_mm_loadu_si128((const __m128i *)block), keys[0]);

    for (size_t round = 1; round < ROUNDS; round++) {
        state = _mm_aesenc_si128(state, keys[round]);
    }
    _mm_storeu_si128((__m128i *)block, _mm_aesenclast_si128(state, keys[ROUNDS]));
}

static int has_instructions(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1");
}

static const char *variant(void)
{
    return has_instructions() ? "aes-ni" : "c";
}

static void setup(void)
{
    /* FIPS 197, appendix B. */
    static const unsigned char key[BLOCK] = {0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
                                             0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c};
    static const unsigned char plain[BLOCK] = {0x32, 0x43, 0xf6, 0xa8, 0x88, 0x5a, 0x30, 0x8d,
                                               0x31, 0x31, 0x98, 0xa2, 0xe0, 0x37, 0x07, 0x34};
    static const unsigned char cipher[BLOCK] = {0x39, 0x25, 0x84, 0x1d, 0x02, 0xdc, 0x09, 0xfb,
                                                0xdc, 0x11, 0x85, 0x97, 0x19, 0x6a, 0x0b, 0x32};
    unsigned char block[BLOCK];

    make_substitution();
    expand_key(key);
    memcpy(block, plain, BLOCK);
    encrypt_plain(block);
    if (memcmp(block, cipher, BLOCK) != 0) {
        bench_die("AES-128 does not produce the example of FIPS 197");
    }
}

static uint64_t iterate(void)
{
    void (*encrypt)(unsigned char *) = has_instructions() ? encrypt_instructions : encrypt_plain;
    uint64_t checksum = 0;

    for (uint64_t counter = 0; counter < BLOCKS; counter++) {
        unsigned char block[BLOCK] = {0};

        memcpy(block, &counter, sizeof(counter));
        encrypt(block);
        if (counter % SAMPLE == 0) {
            checksum = bench_mix_bytes(checksum, block, BLOCK);
        }
    }
    return checksum;
}

const struct bench_program bench_aes = {
    .name = "aes",
    .summary = "AES-128 counter mode over 128 KiB, AES instructions",
    .iterations = 2000,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
    .variant = variant,
};
