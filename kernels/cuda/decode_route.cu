/* Routing of decoded tokens: logits of router and mask gates, candidates, which of them run, and the list of
 * experts that somebody keeps. One kernel: the block that finishes a tile of tokens goes on with its
 * candidates, and the one that finishes the last tile with the list. */
#include "kernels/cuda/choose.cuh"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/gate.cuh"

namespace
{

using decode::warps;

constexpr int tile = BEAM_DECODE_TILE;
static_assert(tile == warps, "a warp takes a token of the tile");

/* Two rows of the router, or of the mask router behind it, are a warp's. */
__device__ int router_units(const beam_decode_call &c)
{
    return (c.experts + c.null_experts + 1) / 2;
}

/* Logits of 2 rows for tokens [begin, end), at most a tile of them. */
template <class X> __device__ void fill_logits(const beam_decode_call &c, int unit, int begin, int end)
{
    const bool is_mask = unit >= router_units(c);
    const beam_decode_matrix m = is_mask ? c.mask_router : c.router;
    const int rows = is_mask ? c.experts : c.experts + c.null_experts, D = c.hidden_size;
    const int first = (is_mask ? unit - router_units(c) : unit) * 2, second = min(first + 1, rows - 1);
    float *out = is_mask ? c.product : c.logit;
    decode::with_tile<tile>(m, end - begin, [&](auto *w, auto n) {
        const decltype(w) row[2] = {w + static_cast<int64_t>(first) * D,
                                    w + static_cast<int64_t>(second) * D};
        const X *x[n];
        float sum[2][n];
        for (int j = 0; j < n; j++)
            x[j] = static_cast<const X *>(c.x) + static_cast<int64_t>(min(begin + j, end - 1)) * D;
        decode::dots(sum, row, x, D);
        for (int j = 0; j < n; j++)
            if (threadIdx.x % 32 == 0 && begin + j < end) {
                out[static_cast<int64_t>(begin + j) * rows + first] = sum[0][j];
                out[static_cast<int64_t>(begin + j) * rows + second] = second > first ? sum[1][j] : sum[0][j];
            }
    });
}

/* True in the last of `n` blocks that come here, which then sees what the others wrote if it reads past the
 * L1 cache. All threads call it. */
__device__ bool is_last(int32_t *arrived, int n)
{
    BEAM_SHARED(int, last, 1);
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last[0] = atomicAdd(arrived, 1) == n - 1;
        __threadfence();
    }
    __syncthreads();
    return last[0] != 0;
}

/* What a warp needs of shared memory to choose: numbers of a token. */
struct choice {
    uint32_t *left;  /* [E+N + groups] */
    float *prob;     /* [E+N] */
    int32_t *expert; /* [K] */
    float *weight;   /* [K] */
};

__host__ __device__ size_t choice_words(const beam_decode_call &c)
{
    return static_cast<size_t>(2 * (c.experts + c.null_experts) + c.groups + 2 * c.top_k);
}

/* Candidates of token t and their weights. */
__device__ void choose(const beam_decode_call &c, const choice &s, int64_t t, int lane)
{
    const int columns = c.experts + c.null_experts;
    const float scale = static_cast<float>(c.scale);
    for (int e = lane; e < columns; e += 32) {
        s.prob[e] = __ldcg(c.logit + t * columns + e);
        s.left[e] = rank_of(s.prob[e]);
    }
    if (c.kept_groups < c.groups)
        limit_groups(s.left, columns, s.left + columns, c.groups, c.kept_groups, lane);
    for (int k = 0; k < c.top_k; k++) {
        const int best = take_largest(s.left, columns, lane);
        if (lane == 0)
            s.expert[k] = best;
    }
    softmax(s.prob, s.prob, columns, lane); /* all lanes see the candidates then */
    const float sum = divisor(s.prob, s.expert, c.top_k, c.experts, c.normalize, lane);
    for (int k = lane; k < c.top_k; k += 32)
        s.weight[k] = s.expert[k] < c.experts && sum != 0 ? s.prob[s.expert[k]] / sum * scale : 0;
    __syncwarp();
}

/* Whether the mask gate of candidate k keeps it. */
__device__ bool mask_keeps(const beam_decode_call &c, const choice &s, int64_t t, int k, float sum)
{
    const int e = s.expert[k];
    float u = __ldcg(c.product + t * c.experts + e);
    if (c.mask_bias)
        u += c.mask_bias[e];
    if (c.mask_scale)
        u += c.mask_scale[0] * log_share(s.weight[k], sum, c.top_k);
    if (c.mask_rank_bias)
        u += c.mask_rank_bias[k];
    return static_cast<double>(u) >= c.cutoff;
}

__device__ void decide(const beam_decode_call &c, const choice &s, int64_t t, int lane)
{
    const bool masked = c.mask_router.data != nullptr;
    const int K = c.top_k, kept = masked ? K : kept_count(s.weight, K, {c.keep, c.share, c.anchor});
    const int n = masked ? K : max(c.anchor, kept);
    const float sum = weight_sum(s.weight, K), anchor = n < K ? sum / weight_sum(s.weight, n) : 1;
    for (int k = lane; k < K; k += 32) {
        const bool runs = k < kept && s.expert[k] < c.experts && (!masked || mask_keeps(c, s, t, k, sum));
        const float gain = s.weight[k];
        const int64_t i = t * K + k;
        c.id[i] = runs ? s.expert[k] : -1;
        c.weight[i] = !runs ? 0 : anchor != 1 ? gain * anchor : gain; /* NaN keeps its bits */
        if (c.candidate)
            c.candidate[i] = s.expert[k];
        if (c.gain)
            c.gain[i] = gain;
    }
}

/* The expert of pair i, or E. */
__device__ int expert_of(const beam_decode_call &c, int64_t i)
{
    const int e = __ldcg(c.id + i);
    return e >= 0 && e < c.experts ? e : c.experts;
}

/* The pairs of a warp are [begin, end). */
struct share {
    int64_t begin, end;
};

__device__ share share_of_warp(const beam_decode_call &c)
{
    const int64_t n = static_cast<int64_t>(c.tokens) * c.top_k, warp = threadIdx.x / 32;
    return {n * warp / warps, n * (warp + 1) / warps};
}

/* From the warps' counts [warps,E] to their first rows, in place, and the list of experts. One warp. */
__device__ void scan_counts(const beam_decode_call &c, int32_t *count, int lane)
{
    int rows = 0, actives = 0;
    for (int at = 0; at < c.experts; at += 32) {
        const int e = at + lane;
        int own = 0;
        for (int w = 0; w < warps && e < c.experts; w++)
            own += count[w * c.experts + e];
        int upto = own;
        for (int delta = 1; delta < 32; delta *= 2) {
            const int other = __shfl_up_sync(whole_warp, upto, static_cast<unsigned>(delta));
            upto += lane >= delta ? other : 0;
        }
        const unsigned used = __ballot_sync(whole_warp, own > 0);
        int row = rows + upto - own;
        if (own > 0) {
            const int number = actives + __popc(used & ((1u << lane) - 1));
            c.active[number] = e;
            c.first[number] = row;
        }
        for (int w = 0; w < warps && e < c.experts; w++) {
            const int n = count[w * c.experts + e];
            count[w * c.experts + e] = row;
            row += n;
        }
        rows += __shfl_sync(whole_warp, upto, 31);
        actives += __popc(used);
    }
    if (lane == 0) {
        c.first[actives] = rows;
        c.actives[0] = actives;
    }
}

/* A counting sort by one block: kept pairs grouped by expert, each group in the order of tokens. */
__device__ void list_pairs(const beam_decode_call &c, int32_t *count)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int32_t *mine = count + static_cast<int>(threadIdx.x) / 32 * c.experts;
    const share own = share_of_warp(c);
    for (int e = lane; e < c.experts; e += 32)
        mine[e] = 0;
    __syncwarp();
    for (int64_t i = own.begin + lane; i < own.end; i += 32)
        if (expert_of(c, i) < c.experts)
            atomicAdd(&mine[expert_of(c, i)], 1);
    __syncthreads();
    if (threadIdx.x < 32)
        scan_counts(c, count, lane);
    __syncthreads();
    for (int64_t at = own.begin; at < own.end; at += 32) {
        const int64_t i = at + lane;
        const int e = i < own.end ? expert_of(c, i) : c.experts;
        const unsigned peers = __match_any_sync(whole_warp, e), before = peers & ((1u << lane) - 1);
        if (e < c.experts)
            c.pair[mine[e] + __popc(before)] = static_cast<int32_t>(i);
        __syncwarp();
        if (e < c.experts && before == 0)
            mine[e] += __popc(peers);
        __syncwarp();
    }
}

/* Blocks are numbered by tile, then by chunk of `warps` units of rows. */
template <class X, bool List> __global__ void __launch_bounds__(warps * 32) route_kernel(beam_decode_call c)
{
    BEAM_SHARED_DYNAMIC(uint32_t, memory);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int units = router_units(c) + (c.mask_router.data ? (c.experts + 1) / 2 : 0);
    const int chunks = (units + warps - 1) / warps, number = static_cast<int>(blockIdx.x) / chunks;
    const int unit = static_cast<int>(blockIdx.x) % chunks * warps + warp;
    const int begin = number * tile, end = min(begin + tile, c.tokens);
    if (unit < units)
        fill_logits<X>(c, unit, begin, end);
    if (!is_last(c.arrived + 2 + number, chunks))
        return;
    uint32_t *mine = memory + static_cast<size_t>(warp) * choice_words(c);
    const int columns = c.experts + c.null_experts;
    float *prob = reinterpret_cast<float *>(mine + columns + c.groups);
    int32_t *expert = reinterpret_cast<int32_t *>(prob + columns);
    const choice s = {mine, prob, expert, reinterpret_cast<float *>(expert + c.top_k)};
    if (begin + warp < end) {
        choose(c, s, begin + warp, lane);
        decide(c, s, begin + warp, lane);
    }
    if (List && is_last(c.arrived, (c.tokens + tile - 1) / tile))
        list_pairs(c, reinterpret_cast<int32_t *>(memory));
}

__global__ void __launch_bounds__(warps * 32) list_kernel(beam_decode_call c)
{
    BEAM_SHARED_DYNAMIC(int32_t, count);
    list_pairs(c, count);
}

template <class X> bool route(const beam_decode_call &c, bool list, void *stream)
{
    const int64_t columns = c.experts + c.null_experts;
    const int64_t units = (columns + 1) / 2 + (c.mask_router.data ? (c.experts + 1) / 2 : 0);
    const unsigned blocks = static_cast<unsigned>(ceil_div(units, warps) * beam_decode_tiles(c.tokens));
    const size_t bytes = warps * choice_words(c) * sizeof(uint32_t);
    return decode::launch(list ? route_kernel<X, true> : route_kernel<X, false>, c, blocks, bytes, stream);
}

} // namespace

bool beam_decode_compiled(void)
{
    return true;
}

bool beam_decode_route(const beam_decode_call *c, bool list, void *stream)
{
    const size_t counters = 2 + static_cast<size_t>(beam_decode_tiles(c->tokens));
    return decode::clear(c->arrived, counters * sizeof(int32_t), stream) &&
           (c->hidden_is_bf16 ? route<bf16>(*c, list, stream) : route<float>(*c, list, stream));
}

bool beam_decode_list(const beam_decode_call *c, void *stream)
{
    return decode::clear(c->arrived, 2 * sizeof(int32_t), stream) &&
           decode::launch(list_kernel, *c, 1, static_cast<size_t>(warps * c->experts) * sizeof(int32_t),
                          stream);
}
