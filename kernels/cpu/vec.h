/* exp and sigmoid in plain C without branches, so that a loop over them becomes vector code. Accurate to
 * about 1 ulp (libm has better, but only one number at a time). NaN stays NaN, overflow gives infinity,
 * underflow passes through the subnormal numbers to 0. */
#ifndef BEAM_KERNELS_CPU_VEC_H
#define BEAM_KERNELS_CPU_VEC_H

#include <string.h>

#include "kernels/cpu/real.h"

/* x = n ln2 + r, |r| <= ln2 / 2, exp(x) = 2^n exp(r). Adding 1.5 * 2^(mantissa bits) rounds to an integer n,
 * whose low bits are then the low bits of the sum. ln2 comes in two parts, the first so short that n times it
 * is exact. 2^n is applied in two factors because n itself may leave the range of exponents. */
#ifdef BEAM_CPU_DOUBLE

static inline double beam_exp_pow2(int64_t n)
{
    const uint64_t bits = (uint64_t)(n + 1023) << 52;
    double f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline double beam_exp(double x)
{
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    const double round = 0x1.8p52, shifted = fma(x, 0x1.71547652b82fep0, round), n = shifted - round;
    const double r = fma(n, -1.42860682030941723212e-6, fma(n, -0.693145751953125, x));
    double p = 1.0 / 6227020800.0; /* the Taylor series up to r^13 / 13!: error below 1e-17 */
    p = fma(p, r, 1.0 / 479001600.0);
    p = fma(p, r, 1.0 / 39916800.0);
    p = fma(p, r, 1.0 / 3628800.0);
    p = fma(p, r, 1.0 / 362880.0);
    p = fma(p, r, 1.0 / 40320.0);
    p = fma(p, r, 1.0 / 5040.0);
    p = fma(p, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    p = fma(p, r * r, r) + 1.0;
    int64_t k;
    memcpy(&k, &shifted, sizeof k);
    k = (k & 0xfffff) - ((k & 0x80000) << 1); /* sign-extend 20 bits */
    const int64_t half = k >> 1;
    return p * beam_exp_pow2(half) * beam_exp_pow2(k - half);
}

#else

static inline float beam_exp_pow2(int32_t n)
{
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float beam_exp(float x)
{
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    const float round = 0x1.8p23f, shifted = fmaf(x, 0x1.715476p0f, round), n = shifted - round;
    const float r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, x));
    float p = 1.9875691500e-4f; /* minimax coefficients of Cephes' expf */
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    int32_t k;
    memcpy(&k, &shifted, sizeof k);
    k = (k & 0xfff) - ((k & 0x800) << 1); /* sign-extend 12 bits */
    const int32_t half = k >> 1;
    return p * beam_exp_pow2(half) * beam_exp_pow2(k - half);
}

#endif

/* 1 / (1 + exp(-x)). */
static inline real beam_sigmoid(real x)
{
    return 1 / (1 + beam_exp(-x));
}

#endif
