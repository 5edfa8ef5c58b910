/* What the decoding kernels share: dot products of a warp with rows of stored weights, and launches without a
 * backend. */
#ifndef BEAM_KERNELS_CUDA_DECODE_CUH
#define BEAM_KERNELS_CUDA_DECODE_CUH

#include "kernels/cuda/decode.h"
#include "kernels/cuda/reduce.cuh"

namespace decode
{

constexpr int warps = 8; /* of a block */
constexpr int run = 8;   /* elements of any type that a lane takes at a time: run i goes to lane i % 32 */

using eight = pack<float, run>;

__device__ inline eight load_eight(const bf16 *p)
{
    return load<run>(p);
}

__device__ inline eight load_eight(const float *p)
{
    const pack<float, 4> low = load<4>(p), high = load<4>(p + 4);
    return {low.at[0], low.at[1], low.at[2], low.at[3], high.at[0], high.at[1], high.at[2], high.at[3]};
}

/* 8 elements, or the first `left` of them and zeros. */
template <bool Whole, class T> __device__ inline eight load_run(const T *p, int left)
{
    if constexpr (Whole)
        return load_eight(p);
    eight x = {};
    for (int i = 0; i < run; i++)
        if (i < left)
            x.at[i] = to_float(p[i]);
    return x;
}

/* sum[r][j] += <w[r], x[j]> over the run at `at`. */
template <bool Whole, int R, int N, class W, class X>
__device__ inline void add_run(float (&sum)[R][N], const W *const (&w)[R], const X *const (&x)[N], int at,
                               int left)
{
    eight row[R];
    for (int r = 0; r < R; r++)
        row[r] = load_run<Whole>(w[r] + at, left);
    for (int j = 0; j < N; j++) {
        const eight in = load_run<Whole>(x[j] + at, left);
        for (int r = 0; r < R; r++)
            for (int k = 0; k < run; k++)
                sum[r][j] = fmaf(row[r].at[k], in.at[k], sum[r][j]);
    }
}

__device__ inline bool is_vector(const void *p)
{
    return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

/* sum[r][j] = <w[r], x[j]> over n elements, in every lane. The order of the additions follows from n alone:
 * not from addresses, types, or how many rows and inputs come together. */
template <int R, int N, class W, class X>
__device__ inline void dots(float (&sum)[R][N], const W *const (&w)[R], const X *const (&x)[N], int n)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    bool aligned = true;
    for (int r = 0; r < R; r++)
        aligned = aligned && is_vector(w[r]);
    for (int j = 0; j < N; j++)
        aligned = aligned && is_vector(x[j]);
    for (int r = 0; r < R; r++)
        for (int j = 0; j < N; j++)
            sum[r][j] = 0;
    const int whole = aligned ? n / run : 0;
    int i = lane;
    for (; i < whole; i += 32)
        add_run<true>(sum, w, x, i * run, run);
    for (; i * run < n; i += 32)
        add_run<false>(sum, w, x, i * run, n - i * run);
    for (int r = 0; r < R; r++)
        for (int j = 0; j < N; j++)
            sum[r][j] = warp_sum(sum[r][j]);
}

/* Calls f(p, width<N>) with the matrix's elements in their type, and the number N of inputs, at most Most,
 * that `left` of them fill best. */
template <int Most, class F> __device__ inline void with_tile(beam_decode_matrix m, int left, F f)
{
    const auto sized = [=](const auto *p) {
        if (left > Most / 2)
            f(p, width<Most>());
        else if (left > 2)
            f(p, width<Most / 2>());
        else if (left > 1)
            f(p, width<2>());
        else
            f(p, width<1>());
    };
    if (m.is_bf16)
        sized(static_cast<const bf16 *>(m.data));
    else
        sized(static_cast<const float *>(m.data));
}

/* Host code. False if the device refuses. */

inline bool clear(void *p, size_t bytes, void *stream)
{
#ifdef BEAM_SIMT
    (void)stream;
    simt::in_order([=] { std::memset(p, 0, bytes); });
    return true;
#else
    return cudaMemsetAsync(p, 0, bytes, static_cast<cudaStream_t>(stream)) == cudaSuccess;
#endif
}

/* A kernel of one argument, the call, in blocks of `warps` warps. */
inline bool launch(void (*kernel)(beam_decode_call), const beam_decode_call &c, unsigned blocks,
                   size_t shared_bytes, void *stream)
{
#ifdef BEAM_SIMT
    (void)stream;
    simt::launch(blocks, warps * 32, shared_bytes, [=] { kernel(c); });
    return true;
#else
    const void *address = reinterpret_cast<const void *>(kernel);
    if (shared_bytes > 48 << 10 && cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                        static_cast<int>(shared_bytes)) != cudaSuccess)
        return false;
    kernel<<<blocks, warps * 32, shared_bytes, static_cast<cudaStream_t>(stream)>>>(c);
    return cudaGetLastError() == cudaSuccess;
#endif
}

} // namespace decode

#endif
