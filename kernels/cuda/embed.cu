/* Rows of a table by token id. */
#include "kernels/cuda/device.cuh"

/* A block takes a token. */
template <class T>
static __global__ void embed_kernel(T *y, const T *table, const int32_t *id, int64_t tokens, int64_t n,
                                    int64_t vocabulary, bool aligned)
{
    for (int64_t t = blockIdx.x; t < tokens; t += gridDim.x) {
        if (id[t] < 0 || id[t] >= vocabulary)
            __trap();
        const T *from = table + id[t] * n;
        T *to = y + t * n;
        cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x,
                            [=](int64_t i, auto w) { store(to + i, load<w>(from + i)); });
    }
}

/* Whether id[t] is among id[0 .. t), asked by a whole block. */
static __device__ bool seen_before(const int32_t *id, int64_t t)
{
    bool seen = false;
    for (int64_t i = threadIdx.x; i < t && !seen; i += blockDim.x)
        seen = id[i] == id[t];
    return __syncthreads_or(seen) != 0;
}

constexpr int columns_per_thread = 4;

/* The block of the first token with an id adds up all tokens with it, in their order: the tokens of one
 * warp's width are looked at together, those that match are added one by one. */
template <class T>
static __global__ void embed_grad_kernel(float *dtable, const T *dy, const int32_t *id, int64_t tokens,
                                         int64_t n, int64_t vocabulary)
{
    const int64_t t = blockIdx.x, step = blockDim.x;
    const int64_t first = static_cast<int64_t>(blockIdx.y) * step * columns_per_thread + threadIdx.x;
    if (id[t] < 0 || id[t] >= vocabulary)
        __trap();
    if (seen_before(id, t))
        return;
    float sum[columns_per_thread];
    float *to = dtable + id[t] * n;
    for (int c = 0; c < columns_per_thread; c++)
        sum[c] = first + c * step < n ? to[first + c * step] : 0;
    for (int64_t i = t; i < tokens; i += 32) {
        const int64_t mine = i + threadIdx.x % 32;
        unsigned matches = __ballot_sync(0xffffffffu, mine < tokens && id[mine] == id[t]);
        for (; matches != 0; matches &= matches - 1) {
            const T *from = dy + (i + __ffs(static_cast<int>(matches)) - 1) * n;
            for (int c = 0; c < columns_per_thread; c++)
                if (first + c * step < n)
                    sum[c] += to_float(from[first + c * step]);
        }
    }
    for (int c = 0; c < columns_per_thread; c++)
        if (first + c * step < n)
            to[first + c * step] = sum[c];
}

void beam_cuda_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    with_type(y.dtype, [&](auto element) {
        using T = decltype(element);
        launch(be, embed_kernel<T>, grid_of(y.dim[0], 1), threads_per_block, 0, data_of<T>(y),
               data_of<T>(table), data_of<int32_t>(id), y.dim[0], y.dim[1], table.dim[0],
               is_aligned<T>(y.dim[1], y.data, table.data));
    });
}

void beam_cuda_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t tokens = dy.dim[0], n = dy.dim[1];
        const dim3 grid(static_cast<unsigned>(tokens),
                        static_cast<unsigned>(ceil_div(n, columns_per_thread * threads_per_block)));
        launch(be, embed_grad_kernel<T>, grid, threads_per_block, 0, data_of<float>(dtable), data_of<T>(dy),
               data_of<int32_t>(id), tokens, n, dtable.dim[0]);
    });
}
