/* Sums over tokens. Threads share the columns, in blocks, so that every sum runs in the order of tokens
 * whatever the number of threads. */
#ifndef BEAM_KERNELS_CPU_COLUMNS_H
#define BEAM_KERNELS_CPU_COLUMNS_H

#include "kernels/cpu/real.h"

enum { BEAM_COLUMN_BLOCK = 16 };

/* sum[i] = sum over t of x[t, first + i] for the columns of x [T,N] in the block that starts at `first`; with
 * `counted` (NULL: all tokens), only over the tokens where it is not 0. Returns the number of columns. */
static inline int64_t beam_sum_columns(double sum[BEAM_COLUMN_BLOCK], beam_tensor x, int64_t first,
                                       const uint8_t *counted)
{
    const int64_t tokens = x.dim[0], N = x.dim[1];
    const int64_t n = N - first < BEAM_COLUMN_BLOCK ? N - first : BEAM_COLUMN_BLOCK;
    for (int64_t i = 0; i < n; i++)
        sum[i] = 0;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; (!counted || counted[t]) && i < n; i++)
            sum[i] += (double)beam_real(x)[t * N + first + i];
    return n;
}

#endif
