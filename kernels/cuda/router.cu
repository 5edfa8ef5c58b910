/* The base model's router: probabilities, the top-k candidates of each token, and their gradients. A warp
 * takes a token; lane l owns the columns l, l + 32, ... */
#include "kernels/cuda/choose.cuh"
#include "kernels/cuda/route.cuh"

constexpr int warps = 4;

static __global__ void router_topk_kernel(pair_view pairs, float *prob, const float *logits, int columns,
                                          beam_router_rule rule)
{
    BEAM_SHARED_DYNAMIC(uint32_t, scratch); /* [warps][columns + groups] */
    const int lane = static_cast<int>(threadIdx.x) % 32, K = pairs.top_k;
    uint32_t *left = scratch + static_cast<int>(threadIdx.x) / 32 * (columns + rule.groups);
    const float scale = static_cast<float>(rule.scale);
    for (int64_t t = grid_thread() / 32; t < pairs.tokens; t += grid_threads() / 32) {
        const float *logit = logits + t * columns;
        float *p = prob + t * columns;
        int32_t *expert = pairs.expert + t * K;
        for (int e = lane; e < columns; e += 32)
            left[e] = rank_of(logit[e]);
        if (rule.kept_groups < rule.groups)
            limit_groups(left, columns, left + columns, rule.groups, rule.kept_groups, lane);
        for (int k = 0; k < K; k++) {
            const int best = take_largest(left, columns, lane);
            if (lane == 0)
                expert[k] = best;
        }
        softmax(p, logit, columns, lane); /* all lanes see the candidates then */
        const float sum = divisor(p, expert, K, pairs.experts, rule.normalize, lane);
        for (int k = lane; k < K; k += 32)
            pairs.weight[t * K + k] = expert[k] < pairs.experts && sum != 0 ? p[expert[k]] / sum * scale : 0;
    }
}

/* dp[expert] += dL/dprob of one token's candidates, from the gradient of their weights, which are scale * p,
 * or scale * p / sum of p. */
__device__ static void add_weight_grad(float *dp, const float *dweight, const int32_t *expert, const float *p,
                                       int top_k, int experts, beam_router_rule rule, int lane)
{
    const float sum = divisor(p, expert, top_k, experts, rule.normalize, lane);
    float shared = 0;
    for (int k = lane; rule.normalize && k < top_k; k += 32)
        shared += expert[k] < experts ? dweight[k] * p[expert[k]] : 0;
    shared = warp_sum(shared) / sum;
    __syncwarp();
    for (int k = lane; sum != 0 && k < top_k; k += 32)
        if (expert[k] < experts)
            dp[expert[k]] += static_cast<float>(rule.scale) * (dweight[k] - shared) / sum;
    __syncwarp();
}

static __global__ void router_grad_kernel(float *dlogits, const float *dweight, pair_view pairs,
                                          const float *prob, const float *dprob, const uint8_t *counted,
                                          int columns, beam_router_rule rule)
{
    const int lane = static_cast<int>(threadIdx.x) % 32, K = pairs.top_k;
    for (int64_t t = grid_thread() / 32; t < pairs.tokens; t += grid_threads() / 32) {
        const float *p = prob + t * columns;
        float *d = dlogits + t * columns, dot = 0;
        const bool balanced = dprob && counted[t];
        for (int e = lane; e < columns; e += 32)
            d[e] = balanced ? dprob[e] : 0;
        add_weight_grad(d, dweight + t * K, pairs.expert + t * K, p, K, pairs.experts, rule, lane);
        for (int e = lane; e < columns; e += 32)
            dot += p[e] * d[e];
        dot = warp_sum(dot);
        for (int e = lane; e < columns; e += 32)
            d[e] = p[e] * (d[e] - dot);
    }
}

/* partial[chunk, 2, columns] = how often each expert is a candidate, and its probability. */
static __global__ void router_load_partials(double *partial, pair_view pairs, const float *prob,
                                            const uint8_t *counted, int columns)
{
    BEAM_SHARED_DYNAMIC(int, chosen); /* [columns] */
    const row_range chunk = chunk_of(pairs.tokens);
    double *out = partial + static_cast<int64_t>(blockIdx.x) * 2 * columns;
    const int step = static_cast<int>(blockDim.x), K = pairs.top_k;
    for (int e = static_cast<int>(threadIdx.x); e < columns; e += step)
        chosen[e] = 0;
    __syncthreads();
    for (int64_t i = chunk.begin * K + threadIdx.x; i < chunk.end * K; i += step)
        if (counted[i / K])
            atomicAdd(&chosen[pairs.expert[i]], 1);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < columns; e += step) {
        double mass = 0;
        for (int64_t t = chunk.begin; t < chunk.end; t++)
            mass += counted[t] ? static_cast<double>(prob[t * columns + e]) : 0;
        out[e] = chosen[e];
        out[columns + e] = mass;
    }
}

void beam_cuda_router_topk(beam_backend *be, const beam_route *route, beam_tensor prob, beam_tensor logits,
                           beam_router_rule rule)
{
    const int columns = static_cast<int>(logits.dim[1]);
    const size_t shared = static_cast<size_t>(warps) * static_cast<size_t>(columns + rule.groups);
    if (has_room(be, columns))
        launch(be, router_topk_kernel, grid_of(logits.dim[0], warps), warps * 32, shared * sizeof(uint32_t),
               pairs_of(route), data_of<float>(prob), data_of<float>(logits), columns, rule);
}

void beam_cuda_router_grad(beam_backend *be, beam_tensor dlogits, beam_tensor dweight,
                           const beam_route *route, beam_tensor prob, beam_tensor dprob, beam_tensor counted,
                           beam_router_rule rule)
{
    launch(be, router_grad_kernel, grid_of(prob.dim[0], warps), warps * 32, 0, data_of<float>(dlogits),
           data_of<float>(dweight), pairs_of(route), data_of<float>(prob), data_of<float>(dprob),
           data_of<uint8_t>(counted), prob.dim[1], rule);
}

void beam_cuda_router_load(beam_backend *be, beam_tensor load, const beam_route *route, beam_tensor prob,
                           beam_tensor counted)
{
    const int64_t columns = prob.dim[1];
    const int chunks = chunks_of(prob.dim[0]);
    const size_t row = 2 * static_cast<size_t>(columns);
    if (chunks == 0 || !has_room(be, columns))
        return;
    double *partial =
        static_cast<double *>(beam_cuda_scratch(be, static_cast<size_t>(chunks) * row * sizeof(double)));
    launch(be, router_load_partials, static_cast<unsigned>(chunks), threads_per_block,
           static_cast<size_t>(columns) * sizeof(int), partial, pairs_of(route), data_of<float>(prob),
           data_of<uint8_t>(counted), columns);
    add_chunks(be, data_of<double>(load), partial, chunks, 2 * columns, 2 * columns);
}
