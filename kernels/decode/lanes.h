/* A few floats side by side, as wide as the processor that the program is compiled for has them. Weights in
 * bf16 become floats in a register: they are never stored wider than they are. */
#ifndef BEAM_KERNELS_DECODE_LANES_H
#define BEAM_KERNELS_DECODE_LANES_H

#include <math.h>
#include <string.h>

#include "core/bf16.h"

#if defined(__AVX512F__)

#include <immintrin.h>

enum { BEAM_LANES = 16 };
typedef __m512 beam_lanes;

static inline beam_lanes beam_lanes_zero(void)
{
    return _mm512_setzero_ps();
}

static inline beam_lanes beam_lanes_f32(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline beam_lanes beam_lanes_bf16(const uint16_t *p)
{
    const __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* a * b + c, rounded once. */
static inline beam_lanes beam_lanes_fma(beam_lanes a, beam_lanes b, beam_lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline float beam_lanes_sum(beam_lanes a)
{
    return _mm512_reduce_add_ps(a);
}

#elif defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

enum { BEAM_LANES = 8 };
typedef __m256 beam_lanes;

static inline beam_lanes beam_lanes_zero(void)
{
    return _mm256_setzero_ps();
}

static inline beam_lanes beam_lanes_f32(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline beam_lanes beam_lanes_bf16(const uint16_t *p)
{
    const __m128i half = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* a * b + c, rounded once. */
static inline beam_lanes beam_lanes_fma(beam_lanes a, beam_lanes b, beam_lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline float beam_lanes_sum(beam_lanes a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

#else /* loops that compilers turn into vector code */

enum { BEAM_LANES = 8 };
typedef struct {
    float at[BEAM_LANES];
} beam_lanes;

static inline beam_lanes beam_lanes_zero(void)
{
    return (beam_lanes){{0}};
}

static inline beam_lanes beam_lanes_f32(const float *p)
{
    beam_lanes x;
    memcpy(x.at, p, sizeof x.at);
    return x;
}

static inline beam_lanes beam_lanes_bf16(const uint16_t *p)
{
    beam_lanes x;
    for (int i = 0; i < BEAM_LANES; i++)
        x.at[i] = beam_bf16_to_f32(p[i]);
    return x;
}

static inline beam_lanes beam_lanes_fma(beam_lanes a, beam_lanes b, beam_lanes c)
{
    for (int i = 0; i < BEAM_LANES; i++)
        c.at[i] += a.at[i] * b.at[i];
    return c;
}

static inline float beam_lanes_sum(beam_lanes a)
{
    for (int n = BEAM_LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a.at[i] += a.at[i + n];
    return a.at[0];
}

#endif
#endif
