/* What masks did to the counted tokens of a layer. */
#include "kernels/cuda/reduce.cuh"

constexpr int stats_threads = 1024;

/* One block: a few numbers per token, and the sums keep their order. Numbers of pairs are added up as
 * integers, which have no order. */
static __global__ void mask_stats_kernel(double *stats, const int32_t *expert, const float *gate,
                                         const uint8_t *keep, const uint8_t *counted, int64_t tokens,
                                         int top_k, int experts)
{
    BEAM_SHARED_DYNAMIC(int, kept_by); /* [experts] */
    BEAM_SHARED(double, part, 32);
    for (int e = static_cast<int>(threadIdx.x); e < experts; e += static_cast<int>(blockDim.x))
        kept_by[e] = 0;
    __syncthreads();
    double sum[BEAM_STAT_EXPERTS] = {};
    for (int64_t t = threadIdx.x; t < tokens; t += blockDim.x) {
        if (!counted[t])
            continue;
        int kept = 0;
        double soft = 0, square = 0;
        for (int k = 0; k < top_k; k++) {
            const int64_t i = t * top_k + k;
            const double q = static_cast<double>(gate[i]);
            soft += q;
            square += q * q;
            if (keep[i]) {
                kept++;
                atomicAdd(&kept_by[expert[i]], 1);
            }
        }
        sum[BEAM_STAT_TOKENS] += 1;
        sum[BEAM_STAT_KEPT] += kept;
        sum[BEAM_STAT_NONE_KEPT] += kept == 0;
        sum[BEAM_STAT_SOFT] += soft / top_k;
        sum[BEAM_STAT_SQUARE] += square / top_k;
    }
    for (int i = 0; i < BEAM_STAT_EXPERTS; i++) {
        const double all = block_sum(sum[i], part);
        if (threadIdx.x == 0)
            stats[i] += all;
    }
    for (int e = static_cast<int>(threadIdx.x); e < experts; e += static_cast<int>(blockDim.x))
        stats[BEAM_STAT_EXPERTS + e] += kept_by[e];
}

void beam_cuda_mask_stats(beam_backend *be, beam_tensor stats, const beam_route *route, beam_tensor counted)
{
    const int experts = static_cast<int>(stats.dim[0]) - BEAM_STAT_EXPERTS;
    launch(be, mask_stats_kernel, 1, stats_threads, static_cast<size_t>(experts) * sizeof(int),
           data_of<double>(stats), data_of<int32_t>(route->expert), data_of<float>(route->gate),
           data_of<uint8_t>(route->keep), data_of<uint8_t>(counted), route->expert.dim[0],
           route->expert.dim[1], experts);
}
