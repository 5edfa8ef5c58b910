/* Causal attention over tiles of queries and keys, with the softmax kept up to date as keys come in (Dao
 * 2023, "FlashAttention-2", arXiv:2307.08691). A block takes a head of a tile of queries; scores live in
 * registers. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cudnn.h"

/* Runs of 16 queries per warp, and keys of a tile: as much as the registers hold. */
template <class T, int Width, int ValueWidth> struct forward_shape {
    static constexpr int runs = sizeof(T) == 2 && ValueWidth <= 128 ? 2 : 1;
    static constexpr int queries = 16 * runs * attention_warps;
    static constexpr int keys = sizeof(T) == 4 || Width == 192 ? 32 : Width == 128 ? 48 : 64;
    static constexpr size_t shared = sizeof(T) * (tile_size<T, queries, Width> + tile_size<T, keys, Width> +
                                                  tile_size<T, keys, ValueWidth>);
};

/* The softmax of a lane's rows so far: row m of the 2 Runs is 8m + lane / 4 of its warp. The sum is over the
 * lane's own columns; the other three lanes of the row have the rest. */
template <int Runs> struct running_softmax {
    float top[2 * Runs], sum[2 * Runs];
};

template <int Runs> static __device__ void clear(running_softmax<Runs> &soft)
{
#pragma unroll
    for (int m = 0; m < 2 * Runs; m++) {
        soft.top[m] = -INFINITY;
        soft.sum[m] = 0;
    }
}

/* Scores become exp2(score - top), and the sums made before are shrunk to the new top. */
template <int Runs, int Keys, int Values>
static __device__ void softmax_step(float (&s)[Runs][Keys][4], float (&sums)[Runs][Values][4],
                                    running_softmax<Runs> &soft)
{
#pragma unroll
    for (int m = 0; m < 2 * Runs; m++) {
        float top = soft.top[m];
#pragma unroll
        for (int j = 0; j < 2 * Keys; j++)
            top = fmaxf(top, s[m / 2][j / 2][m % 2 * 2 + j % 2]);
        top = fmaxf(top, __shfl_xor_sync(whole_warp, top, 1));
        top = fmaxf(top, __shfl_xor_sync(whole_warp, top, 2));
        const float from = top == -INFINITY ? 0 : top; /* a row that has not seen a key */
        const float shrink = exp2f(soft.top[m] - from);
        float sum = soft.sum[m] * shrink;
        soft.top[m] = top;
#pragma unroll
        for (int j = 0; j < 2 * Keys; j++) {
            float &x = s[m / 2][j / 2][m % 2 * 2 + j % 2];
            x = exp2f(x - from);
            sum += x;
        }
        soft.sum[m] = sum;
#pragma unroll
        for (int j = 0; j < 2 * Values; j++)
            sums[m / 2][j / 2][m % 2 * 2 + j % 2] *= shrink;
    }
}

/* Scores of a warp's queries; -infinity where a key is not seen. */
template <int Width, int Runs, int Keys, class T>
static __device__ void score(float (&s)[Runs][Keys][4], const T *q, const T *k, pairing pairs, float scale)
{
    const int g = lane_of() / 4, t = lane_of() % 4;
    clear(s);
    multiply_transposed<Width>(s, q, tile_stride<T, Width>, k, tile_stride<T, Width>);
    const bool all = pairs.all_seen(16 * Runs);
#pragma unroll
    for (int m = 0; m < 2 * Runs; m++)
#pragma unroll
        for (int j = 0; j < 2 * Keys; j++) {
            float &x = s[m / 2][j / 2][m % 2 * 2 + j % 2];
            x = all || pairs.sees(8 * m + g, j / 2 * 8 + 2 * t + j % 2) ? x * scale : -INFINITY;
        }
}

/* Sums over whole rows, and their logarithms for `rows` rows, which are `stride` apart. */
template <int Runs>
static __device__ void close_softmax(running_softmax<Runs> &soft, float *lse, int stride, int rows)
{
#pragma unroll
    for (int m = 0; m < 2 * Runs; m++) {
        soft.sum[m] += __shfl_xor_sync(whole_warp, soft.sum[m], 1);
        soft.sum[m] += __shfl_xor_sync(whole_warp, soft.sum[m], 2);
        const int row = 8 * m + lane_of() / 4;
        if (lane_of() % 4 == 0 && row < rows)
            lse[row * stride] = (soft.top[m] + log2f(soft.sum[m])) * ln_of_2;
    }
}

template <class T, int Width, int ValueWidth>
static __global__ void __launch_bounds__(attention_threads)
    attention_kernel(T *out, float *lse, attention_input<T> in, int64_t numbers)
{
    using shape = forward_shape<T, Width, ValueWidth>;
    constexpr int rows = 16 * shape::runs; /* of a warp */
    BEAM_SHARED_DYNAMIC(T, memory);
    T *q = memory, *k = q + tile_size<T, shape::queries, Width>, *v = k + tile_size<T, shape::keys, Width>;

    /* Backwards: the tiles that see most come first. */
    const int head = static_cast<int>(blockIdx.x) % in.heads;
    sequence_block queries;
    if (!find_block(&queries, in, shape::queries, numbers - 1 - blockIdx.x / static_cast<unsigned>(in.heads)))
        return;
    const int end = queries.at + queries.n;
    int at = first_seen(in, queries) / shape::keys * shape::keys;
    const int64_t row = (queries.begin + queries.at) * in.heads + head,
                  key = (queries.begin + at) * in.groups + head / in.share;
    const T *keys = in.k + key * in.width, *values = in.v + key * in.value_width; /* to be loaded next */
    const int to_key = in.groups * in.width, to_value = in.groups * in.value_width;
    load_tile<shape::queries, Width>(q, in.q + row * in.width, in.heads * in.width, queries.n, in.width,
                                     in.aligned);
    load_tile<shape::keys, Width>(k, keys, to_key, end - at, in.width, in.aligned);
    ptx_copy_commit();

    const int own = static_cast<int>(threadIdx.x) / 32 * rows, rest = queries.n - own;
    float sums[shape::runs][ValueWidth / 8][4];
    running_softmax<shape::runs> soft;
    clear(sums);
    clear(soft);
    for (; at < end; at += shape::keys) {
        const pairing pairs = {queries.at + own, min(rows, rest), at, shape::keys, in.window};
        const bool busy = pairs.any_seen();
        float s[shape::runs][shape::keys / 8][4];
        ptx_copy_wait<0>();
        __syncthreads(); /* the keys are there, and nobody needs the last values */
        load_tile<shape::keys, ValueWidth>(v, values, to_value, end - at, in.value_width, in.aligned);
        ptx_copy_commit();
        keys += shape::keys * to_key;
        values += shape::keys * to_value;
        if (busy) {
            score<Width>(s, q + own * tile_stride<T, Width>, k, pairs, in.scale);
            softmax_step(s, sums, soft);
        }
        ptx_copy_wait<0>();
        __syncthreads(); /* the values are there, and nobody needs the keys */
        load_tile<shape::keys, Width>(k, keys, to_key, end - at - shape::keys, in.width, in.aligned);
        ptx_copy_commit();
        if (busy)
            multiply_sums(sums, s, v, tile_stride<T, ValueWidth>);
    }
    ptx_copy_wait<0>();
    close_softmax(soft, lse + row + own * in.heads, in.heads, rest);
    const int to_out = in.heads * in.value_width;
    store_sums(out + row * in.value_width + own * to_out, to_out, rest, in.value_width, in.aligned, sums,
               [&](int m) { return 1 / soft.sum[m]; });
}

template <class T, int Width, int ValueWidth>
static void attend(beam_backend *be, T *out, float *lse, const attention_input<T> &in, int64_t tokens,
                   beam_sequences seq, head_widths<Width, ValueWidth>)
{
    using shape = forward_shape<T, Width, ValueWidth>;
    const int64_t numbers = block_numbers(tokens, seq, shape::queries);
    launch(be, attention_kernel<T, Width, ValueWidth>, static_cast<unsigned>(numbers * in.heads),
           attention_threads, shape::shared, out, lse, in, numbers);
}

void beam_cuda_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                         beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    if (beam_cuda_cudnn_attention(be, out, lse, q, k, v, seq, rule))
        return;
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        attention_input<T> in = make_input<T>(q, k, v, seq, rule);
        in.aligned = in.aligned && is_aligned<T>(0, out.data);
        with_head_widths(be, k, v, [&](auto widths) {
            attend(be, data_of<T>(out), data_of<float>(lse), in, q.dim[0], seq, widths);
        });
    });
}
