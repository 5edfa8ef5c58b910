/* Products of a few tokens with matrices as they are stored: a warp reads a row of the matrix once for every
 * `tile` tokens. */
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/decode_step.h"

namespace
{

using decode::warps;

constexpr int tile = 8; /* tokens that meet a row together */

beam_decode_matrix matrix_of(beam_tensor t)
{
    return {t.data, t.dtype == BEAM_BF16};
}

template <class W>
__global__ void unpack_kernel(float *y, const W *table, const int32_t *id, int64_t n, int64_t width)
{
    for (int64_t i = grid_thread(); i < n * width; i += grid_threads())
        y[i] = to_float(table[id[i / width] * width + i % width]);
}

/* Rows of one matrix: y[t,r] = <row first + r of w, x[t]> + bias[r]. */
struct part {
    float *y;
    beam_decode_matrix w;
    const float *bias; /* nullptr: none */
    int64_t first, rows;
};

/* The rows of all parts come in heads of `per`, each with inputs of its own: x is [n, rows / per, width]. */
struct product {
    part of[BEAM_THIN_MAPS]; /* parts that are not there have no rows */
    const float *x;
    int64_t per, rows;
    int n, width;
};

__global__ void __launch_bounds__(warps * 32) product_kernel(product p)
{
    const int64_t number = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.x / 32;
    if (number >= p.rows)
        return;
    part m = p.of[0];
    int64_t r = number;
    for (int i = 1; i < BEAM_THIN_MAPS; i++)
        if (r >= m.rows) {
            r -= m.rows;
            m = p.of[i];
        }
    const int64_t heads = p.rows / p.per;
    const float *x = p.x + number / p.per * p.width;
    const float bias = m.bias ? m.bias[r] : 0;
    for (int t = 0; t < p.n; t += tile)
        decode::with_tile<tile>(m.w, p.n - t, [&](auto *w, auto k) {
            const decltype(w) row[1] = {w + (m.first + r) * p.width};
            const float *in[k];
            float sum[1][k];
            for (int j = 0; j < k; j++)
                in[j] = x + min(t + j, p.n - 1) * heads * p.width;
            decode::dots(sum, row, in, p.width);
            for (int j = 0; j < k; j++)
                if (threadIdx.x % 32 == 0 && t + j < p.n)
                    m.y[(t + j) * m.rows + r] = sum[0][j] + bias;
        });
}

void multiply(beam_backend *be, const product &p)
{
    if (p.n > 0)
        launch(be, product_kernel, static_cast<unsigned>(ceil_div(p.rows, warps)), warps * 32, 0, p);
}

/* A block makes a head's numbers of a token: a thread one column of the latents, over the rows of keys in
 * order. */
template <class W>
__global__ void widen_kernel(float *wide, const float *q, const W *up, int own, int rotated, int rank)
{
    const int64_t heads = gridDim.y, h = blockIdx.y, t = blockIdx.x;
    const W *rows = up + h * own * rank;
    q += (t * heads + h) * (own + rotated);
    wide += (t * heads + h) * (rank + rotated);
    for (int c = static_cast<int>(threadIdx.x); c < rank + rotated; c += threads_per_block) {
        float sum = 0;
        for (int i = 0; c < rank && i < own; i++)
            sum = fmaf(q[i], to_float(rows[static_cast<int64_t>(i) * rank + c]), sum);
        wide[c] = c < rank ? sum : q[own + c - rank];
    }
}

/* A block adds up a row: a thread has four loads of 16 bytes on their way. */
__global__ void read_kernel(float *sum, const float *x, int64_t n)
{
    constexpr int loads = 4, step = threads_per_block * 4;
    BEAM_SHARED(float, part, 32);
    const float *row = x + blockIdx.x * n + threadIdx.x * 4;
    float total = 0;
    for (int64_t at = 0; at < n; at += loads * step) {
        pack<float, 4> v[loads];
        for (int i = 0; i < loads; i++)
            v[i] = load<4>(row + at + i * step);
        for (int i = 0; i < loads; i++)
            for (int j = 0; j < 4; j++)
                total = fmaf(v[i].at[j], v[i].at[j], total);
    }
    total = block_sum(total, part);
    if (threadIdx.x == 0)
        sum[blockIdx.x] = total;
}

} // namespace

void beam_cuda_unpack_rows(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    with_type(table.dtype, [&](auto type) {
        launch(be, unpack_kernel<decltype(type)>, grid_of(beam_count(y), threads_per_block),
               threads_per_block, 0, data_of<float>(y), data_of<decltype(type)>(table), data_of<int32_t>(id),
               y.dim[0], y.dim[1]);
    });
}

/* Rows are multiples of what a block has on its way at a time. */
void beam_cuda_read_rows(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    launch(be, read_kernel, static_cast<unsigned>(x.dim[0]), threads_per_block, 0, data_of<float>(sum),
           data_of<float>(x), x.dim[1]);
}

void beam_cuda_thin_gemm(beam_backend *be, const beam_thin_map *map, int maps, beam_tensor x)
{
    product p = {{}, data_of<float>(x), 0, 0, static_cast<int>(x.dim[0]), static_cast<int>(x.dim[1])};
    for (int i = 0; i < maps; i++) {
        p.of[i] = {data_of<float>(map[i].y), matrix_of(map[i].w), data_of<float>(map[i].bias), 0,
                   map[i].w.dim[0]};
        p.rows += map[i].w.dim[0];
    }
    p.per = p.rows; /* one input for all */
    multiply(be, p);
}

void beam_cuda_latent_narrow(beam_backend *be, beam_tensor out, beam_tensor mixed, beam_tensor up)
{
    const int64_t rows = out.dim[1] * out.dim[2];
    multiply(be, {{{data_of<float>(out), matrix_of(up), nullptr, up.dim[0] - rows, rows}},
                  data_of<float>(mixed),
                  out.dim[2],
                  rows,
                  static_cast<int>(out.dim[0]),
                  static_cast<int>(up.dim[1])});
}

void beam_cuda_latent_widen(beam_backend *be, beam_tensor wide, beam_tensor q, beam_tensor up)
{
    const int rank = static_cast<int>(up.dim[1]), rotated = static_cast<int>(wide.dim[2]) - rank;
    const int own = static_cast<int>(q.dim[2]) - rotated;
    const dim3 grid(static_cast<unsigned>(q.dim[0]), static_cast<unsigned>(q.dim[1]));
    with_type(up.dtype, [&](auto type) {
        launch(be, widen_kernel<decltype(type)>, grid, threads_per_block, 0, data_of<float>(wide),
               data_of<float>(q), data_of<decltype(type)>(up), own, rotated, rank);
    });
}
