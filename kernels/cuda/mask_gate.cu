/* Mask gates: which of a token's candidates run, and the gradient of that choice (straight-through). */
#include "kernels/cuda/gate.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/route.cuh"

constexpr int warps = threads_per_block / 32;

/* A thread takes a token. */
static __global__ void gate_open_kernel(pair_view pairs, beam_prune_rule rule)
{
    const int K = pairs.top_k;
    for (int64_t t = grid_thread(); t < pairs.tokens; t += grid_threads()) {
        float *weight = pairs.weight + t * K;
        const int kept = kept_count(weight, K, rule), n = rule.anchor > kept ? rule.anchor : kept;
        const float gain = n < K ? weight_sum(weight, K) / weight_sum(weight, n) : 1;
        for (int k = 0; k < K; k++) {
            const int64_t i = t * K + k;
            const bool is_null = pairs.expert[i] >= pairs.experts, runs = k < kept && !is_null;
            pairs.logit[i] = 0;
            pairs.gate[i] = is_null ? 0 : 1;
            pairs.keep[i] = runs;
            if (runs && gain != 1) /* NaN keeps its bits */
                weight[k] *= gain;
        }
    }
}

struct gate_terms {
    const float *bias, *scale, *rank_bias;
    double cutoff;
    float temperature;
};

/* A thread takes a pair. */
static __global__ void mask_gate_kernel(pair_view pairs, const float *product, int64_t columns,
                                        gate_terms terms)
{
    const int K = pairs.top_k;
    for (int64_t i = grid_thread(); i < pairs.tokens * K; i += grid_threads()) {
        const int64_t t = i / K;
        const int e = pairs.expert[i];
        float u = product[t * columns + e];
        if (terms.bias)
            u += terms.bias[e];
        if (terms.scale)
            u += terms.scale[0] * log_share(pairs.weight[i], weight_sum(pairs.weight + t * K, K), K);
        if (terms.rank_bias)
            u += terms.rank_bias[i % K];
        pairs.logit[i] = u;
        pairs.gate[i] = sigmoid(u / terms.temperature);
        pairs.keep[i] = static_cast<double>(u) >= terms.cutoff;
    }
}

/* What reaches a mask gate from above (beam_gate_grad_args). */
struct gate_grads {
    const float *dpair, *dgiven, *dgate; /* dgiven, dgate: NULL is 0 */
    const uint8_t *counted;
    float penalty, temperature;
    bool squared;
    beam_mask_form form;

    /* dL/dg: `a` is what running the expert is worth, `given` what dropping it gives back. */
    __device__ float of_weight(int64_t i, float q, bool kept) const
    {
        const float a = dpair[i], given = dgiven ? dgiven[i] : 0;
        if (form == BEAM_MASK_SOFT)
            return dgiven ? q * a + (1 - q) * given : q * a;
        return kept ? a : given;
    }

    /* dL/du. */
    __device__ float of_logit(int64_t i, float g, float q, bool is_counted) const
    {
        float dq = g * (dgiven ? dpair[i] - dgiven[i] : dpair[i]);
        if (dgate)
            dq += dgate[i];
        if (is_counted)
            dq += squared ? 2 * q * penalty : penalty;
        return dq * q * (1 - q) / temperature;
    }
};

/* A warp takes a token, whose candidates are distinct. */
static __global__ void pair_grads_kernel(float *dproduct, float *dweight, pair_view pairs, int64_t columns,
                                         gate_grads grads)
{
    const int lane = static_cast<int>(threadIdx.x) % 32, K = pairs.top_k;
    for (int64_t t = grid_thread() / 32; t < pairs.tokens; t += grid_threads() / 32) {
        float *du = dproduct + t * columns;
        for (int64_t e = lane; e < columns; e += 32)
            du[e] = 0;
        __syncwarp();
        for (int64_t i = t * K + lane; i < (t + 1) * K; i += 32) {
            const float q = pairs.gate[i];
            du[pairs.expert[i]] = grads.of_logit(i, pairs.weight[i], q, grads.counted[t] != 0);
            dweight[i] = grads.of_weight(i, q, pairs.keep[i] != 0);
        }
    }
}

/* partial[chunk, K + 1] = the sums of du over the chunk's tokens for each rank, then that of du log(K g'). */
static __global__ void rank_grads_partials(double *partial, const float *dproduct, pair_view pairs,
                                           int64_t columns)
{
    BEAM_SHARED(double, part, 32);
    const row_range chunk = chunk_of(pairs.tokens);
    const int K = pairs.top_k;
    double *out = partial + static_cast<int64_t>(blockIdx.x) * (K + 1), share = 0;
    for (int k = 0; k < K; k++) {
        double sum = 0;
        for (int64_t t = chunk.begin + threadIdx.x; t < chunk.end; t += blockDim.x) {
            const float *weight = pairs.weight + t * K;
            const double d = static_cast<double>(dproduct[t * columns + pairs.expert[t * K + k]]);
            sum += d;
            share += d * static_cast<double>(log_share(weight[k], weight_sum(weight, K), K));
        }
        sum = block_sum(sum, part);
        if (threadIdx.x == 0)
            out[k] = sum;
    }
    share = block_sum(share, part);
    if (threadIdx.x == 0)
        out[K] = share;
}

struct element_of {
    const float *x;
    int64_t columns;

    __device__ float operator()(int64_t row, int64_t column) const
    {
        return x[row * columns + column];
    }
};

void beam_cuda_gate_open(beam_backend *be, const beam_route *route, beam_prune_rule rule)
{
    launch(be, gate_open_kernel, grid_of(route->expert.dim[0], threads_per_block), threads_per_block, 0,
           pairs_of(route), rule);
}

void beam_cuda_mask_gate(beam_backend *be, const beam_route *route, beam_tensor product,
                         const beam_gate_terms *terms)
{
    const gate_terms t = {data_of<float>(terms->bias), data_of<float>(terms->scale),
                          data_of<float>(terms->rank_bias), terms->cutoff,
                          static_cast<float>(terms->temperature)};
    launch(be, mask_gate_kernel, grid_of(beam_count(route->expert), threads_per_block), threads_per_block, 0,
           pairs_of(route), data_of<float>(product), product.dim[1], t);
}

/* rank_bias[K] and scale[1] += their sums over tokens. */
static void add_rank_grads(beam_backend *be, const beam_gate_terms *grad, beam_tensor dproduct,
                           const beam_route *route)
{
    const int chunks = chunks_of(dproduct.dim[0]), K = static_cast<int>(route->expert.dim[1]);
    const size_t row = static_cast<size_t>(K + 1);
    double *partial =
        static_cast<double *>(beam_cuda_scratch(be, static_cast<size_t>(chunks) * row * sizeof(double)));
    launch(be, rank_grads_partials, static_cast<unsigned>(chunks), token_chunks, 0, partial,
           data_of<float>(dproduct), pairs_of(route), dproduct.dim[1]);
    if (grad->rank_bias.data)
        add_chunks(be, data_of<float>(grad->rank_bias), partial, chunks, K + 1, K);
    if (grad->scale.data)
        add_chunks(be, data_of<float>(grad->scale), partial + K, chunks, K + 1, 1);
}

void beam_cuda_mask_gate_grad(beam_backend *be, beam_tensor dproduct, beam_tensor dweight,
                              const beam_gate_terms *grad, const beam_route *route,
                              const beam_gate_grad_args *args)
{
    const int64_t tokens = dproduct.dim[0], columns = dproduct.dim[1];
    const gate_grads grads = {data_of<float>(args->dpair),
                              data_of<float>(args->dgiven),
                              data_of<float>(args->dgate),
                              data_of<uint8_t>(args->counted),
                              static_cast<float>(args->penalty),
                              static_cast<float>(args->temperature),
                              args->squared,
                              args->form};
    launch(be, pair_grads_kernel, grid_of(tokens, warps), threads_per_block, 0, data_of<float>(dproduct),
           data_of<float>(dweight), pairs_of(route), columns, grads);
    if (grad->bias.data)
        add_column_sums(be, data_of<float>(grad->bias), tokens, columns,
                        element_of{data_of<float>(dproduct), columns});
    if (grad->rank_bias.data || grad->scale.data)
        add_rank_grads(be, grad, dproduct, route);
}
