/* Gradients of attention. Scores are computed again, once for the queries and once for the keys: a block owns
 * a tile of either and goes over all tiles of the other, so that every sum has one owner and one order. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cudnn.h"

/* Runs once for all tokens and heads: delta = <dout, out>, a warp per row. */
template <class T>
static __global__ void delta_kernel(float *delta, const T *dout, const T *out, int64_t rows, int64_t n,
                                    bool aligned)
{
    for (int64_t r = grid_thread() / 32; r < rows; r += grid_threads() / 32) {
        float sum = 0;
        cover<vector_of<T>>(n, aligned, lane_of(), 32, [=, &sum](int64_t i, auto w) {
            const pack<float, w> a = load<w>(dout + r * n + i), b = load<w>(out + r * n + i);
            for (int j = 0; j < w; j++)
                sum += a.at[j] * b.at[j];
        });
        sum = warp_sum(sum);
        if (lane_of() == 0)
            delta[r] = sum;
    }
}

/* What comes from above, [T,H,Dv] and [T,H]. */
template <class T> struct attention_above {
    const T *dout;
    const float *lse, *delta;
};

/* A block owns a tile of two matrices, and streams tiles of the other two, one of which is used while the
 * next one comes. */
template <class T, int Width, int ValueWidth> struct grad_shape {
    static constexpr bool is_narrow = Width + ValueWidth <= 256;
    static constexpr int owned = 16 * attention_warps;
    static constexpr int keys = sizeof(T) == 4 ? 16 : is_narrow ? 64 : 32; /* streamed */
    static constexpr int queries = sizeof(T) == 2 && is_narrow ? 32 : 16;
    /* Whether the registers hold the sums of dk and dv together. */
    static constexpr bool at_once = is_narrow || (sizeof(T) == 2 && Width + ValueWidth <= 320);
    static constexpr int pair = tile_stride<T, Width> + tile_stride<T, ValueWidth>; /* a row of both */
    static constexpr size_t shared_of_queries = sizeof(T) * pair * (owned + 2 * keys);
    static constexpr size_t shared_of_keys =
        sizeof(T) * pair * (owned + 2 * queries) + sizeof(float) * 2 * 2 * queries;
};

/* Begins to copy a tile of queries or keys, and behind it one of dout or values: `rows` rows of a head, with
 * `heads` rows of others between. `row` is the first. */
template <int Rows, int Width, int ValueWidth, class T>
static __device__ void load_pair(T *to, const T *a, const T *b, int64_t row, int heads, int rows,
                                 const attention_input<T> &in)
{
    load_tile<Rows, Width>(to, a + row * in.width, heads * in.width, rows, in.width, in.aligned);
    load_tile<Rows, ValueWidth>(to + Rows * tile_stride<T, Width>, b + row * in.value_width,
                                heads * in.value_width, rows, in.value_width, in.aligned);
}

/* Scores of a warp's rows of one pair of tiles with all rows of another, and the gradient of their softmax's
 * weights. */
template <int Rows, int Columns, int Width, int ValueWidth, int N, class T>
static __device__ void score_pair(float (&s)[1][N][4], float (&dp)[1][N][4], const T *pair, const T *others,
                                  int own, bool want_grad)
{
    constexpr int stride = tile_stride<T, Width>, value_stride = tile_stride<T, ValueWidth>;
    clear(s);
    clear(dp);
    multiply_transposed<Width>(s, pair + own * stride, stride, others, stride);
    if (want_grad)
        multiply_transposed<ValueWidth>(dp, pair + Rows * stride + own * value_stride, value_stride,
                                        others + Columns * stride, value_stride);
}

/* A score becomes its softmax's weight, and the weight's gradient that of the score, but for its scale. */
static __device__ void weigh(float &s, float &dp, float scale, float lse, float delta, bool seen)
{
    s = seen ? exp2f(s * scale - lse) : 0;
    dp = s * (dp - delta);
}

/* dq of a tile of queries. */
template <class T, int Width, int ValueWidth>
static __global__ void __launch_bounds__(attention_threads, 1)
    query_grad_kernel(T *dq, attention_input<T> in, attention_above<T> above, int64_t numbers, float scale)
{
    using shape = grad_shape<T, Width, ValueWidth>;
    constexpr int n = shape::keys, height = n * shape::pair;
    BEAM_SHARED_DYNAMIC(T, owned);
    T *const streamed = owned + shape::owned * shape::pair;

    const int head = static_cast<int>(blockIdx.x) % in.heads;
    sequence_block queries;
    if (!find_block(&queries, in, shape::owned, numbers - 1 - blockIdx.x / static_cast<unsigned>(in.heads)))
        return;
    const int end = queries.at + queries.n;
    const int64_t row = (queries.begin + queries.at) * in.heads + head;
    int at = first_seen(in, queries) / n * n;
    const auto load_next =
        [&](int half, int from) { /* if there is one */
                                  const int64_t key = (queries.begin + from) * in.groups + head / in.share;
                                  if (from < end)
                                      load_pair<n, Width, ValueWidth>(streamed + half * height, in.k, in.v,
                                                                      key, in.groups, end - from, in);
                                  ptx_copy_commit();
        };
    load_pair<shape::owned, Width, ValueWidth>(owned, in.q, above.dout, row, in.heads, queries.n, in);
    load_next(0, at);

    const int own = static_cast<int>(threadIdx.x) / 32 * 16, rest = queries.n - own;
    const int g = lane_of() / 4, t = lane_of() % 4;
    float sums[1][Width / 8][4], lse[2], delta[2]; /* of the lane's two rows */
    clear(sums);
    for (int m = 0; m < 2; m++) {
        const bool there = 8 * m + g < rest;
        const int64_t mine = row + static_cast<int64_t>(own + 8 * m + g) * in.heads;
        lse[m] = there ? above.lse[mine] * log2_of_e : 0;
        delta[m] = there ? above.delta[mine] : 0;
    }
    for (int half = 0; at < end; at += n, half = 1 - half) {
        const pairing pairs = {queries.at + own, min(16, rest), at, n, in.window};
        load_next(1 - half, at + n);
        ptx_copy_wait<1>();
        __syncthreads();
        if (pairs.any_seen()) {
            const bool all = pairs.all_seen(16);
            float s[1][n / 8][4], ds[1][n / 8][4];
            score_pair<shape::owned, n, Width, ValueWidth>(s, ds, owned, streamed + half * height, own, true);
#pragma unroll
            for (int i = 0; i < n / 2; i++) {
                const int m = i / 2 % 2;
                const bool seen = all || pairs.sees(8 * m + g, i / 4 * 8 + 2 * t + i % 2);
                weigh(s[0][i / 4][i % 4], ds[0][i / 4][i % 4], in.scale, lse[m], delta[m], seen);
            }
            multiply_sums(sums, ds, streamed + half * height, tile_stride<T, Width>);
        }
        __syncthreads(); /* nobody needs this half any more */
    }
    ptx_copy_wait<0>();
    store_sums(dq + row * in.width + own * in.heads * in.width, in.heads * in.width, rest, in.width,
               in.aligned, sums, [=](int) { return scale; });
}

/* dk, dv or both of a tile of keys, over the heads that share them and their queries, in that order. Scores
 * are transposed: rows are keys, so that the weights are a factor in the registers again. */
template <class T, int Width, int ValueWidth, bool WantKeys, bool WantValues>
static __global__ void __launch_bounds__(attention_threads, 1)
    key_grad_kernel(T *dk, T *dv, attention_input<T> in, attention_above<T> above, float scale)
{
    using shape = grad_shape<T, Width, ValueWidth>;
    constexpr int n = shape::queries, height = n * shape::pair;
    BEAM_SHARED_DYNAMIC(T, owned);
    T *const streamed = owned + shape::owned * shape::pair;
    float *const statistics = reinterpret_cast<float *>(streamed + 2 * height); /* [2][lse, delta][n] */

    const int group = static_cast<int>(blockIdx.x) % in.groups;
    sequence_block keys;
    if (!find_block(&keys, in, shape::owned, blockIdx.x / static_cast<unsigned>(in.groups)))
        return;
    /* From the first query that sees the first key to the last that sees the last. */
    const int begin = keys.at / n * n, end = min(keys.length, keys.at + keys.n - 1 + in.window);
    const int tiles = (end - begin + n - 1) / n, all_tiles = tiles * in.share;
    const auto load_next =
        [&](int i) { /* tile i of those of all heads, if there is one */
                     const int at = begin + i % tiles * n, mine = static_cast<int>(threadIdx.x);
                     const int64_t row = (keys.begin + at) * in.heads + group * in.share + i / tiles;
                     if (i < all_tiles) {
                         load_pair<n, Width, ValueWidth>(streamed + i % 2 * height, in.q, above.dout, row,
                                                         in.heads, end - at, in);
                         if (mine < n) {
                             const bool there = mine < end - at;
                             const int64_t from = row + static_cast<int64_t>(mine) * in.heads;
                             statistics[i % 2 * 2 * n + mine] = there ? above.lse[from] * log2_of_e : 0;
                             statistics[i % 2 * 2 * n + n + mine] = there ? above.delta[from] : 0;
                         }
                     }
                     ptx_copy_commit();
        };
    const int64_t key = (keys.begin + keys.at) * in.groups + group;
    load_pair<shape::owned, Width, ValueWidth>(owned, in.k, in.v, key, in.groups, keys.n, in);
    load_next(0);

    const int own = static_cast<int>(threadIdx.x) / 32 * 16, rest = keys.n - own;
    const int g = lane_of() / 4, t = lane_of() % 4;
    float key_sums[1][WantKeys ? Width / 8 : 1][4], value_sums[1][WantValues ? ValueWidth / 8 : 1][4];
    clear(key_sums);
    clear(value_sums);
    for (int i = 0; i < all_tiles; i++) {
        const int at = begin + i % tiles * n;
        const pairing pairs = {at, min(n, end - at), keys.at + own, 16, in.window};
        load_next(i + 1);
        ptx_copy_wait<1>();
        __syncthreads();
        if (rest > 0 && pairs.any_seen()) {
            const T *q = streamed + i % 2 * height;
            const float *lse = statistics + i % 2 * 2 * n, *delta = lse + n;
            const bool all = pairs.all_seen(n);
            float s[1][n / 8][4], ds[1][n / 8][4];
            score_pair<shape::owned, n, Width, ValueWidth>(s, ds, owned, q, own, WantKeys);
#pragma unroll
            for (int j = 0; j < n / 2; j++) {
                const int query = j / 4 * 8 + 2 * t + j % 2;
                const bool seen = all || pairs.sees(query, j / 2 % 2 * 8 + g);
                weigh(s[0][j / 4][j % 4], ds[0][j / 4][j % 4], in.scale, lse[query], delta[query], seen);
            }
            if constexpr (WantValues)
                multiply_sums(value_sums, s, q + n * tile_stride<T, Width>, tile_stride<T, ValueWidth>);
            if constexpr (WantKeys)
                multiply_sums(key_sums, ds, q, tile_stride<T, Width>);
        }
        __syncthreads(); /* nobody needs this half any more */
    }
    ptx_copy_wait<0>();
    const int to_key = in.groups * in.width, to_value = in.groups * in.value_width;
    if constexpr (WantKeys)
        store_sums(dk + key * in.width + own * to_key, to_key, rest, in.width, in.aligned, key_sums,
                   [=](int) { return scale; });
    if constexpr (WantValues)
        store_sums(dv + key * in.value_width + own * to_value, to_value, rest, in.value_width, in.aligned,
                   value_sums, [](int) { return 1.0f; });
}

/* Where the gradients go. */
template <class T> struct attention_grads {
    T *dq, *dk, *dv;
    float scale; /* of the scores */
};

template <class T, int Width, int ValueWidth>
static void attend_grad(beam_backend *be, attention_grads<T> to, const attention_input<T> &in,
                        const attention_above<T> &above, int64_t tokens, beam_sequences seq,
                        head_widths<Width, ValueWidth>)
{
    using shape = grad_shape<T, Width, ValueWidth>;
    const int64_t numbers = block_numbers(tokens, seq, shape::owned);
    const unsigned key_blocks = static_cast<unsigned>(numbers * in.groups);
    launch(be, query_grad_kernel<T, Width, ValueWidth>, static_cast<unsigned>(numbers * in.heads),
           attention_threads, shape::shared_of_queries, to.dq, in, above, numbers, to.scale);
    if constexpr (shape::at_once) {
        launch(be, key_grad_kernel<T, Width, ValueWidth, true, true>, key_blocks, attention_threads,
               shape::shared_of_keys, to.dk, to.dv, in, above, to.scale);
    } else {
        launch(be, key_grad_kernel<T, Width, ValueWidth, true, false>, key_blocks, attention_threads,
               shape::shared_of_keys, to.dk, to.dv, in, above, to.scale);
        launch(be, key_grad_kernel<T, Width, ValueWidth, false, true>, key_blocks, attention_threads,
               shape::shared_of_keys, to.dk, to.dv, in, above, to.scale);
    }
}

void beam_cuda_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                              beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q,
                              beam_tensor k, beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    if (beam_cuda_cudnn_attention_grad(be, dq, dk, dv, dout, out, lse, q, k, v, seq, rule))
        return;
    const int64_t rows = beam_count(lse);
    float *delta = static_cast<float *>(beam_cuda_scratch(be, static_cast<size_t>(rows) * sizeof(float)));
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        attention_input<T> in = make_input<T>(q, k, v, seq, rule);
        in.aligned = in.aligned && is_aligned<T>(0, dq.data, dk.data, dv.data, dout.data, out.data);
        launch(be, delta_kernel<T>, grid_of(rows, attention_warps), attention_threads, 0, delta,
               data_of<T>(dout), data_of<T>(out), rows, in.value_width, in.aligned);
        const attention_above<T> above = {data_of<T>(dout), data_of<float>(lse), delta};
        const attention_grads<T> to = {data_of<T>(dq), data_of<T>(dk), data_of<T>(dv),
                                       static_cast<float>(rule.scale)};
        with_head_widths(be, k, v,
                         [&](auto widths) { attend_grad(be, to, in, above, q.dim[0], seq, widths); });
    });
}
