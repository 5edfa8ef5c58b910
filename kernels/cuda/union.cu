/* The batch-union penalty: how many experts a group of tokens touches when it is decoded at once. A warp
 * takes a chunk of groups, one after another. */
#include "kernels/cuda/route.cuh"

constexpr int most_chunks = 1024;

struct token_groups {
    pair_view pairs;
    const uint8_t *counted;
    int64_t stride, size; /* from one token of a group to the next, and how many there are */
};

__device__ static void fill_ones(double *x, int n, int lane)
{
    __syncwarp();
    for (int e = lane; e < n; e += 32)
        x[e] = 1;
    __syncwarp();
}

/* untouched[E] = the product of 1 - q over the counted tokens of a group. dgate of each pair holds what that
 * product was before it. Returns the number of counted tokens. */
__device__ static int64_t walk_forward(const token_groups &g, int64_t group, double *untouched, float *dgate,
                                       int lane)
{
    const int K = g.pairs.top_k;
    int64_t n = 0;
    fill_ones(untouched, g.pairs.experts, lane);
    for (int64_t j = 0; j < g.size; j++) {
        const int64_t t = group + j * g.stride;
        if (!g.counted[t])
            continue;
        n++;
        for (int64_t i = t * K + lane; i < (t + 1) * K; i += 32) {
            double *product = untouched + g.pairs.expert[i];
            dgate[i] = static_cast<float>(*product);
            *product *= 1 - static_cast<double>(g.pairs.gate[i]);
        }
        __syncwarp();
    }
    return n;
}

/* dgate becomes scale times the product before the pair times that after it. No division: a factor of exactly
 * 0 (q = 1) is like any other. */
__device__ static void walk_back(const token_groups &g, int64_t group, double *untouched, float *dgate,
                                 double scale, int lane)
{
    const int K = g.pairs.top_k;
    fill_ones(untouched, g.pairs.experts, lane);
    for (int64_t j = g.size - 1; j >= 0; j--) {
        const int64_t t = group + j * g.stride;
        for (int64_t i = t * K + lane; i < (t + 1) * K; i += 32) {
            double *product = untouched + g.pairs.expert[i];
            dgate[i] =
                g.counted[t] ? static_cast<float>(scale * static_cast<double>(dgate[i]) * *product) : 0;
            if (g.counted[t])
                *product *= 1 - static_cast<double>(g.pairs.gate[i]);
        }
        __syncwarp();
    }
}

/* partial[chunk, 2] = the sum of U over the chunk's groups, and the number of those with a counted token. */
static __global__ void union_kernel(double *partial, float *dgate, token_groups g, double scale)
{
    BEAM_SHARED_DYNAMIC(double, untouched); /* [experts] */
    const int lane = static_cast<int>(threadIdx.x), experts = g.pairs.experts;
    const row_range chunk = chunk_of(g.stride);
    double touched = 0, used = 0;
    for (int64_t group = chunk.begin; group < chunk.end; group++) {
        used += walk_forward(g, group, untouched, dgate, lane) > 0;
        double sum = 0;
        for (int e = lane; e < experts; e += 32)
            sum += 1 - untouched[e];
        touched += warp_sum(sum) / experts;
        walk_back(g, group, untouched, dgate, scale, lane);
    }
    if (lane == 0) {
        partial[2 * blockIdx.x] = touched;
        partial[2 * blockIdx.x + 1] = used;
    }
}

void beam_cuda_union_penalty(beam_backend *be, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                             beam_tensor counted, int64_t group, double weight)
{
    const int64_t tokens = route->expert.dim[0], K = route->expert.dim[1], E = route->kept.dim[0];
    const int64_t groups = tokens / group, rest = group * groups;
    const int chunks = static_cast<int>(groups < most_chunks ? groups : most_chunks);
    if (!has_room(be, E))
        return;
    double *partial = static_cast<double *>(beam_cuda_scratch(be, most_chunks * 2 * sizeof(double)));
    launch(be, union_kernel, static_cast<unsigned>(chunks), 32, static_cast<size_t>(E) * sizeof(double),
           partial, data_of<float>(dgate),
           token_groups{pairs_of(route), data_of<uint8_t>(counted), groups, group},
           weight / static_cast<double>(E));
    beam_cuda_zero(be, data_of<float>(dgate) + rest * K,
                   static_cast<size_t>((tokens - rest) * K) * sizeof(float));
    add_chunks(be, data_of<double>(sum), partial, chunks, 2, 2);
}
