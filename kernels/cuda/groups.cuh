/* The rows of the grouped order that belong together, and the tiles they make. Counts stay on the device. */
#ifndef BEAM_KERNELS_CUDA_GROUPS_CUH
#define BEAM_KERNELS_CUDA_GROUPS_CUH

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/tile.cuh"

struct row_range {
    int begin, end;
};

struct row_groups {
    const int32_t *first, *kept; /* of the route */
    int experts;
    beam_rows_of rows;

    /* Rows of an expert. */
    __device__ row_range of(int expert) const
    {
        const int begin = first[expert], middle = begin + kept[expert], end = first[expert + 1];
        return {rows == BEAM_ROWS_DROPPED ? middle : begin, rows == BEAM_ROWS_KEPT ? middle : end};
    }

    /* Kept and dropped rows never share a tile, so of all rows an expert has two groups. */
    __host__ __device__ int count() const
    {
        return rows == BEAM_ROWS_ALL ? 2 * experts : experts;
    }

    __device__ int expert(int group) const
    {
        return rows == BEAM_ROWS_ALL ? group / 2 : group;
    }

    __device__ row_range group(int group) const
    {
        const beam_rows_of half = group % 2 == 0 ? BEAM_ROWS_KEPT : BEAM_ROWS_DROPPED;
        const row_groups part = {first, kept, experts, rows == BEAM_ROWS_ALL ? half : rows};
        return part.of(expert(group));
    }
};

inline row_groups groups_of(const beam_route *route, beam_rows_of rows)
{
    return {data_of<int32_t>(route->first), data_of<int32_t>(route->kept),
            static_cast<int>(route->kept.dim[0]), rows};
}

/* ends[group] = how many tiles of rows the groups up to this one make, in shared memory of the block. */
__device__ inline void count_tiles(int *ends, const row_groups &groups)
{
    const int n = groups.count(), me = static_cast<int>(threadIdx.x);
    for (int i = me; i < n; i += static_cast<int>(blockDim.x)) {
        const row_range r = groups.group(i);
        ends[i] = (r.end - r.begin + tile_size - 1) / tile_size;
    }
    __syncthreads();
    int before = 0;
    for (int from = 0; me < 32 && from < n; from += 32) {
        const int i = from + me;
        int tiles = i < n ? ends[i] : 0;
        for (int by = 1; by < 32; by *= 2) {
            const int left = __shfl_up_sync(whole_warp, tiles, static_cast<unsigned>(by));
            tiles += me >= by ? left : 0;
        }
        if (i < n)
            ends[i] = before + tiles;
        before += __shfl_sync(whole_warp, tiles, 31);
    }
    __syncthreads();
}

/* The group that has the given tile of rows, which is below ends[n - 1]. */
__device__ inline int group_of_tile(const int *ends, int n, int tile)
{
    int low = 0, high = n - 1; /* the group is in [low, high] */
    while (low < high) {
        const int middle = (low + high) / 2;
        if (tile < ends[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

#endif
