/* What kernels see of a route, and sums over its tokens in a fixed order. */
#ifndef BEAM_KERNELS_CUDA_ROUTE_CUH
#define BEAM_KERNELS_CUDA_ROUTE_CUH

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows.cuh"

/* Kernels that hold a number of every expert in shared memory take no more, null experts included. */
constexpr int most_experts = 1024;

/* Fails the backend if there are more. */
inline bool has_room(beam_backend *be, int64_t experts)
{
    if (experts > most_experts && !be->status)
        be->status = BEAM_FAIL(BEAM_EDEVICE,
                               "cuda: a layer of %lld experts; its kernels take at most %d, null experts "
                               "included; use backend: cpu",
                               static_cast<long long>(experts), most_experts);
    return !be->status;
}

/* The pairs (token, candidate), [tokens, top_k] each but `pair`, which has one of every row. Tensors that an
 * op does not use may be NULL. */
struct pair_view {
    int32_t *expert, *row, *pair;
    float *weight, *logit, *gate;
    uint8_t *keep;
    int64_t tokens;
    int top_k, experts;

    __device__ bool has(int64_t i, beam_rows_of rows) const
    {
        return rows == BEAM_ROWS_ALL || (keep[i] != 0) == (rows == BEAM_ROWS_KEPT);
    }

    /* Whether a pair runs in this form, and how its output weighs then. */
    __device__ bool runs(int64_t i, beam_mask_form form) const
    {
        return form == BEAM_MASK_SOFT || keep[i] != 0;
    }

    __device__ float weight_of(int64_t i, beam_mask_form form) const
    {
        return form == BEAM_MASK_SOFT ? weight[i] * gate[i] : weight[i];
    }
};

inline pair_view pairs_of(const beam_route *route)
{
    return {data_of<int32_t>(route->expert),        data_of<int32_t>(route->row),
            data_of<int32_t>(route->pair),          data_of<float>(route->weight),
            data_of<float>(route->logit),           data_of<float>(route->gate),
            data_of<uint8_t>(route->keep),          route->expert.dim[0],
            static_cast<int>(route->expert.dim[1]), static_cast<int>(route->kept.dim[0])};
}

/* The rows of expert e that `rows` names are [begin, end). */
struct row_range {
    int64_t begin, end;
};

__device__ inline row_range rows_of_expert(const row_filter &filter, int e)
{
    const int64_t first = filter.first[e], middle = first + filter.kept[e], end = filter.first[e + 1];
    return {filter.rows == BEAM_ROWS_DROPPED ? middle : first, filter.rows == BEAM_ROWS_KEPT ? middle : end};
}

/* Sums over tokens: a block adds up a chunk of them, then the chunks are added up. How many there are follows
 * from the shape alone. */

constexpr int token_chunks = 128;

inline int chunks_of(int64_t tokens)
{
    return static_cast<int>(tokens < token_chunks ? tokens : token_chunks);
}

/* The block's chunk of [0, n). */
__device__ inline row_range chunk_of(int64_t n)
{
    return {n * blockIdx.x / gridDim.x, n * (blockIdx.x + 1) / gridDim.x};
}

/* out[i] += the sum over chunks of partial[chunk, i]. A block takes an i. */
template <class T>
static __global__ void add_chunks_kernel(T *out, const double *partial, int chunks, int64_t row)
{
    BEAM_SHARED(double, part, 32);
    double sum = 0;
    for (int chunk = static_cast<int>(threadIdx.x); chunk < chunks; chunk += static_cast<int>(blockDim.x))
        sum += partial[chunk * row + blockIdx.x];
    sum = block_sum(sum, part);
    if (threadIdx.x == 0)
        out[blockIdx.x] += static_cast<T>(sum);
}

/* The same for n numbers out of rows of `row`. */
template <class T>
void add_chunks(beam_backend *be, T *out, const double *partial, int chunks, int64_t row, int64_t n)
{
    launch(be, add_chunks_kernel<T>, dim3(static_cast<unsigned>(n)), dim3(token_chunks), 0, out, partial,
           chunks, row);
}

#endif
