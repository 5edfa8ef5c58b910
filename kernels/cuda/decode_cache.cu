/* Attention over a cache of keys and values on the device. The positions that a token sees are cut
 * into parts, so that a single long sequence keeps the whole device busy; a second kernel adds up the parts.
 * How they are cut follows from the token's own position. */
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/decode_step.h"

namespace
{

using decode::warps;

constexpr int tile = 64;       /* positions whose scores stand in shared memory */
constexpr int most_parts = 32; /* of one token */
constexpr int threads = warps * 32, columns = BEAM_CUDA_MOST_COLUMNS / threads; /* of a thread */

/* Where the parts of `seen` positions begin: whole tiles, at most most_parts. */
__device__ inline int part_length(int seen)
{
    const int tiles = (seen + tile - 1) / tile;
    return (tiles + most_parts - 1) / most_parts * tile;
}

__device__ inline int parts_of(int seen)
{
    const int length = part_length(seen);
    return (seen + length - 1) / length;
}

/* No number of positions up to `context` has more. */
int parts_within(int64_t context)
{
    const int64_t tiles = ceil_div(context, tile);
    return static_cast<int>(tiles < most_parts ? tiles : most_parts);
}

/* One layer's attention. A part leaves, for each head, sums[width] of its values, the largest score, and the
 * sum of the exponentials against it. */
struct look {
    float *out, *room; /* [n,H,width], [n,H,parts,width + 2] */
    const float *q, *key, *value;
    const int32_t *sequence, *position;
    int positions, window; /* of the ring; 0: no window */
    int heads, groups, parts, key_width, width, value_stride;
    float scale;
};

/* Positions [from, to) of a token. */
struct range {
    int from, to;
};

__device__ range seen_by(const look &k, int token)
{
    const int to = k.position[token] + 1;
    return {k.window > 0 && to > k.window ? to - k.window : 0, to};
}

/* Row of the position that is i behind the one in row `first`: i is less than the ring's length. */
__device__ inline int64_t row_of(const look &k, int first, int i)
{
    const int row = first + i;
    return row < k.positions ? row : row - k.positions;
}

/* A warp takes a key at a time, for all heads. score [Heads,tile]. */
template <int Heads>
__device__ void make_scores(const look &k, float *score, const float *q, const float *keys, int first, int n)
{
    const float *in[Heads];
    for (int h = 0; h < Heads; h++)
        in[h] = q + h * k.key_width;
    for (int i = static_cast<int>(threadIdx.x) / 32; i < n; i += warps) {
        const float *const row[1] = {keys + row_of(k, first, i) * k.key_width};
        float sum[1][Heads];
        decode::dots(sum, row, in, k.key_width);
        if (threadIdx.x % 32 == 0)
            for (int h = 0; h < Heads; h++)
                score[h * tile + i] = sum[0][h] * k.scale;
    }
}

/* A warp's head: scores become exponentials against the largest so far, and `scale` what earlier sums are
 * worth against it. */
struct softmax_state {
    float top, sum;
};

__device__ softmax_state renew(softmax_state s, float *score, int n, float *scale)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float top = s.top, sum = 0;
    for (int i = lane; i < n; i += 32)
        top = fmaxf(top, score[i]);
    top = warp_max(top);
    for (int i = lane; i < n; i += 32)
        sum += score[i] = expf(score[i] - top);
    sum = warp_sum(sum);
    const float kept = expf(s.top - top); /* 0 at first */
    if (lane == 0)
        *scale = kept;
    return {top, s.sum * kept + sum};
}

/* A thread's columns of all heads: sum = scale * sum + score values. */
template <int Heads>
__device__ void add_values(const look &k, float (&sum)[Heads][columns], const float *score,
                           const float *scale, const float *values, int first, int n)
{
    for (int h = 0; h < Heads; h++)
        for (int c = 0; c < columns; c++)
            sum[h][c] *= scale[h];
    for (int i = 0; i < n; i++) {
        const float *row = values + row_of(k, first, i) * k.value_stride;
        for (int c = 0; c < columns; c++) {
            const int column = static_cast<int>(threadIdx.x) + c * threads;
            const float v = column < k.width ? row[column] : 0;
            for (int h = 0; h < Heads; h++)
                sum[h][c] = fmaf(score[h * tile + i], v, sum[h][c]);
        }
    }
}

/* Grid: tokens, parts, groups times pieces of Heads heads. */
template <int Heads> __global__ void __launch_bounds__(threads, 2) part_kernel(look k)
{
    BEAM_SHARED_DYNAMIC(float, q); /* [Heads,key_width] */
    BEAM_SHARED(float, score, Heads *tile);
    BEAM_SHARED(float, scale, Heads);
    const int token = static_cast<int>(blockIdx.x), part = static_cast<int>(blockIdx.y);
    const int share = k.heads / k.groups, pieces = (share + Heads - 1) / Heads;
    const int group = static_cast<int>(blockIdx.z) / pieces, piece = static_cast<int>(blockIdx.z) % pieces;
    const int first = group * share + piece * Heads, heads = min(Heads, share - piece * Heads);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const range seen = seen_by(k, token);
    const int length = part_length(seen.to - seen.from);
    const int from = seen.from + part * length, to = min(seen.to, from + length);
    if (from >= to)
        return;
    for (int i = static_cast<int>(threadIdx.x); i < Heads * k.key_width; i += threads) {
        const int head = first + min(i / k.key_width, heads - 1); /* the last one again where there is none */
        q[i] = k.q[(static_cast<int64_t>(token) * k.heads + head) * k.key_width + i % k.key_width];
    }
    const int64_t block = (static_cast<int64_t>(k.sequence[token]) * k.groups + group) * k.positions;
    const float *keys = k.key + block * k.key_width, *values = k.value + block * k.value_stride;
    float sum[Heads][columns] = {};
    softmax_state state = {-INFINITY, 0};
    for (int at = from; at < to; at += tile) {
        const int n = min(to - at, tile), row = at % k.positions;
        __syncthreads();
        make_scores<Heads>(k, score, q, keys, row, n);
        __syncthreads();
        if (warp < Heads)
            state = renew(state, score + warp * tile, n, scale + warp);
        __syncthreads();
        add_values<Heads>(k, sum, score, scale, values, row, n);
    }
    const int64_t slot = (static_cast<int64_t>(token) * k.heads + first) * k.parts + part,
                  stride = k.width + 2;
    for (int h = 0; h < Heads; h++)
        for (int c = 0; c < columns; c++) {
            const int column = static_cast<int>(threadIdx.x) + c * threads;
            if (h < heads && column < k.width)
                k.room[(slot + static_cast<int64_t>(h) * k.parts) * stride + column] = sum[h][c];
        }
    if (warp < heads && threadIdx.x % 32 == 0) {
        float *to_state = k.room + (slot + static_cast<int64_t>(warp) * k.parts) * stride + k.width;
        to_state[0] = state.top;
        to_state[1] = state.sum;
    }
}

/* Grid: tokens, heads. */
__global__ void combine_kernel(look k)
{
    const int token = static_cast<int>(blockIdx.x);
    const range seen = seen_by(k, token);
    const int parts = parts_of(seen.to - seen.from), stride = k.width + 2;
    const int64_t row = static_cast<int64_t>(token) * k.heads + blockIdx.y;
    const float *from = k.room + row * k.parts * stride;
    float top = -INFINITY, total = 0;
    for (int p = 0; p < parts; p++)
        top = fmaxf(top, from[p * stride + k.width]);
    for (int p = 0; p < parts; p++)
        total += from[p * stride + k.width + 1] * expf(from[p * stride + k.width] - top);
    for (int c = static_cast<int>(threadIdx.x); c < k.width; c += threads) {
        float sum = 0;
        for (int p = 0; p < parts; p++)
            sum = fmaf(from[p * stride + c], expf(from[p * stride + k.width] - top), sum);
        k.out[row * k.width + c] = sum / total;
    }
}

template <int Heads> void run(beam_backend *be, const look &k, unsigned tokens)
{
    const int share = k.heads / k.groups, pieces = (share + Heads - 1) / Heads;
    const dim3 grid(tokens, static_cast<unsigned>(k.parts), static_cast<unsigned>(k.groups * pieces));
    const size_t shared = sizeof(float) * static_cast<size_t>(Heads * k.key_width);
    launch(be, part_kernel<Heads>, grid, threads, shared, k);
    launch(be, combine_kernel, dim3(tokens, static_cast<unsigned>(k.heads)), threads, 0, k);
}

} // namespace

int64_t beam_cuda_cache_room(const beam_backend *, int64_t n, int64_t heads, int64_t width, int64_t context)
{
    return n * heads * parts_within(context) * (width + 2);
}

void beam_cuda_cache_attention(beam_backend *be, beam_tensor out, beam_tensor q, beam_cache cache,
                               beam_places at, beam_attention_rule rule, beam_tensor room)
{
    const look k = {data_of<float>(out),
                    data_of<float>(room),
                    data_of<float>(q),
                    data_of<float>(cache.key),
                    data_of<float>(cache.value),
                    data_of<int32_t>(at.sequence),
                    data_of<int32_t>(at.position),
                    static_cast<int>(cache.key.dim[2]),
                    static_cast<int>(rule.window),
                    static_cast<int>(q.dim[1]),
                    static_cast<int>(cache.key.dim[1]),
                    parts_within(cache.key.dim[2]),
                    static_cast<int>(q.dim[2]),
                    static_cast<int>(out.dim[2]),
                    static_cast<int>(cache.value.dim[3]),
                    static_cast<float>(rule.scale)};
    const int share = k.heads / k.groups;
    const unsigned tokens = static_cast<unsigned>(q.dim[0]);
    if (share > 4)
        run<8>(be, k, tokens);
    else if (share > 2)
        run<4>(be, k, tokens);
    else if (share > 1)
        run<2>(be, k, tokens);
    else
        run<1>(be, k, tokens);
}
