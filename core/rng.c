#include "core/rng.h"

#include <math.h>

#include "core/status.h"

typedef struct {
    uint32_t v[4];
} block;

static block philox(block counter, uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * counter.v[0];
        const uint64_t b = (uint64_t)0xCD9E8D57u * counter.v[2];
        counter = (block){{(uint32_t)(b >> 32) ^ counter.v[1] ^ k0, (uint32_t)b,
                           (uint32_t)(a >> 32) ^ counter.v[3] ^ k1, (uint32_t)a}};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return counter;
}

uint64_t beam_random_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
    const block counter = {
        {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    const block r = philox(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (uint64_t)r.v[1] << 32 | r.v[0];
}

double beam_random_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    return ldexp((double)(beam_random_bits(seed, stream, index) >> 11), -53);
}

double beam_random_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    const double u = 1.0 - beam_random_uniform(seed, stream, 2 * index); /* (0, 1]: the logarithm is finite */
    const double v = beam_random_uniform(seed, stream, 2 * index + 1);
    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}

/* One pass of a balanced Feistel network over 2 * half bits. */
static uint64_t feistel(uint64_t seed, uint64_t stream, uint64_t x, unsigned half)
{
    const uint64_t mask = (UINT64_C(1) << half) - 1;
    uint64_t left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < 6; round++) {
        const uint64_t mixed = beam_random_bits(seed, stream ^ (round << 56), right) & mask;
        const uint64_t next = left ^ mixed;
        left = right;
        right = next;
    }
    return left << half | right;
}

uint64_t beam_random_permute(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n)
{
    BEAM_ASSERT(n >= 1 && index < n && n <= UINT64_C(1) << 62);
    unsigned half = 1;
    while (half < 31 && (UINT64_C(1) << (2 * half)) < n)
        half++;
    uint64_t x = index;
    do /* walk the cycle until it re-enters [0, n); the domain is at most 4 n */
        x = feistel(seed, stream, x, half);
    while (x >= n);
    return x;
}

uint64_t beam_hash_string(const char *s)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
    return h;
}
