/* SHA-256 (FIPS 180-4) in plain C: rotations and additions in long dependence chains. */
#include "user/programs.h"

#include <string.h>

enum {
    BLOCK = 64,
    MESSAGE = 256 << 10,
};

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static unsigned char message[MESSAGE];

static uint32_t rotate_right(uint32_t value, unsigned int count)
{
    return (value >> count) | (value << (32 - count));
}

static uint32_t load_big_endian(const unsigned char *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return __builtin_bswap32(value);
}

/* FIPS 180-4, 6.2.2, steps 1 to 4. */
static void compress(uint32_t *hash, const unsigned char *block)
{
    uint32_t w[64];
    uint32_t s[8];

    for (size_t t = 0; t < 16; t++) {
        w[t] = load_big_endian(block + 4 * t);
    }
    for (int t = 16; t < 64; t++) {
        uint32_t sigma0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ (w[t - 15] >> 3);
        uint32_t sigma1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ (w[t - 2] >> 10);

        w[t] = sigma1 + w[t - 7] + sigma0 + w[t - 16];
    }
    memcpy(s, hash, sizeof(s));
    for (int t = 0; t < 64; t++) {
        uint32_t sum1 = rotate_right(s[4], 6) ^ rotate_right(s[4], 11) ^ rotate_right(s[4], 25);
        uint32_t sum0 = rotate_right(s[0], 2) ^ rotate_right(s[0], 13) ^ rotate_right(s[0], 22);
        uint32_t one = s[7] + sum1 + ((s[4] & s[5]) ^ (~s[4] & s[6])) + round_constants[t] + w[t];
        uint32_t two = sum0 + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

        memmove(s + 1, s, 7 * sizeof(s[0]));
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) {
        hash[i] += s[i];
    }
}

/* The digest of size bytes, as eight words. */
static void digest(uint32_t *hash, const unsigned char *bytes, size_t size)
{
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char last[2 * BLOCK] = {0};
    size_t rest = size % BLOCK;
    size_t tail = rest < BLOCK - 8 ? BLOCK : 2 * BLOCK;
    uint64_t bits = __builtin_bswap64((uint64_t)size * 8);

    memcpy(hash, initial, sizeof(initial));
    for (size_t at = 0; at + BLOCK <= size; at += BLOCK) {
        compress(hash, bytes + at);
    }
    memcpy(last, bytes + size - rest, rest);
    last[rest] = 0x80;
    memcpy(last + tail - sizeof(bits), &bits, sizeof(bits));
    for (size_t at = 0; at < tail; at += BLOCK) {
        compress(hash, last + at);
    }
}

static void setup(void)
{
    uint32_t hash[8];

    digest(hash, (const unsigned char *)"abc", 3);
    if (hash[0] != 0xba7816bf || hash[7] != 0xf20015ad) {
        bench_die("SHA-256 of 'abc' is wrong");
    }
    bench_fill_text((char *)message, sizeof(message), 6);
}

static uint64_t iterate(void)
{
    uint32_t hash[8];

    digest(hash, message, sizeof(message));
    return bench_mix_bytes(0, hash, sizeof(hash));
}

const struct bench_program bench_sha256 = {
    .name = "sha256",
    .summary = "SHA-256 of 256 KiB in C",
    .iterations = 120,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
};
