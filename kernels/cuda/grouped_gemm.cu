/* Products of the experts, over the rows of the grouped order that belong to each. How many rows those are
 * is known on the device only: as many blocks as it holds share out the tiles among themselves, and each
 * finds out in the same way which these are. */
#include "kernels/cuda/ffma.cuh"
#include "kernels/cuda/groups.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/wgmma.h"

struct expert_shape {
    int n, m; /* b[e] is [m,n], or [n,m] transposed */
};

/* Rows of a: row r is line r (pair NULL), or line pair[r] / top_k. */
template <class T> struct row_source {
    factor<T> lines;
    const int32_t *pair;
    int top_k;

    /* The block's tile of rows from `row` to `end`; line[tile_size] in its shared memory is room. */
    __device__ gathered<T> gather(int *line, int row, int end) const
    {
        for (int i = static_cast<int>(threadIdx.x); i < tile_size; i += static_cast<int>(blockDim.x))
            line[i] = row + i < end ? pair[row + i] / top_k : 0;
        __syncthreads();
        return {lines.at, lines.step, lines.aligned, line};
    }
};

/* Tiles of an expert stand next to each other, those of the same rows first, so that blocks which run at the
 * same time share rows and weights in the L2 cache. */
template <class Tiles, class T, bool Gathered>
static __global__ void __launch_bounds__(Tiles::threads, Tiles::blocks)
    grouped_kernel(swiglu_output<T> c, row_source<T> a, factor<T> b, row_groups groups, expert_shape s)
{
    BEAM_SHARED_DYNAMIC(unsigned char, shared);
    int *const line = reinterpret_cast<int *>(shared + Tiles::shared_bytes), *const ends = line + tile_size;
    count_tiles(ends, groups);
    const int n = groups.count(), wide = (s.n + tile_size - 1) / tile_size;
    const int64_t tiles = static_cast<int64_t>(ends[n - 1]) * wide;
    for (int64_t i = blockIdx.x; i < tiles; i += gridDim.x) {
        const int high = static_cast<int>(i / wide), column = static_cast<int>(i % wide) * tile_size;
        const int g = group_of_tile(ends, n, high);
        const row_range r = groups.group(g);
        const int row = r.begin + (high - (g > 0 ? ends[g - 1] : 0)) * tile_size;
        factor<T> weight = b.from(column, 0);
        weight.at += static_cast<int64_t>(groups.expert(g)) * s.n * s.m;
        const swiglu_output<T> out = c.from(row, column);
        const int rows = r.end - row, columns = s.n - column;
        if constexpr (Gathered)
            Tiles::run(shared, tile_product{a.gather(line, row, r.end), weight, rows, columns, s.m}, out);
        else
            Tiles::run(shared, tile_product{a.lines.from(row, 0), weight, rows, columns, s.m}, out);
    }
}

/* Block (x, y, z) computes a tile of dw[z]. */
template <class Tiles, class T>
static __global__ void __launch_bounds__(Tiles::threads, Tiles::blocks)
    wgrad_kernel(tile_output<float> dw, factor<T> dy, factor<T> x, row_groups groups, expert_shape s)
{
    BEAM_SHARED_DYNAMIC(unsigned char, shared);
    const int row = static_cast<int>(blockIdx.y) * tile_size,
              column = static_cast<int>(blockIdx.x) * tile_size;
    const row_range r = groups.of(static_cast<int>(blockIdx.z));
    if (r.begin == r.end)
        return;
    dw.c += (blockIdx.z * static_cast<int64_t>(s.n) + row) * s.m + column;
    Tiles::run(shared,
               tile_product{dy.from(row, r.begin), x.from(column, r.begin), s.n - row, s.m - column,
                            r.end - r.begin},
               dw);
}

template <class Tiles, class T>
static void run_grouped(beam_backend *be, const swiglu_output<T> &c, const row_source<T> &a, factor<T> b,
                        int64_t rows, const row_groups &groups, expert_shape s)
{
    const int64_t most = (tiles_of(rows) + groups.count()) * tiles_of(s.n);
    const int64_t blocks = min(most, static_cast<int64_t>(Tiles::blocks) * beam_cuda_processors(be));
    launch(be, a.pair ? grouped_kernel<Tiles, T, true> : grouped_kernel<Tiles, T, false>,
           dim3(static_cast<unsigned>(blocks)), dim3(Tiles::threads),
           Tiles::shared_bytes + (tile_size + static_cast<size_t>(groups.count())) * sizeof(int), c, a, b,
           groups, s);
}

template <class T> static row_source<T> source_of(const beam_grouped_product *p, const beam_route *route)
{
    const bool gathers = p->x.data != nullptr;
    return {factor_of<T>(gathers ? p->x.data : p->a.data, p->a.dim[1], true),
            gathers ? data_of<int32_t>(route->pair) : nullptr,
            gathers ? static_cast<int>(route->expert.dim[1]) : 1};
}

/* Returns whether the activation is made, too. */
static bool multiply(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                     beam_rows_of rows)
{
    const int64_t n = p->c.dim[1], m = p->a.dim[1];
    const row_groups groups = groups_of(route, rows);
    const expert_shape s = {static_cast<int>(n), static_cast<int>(m)};
    if (beam_cuda_wgmma_grouped(be, p, route, rows))
        return act_of_tiles(p) != nullptr;
    bool made = false;
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        swiglu_output<T> to = {output_to<T>(p->c.data, n, 1, 0), nullptr};
        const row_source<T> x = source_of<T>(p, route);
        const factor<T> weight = factor_of<T>(p->b.data, p->tb ? m : n, p->tb);
        if constexpr (std::is_same_v<T, bf16>)
            if (to.aligned && x.lines.aligned && weight.aligned) {
                to.act = act_of_tiles(p);
                made = to.act != nullptr;
                if (p->tb)
                    run_grouped<mma_tiles<true, true>>(be, to, x, weight, p->c.dim[0], groups, s);
                else
                    run_grouped<mma_tiles<true, false>>(be, to, x, weight, p->c.dim[0], groups, s);
                return;
            }
        run_grouped<ffma_tiles<T, T>>(be, to, x, weight, p->c.dim[0], groups, s);
    });
    return made;
}

void beam_cuda_grouped_gemm(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                            beam_rows_of rows)
{
    if (p->c.dim[0] == 0 || p->c.dim[1] == 0 || be->status)
        return;
    if (!multiply(be, p, route, rows) && p->act.data)
        beam_cuda_swiglu(be, p->act, p->c, route, rows);
}

void beam_cuda_grouped_wgrad(beam_backend *be, beam_tensor dw, beam_tensor dy, beam_tensor x,
                             const beam_route *route, beam_rows_of rows)
{
    const int64_t n = dw.dim[1], m = dw.dim[2];
    const row_groups groups = groups_of(route, rows);
    const expert_shape s = {static_cast<int>(n), static_cast<int>(m)};
    const dim3 grid(static_cast<unsigned>(tiles_of(m)), static_cast<unsigned>(tiles_of(n)),
                    static_cast<unsigned>(groups.experts));
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const tile_output<float> to = output_to<float>(dw.data, m, 1, 1);
        const factor<T> left = factor_of<T>(dy.data, n, false), right = factor_of<T>(x.data, m, false);
        const auto run = [&](auto tiles) {
            using Tiles = decltype(tiles);
            launch(be, wgrad_kernel<Tiles, T>, grid, dim3(Tiles::threads), Tiles::shared_bytes, to, left,
                   right, groups, s);
        };
        if constexpr (std::is_same_v<T, bf16>)
            if (to.aligned && left.aligned && right.aligned) {
                run(mma_tiles<false, false>());
                return;
            }
        run(ffma_tiles<T, T>());
    });
}
