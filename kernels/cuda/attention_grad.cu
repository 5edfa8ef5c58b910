/* Gradients of attention. Scores are computed again, once for the queries and once for the keys: a block owns
 * a tile of either and goes over all tiles of the other, so that every sum has one owner and one order. */
#include "kernels/cuda/attention.cuh"

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

/* Tiles of one owned and two streamed pairs. */
template <class T, int Width, int ValueWidth> struct grad_shape {
    static constexpr int owned = 16 * attention_warps;
    static constexpr int pair = tile_stride<T, Width> + tile_stride<T, ValueWidth>; /* a row of both */
    static constexpr int keys = sizeof(T) == 4 ? 16 : Width + ValueWidth <= 256 ? 64 : 32;
    static constexpr int queries = sizeof(T) == 4 ? 16 : 32;
    static constexpr size_t shared_of_queries = sizeof(T) * pair * (owned + 2 * keys);
    static constexpr size_t shared_of_keys =
        sizeof(T) * pair * (owned + 2 * queries) + 2 * 2 * queries * sizeof(float);
};

/* s and ds, scores and the gradient of their softmax's weights, become those weights and the gradient of the
 * scores: one number. */
__device__ inline void score_grad(float &s, float &ds, float scale, float lse, float delta, bool seen)
{
    s = seen ? exp2f(s * scale - lse) : 0;
    ds = s * (ds - delta);
}

/* dq of a tile of queries. */
template <class T, int Width, int ValueWidth>
static __global__ void __launch_bounds__(attention_threads, 1)
    query_grad_kernel(T *dq, attention_input<T> in, attention_above<T> above, int64_t numbers, float scale)
{
    using shape = grad_shape<T, Width, ValueWidth>;
    constexpr int stride = tile_stride<T, Width>, value_stride = tile_stride<T, ValueWidth>;
    BEAM_SHARED_DYNAMIC(T, memory);
    T *q = memory, *dout = q + shape::owned * stride, *streamed = q + shape::owned * shape::pair;

    const int head = static_cast<int>(blockIdx.x) % in.heads;
    sequence_block queries;
    if (!find_block(&queries, in, shape::owned, numbers - 1 - blockIdx.x / in.heads))
        return;
    const int end = queries.at + queries.n;
    int at = max(0, queries.at - in.window + 1) / shape::keys * shape::keys;
    const int64_t row = (queries.begin + queries.at) * in.heads + head,
                  key = (queries.begin + at) * in.groups + head / in.share;
    const T *keys = in.k + key * in.width, *values = in.v + key * in.value_width;

    /* The next tile of keys and values, if there is one, into half `half`. */
    const auto load_next = [&](int half, int from) {
        T *k = streamed + half * shape::keys * shape::pair, *v = k + shape::keys * stride;
        const int to_key = in.groups * in.width, to_value = in.groups * in.value_width;
        if (from < end) {
            load_tile<attention_threads, shape::keys, Width>(k, keys, to_key, end - from, in.width,
                                                             in.aligned);
            load_tile<attention_threads, shape::keys, ValueWidth>(v, values, to_value, end - from,
                                                                  in.value_width, in.aligned);
        }
        keys += shape::keys * to_key;
        values += shape::keys * to_value;
        ptx_copy_commit();
    };
    load_tile<attention_threads, shape::owned, Width>(q, in.q + row * in.width, in.heads * in.width,
                                                      queries.n, in.width, in.aligned);
    load_tile<attention_threads, shape::owned, ValueWidth>(dout, above.dout + row * in.value_width,
                                                           in.heads * in.value_width, queries.n,
                                                           in.value_width, in.aligned);
    load_next(0, at);

    const int own = static_cast<int>(threadIdx.x) / 32 * 16, g = lane_of() / 4, t = lane_of() % 4;
    float lse[2], delta[2]; /* of the lane's two rows */
    for (int m = 0; m < 2; m++) {
        const bool there = own + 8 * m + g < queries.n;
        const int64_t mine = row + static_cast<int64_t>(own + 8 * m + g) * in.heads;
        lse[m] = there ? above.lse[mine] * log2_of_e : 0;
        delta[m] = there ? above.delta[mine] : 0;
    }
    float sums[1][Width / 8][4];
    clear(sums);
    for (int half = 0; at < end; at += shape::keys, half = 1 - half) {
        const T *k = streamed + half * shape::keys * shape::pair, *v = k + shape::keys * stride;
        float s[1][shape::keys / 8][4], ds[1][shape::keys / 8][4];
        load_next(1 - half, at + shape::keys);
        ptx_copy_wait<1>();
        __syncthreads();
        clear(s);
        multiply_transposed<Width>(s, q + own * stride, stride, k, stride);
        clear(ds);
        multiply_transposed<ValueWidth>(ds, dout + own * value_stride, value_stride, v, value_stride);
        const int query = queries.at + own, last = queries.n - own;
        const bool all = last >= 16 && all_see(query, 16, at, shape::keys, in.window);
#pragma unroll
        for (int i = 0; i < shape::keys / 2; i++) {
            const int m = i % 4 / 2, column = i / 4 * 8 + 2 * t + i % 2, mine = 8 * m + g;
            const bool seen = all || (mine < last && sees(query + mine, at + column, in.window));
            score_grad(s[0][i / 4][i % 4], ds[0][i / 4][i % 4], in.scale, lse[m], delta[m], seen);
        }
        multiply_sums(sums, ds, k, stride);
        __syncthreads(); /* nobody needs this half any more */
    }
    ptx_copy_wait<0>();
    store_sums(dq + row * in.width + own * in.heads * in.width, in.heads * in.width, queries.n - own,
               in.width, in.aligned, sums, [=](int) { return scale; });
}

/* dk, dv or both of a tile of keys, over the heads that share them and their queries, in that order. Scores
 * are transposed: rows are keys, so that the weights are a factor in the registers again. */
template <class T, int Width, int ValueWidth, bool WantKeys, bool WantValues>
static __global__ void __launch_bounds__(attention_threads, 1)
    key_grad_kernel(T *dk, T *dv, attention_input<T> in, attention_above<T> above, float scale)
{
    using shape = grad_shape<T, Width, ValueWidth>;
    constexpr int stride = tile_stride<T, Width>, value_stride = tile_stride<T, ValueWidth>;
    constexpr int n = shape::queries;
    BEAM_SHARED_DYNAMIC(T, memory);
    T *k = memory, *v = k + shape::owned * stride, *streamed = k + shape::owned * shape::pair;
    float *statistics = reinterpret_cast<float *>(streamed + 2 * n * shape::pair); /* [2][lse, delta][n] */

    const int group = static_cast<int>(blockIdx.x) % in.groups;
    sequence_block keys;
    if (!find_block(&keys, in, shape::owned, blockIdx.x / in.groups))
        return;
    /* From the first query that sees the first key to the last that sees the last. */
    const int begin = keys.at / n * n, end = min(keys.length, keys.at + keys.n - 1 + in.window);
    const int tiles = (end - begin + n - 1) / n, all_tiles = tiles * in.share;

    /* Tile i of those of all heads, if there is one, into half i % 2. */
    const auto load_next = [&](int i) {
        T *q = streamed + i % 2 * n * shape::pair, *dout = q + n * stride;
        float *lse = statistics + i % 2 * 2 * n, *delta = lse + n;
        const int head = group * in.share + i / tiles, at = begin + i % tiles * n, there = end - at;
        const int64_t row = (keys.begin + at) * in.heads + head;
        if (i < all_tiles) {
            load_tile<attention_threads, n, Width>(q, in.q + row * in.width, in.heads * in.width, there,
                                                   in.width, in.aligned);
            load_tile<attention_threads, n, ValueWidth>(dout, above.dout + row * in.value_width,
                                                        in.heads * in.value_width, there, in.value_width,
                                                        in.aligned);
            const int mine = static_cast<int>(threadIdx.x);
            if (mine < n) {
                const int64_t from = row + static_cast<int64_t>(mine) * in.heads;
                lse[mine] = mine < there ? above.lse[from] * log2_of_e : 0;
                delta[mine] = mine < there ? above.delta[from] : 0;
            }
        }
        ptx_copy_commit();
    };
    const int64_t key = (keys.begin + keys.at) * in.groups + group;
    const int to_key = in.groups * in.width, to_value = in.groups * in.value_width;
    load_tile<attention_threads, shape::owned, Width>(k, in.k + key * in.width, to_key, keys.n, in.width,
                                                      in.aligned);
    load_tile<attention_threads, shape::owned, ValueWidth>(v, in.v + key * in.value_width, to_value, keys.n,
                                                           in.value_width, in.aligned);
    load_next(0);

    const int own = static_cast<int>(threadIdx.x) / 32 * 16, g = lane_of() / 4, t = lane_of() % 4;
    float key_sums[1][WantKeys ? Width / 8 : 1][4], value_sums[1][WantValues ? ValueWidth / 8 : 1][4];
    clear(key_sums);
    clear(value_sums);
    for (int i = 0; i < all_tiles; i++) {
        const T *q = streamed + i % 2 * n * shape::pair, *dout = q + n * stride;
        const float *lse = statistics + i % 2 * 2 * n, *delta = lse + n;
        float s[1][n / 8][4], ds[1][n / 8][4];
        load_next(i + 1);
        ptx_copy_wait<1>();
        __syncthreads();
        clear(s);
        multiply_transposed<Width>(s, k + own * stride, stride, q, stride);
        clear(ds);
        if (WantKeys)
            multiply_transposed<ValueWidth>(ds, v + own * value_stride, value_stride, dout, value_stride);
        const int query = begin + i % tiles * n, first = keys.at + own;
        const bool all = end - query >= n && all_see(query, n, first, 16, in.window);
#pragma unroll
        for (int j = 0; j < n / 2; j++) {
            const int mine = j / 4 * 8 + 2 * t + j % 2;
            const bool seen =
                all || (query + mine < end && sees(query + mine, first + j % 4 / 2 * 8 + g, in.window));
            score_grad(s[0][j / 4][j % 4], ds[0][j / 4][j % 4], in.scale, lse[mine], delta[mine], seen);
        }
        if constexpr (WantValues)
            multiply_sums(value_sums, s, dout, value_stride);
        if constexpr (WantKeys)
            multiply_sums(key_sums, ds, q, stride);
        __syncthreads(); /* nobody needs this half any more */
    }
    ptx_copy_wait<0>();
    if constexpr (WantKeys)
        store_sums(dk + key * in.width + own * to_key, to_key, keys.n - own, in.width, in.aligned, key_sums,
                   [=](int) { return scale; });
    if constexpr (WantValues)
        store_sums(dv + key * in.value_width + own * to_value, to_value, keys.n - own, in.value_width,
                   in.aligned, value_sums, [](int) { return 1.0f; });
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
    if constexpr (Width + ValueWidth <= 320) { /* the sums of both fit into the registers */
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
