/* BLAKE2b (RFC 7693) without a key: the checksum of state files and the identity of artifacts, for JavaScript. */
#include <stdint.h>
#include <string.h>

#define BLOCK 128

static const uint64_t START[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};
static const uint8_t ORDER[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t right(uint64_t x, int bits) { return x >> bits | x << (64 - bits); }

static void mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x, v[d] = right(v[d] ^ v[a], 32), v[c] += v[d], v[b] = right(v[b] ^ v[c], 24);
    v[a] += v[b] + y, v[d] = right(v[d] ^ v[a], 16), v[c] += v[d], v[b] = right(v[b] ^ v[c], 63);
}

static void compress(uint64_t *h, const unsigned char *block, uint64_t count, int last)
{
    uint64_t v[16], m[16];
    memcpy(m, block, BLOCK);
    for (int i = 0; i < 8; i++) v[i] = h[i], v[i + 8] = START[i];
    v[12] ^= count;
    if (last) v[14] = ~v[14];
    for (int round = 0; round < 12; round++) {
        const uint8_t *s = ORDER[round % 10];
        for (int i = 0; i < 4; i++) mix(v, i, 4 + i, 8 + i, 12 + i, m[s[2 * i]], m[s[2 * i + 1]]);
        for (int i = 0; i < 4; i++)
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[s[8 + 2 * i]], m[s[9 + 2 * i]]);
    }
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

/* A digest of sixteen bytes. */
__attribute__((export_name("digest"))) void digest(const unsigned char *data, uint32_t bytes, unsigned char *sixteen)
{
    uint64_t h[8], done = 0;
    unsigned char rest[BLOCK] = {0};
    memcpy(h, START, sizeof h);
    h[0] ^= 0x01010000 ^ 16;
    for (; bytes - done > BLOCK; done += BLOCK) compress(h, data + done, done + BLOCK, 0);
    memcpy(rest, data + done, bytes - done);
    compress(h, rest, bytes, 1);
    memcpy(sixteen, h, 16);
}
