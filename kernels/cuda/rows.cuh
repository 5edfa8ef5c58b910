/* Which rows of the grouped order an op works on. */
#ifndef BEAM_KERNELS_CUDA_ROWS_CUH
#define BEAM_KERNELS_CUDA_ROWS_CUH

#include "kernels/cuda/device.cuh"

/* first[experts + 1] and kept[experts] of a route; experts = 0: all rows. */
struct row_filter {
    const int32_t *first, *kept;
    int experts;
    beam_rows_of rows;

    /* The expert of row r, which is below first[experts]. */
    __device__ int expert_of(int64_t r) const
    {
        int low = 0, high = experts; /* first[low] <= r < first[high] */
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            if (first[middle] <= r)
                low = middle;
            else
                high = middle;
        }
        return low;
    }

    __device__ bool has(int64_t r) const
    {
        if (experts == 0)
            return true;
        if (r >= first[experts])
            return false;
        const int e = expert_of(r);
        const bool is_kept = r < first[e] + kept[e];
        return rows == BEAM_ROWS_ALL || is_kept == (rows == BEAM_ROWS_KEPT);
    }
};

inline row_filter rows_of(const beam_route *route, beam_rows_of rows)
{
    if (!route)
        return {nullptr, nullptr, 0, rows};
    return {data_of<int32_t>(route->first), data_of<int32_t>(route->kept),
            static_cast<int>(route->kept.dim[0]), rows};
}

#endif
