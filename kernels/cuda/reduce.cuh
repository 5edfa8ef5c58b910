/* Sums in a fixed order: over a warp, a block, the rows of a matrix. */
#ifndef BEAM_KERNELS_CUDA_REDUCE_CUH
#define BEAM_KERNELS_CUDA_REDUCE_CUH

#include "kernels/cuda/device.cuh"

constexpr unsigned whole_warp = 0xffffffffu;

/* Every lane gets the same sum. */
template <class T> __device__ inline T warp_sum(T x)
{
    for (int bits = 16; bits > 0; bits /= 2)
        x += __shfl_xor_sync(whole_warp, x, bits);
    return x;
}

/* NaN wins, so that it is not lost. */
__device__ inline float larger(float a, float b)
{
    return a > b || isnan(a) ? a : b;
}

__device__ inline float warp_max(float x)
{
    for (int bits = 16; bits > 0; bits /= 2)
        x = larger(x, __shfl_xor_sync(whole_warp, x, bits));
    return x;
}

/* Over a block of whole warps, one dimension; every thread calls it and gets the same sum. `part` is shared
 * memory for 32 values, free again when it returns. */
template <class T> __device__ inline T block_sum(T x, T *part)
{
    const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0)
        part[warp] = x;
    __syncthreads();
    T sum = 0;
    for (int i = 0; i < warps; i++)
        sum += part[i];
    __syncthreads();
    return sum;
}

/* Sums of columns: out[N] += the sum over rows r of value(r, column). Rows are added up in chunks whose
 * number follows from the shape alone, then the chunks, in order. */

constexpr int column_chunks = 64;

template <class F> static __global__ void column_partials(float *partial, int64_t rows, int64_t n, F value)
{
    const int64_t column = grid_thread(), chunk = blockIdx.y;
    if (column >= n)
        return;
    float sum = 0;
    for (int64_t r = rows * chunk / gridDim.y; r < rows * (chunk + 1) / gridDim.y; r++)
        sum += value(r, column);
    partial[chunk * n + column] = sum;
}

[[maybe_unused]] static __global__ void add_column_partials(float *out, const float *partial, int64_t chunks,
                                                            int64_t n)
{
    const int64_t column = grid_thread();
    if (column >= n)
        return;
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        sum += static_cast<double>(partial[chunk * n + column]);
    out[column] += static_cast<float>(sum);
}

/* `value` is a struct with `float __device__ operator()(int64_t row, int64_t column) const`. */
template <class F> void add_column_sums(beam_backend *be, float *out, int64_t rows, int64_t n, F value)
{
    const size_t row = static_cast<size_t>(n) * sizeof(float);
    const int64_t room = static_cast<int64_t>(beam_cuda_scratch_bytes(be) / row);
    const int64_t most = room < column_chunks ? room : column_chunks, chunks = rows < most ? rows : most;
    if (chunks == 0) {
        BEAM_ASSERT(rows == 0);
        return;
    }
    float *partial = static_cast<float *>(beam_cuda_scratch(be, static_cast<size_t>(chunks) * row));
    const unsigned blocks = static_cast<unsigned>(ceil_div(n, threads_per_block));
    launch(be, column_partials<F>, dim3(blocks, static_cast<unsigned>(chunks)), dim3(threads_per_block), 0,
           partial, rows, n, value);
    launch(be, add_column_partials, dim3(blocks), dim3(threads_per_block), 0, out, partial, chunks, n);
}

#endif
