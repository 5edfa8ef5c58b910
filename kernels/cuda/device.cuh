/* What every kernel starts from: element types, vectors of them, shared memory, launches. Nothing here or in
 * the kernels knows whether nvcc or the host's compiler builds it, except through BEAM_SIMT. */
#ifndef BEAM_KERNELS_CUDA_DEVICE_CUH
#define BEAM_KERNELS_CUDA_DEVICE_CUH

#include <type_traits>

#ifdef BEAM_SIMT
#include "kernels/cuda/simt.h"
#else
#include <cuda_runtime.h>
#include <stdint.h>
#endif

#include "core/status.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/ptx.cuh"

/* A float with 8 bits of precision. Kernels compute in float; only loads and stores see this type. */
struct bf16 {
    uint16_t bits;
};

__device__ inline float to_float(float x)
{
    return x;
}

__device__ inline float to_float(bf16 x)
{
    return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

/* Rounded to nearest. */
template <class T> __device__ inline T from_float(float x)
{
    if constexpr (std::is_same_v<T, float>)
        return x;
    else
        return bf16{ptx_bf16_bits(x)};
}

/* N elements that are loaded and stored as one, from an address that is a multiple of their size. */
template <class T, int N> struct alignas(sizeof(T) * N) pack {
    T at[N];
};

template <class T> constexpr int vector_of = 16 / sizeof(T); /* elements of the widest load */

template <int N, class T> __device__ inline pack<float, N> load(const T *p)
{
    const pack<T, N> raw = *reinterpret_cast<const pack<T, N> *>(p);
    pack<float, N> x;
    for (int i = 0; i < N; i++)
        x.at[i] = to_float(raw.at[i]);
    return x;
}

template <int N, class T> __device__ inline void store(T *p, const pack<float, N> &x)
{
    pack<T, N> raw;
    for (int i = 0; i < N; i++)
        raw.at[i] = from_float<T>(x.at[i]);
    *reinterpret_cast<pack<T, N> *>(p) = raw;
}

/* N as a type, so that a lambda's argument can be a template's. */
template <int N> struct width {
    __host__ __device__ constexpr operator int() const
    {
        return N;
    }
};

/* Calls f(i, width<N>) so that the threads `from`, `from + step`, ... of a group cover [0, n) in runs of N
 * elements where the addresses allow it, else one by one. */
template <int N, class F>
__device__ inline void cover(int64_t n, bool aligned, int64_t from, int64_t step, F f)
{
    const int64_t runs = aligned ? n / N : 0;
    for (int64_t i = from; i < runs; i += step)
        f(i * N, width<N>());
    for (int64_t i = runs * N + from; i < n; i += step)
        f(i, width<1>());
}

/* The thread's number in the grid, and the grid's threads. */
__device__ inline int64_t grid_thread()
{
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline int64_t grid_threads()
{
    return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

/* An array of the block, and the dynamic one of the launch. On the host it is new for every block, and of
 * NaN. */
#ifdef BEAM_SIMT
#define BEAM_SHARED(T, name, n)                                                                              \
    static const char name##_key = 0;                                                                        \
    T *const name = static_cast<T *>(simt::shared(&name##_key, sizeof(T) * (n)))
#define BEAM_SHARED_DYNAMIC(T, name) T *const name = static_cast<T *>(simt::dynamic_shared())
#else
#define BEAM_SHARED(T, name, n) __shared__ __align__(128) T name[n]
#define BEAM_SHARED_DYNAMIC(T, name)                                                                         \
    extern __shared__ __align__(128) unsigned char beam_dynamic_shared[];                                    \
    T *const name = reinterpret_cast<T *>(beam_dynamic_shared)
#endif

/* Host code. */

constexpr int threads_per_block = 256;

inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Blocks for n pieces of work, `each` of them in a block that goes on with further ones if the grid ends. */
inline unsigned grid_of(int64_t n, int64_t each)
{
    const int64_t blocks = ceil_div(n, each), most = 1 << 16;
    return static_cast<unsigned>(blocks < most ? blocks : most);
}

/* Whether all addresses, and rows of `row` elements of T behind them, allow the widest loads. */
template <class T, class... P> bool is_aligned(int64_t row, const P *...p)
{
    return row % vector_of<T> == 0 && (... && (reinterpret_cast<uintptr_t>(p) % 16 == 0));
}

template <class T> T *data_of(beam_tensor t)
{
    return static_cast<T *>(t.data);
}

/* Calls f with an element of the tensor's type: f32 or bf16. */
template <class F> void with_type(beam_dtype t, F f)
{
    BEAM_ASSERT(t == BEAM_F32 || t == BEAM_BF16);
    if (t == BEAM_F32)
        f(float());
    else
        f(bf16());
}

#ifndef BEAM_SIMT
/* Records a failure of the CUDA runtime: the first one stays. False if there is one. */
bool beam_cuda_check(beam_backend *be, cudaError_t error, const char *what);

/* On which all of the backend's work runs in order. */
inline cudaStream_t stream_of(const beam_backend *be)
{
    return static_cast<cudaStream_t>(static_cast<const beam_cuda_impl *>(be->impl)->stream);
}
#endif

/* Runs a kernel on the backend's stream. An empty grid is no launch. */
template <class... P, class... A>
void launch(beam_backend *be, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, A... args)
{
    if (be->status || grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
#ifdef BEAM_SIMT
    simt::launch(grid, block, shared_bytes, [=] { kernel(static_cast<P>(args)...); });
#else
    const size_t usual = 48 << 10;
    const void *address = reinterpret_cast<const void *>(kernel);
    if (shared_bytes > usual &&
        !beam_cuda_check(be,
                         cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(shared_bytes)),
                         "shared memory of a kernel"))
        return;
    kernel<<<grid, block, shared_bytes, stream_of(be)>>>(static_cast<P>(args)...);
    beam_cuda_check(be, cudaGetLastError(), "a launch");
#endif
}

#endif
