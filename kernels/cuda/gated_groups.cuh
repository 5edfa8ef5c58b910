/* Rows of gate and up projections, side by side in groups of 8 (beam_interleave_row). */
#ifndef BEAM_KERNELS_CUDA_GATED_GROUPS_CUH
#define BEAM_KERNELS_CUDA_GATED_GROUPS_CUH

#include "kernels/cuda/device.cuh"

/* Calls f(index in a row of n, gate index, up distance, width) so that `step` threads, of which this is
 * number `thread`, cover the row. */
template <class T, class F>
__device__ inline void cover_groups(int64_t n, bool aligned, int64_t thread, int64_t step, F f)
{
    constexpr int group = 8, wide = vector_of<T> < group ? vector_of<T> : group;
    const int64_t whole = n / group * group;
    cover<wide>(whole, aligned, thread, step, [=](int64_t i, auto w) {
        f(i, i / group * 2 * group + i % group, static_cast<int64_t>(group), w);
    });
    for (int64_t i = whole + thread; i < n; i += step)
        f(i, whole + i, n - whole, width<1>());
}

#endif
