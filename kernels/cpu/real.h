/* The CPU kernels build twice from the same files: with float for training, with double to check gradients
 * sharply. */
#ifndef BEAM_KERNELS_CPU_REAL_H
#define BEAM_KERNELS_CPU_REAL_H

#include <math.h>

#include "core/tensor.h"

#ifdef BEAM_CPU_DOUBLE
typedef double real;
#define BEAM_REAL BEAM_F64
#else
typedef float real;
#define BEAM_REAL BEAM_F32
#endif

/* The element pointer of a tensor of this build's type. */
static inline real *beam_real(beam_tensor t)
{
    return t.data;
}

static inline const int32_t *beam_i32(beam_tensor t)
{
    return t.data;
}

#endif
