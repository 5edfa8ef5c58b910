/* Functions of one number, accurate to a few units in the last place in both builds. */
#ifndef BEAM_KERNELS_CUDA_MATH_CUH
#define BEAM_KERNELS_CUDA_MATH_CUH

#include "kernels/cuda/device.cuh"

/* 1 / (1 + exp(-x)), which underflows to 0 and never overflows. */
__device__ inline float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

/* silu(gate) up. */
__device__ inline float silu_times(float gate, float up)
{
    return gate * (sigmoid(gate) * up);
}

#endif
