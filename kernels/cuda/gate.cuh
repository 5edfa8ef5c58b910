/* The rules of which candidates run: shares for mask gates, and pruning. A thread looks at a token's weights.
 */
#ifndef BEAM_KERNELS_CUDA_GATE_CUH
#define BEAM_KERNELS_CUDA_GATE_CUH

#include <float.h>
#include <math.h>

#include "kernels/cuda/device.cuh"

/* Sum of the first n weights of a token. */
__device__ inline float weight_sum(const float *weight, int n)
{
    float sum = 0;
    for (int k = 0; k < n; k++)
        sum += weight[k];
    return sum;
}

/* log(K g / sum). A weight that underflowed to 0 counts as the smallest normal float, whose log is finite.
 * NaN passes through. */
__device__ inline float log_share(float g, float sum, int top_k)
{
    const float share = static_cast<float>(top_k) * (g / sum);
    return logf(share < FLT_MIN ? FLT_MIN : share);
}

/* How many of a token's candidates the rule keeps. With a NaN among the weights no sum reaches the share. */
__device__ inline int kept_count(const float *weight, int top_k, beam_prune_rule rule)
{
    const int most = rule.keep < top_k ? rule.keep : top_k;
    if (rule.share >= 1)
        return most;
    const double enough = rule.share * static_cast<double>(weight_sum(weight, top_k));
    float sum = 0;
    for (int k = 0; k < most; k++) {
        sum += weight[k];
        if (static_cast<double>(sum) >= enough)
            return k + 1;
    }
    return most;
}

#endif
