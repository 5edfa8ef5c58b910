/* What dropped experts give back: a trainable vector per expert in place of its output. */
#include "kernels/cuda/route.cuh"

constexpr int warps = threads_per_block / 32;

/* How the vector of a pair's expert weighs: (1 - m) g, or (1 - q) g in the soft form. Exactly 0 for a kept
 * pair, which then adds nothing, not even 0 times the vector. */
__device__ static float given_weight(const pair_view &pairs, int64_t i, beam_mask_form form)
{
    if (form == BEAM_MASK_SOFT)
        return pairs.weight[i] * (1 - pairs.gate[i]);
    return pairs.keep[i] ? 0 : pairs.weight[i];
}

/* A block takes a token. */
template <class T>
static __global__ void give_back_kernel(T *y, const float *given, pair_view pairs, int64_t n,
                                        beam_mask_form form, bool aligned)
{
    for (int64_t t = blockIdx.x; t < pairs.tokens; t += gridDim.x)
        cover<4>(n, aligned, threadIdx.x, blockDim.x, [=](int64_t at, auto w) {
            pack<float, w> sum = load<w>(y + t * n + at);
            for (int64_t i = t * pairs.top_k; i < (t + 1) * pairs.top_k; i++) {
                const float weight = given_weight(pairs, i, form);
                if (weight == 0)
                    continue;
                const pack<float, w> v = load<w>(given + pairs.expert[i] * n + at);
                for (int j = 0; j < w; j++)
                    sum.at[j] += weight * v.at[j];
            }
            store(y + t * n + at, sum);
        });
}

/* A warp takes a pair. */
template <class T>
static __global__ void given_grad_kernel(float *dgiven, const T *dy, const float *given, pair_view pairs,
                                         int64_t n, bool aligned)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int64_t i = grid_thread() / 32; i < pairs.tokens * pairs.top_k; i += grid_threads() / 32) {
        const T *d = dy + i / pairs.top_k * n;
        const float *vector = given + pairs.expert[i] * n;
        float dot = 0;
        cover<4>(n, aligned, lane, 32, [=, &dot](int64_t at, auto w) {
            const pack<float, w> a = load<w>(d + at), b = load<w>(vector + at);
            for (int j = 0; j < w; j++)
                dot += a.at[j] * b.at[j];
        });
        dot = warp_sum(dot);
        if (lane == 0)
            dgiven[i] = dot;
    }
}

constexpr int lane_columns = 4, block_columns = 32 * lane_columns;

/* sum[4] += weight * dy[token, column ..] over the rows of a warp, up to 32 whose tokens and weights the
 * lanes hold, one each. */
template <class T>
__device__ static void add_rows(float *sum, const T *dy, int64_t token, float weight, int rows, int64_t n,
                                int64_t column, bool aligned)
{
    for (int i = 0; i < rows; i++) {
        const T *from = dy + __shfl_sync(whole_warp, token, i) * n + column;
        const float by = __shfl_sync(whole_warp, weight, i);
        if (aligned && column < n) {
            const pack<float, lane_columns> d = load<lane_columns>(from);
            for (int c = 0; c < lane_columns; c++)
                sum[c] += by * d.at[c];
        } else {
            for (int c = 0; c < lane_columns; c++)
                if (column + c < n)
                    sum[c] += by * to_float(from[c]);
        }
    }
}

/* dvector[e, columns] += the sum over the rows of expert e. A block takes an expert and some columns; its
 * warps take turns of 32 rows, and their sums are added up in order. */
template <class T>
static __global__ void vector_grad_kernel(float *dvector, const T *dy, pair_view pairs, row_filter filter,
                                          int64_t n, beam_mask_form form, bool aligned)
{
    BEAM_SHARED(float, part, warps *block_columns);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int64_t first = static_cast<int64_t>(blockIdx.y) * block_columns;
    const row_range rows = rows_of_expert(filter, static_cast<int>(blockIdx.x));
    if (rows.begin == rows.end)
        return;
    float sum[lane_columns] = {};
    for (int64_t at = rows.begin + warp * 32; at < rows.end; at += threads_per_block) {
        const bool mine = at + lane < rows.end;
        const int64_t i = mine ? pairs.pair[at + lane] : 0;
        add_rows(sum, dy, i / pairs.top_k, mine ? given_weight(pairs, i, form) : 0,
                 static_cast<int>(rows.end - at < 32 ? rows.end - at : 32), n, first + lane * lane_columns,
                 aligned);
    }
    for (int c = 0; c < lane_columns; c++)
        part[warp * block_columns + lane * lane_columns + c] = sum[c];
    __syncthreads();
    const int64_t column = first + threadIdx.x;
    if (threadIdx.x >= block_columns || column >= n)
        return;
    double all = 0;
    for (int w = 0; w < warps; w++)
        all += static_cast<double>(part[w * block_columns + static_cast<int>(threadIdx.x)]);
    dvector[blockIdx.x * n + column] += static_cast<float>(all);
}

void beam_cuda_give_back(beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route,
                         beam_mask_form form)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, give_back_kernel<T>, grid_of(y.dim[0], 1), threads_per_block, 0, data_of<T>(y),
               data_of<float>(given), pairs_of(route), y.dim[1], form,
               is_aligned<float>(y.dim[1], y.data, given.data));
    });
}

void beam_cuda_give_back_grad(beam_backend *be, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                              beam_tensor given, const beam_route *route, beam_mask_form form)
{
    const int64_t n = dy.dim[1];
    const dim3 grid(static_cast<unsigned>(given.dim[0]), static_cast<unsigned>(ceil_div(n, block_columns)));
    const beam_rows_of rows = form == BEAM_MASK_SOFT ? BEAM_ROWS_ALL : BEAM_ROWS_DROPPED;
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, given_grad_kernel<T>, grid_of(beam_count(dgiven), warps), threads_per_block, 0,
               data_of<float>(dgiven), data_of<T>(dy), data_of<float>(given), pairs_of(route), n,
               is_aligned<float>(n, dy.data, given.data));
        if (dvector.data)
            launch(be, vector_grad_kernel<T>, grid, threads_per_block, 0, data_of<float>(dvector),
                   data_of<T>(dy), pairs_of(route), rows_of(route, rows), n, form,
                   is_aligned<float>(n, dy.data));
    });
}
