/* What attention is made of: tiles of rows in shared memory, and products of tiles by one warp. bf16 goes to
 * the tensor cores, float to plain arithmetic; both leave sums where ptx_mma_bf16 does: of lane (g, t), for
 * every run of 16 rows m and of 8 columns j, c[m][j] holds rows 16m + g (0, 1) and 16m + g + 8 (2, 3),
 * columns 8j + 2t and 8j + 2t + 1. */
#ifndef BEAM_KERNELS_CUDA_FLASH_CUH
#define BEAM_KERNELS_CUDA_FLASH_CUH

#include "kernels/cuda/reduce.cuh"

/* Threads of a block: four warps, each with its own rows of a tile. */
constexpr int attention_threads = 128, attention_warps = attention_threads / 32;

/* Elements from one row of a tile to the next: 16 bytes more than the row, so that neighbouring rows begin in
 * different banks. */
template <class T, int Width> constexpr int tile_stride = Width + vector_of<T>;

template <class T, int Rows, int Width> constexpr int tile_size = Rows *tile_stride<T, Width>;

__device__ inline int lane_of()
{
    return static_cast<int>(threadIdx.x) % 32;
}

/* Begins to copy a tile: `rows` rows of `width` numbers that are `stride` apart, the rest of it 0. `aligned`:
 * all of these are multiples of 16 bytes. All threads call it, then ptx_copy_commit; the tile is there after
 * ptx_copy_wait and __syncthreads. */
template <int Rows, int Width, class T>
__device__ inline void load_tile(T *to, const T *from, int stride, int rows, int width, bool aligned)
{
    constexpr int step = vector_of<T>, across = 8;    /* threads side by side in a row */
    constexpr int below = attention_threads / across; /* rows at a time */
    static_assert(Width % (across * step) == 0 && Rows % below == 0, "whole loads");
    const int begin = static_cast<int>(threadIdx.x) / across,
              side = static_cast<int>(threadIdx.x) % across * step;
    to += begin * tile_stride<T, Width> + side;
    from += begin * stride + side;
#pragma unroll 1 /* else the addresses of all loads are kept in registers */
    for (int row = begin; row < Rows; row += below) {
#pragma unroll
        for (int column = 0; column < Width; column += across * step) {
            const int used = row < rows ? width - column - side : 0;
            if (aligned)
                ptx_copy_async(to + column, from + column, used > 0 ? 16 : 0);
            else
                for (int j = 0; j < step; j++)
                    to[column + j] = j < used ? from[column + j] : T{};
        }
        to += below * tile_stride<T, Width>;
        from += below * stride;
    }
}

/* Sums of 16 M rows and 8 N columns. Products add into them. */
template <int M, int N> __device__ inline void clear(float (&c)[M][N][4])
{
#pragma unroll
    for (int i = 0; i < M * N * 4; i++)
        c[i / 4 / N][i / 4 % N][i % 4] = 0;
}

/* c[16 M, 8 N] += a[16 M, K] b[8 N, K]^T, both tiles. */
template <int K, int M, int N>
__device__ inline void multiply_transposed(float (&c)[M][N][4], const bf16 *a, int lda, const bf16 *b,
                                           int ldb)
{
    static_assert(K % 16 == 0 && N % 2 == 0, "whole products");
    const int lane = lane_of();
    const bf16 *a_row = a + lane % 16 * lda + lane / 16 * 8;
    const bf16 *b_row = b + (lane / 16 * 8 + lane % 8) * ldb + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < K; k += 16) {
        uint32_t x[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            ptx_load_matrices(x[m], a_row + 16 * m * lda + k);
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            uint32_t y[4];
            ptx_load_matrices(y, b_row + 8 * j * ldb + k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                ptx_mma_bf16(c[m][j], x[m], y);
                ptx_mma_bf16(c[m][j + 1], x[m], y + 2);
            }
        }
    }
}

/* c[16 M, 8 N] += p[16 M, 8 K] b[8 K, 8 N], where p is the sum of an earlier product, rounded, and b a tile.
 */
template <int M, int N, int K>
__device__ inline void multiply_sums(float (&c)[M][N][4], const float (&p)[M][K][4], const bf16 *b, int ldb)
{
    static_assert(K % 2 == 0 && N % 2 == 0, "whole products");
    const int lane = lane_of();
    const bf16 *b_row = b + lane % 16 * ldb + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < K; k += 2) {
        uint32_t x[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                x[m][i] = ptx_bf16_pair(p[m][k + i / 2][i % 2 * 2], p[m][k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            uint32_t y[4];
            ptx_load_matrices_transposed(y, b_row + 8 * k * ldb + 8 * j);
#pragma unroll
            for (int m = 0; m < M; m++) {
                ptx_mma_bf16(c[m][j], x[m], y);
                ptx_mma_bf16(c[m][j + 1], x[m], y + 2);
            }
        }
    }
}

/* The same for floats. */
template <int K, int M, int N>
__device__ inline void multiply_transposed(float (&c)[M][N][4], const float *a, int lda, const float *b,
                                           int ldb)
{
    static_assert(K % 4 == 0, "whole loads");
    const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll 1
    for (int k = 0; k < K; k += 4) {
        pack<float, 4> x[2 * M];
#pragma unroll
        for (int m = 0; m < 2 * M; m++)
            x[m] = load<4>(a + (8 * m + g) * lda + k);
#pragma unroll
        for (int j = 0; j < 2 * N; j++) {
            const pack<float, 4> y = load<4>(b + (j / 2 * 8 + 2 * t + j % 2) * ldb + k);
#pragma unroll
            for (int m = 0; m < 2 * M; m++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    c[m / 2][j / 2][m % 2 * 2 + j % 2] += x[m].at[i] * y.at[i];
        }
    }
}

/* Number (row, 8k + 2s + e) of p is with lane (row, s). */
template <int M, int N, int K>
__device__ inline void multiply_sums(float (&c)[M][N][4], const float (&p)[M][K][4], const float *b, int ldb)
{
    const int lane = lane_of(), t = lane % 4;
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll 1
        for (int s = 0; s < 4; s++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const float *row = b + (8 * k + 2 * s + e) * ldb + 2 * t;
                float x[2 * M];
#pragma unroll
                for (int m = 0; m < 2 * M; m++)
                    x[m] = __shfl_sync(whole_warp, p[m / 2][k][m % 2 * 2 + e], lane / 4 * 4 + s);
#pragma unroll
                for (int j = 0; j < N; j++) {
                    const pack<float, 2> y = load<2>(row + 8 * j);
#pragma unroll
                    for (int m = 0; m < 2 * M; m++) {
                        c[m / 2][j][m % 2 * 2] += x[m] * y.at[0];
                        c[m / 2][j][m % 2 * 2 + 1] += x[m] * y.at[1];
                    }
                }
            }
}

/* Writes the first `rows` rows and `width` columns of a warp's sums, times scale(m, half), as rows that are
 * `stride` apart. `pairs`: two neighbouring numbers may be stored as one. */
template <int M, int N, class T, class F>
__device__ inline void store_sums(T *to, int stride, int rows, int width, bool pairs,
                                  const float (&c)[M][N][4], F scale)
{
    const int g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
    for (int m = 0; m < 2 * M; m++) {
        const int row = 8 * m + g;
        const float by = scale(m);
        if (row >= rows)
            continue;
#pragma unroll
        for (int j = 0; j < N; j++) {
            const int column = 8 * j + 2 * t;
            const pack<float, 2> x = {c[m / 2][j][m % 2 * 2] * by, c[m / 2][j][m % 2 * 2 + 1] * by};
            T *at = to + static_cast<int64_t>(row) * stride + column;
            if (pairs && column < width)
                store(at, x);
            for (int e = 0; e < 2 && !pairs && column + e < width; e++)
                at[e] = from_float<T>(x.at[e]);
        }
    }
}

#endif
