/* mt.c - MT19937 and CPython's random.sample() */
#include "common/base/mt.h"

#include <stdlib.h>

#include "common/base/mem.h"

enum { N = MT_WORDS, M = 397 };

static void init_u32(struct mt *m, uint32_t s)
{
    m->state[0] = s;
    for (uint32_t i = 1; i < N; i++)
        m->state[i] = 1812433253u * (m->state[i - 1] ^ m->state[i - 1] >> 30) + i;
    m->at = N;
}

/* init_by_array() with the key's 32-bit words, least significant first; CPython drops leading zero words. */
void mt_init(struct mt *m, uint64_t seed)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t length = key[1] ? 2 : 1;
    uint32_t *s = m->state, i = 1, j = 0;

    init_u32(m, 19650218u);
    for (int k = 0; k < N; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + key[j] + j;
        j = (j + 1) % length;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    for (int k = 0; k < N - 1; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - i;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
}

static void refill(struct mt *m)
{
    uint32_t *s = m->state;

    for (int k = 0; k < N; k++) {
        uint32_t y = (s[k] & 0x80000000u) | (s[(k + 1) % N] & 0x7fffffffu);

        s[k] = s[(k + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    m->at = 0;
}

uint32_t mt_u32(struct mt *m)
{
    uint32_t y;

    if (m->at == N)
        refill(m);
    y = m->state[m->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

uint32_t mt_below(struct mt *m, uint32_t n)
{
    unsigned bits = 32 - (unsigned)__builtin_clz(n); /* n.bit_length(), so a power of two rejects half */
    uint32_t r;

    do
        r = mt_u32(m) >> (32 - bits);
    while (r >= n);
    return r;
}

/*
 * CPython draws from a shrinking pool when the population is at most this, else it redraws what it has seen.
 */
static uint64_t set_size(uint32_t k)
{
    uint64_t table = 1;

    if (k <= 5)
        return 21;
    while (table < 3 * (uint64_t)k)
        table *= 4;
    return 21 + table;
}

static int sample_pool(struct mt *m, uint32_t n, uint32_t k, uint32_t *out, struct err *e)
{
    uint32_t *pool = mem_zalloc(n, sizeof *pool, e);

    if (!pool)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        pool[i] = i;
    for (uint32_t i = 0; i < k; i++) {
        uint32_t j = mt_below(m, n - i);

        out[i] = pool[j];
        pool[j] = pool[n - i - 1];
    }
    free(pool);
    return 0;
}

static int sample_set(struct mt *m, uint32_t n, uint32_t k, uint32_t *out, struct err *e)
{
    uint8_t *seen = mem_zalloc(n, 1, e);

    if (!seen)
        return -1;
    for (uint32_t i = 0; i < k; i++) {
        do
            out[i] = mt_below(m, n);
        while (seen[out[i]]);
        seen[out[i]] = 1;
    }
    free(seen);
    return 0;
}

int mt_sample(struct mt *m, uint32_t n, uint32_t k, uint32_t *out, struct err *e)
{
    return n <= set_size(k) ? sample_pool(m, n, k, out, e) : sample_set(m, n, k, out, e);
}
