/* Choosing the candidates of a token: the ranks of its logits, their softmax, what weights are divided by. A
 * warp takes a token; lane l owns the columns l, l + 32, ... */
#ifndef BEAM_KERNELS_CUDA_CHOOSE_CUH
#define BEAM_KERNELS_CUDA_CHOOSE_CUH

#include <math.h>

#include "kernels/cuda/reduce.cuh"

/* Numbers in the order of x: NaN counts as -infinity and -0 as 0. 0 is below all of them: taken. */
__device__ inline uint32_t rank_of(float x)
{
    const uint32_t bits = __float_as_uint(isnan(x) ? -INFINITY : x + 0.0f);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* The position of the largest of left[n], of equal ones the first. It becomes 0. */
__device__ inline int take_largest(uint32_t *left, int n, int lane)
{
    uint64_t best = 0;
    for (int i = lane; i < n; i += 32) {
        const uint64_t mine = static_cast<uint64_t>(left[i]) << 32 | ~static_cast<uint32_t>(i);
        best = mine > best ? mine : best;
    }
    for (int bits = 16; bits > 0; bits /= 2) {
        const uint64_t other = __shfl_xor_sync(whole_warp, best, bits);
        best = other > best ? other : best;
    }
    const int at = static_cast<int>(~static_cast<uint32_t>(best));
    if (at % 32 == lane)
        left[at] = 0;
    return at;
}

/* Leaves of left[n] the groups whose largest number is highest. best[groups] is scratch. */
__device__ inline void limit_groups(uint32_t *left, int n, uint32_t *best, int groups, int kept_groups,
                                    int lane)
{
    const int length = n / groups;
    __syncwarp();
    for (int g = lane; g < groups; g += 32) {
        best[g] = 0;
        for (int i = g * length; i < (g + 1) * length; i++)
            best[g] = left[i] > best[g] ? left[i] : best[g];
    }
    for (int i = 0; i < kept_groups; i++)
        take_largest(best, groups, lane);
    __syncwarp();
    for (int i = lane; i < n; i += 32)
        if (best[i / length] != 0)
            left[i] = 0;
}

/* prob[n] = softmax(logit[n]). */
__device__ inline void softmax(float *prob, const float *logit, int n, int lane)
{
    float top = -INFINITY, sum = 0;
    for (int e = lane; e < n; e += 32)
        top = logit[e] > top ? logit[e] : top;
    top = warp_max(top);
    for (int e = lane; e < n; e += 32)
        sum += expf(logit[e] - top);
    sum = warp_sum(sum);
    for (int e = lane; e < n; e += 32)
        prob[e] = expf(logit[e] - top) / sum;
    __syncwarp();
}

/* What the weights of a token's candidates are divided by: 0 if the null experts leave the others too little
 * for a gradient through the quotient. NaN passes through. */
__device__ inline float divisor(const float *p, const int32_t *expert, int top_k, int experts, bool normalize,
                                int lane)
{
    float sum = 0;
    for (int k = lane; normalize && k < top_k; k += 32)
        sum += expert[k] < experts ? p[expert[k]] : 0;
    sum = normalize ? warp_sum(sum) : 1;
    return sum < 1e-30f ? 0 : sum;
}

#endif
