/* The largest number that each expert puts out. */
#include <math.h>

#include "kernels/cuda/route.cuh"

constexpr int peak_chunks = 16; /* blocks that share the rows of an expert */

/* The larger of a size so far and |x|. NaN counts as infinity: it must not pass for a small number. */
__device__ static float larger_size(float most, float x)
{
    const float size = x < 0 ? -x : x;
    return size <= most ? most : isnan(size) ? INFINITY : size;
}

/* partial[chunk, E]. */
template <class T>
static __global__ void peaks_kernel(float *partial, const T *rows_out, const uint8_t *counted,
                                    pair_view pairs, row_filter filter, int64_t n, bool aligned)
{
    BEAM_SHARED(float, part, threads_per_block / 32);
    const row_range rows = rows_of_expert(filter, static_cast<int>(blockIdx.x));
    float most = 0;
    for (int64_t r = rows.begin + blockIdx.y; r < rows.end; r += gridDim.y)
        if (counted[pairs.pair[r] / pairs.top_k])
            cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=, &most](int64_t at, auto w) {
                const pack<float, w> v = load<w>(rows_out + r * n + at);
                for (int j = 0; j < w; j++)
                    most = larger_size(most, v.at[j]);
            });
    most = warp_max(most);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = most;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int i = 1; i < threads_per_block / 32; i++)
        most = larger_size(most, part[i]);
    partial[blockIdx.y * gridDim.x + blockIdx.x] = most;
}

/* A thread takes an expert. */
static __global__ void raise_peaks_kernel(double *peak, const float *partial, int64_t experts)
{
    const int64_t e = grid_thread();
    if (e >= experts)
        return;
    float most = 0;
    for (int chunk = 0; chunk < peak_chunks; chunk++)
        most = larger_size(most, partial[chunk * experts + e]);
    const double size = static_cast<double>(most);
    peak[e] = size > peak[e] ? size : peak[e];
}

void beam_cuda_expert_peaks(beam_backend *be, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                            const beam_route *route, beam_rows_of rows)
{
    const int64_t experts = peak.dim[0], n = rows_out.dim[1];
    const size_t bytes = peak_chunks * static_cast<size_t>(experts) * sizeof(float);
    float *partial = static_cast<float *>(beam_cuda_scratch(be, bytes));
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, peaks_kernel<T>, dim3(static_cast<unsigned>(experts), peak_chunks),
               dim3(threads_per_block), 0, partial, data_of<T>(rows_out), data_of<uint8_t>(counted),
               pairs_of(route), rows_of(route, rows), n, is_aligned<T>(n, rows_out.data));
    });
    launch(be, raise_peaks_kernel, static_cast<unsigned>(ceil_div(experts, threads_per_block)),
           threads_per_block, 0, data_of<double>(peak), partial, experts);
}
