/* Pairs of (token, candidate) grouped by expert, and the moves between tokens and grouped rows. */
#include "kernels/cuda/route.cuh"

/* The plan is a counting sort. Bucket 2e holds the kept pairs of expert e, 2e + 1 its dropped ones, the last
 * the pairs of null experts. Chunks of pairs are counted by a block each and placed by a warp each. */

constexpr int64_t plan_chunks = 512, plan_pairs = 256; /* at most; at least in a chunk */

__device__ static int bucket_of(const pair_view &pairs, int64_t i)
{
    const int e = pairs.expert[i];
    return e < pairs.experts ? 2 * e + (pairs.keep[i] == 0) : 2 * pairs.experts;
}

/* count[bucket, chunk]. */
static __global__ void count_pairs_kernel(int32_t *count, pair_view pairs)
{
    BEAM_SHARED_DYNAMIC(int, mine); /* [buckets] */
    const row_range chunk = chunk_of(pairs.tokens * pairs.top_k);
    const int buckets = 2 * pairs.experts + 1, step = static_cast<int>(blockDim.x);
    for (int b = static_cast<int>(threadIdx.x); b < buckets; b += step)
        mine[b] = 0;
    __syncthreads();
    for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += step)
        atomicAdd(&mine[bucket_of(pairs, i)], 1);
    __syncthreads();
    for (int b = static_cast<int>(threadIdx.x); b < buckets; b += step)
        count[static_cast<int64_t>(b) * gridDim.x + blockIdx.x] = mine[b];
}

/* x[i] becomes the sum of those before it. Returns the sum of all. A warp calls it. */
__device__ static int32_t scan(int32_t *x, int n, int lane)
{
    int32_t before = 0;
    for (int at = 0; at < n; at += 32) {
        const int32_t own = at + lane < n ? x[at + lane] : 0;
        int32_t sum = own;
        for (int delta = 1; delta < 32; delta *= 2) {
            const int32_t other = __shfl_up_sync(whole_warp, sum, static_cast<unsigned>(delta));
            sum += lane >= delta ? other : 0;
        }
        if (at + lane < n)
            x[at + lane] = before + sum - own;
        before += __shfl_sync(whole_warp, sum, 31);
    }
    return before;
}

/* Counts become places inside the bucket; start[bucket] is its size. A warp takes a bucket. */
static __global__ void scan_chunks_kernel(int32_t *count, int32_t *start, int chunks)
{
    const int lane = static_cast<int>(threadIdx.x);
    const int32_t all = scan(count + static_cast<int64_t>(blockIdx.x) * chunks, chunks, lane);
    if (lane == 0)
        start[blockIdx.x] = all;
}

/* Sizes of buckets become their first rows. One warp. */
static __global__ void scan_buckets_kernel(int32_t *start, int32_t *first, int32_t *kept, int experts)
{
    const int lane = static_cast<int>(threadIdx.x);
    scan(start, 2 * experts + 1, lane);
    __syncwarp();
    for (int e = lane; e <= experts; e += 32)
        first[e] = start[2 * e];
    for (int e = lane; e < experts; e += 32)
        kept[e] = start[2 * e + 1] - start[2 * e];
}

/* The warp looks at 32 pairs together; those of one bucket get rows in their order. */
static __global__ void place_pairs_kernel(pair_view pairs, const int32_t *place, const int32_t *start)
{
    BEAM_SHARED_DYNAMIC(int32_t, next); /* [buckets] */
    const row_range chunk = chunk_of(pairs.tokens * pairs.top_k);
    const int buckets = 2 * pairs.experts + 1, lane = static_cast<int>(threadIdx.x);
    for (int b = lane; b < buckets; b += 32)
        next[b] = start[b] + place[static_cast<int64_t>(b) * gridDim.x + blockIdx.x];
    __syncwarp();
    for (int64_t at = chunk.begin; at < chunk.end; at += 32) {
        const int64_t i = at + lane;
        const int bucket = i < chunk.end ? bucket_of(pairs, i) : buckets;
        const unsigned peers = __match_any_sync(whole_warp, bucket), before = peers & ((1u << lane) - 1);
        if (i < chunk.end) {
            const int32_t row = next[bucket] + __popc(before);
            pairs.row[i] = row;
            pairs.pair[row] = static_cast<int32_t>(i);
        }
        __syncwarp();
        if (i < chunk.end && before == 0)
            next[bucket] += __popc(peers);
        __syncwarp();
    }
}

void beam_cuda_route_plan(beam_backend *be, const beam_route *route)
{
    const int64_t count = beam_count(route->expert), wanted = ceil_div(count, plan_pairs);
    const int chunks = static_cast<int>(wanted < 1 ? 1 : wanted < plan_chunks ? wanted : plan_chunks);
    const int experts = static_cast<int>(route->kept.dim[0]);
    if (!has_room(be, experts))
        return;
    const size_t buckets = 2 * static_cast<size_t>(experts) + 1, bytes = buckets * sizeof(int32_t);
    int32_t *start = static_cast<int32_t *>(beam_cuda_scratch(be, bytes * (1 + static_cast<size_t>(chunks))));
    int32_t *place = start + buckets;
    const pair_view pairs = pairs_of(route);
    launch(be, count_pairs_kernel, static_cast<unsigned>(chunks), threads_per_block, bytes, place, pairs);
    launch(be, scan_chunks_kernel, static_cast<unsigned>(buckets), 32, 0, place, start, chunks);
    launch(be, scan_buckets_kernel, 1, 32, 0, start, data_of<int32_t>(route->first),
           data_of<int32_t>(route->kept), experts);
    launch(be, place_pairs_kernel, static_cast<unsigned>(chunks), 32, bytes, pairs, place, start);
}

/* Moves. A block takes a token, and its threads columns. */

template <class T>
static __global__ void gather_kernel(T *rows_x, const T *x, pair_view pairs, int64_t n, beam_rows_of rows,
                                     bool aligned)
{
    for (int64_t t = blockIdx.x; t < pairs.tokens; t += gridDim.x)
        cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=](int64_t at, auto w) {
            const pack<float, w> v = load<w>(x + t * n + at);
            for (int64_t i = t * pairs.top_k; i < (t + 1) * pairs.top_k; i++)
                if (pairs.has(i, rows))
                    store(rows_x + pairs.row[i] * n + at, v);
        });
}

template <class T>
static __global__ void gather_grad_kernel(T *dx, const T *drows, pair_view pairs, int64_t n,
                                          beam_rows_of rows, bool aligned)
{
    for (int64_t t = blockIdx.x; t < pairs.tokens; t += gridDim.x)
        cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=](int64_t at, auto w) {
            pack<float, w> sum = load<w>(dx + t * n + at);
            for (int64_t i = t * pairs.top_k; i < (t + 1) * pairs.top_k; i++) {
                if (!pairs.has(i, rows))
                    continue;
                const pack<float, w> d = load<w>(drows + pairs.row[i] * n + at);
                for (int j = 0; j < w; j++)
                    sum.at[j] += d.at[j];
            }
            store(dx + t * n + at, sum);
        });
}

template <class T>
static __global__ void combine_kernel(T *y, const T *rows_y, pair_view pairs, int64_t n, beam_mask_form form,
                                      bool aligned)
{
    for (int64_t t = blockIdx.x; t < pairs.tokens; t += gridDim.x)
        cover<vector_of<T>>(n, aligned, threadIdx.x, blockDim.x, [=](int64_t at, auto w) {
            pack<float, w> sum = {};
            for (int64_t i = t * pairs.top_k; i < (t + 1) * pairs.top_k; i++) {
                if (!pairs.runs(i, form))
                    continue;
                const float weight = pairs.weight_of(i, form);
                const pack<float, w> v = load<w>(rows_y + pairs.row[i] * n + at);
                for (int j = 0; j < w; j++)
                    sum.at[j] += weight * v.at[j];
            }
            store(y + t * n + at, sum);
        });
}

/* A thread takes a pair. */
static __global__ void weights_kernel(float *rows, pair_view pairs, beam_mask_form form)
{
    for (int64_t i = grid_thread(); i < pairs.tokens * pairs.top_k; i += grid_threads()) {
        const bool runs = pairs.runs(i, form) && pairs.expert[i] < pairs.experts;
        rows[pairs.row[i]] = runs ? pairs.weight_of(i, form) : 0;
    }
}

static __global__ void pairs_kernel(float *to, const float *numbers, pair_view pairs, beam_rows_of rows)
{
    for (int64_t i = grid_thread(); i < pairs.tokens * pairs.top_k; i += grid_threads())
        if (pairs.has(i, rows) && pairs.expert[i] < pairs.experts)
            to[i] = numbers[pairs.row[i]];
}

void beam_cuda_route_gather(beam_backend *be, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                            beam_rows_of rows)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, gather_kernel<T>, grid_of(x.dim[0], 1), threads_per_block, 0, data_of<T>(rows_x),
               data_of<T>(x), pairs_of(route), x.dim[1], rows, is_aligned<T>(x.dim[1], rows_x.data, x.data));
    });
}

void beam_cuda_route_gather_grad(beam_backend *be, beam_tensor dx, beam_tensor drows, const beam_route *route,
                                 beam_rows_of rows)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, gather_grad_kernel<T>, grid_of(dx.dim[0], 1), threads_per_block, 0, data_of<T>(dx),
               data_of<T>(drows), pairs_of(route), dx.dim[1], rows,
               is_aligned<T>(dx.dim[1], dx.data, drows.data));
    });
}

void beam_cuda_route_combine(beam_backend *be, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                             beam_mask_form form)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, combine_kernel<T>, grid_of(y.dim[0], 1), threads_per_block, 0, data_of<T>(y),
               data_of<T>(rows_y), pairs_of(route), y.dim[1], form,
               is_aligned<T>(y.dim[1], y.data, rows_y.data));
    });
}

void beam_cuda_route_weights(beam_backend *be, beam_tensor rows, const beam_route *route, beam_mask_form form)
{
    launch(be, weights_kernel, grid_of(rows.dim[0], threads_per_block), threads_per_block, 0,
           data_of<float>(rows), pairs_of(route), form);
}

void beam_cuda_route_pairs(beam_backend *be, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                           beam_rows_of rows)
{
    launch(be, pairs_kernel, grid_of(numbers.dim[0], threads_per_block), threads_per_block, 0,
           data_of<float>(pairs), data_of<float>(numbers), pairs_of(route), rows);
}
