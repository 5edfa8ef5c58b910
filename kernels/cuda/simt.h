/* CUDA's language on the processor: the kernels of this folder compile unmodified with a C++ compiler, and
 * run one block after another, every thread of a block in turn until it has to wait for others.
 *
 * Shown by it: indices, masks, shapes of tiles, reductions, layouts of fragments, barriers that not all
 * reach, lanes that miss a warp's call, shared memory read before it is written, asynchronous copies read
 * before they are waited for; with the order of threads reversed, results that depend on it. Not shown:
 * memory ordering between threads, what a grid-wide wait would do, speed. simt.cc does the scheduling.
 *
 * nvcc never sees this file: kernels include kernels/cuda/device.cuh. */
#ifndef BEAM_KERNELS_CUDA_SIMT_H
#define BEAM_KERNELS_CUDA_SIMT_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <math.h>
#include <vector>

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

namespace simt
{

/* Where the running thread is. */
struct place {
    dim3 thread, block, block_size, grid_size;
};
const place &here();

/* Runs `body` once for every thread of the grid. */
void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body);

/* Host code of a stream: what is done now, or, between record and end_record, later: a launch, a copy. */
void in_order(std::function<void()> work);

/* What has not happened yet when in_order returns: done by wait. */
void later(std::function<void()> work);
void wait();

/* Keeps all work that follows, instead of doing it, until end_record returns it. */
void record();
std::vector<std::function<void()>> end_record();
bool is_recording();

/* Waits for all threads of the block that have not returned. `count`: for how many of them value was true,
 * `all`: how many there were. */
struct vote {
    int count, all;
};
vote sync_block(bool value);

/* Waits for the lanes of the mask, each with a value of `bytes` (at most 64), and returns all in `values`
 * [32][bytes]; lanes outside the mask are filled with ones. */
void exchange(unsigned mask, const void *value, size_t bytes, void *values);

/* The block's array of that key, filled with ones when it first asks; freed with the block. */
void *shared(const void *key, size_t bytes);
void *dynamic_shared();

/* Asynchronous copies of the running thread: done by the wait that leaves at most `pending` groups. */
void copy_later(void *to, const void *from, size_t used, size_t bytes);
void commit_copies();
void wait_copies(int pending);

[[noreturn]] void stop(const char *what);

template <class T> struct lanes {
    T at[32];
};

template <class T> lanes<T> exchange(unsigned mask, T value)
{
    lanes<T> all;
    exchange(mask, &value, sizeof value, all.at);
    return all;
}

inline unsigned lane()
{
    const place &p = here();
    return (p.thread.x + p.block_size.x * (p.thread.y + p.block_size.y * p.thread.z)) % 32;
}

} // namespace simt

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define threadIdx       (simt::here().thread)
#define blockIdx        (simt::here().block)
#define blockDim        (simt::here().block_size)
#define gridDim         (simt::here().grid_size)
#define __syncthreads() ((void)simt::sync_block(false))

static const int warpSize = 32;

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

inline int __syncthreads_count(int value)
{
    return simt::sync_block(value != 0).count;
}

inline int __syncthreads_or(int value)
{
    return simt::sync_block(value != 0).count > 0;
}

inline int __syncthreads_and(int value)
{
    const simt::vote v = simt::sync_block(value != 0);
    return v.count == v.all;
}

inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    simt::exchange(mask, 0);
}

template <class T> T __shfl_sync(unsigned mask, T value, int from, int width = 32)
{
    const int me = static_cast<int>(simt::lane());
    return simt::exchange(mask, value).at[me / width * width + (from & (width - 1))];
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32)
{
    const int me = static_cast<int>(simt::lane()), from = me ^ bits;
    const simt::lanes<T> all = simt::exchange(mask, value);
    return from / width <= me / width ? all.at[from & 31] : value;
}

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const int me = static_cast<int>(simt::lane()), from = me + static_cast<int>(delta);
    const simt::lanes<T> all = simt::exchange(mask, value);
    return from / width == me / width ? all.at[from] : value;
}

template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const int me = static_cast<int>(simt::lane()), from = me - static_cast<int>(delta);
    const simt::lanes<T> all = simt::exchange(mask, value);
    return from >= me / width * width ? all.at[from] : value;
}

inline unsigned __ballot_sync(unsigned mask, int value)
{
    const simt::lanes<int> all = simt::exchange(mask, value != 0 ? 1 : 0);
    unsigned bits = 0;
    for (unsigned i = 0; i < 32; i++)
        bits |= (mask >> i & 1) && all.at[i] == 1 ? 1u << i : 0u;
    return bits;
}

inline int __any_sync(unsigned mask, int value)
{
    return __ballot_sync(mask, value) != 0;
}

/* Lanes that the block does not have count as true. */
inline int __all_sync(unsigned mask, int value)
{
    return __ballot_sync(mask, !value) == 0;
}

/* The lanes of the mask whose value is this lane's. */
template <class T> unsigned __match_any_sync(unsigned mask, T value)
{
    const simt::lanes<T> all = simt::exchange(mask, value);
    unsigned bits = 0;
    for (unsigned i = 0; i < 32; i++)
        bits |= (mask >> i & 1) && all.at[i] == value ? 1u << i : 0u;
    return bits;
}

template <class T> T __ldg(const T *p)
{
    return *p;
}

template <class T> T __ldcg(const T *p)
{
    return *p;
}

template <class T> T atomicAdd(T *p, T value)
{
    const T old = *p;
    *p += value;
    return old;
}

template <class T> T atomicMax(T *p, T value)
{
    const T old = *p;
    *p = old < value ? value : old;
    return old;
}

template <class T> T atomicMin(T *p, T value)
{
    const T old = *p;
    *p = value < old ? value : old;
    return old;
}

template <class T> T atomicOr(T *p, T value)
{
    const T old = *p;
    *p |= value;
    return old;
}

template <class T> T atomicExch(T *p, T value)
{
    const T old = *p;
    *p = value;
    return old;
}

template <class T> T atomicCAS(T *p, T expected, T value)
{
    const T old = *p;
    *p = old == expected ? value : old;
    return old;
}

inline void __threadfence()
{
}

inline void __threadfence_block()
{
}

[[noreturn]] inline void __trap()
{
    simt::stop("a kernel trapped");
}

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

inline int __clz(int x)
{
    return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}

inline uint32_t __float_as_uint(float x)
{
    uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    return u;
}

inline float __uint_as_float(uint32_t u)
{
    float x;
    std::memcpy(&x, &u, sizeof x);
    return x;
}

inline float rsqrtf(float x)
{
    return 1 / sqrtf(x);
}

template <class T> T min(T a, T b)
{
    return b < a ? b : a;
}

template <class T> T max(T a, T b)
{
    return a < b ? b : a;
}

#endif
