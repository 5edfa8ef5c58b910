/* y += w x and <a, b> over one row. */
#ifndef BEAM_KERNELS_CPU_AXPY_H
#define BEAM_KERNELS_CPU_AXPY_H

#include "kernels/cpu/real.h"

/* y[n] += w * x[n] */
static inline void beam_axpy(real *restrict y, const real *restrict x, real w, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] += w * x[i];
}

/* The sum of a[n] * b[n]. */
static inline real beam_dot(const real *a, const real *b, int64_t n)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

#endif
